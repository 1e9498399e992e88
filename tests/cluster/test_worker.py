"""Orders are safe to carry out twice: a cluster repeats those whose worker has died."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async.batch.executor import ResultOrder
from diffio_async.dask import worker
from diffio_async.dask.orders import (
    DownloadOrder,
    OrderFailed,
    Service,
    StoredResult,
    shared_options,
)
from diffio_async.errors import DiffioError, DownloadFailed, InvalidTarget, UploadFailed
from diffio_async.options import ClientOptions, RetryPolicy
from diffio_async.sandbox import Fault, RespondWith
from tests.batch.scenes import content

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox


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


def test_a_failure_keeps_its_causes_and_pickles() -> None:
    """A worker that has no space left stops downloads, not only one file."""
    failure = UploadFailed("it could not be uploaded")
    failure.api_project_id = "proj_1"
    failure.__cause__ = OSError(28, "No space left on device")
    error = pickle.loads(pickle.dumps(OrderFailed.of(failure))).error()
    assert isinstance(error, UploadFailed)
    assert error.api_project_id == "proj_1"
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
