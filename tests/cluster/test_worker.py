"""Orders are safe to carry out twice: a cluster repeats those whose worker has died."""

from __future__ import annotations

import asyncio
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from diffio_async.batch.executor import RecordingOrder, ResultOrder, StoredResult
from diffio_async.batch.schema import ResultPath
from diffio_async.dask import worker
from diffio_async.dask.orders import (
    DownloadOrder,
    OrderFailed,
    ReadRecording,
    Service,
    UploadOrder,
    shared_options,
)
from diffio_async.errors import DiffioError, DownloadFailed, InvalidTarget, UploadFailed
from diffio_async.models.projects import UploadRecord
from diffio_async.options import MIB, ClientOptions, RetryPolicy
from diffio_async.sandbox import Fault, RespondWith
from tests.batch.scenes import content
from tests.stores.conftest import _nothing_left_open
from tests.stores.test_results import write
from tests.stores.test_sources import content_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox

__all__ = ["_nothing_left_open"]


class _Worker:
    address = "tcp://127.0.0.1:1"


@pytest.fixture
async def order(
    client: AsyncDiffio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[DownloadOrder]:
    """An order to store a result, in this process."""
    monkeypatch.setattr(worker, "get_worker", _Worker)
    isolated = await client.audio_isolation.isolate(content("a.wav"), file_name="a.wav")
    ids: Any = {
        "generation_id": isolated.generation.generation_id,
        "api_project_id": isolated.project.api_project_id,
    }
    await client.generations.wait_for_complete(**ids)
    link = await client.generations.get_download(**ids, download_type="audio")
    service = Service(client._sender.base_url, shared_options(client._sender.options))
    yield DownloadOrder(
        service=service,
        link=link,
        result=ResultOrder(
            path=str(tmp_path / "out" / "a.mp3"),
            root=str(tmp_path / "out"),
            download_type="audio",
            generation=ids["generation_id"],
            project=ids["api_project_id"],
            owned=False,
            bytes=None,
            on_conflict="error",
        ),
    )
    await worker._uploader(service).sender.aclose()
    worker._uploaders.clear()


async def test_a_result_that_a_dead_worker_has_stored_is_accepted(
    order: DownloadOrder, tmp_path: Path
) -> None:
    """The file is byte for byte the result, and nothing else is left in the folder."""
    for _ in range(2):
        stored = await worker.store_result(order)
        assert stored == StoredResult(size=len(content("a.wav")), worker=_Worker.address)
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["a.mp3"]
    assert (tmp_path / "out" / "a.mp3").read_bytes() == content("a.wav")


async def test_the_file_of_another_program_is_kept(order: DownloadOrder, tmp_path: Path) -> None:
    """It has other bytes, also of the same size: the order fails."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.mp3").write_bytes(content("other"))
    fact = await worker.store_result(order)
    assert isinstance(fact, OrderFailed)
    assert isinstance(fact.error(), InvalidTarget)
    assert (tmp_path / "out" / "a.mp3").read_bytes() == content("other")
    assert [each.name for each in (tmp_path / "out").iterdir()] == ["a.mp3"]


async def test_an_expired_link_is_a_failure_that_names_it(
    order: DownloadOrder, sandbox: Sandbox
) -> None:
    """A worker cannot request another link: the coordinator does so for the next attempt."""
    sandbox.faults.add(Fault(action=RespondWith(status=403), origin="media", method="GET"))
    fact = await worker.store_result(order)
    assert isinstance(fact, OrderFailed)
    assert isinstance(fact.error(), DownloadFailed)
    assert "expired" in str(fact.error())


async def test_an_object_is_kept_open_until_its_fact_is_released() -> None:
    """The worker that read it uploads what it has spooled; other processes get the facts alone."""
    await write("memory://in/a.wav", content("a", MIB))
    read = await worker.read_recording(_reading("memory://in/a.wav"))
    assert isinstance(read, ReadRecording)
    assert read.source is not None
    assert await read.source.read(0, MIB) == content("a", MIB)
    copy = pickle.loads(pickle.dumps(read))
    assert (copy.facts, copy.source) == (read.facts, None)
    assert worker._kept
    del read
    while worker._kept:
        await asyncio.sleep(0)


async def test_an_object_that_was_replaced_is_not_sent() -> None:
    """A worker that has to read it again compares its digest."""
    await write("memory://in/b.wav", content("b"))
    read = await worker.read_recording(_reading("memory://in/b.wav"))
    assert isinstance(read, ReadRecording)
    await write("memory://in/b.wav", content("other"), "overwrite")
    facts = read.facts
    record = UploadRecord(
        digest=facts.digest,
        size=facts.size,
        file_name="b.wav",
        content_type="audio/wav",
        api_project_id="proj_1",
    )
    order = UploadOrder(
        service=Service("http://127.0.0.1:9", ClientOptions()),
        path="memory://in/b.wav",
        max_bytes=MIB,
        facts=facts,
        record=record,
        run="t",
        number=1,
        entry=0,
    )
    fact = await worker.send_recording(order)
    assert isinstance(fact, OrderFailed)
    assert "changed since it was read" in str(fact.error())
    await worker._uploader(order.service).sender.aclose()
    worker._uploaders.clear()


def _reading(url: str) -> RecordingOrder:
    results = (ResultPath("audio", "memory://out/a.mp3", owned=False, bytes=None),)
    return RecordingOrder(
        path=url, results=results, root="memory://out/", on_conflict="error", max_bytes=MIB
    )


async def test_a_result_object_that_a_dead_worker_has_stored_is_accepted(
    order: DownloadOrder,
) -> None:
    """The metadata of the object names the result; an object of others is kept."""
    result = evolve(order.result, path="memory://out/a.mp3", root="memory://out/")
    again = evolve(order, result=result)
    for _ in range(2):
        stored = await worker.store_result(again)
        assert stored == StoredResult(size=len(content("a.wav")), worker=_Worker.address)
    await write("memory://out/a.mp3", content("other"), "overwrite")
    fact = await worker.store_result(again)
    assert isinstance(fact, OrderFailed)
    assert isinstance(fact.error(), InvalidTarget)
    assert await content_of("memory://out/a.mp3") == content("other")


async def test_a_failure_of_a_machine_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A full disk or a missing mount is one of a worker; other failures are of the file."""
    monkeypatch.setattr(worker, "get_worker", _Worker)
    monkeypatch.setattr(worker, "admitted", {"run-1"})
    (tmp_path / "large.wav").write_bytes(bytes(10_000))
    shown = []
    for name in ("absent.wav", "large.wav"):
        order = RecordingOrder(
            path=str(tmp_path / name),
            results=(),
            root=str(tmp_path / "out"),
            on_conflict="error",
            max_bytes=9999,
        )
        fact = await worker.carry_out(order, run="run-1", work=worker.read_recording)
        assert isinstance(fact, OrderFailed)
        shown.append(str(pickle.loads(pickle.dumps(fact)).error()))
    assert shown[0].endswith(f"(on the worker {_Worker.address})")
    assert "large.wav" in shown[1]
    assert "worker" not in shown[1]


def test_a_failure_keeps_its_causes_and_pickles() -> None:
    """A worker that has no space left stops downloads, not only one file."""
    failure = UploadFailed("it could not be uploaded")
    failure.api_project_id = "proj_1"
    failure.add_note("its parts were kept")
    failure.__cause__ = OSError(28, "No space left on device")
    fact = evolve(OrderFailed.of(failure), worker=_Worker.address)
    error = pickle.loads(pickle.dumps(fact)).error()
    assert isinstance(error, UploadFailed)
    assert str(error) == f"it could not be uploaded (on the worker {_Worker.address})"
    assert error.api_project_id == "proj_1"
    assert error.__notes__ == ["its parts were kept"]
    assert isinstance(error.__cause__, OSError)
    assert error.__cause__.errno == 28


def test_an_error_that_does_not_pickle_keeps_its_message() -> None:
    """Errors of other libraries may hold a connection or a lock."""

    class Unpicklable(Exception):
        pass

    failure = DiffioError("it failed")
    failure.__cause__ = Unpicklable("for this reason")
    assert "for this reason" in str(OrderFailed.of(failure).error().__cause__)


def test_options_with_secrets_stay_with_the_coordinator() -> None:
    """Headers, a proxy's password and hooks are not sent to the workers."""
    options = ClientOptions(
        headers={"X-Secret": "s"},
        proxy="http://user:secret@proxy:1",
        retry=RetryPolicy(attempts=7, on=print),
        max_concurrent_parts=3,
    )
    shared = shared_options(options)
    assert (shared.headers, shared.proxy, shared.retry.on) == ({}, None, None)
    assert (shared.retry.attempts, shared.max_concurrent_parts) == (7, 3)
