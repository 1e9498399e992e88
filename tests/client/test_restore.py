"""Restoring one recording, from upload to download."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from diffio_async import (
    AsyncDiffio,
    ConfigurationError,
    DiffioError,
    DownloadProgress,
    GenerationFailed,
    GenerationProgress,
    InvalidSource,
    InvalidTarget,
    ServerError,
    UploadFailed,
    UploadProgress,
    WaitTimeout,
)
from diffio_async.sandbox import Fault, RespondWith, Sandbox
from tests.scripts import GENERATION, PROGRESS, forever, progress_body, requests_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SPEECH = bytes(range(256)) * 1000


async def test_restore_uploads_generates_and_downloads(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The result contains the project, the generation, its progress, the link and the path."""
    source, target = tmp_path / "talk.wav", tmp_path / "talk.mp3"
    source.write_bytes(SPEECH)
    seen: list[object] = []
    result = await client.restore(source, target, on_progress=seen.append)
    assert target.read_bytes() == SPEECH
    assert result.path == target
    assert result.content is None
    assert result.project.size_bytes == len(SPEECH)
    assert result.project.file_name == "talk.wav"
    assert result.project.content_type == "audio/x-wav"
    assert result.generation.model_key == "diffio-4.6-flash"
    assert result.progress.complete
    assert result.download.download_type == "audio"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["talk.mp3", "talk.wav"]
    kinds = [type(event) for event in seen]
    assert kinds[0] is UploadProgress
    assert GenerationProgress in kinds
    assert kinds[-1] is DownloadProgress
    assert seen[-1] == DownloadProgress(received=len(SPEECH), total=len(SPEECH))
    generation = requests_to(sandbox, "*-generation")
    assert [request.path for request in generation] == ["/v1/diffio-4.6-flash-generation"]
    assert generation[0].json["idempotencyKey"]


@pytest.mark.slow
async def test_without_a_target_the_result_is_in_memory(client: AsyncDiffio) -> None:
    """The source is bytes, a file object or an async iterator."""

    async def chunks() -> AsyncIterator[bytes]:
        yield SPEECH[:1000]
        yield SPEECH[1000:]

    for source in (SPEECH, io.BytesIO(SPEECH), chunks()):
        result = await client.restore(source)
        assert result.content == SPEECH
        assert result.path is None


async def test_all_arguments_are_sent(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """Names, formats, parameters and the key are in the fields of the contract."""
    await client.restore(
        SPEECH,
        model="diffio-4.6-pro",
        file_name="söund.ogg",
        content_type="audio/ogg",
        file_format="ogg",
        sampling={"preset": "balanced"},
        project_params={"source": "test"},
        generation_params={"tag": "docs"},
        idempotency_key=" key-1 ",
    )
    (project,) = requests_to(sandbox, "/v1/create_project")
    assert project.json == {
        "fileName": "söund.ogg",
        "contentType": "audio/ogg",
        "contentLength": len(SPEECH),
        "fileFormat": "ogg",
        "params": {"source": "test"},
    }
    (generation,) = requests_to(sandbox, "/v1/diffio-4.6-pro-generation")
    assert generation.json["sampling"] == {"preset": "balanced"}
    assert generation.json["params"] == {"tag": "docs"}
    assert generation.json["idempotencyKey"] == "key-1"


@pytest.mark.slow
async def test_the_file_in_a_target_folder_is_named_after_the_source(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    """It is `{stem}.restored` with the suffix of the requested type."""
    source = tmp_path / "talk.one.wav"
    source.write_bytes(SPEECH)
    folder = tmp_path / "out"
    folder.mkdir()
    result = await client.restore(source, folder)
    assert result.path == folder / "talk.one.restored.mp3"
    with pytest.raises(InvalidTarget, match="exists"):
        await client.restore(source, folder)
    again = await client.restore(source, f"{folder}/", on_conflict="overwrite")
    assert again.path == result.path


BAD: list[tuple[dict[str, Any], type[DiffioError], str]] = [
    ({"model": "gpt-4"}, ConfigurationError, "cannot be a model's name"),
    ({"model": "diffio-"}, ConfigurationError, "cannot be a model's name"),
    ({"model": "diffio-4.6/../x"}, ConfigurationError, "cannot be a model's name"),
    ({"model": "diffio-4.6-flash\n"}, ConfigurationError, "cannot be a model's name"),
    ({"download_type": "wav"}, ConfigurationError, "is not a download type"),
    ({"download_type": None}, ConfigurationError, "is not a download type"),
    ({"idempotency_key": "  "}, ConfigurationError, "1 to 255 characters"),
    ({"idempotency_key": "k" * 256}, ConfigurationError, "1 to 255 characters"),
    ({"sampling": {"seed": object()}}, ConfigurationError, "sampling cannot be written"),
    ({"generation_params": {"x": float("nan")}}, ConfigurationError, "params cannot be written"),
    ({"project_params": {1, 2}}, ConfigurationError, "params cannot be written"),
    ({"timeout": -1}, ConfigurationError, "timeout"),
    ({"poll_interval": 0}, ConfigurationError, "poll_interval"),
    ({"to": ""}, ConfigurationError, "target's path is empty"),
    ({"to": "no/such/folder/x.mp3"}, InvalidTarget, "there is no folder"),
    ({"to": "/proc/x.mp3"}, InvalidTarget, "nothing can be written"),
    ({"to": __file__}, InvalidTarget, "exists"),
    ({"source": b""}, InvalidSource, "empty"),
    ({"source": ""}, InvalidSource, "path is empty"),
    ({"source": "no-such-file.wav"}, InvalidSource, "there is no file"),
    ({"source": Path(__file__).parent}, InvalidSource, "is a folder"),
    ({"source": 5}, ConfigurationError, "a int cannot be uploaded"),
]


@pytest.mark.parametrize(("bad", "kind", "words"), BAD, ids=[repr(row[0])[:40] for row in BAD])
async def test_invalid_arguments_are_refused_before_a_request(
    client: AsyncDiffio, sandbox: Sandbox, bad: dict[str, Any], kind: type[DiffioError], words: str
) -> None:
    """They cost neither an upload nor a generation."""
    arguments = {"source": SPEECH, **bad}
    with pytest.raises(kind, match=words):
        await client.restore(arguments.pop("source"), **arguments)
    assert list(sandbox.requests) == []


async def test_the_error_of_a_failed_upload_has_the_project_and_the_key(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """The project can still be used."""
    sandbox.faults.add(Fault(origin="edge", path="*/parts/*", times=None, action=RespondWith(400)))
    with pytest.raises(UploadFailed) as caught:
        await client.restore(SPEECH, idempotency_key="mine")
    (project,) = await client.projects.list()
    assert caught.value.api_project_id == project.api_project_id
    assert caught.value.idempotency_key == "mine"
    assert f"api_project_id={project.api_project_id}" in caught.value.__notes__


async def test_the_error_of_a_refused_generation_has_the_project_and_the_key(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """With both, the generation can be requested again and is billed once."""
    sandbox.faults.add(forever(500, GENERATION))
    with pytest.raises(ServerError) as caught:
        await client.restore(SPEECH)
    key, project = caught.value.idempotency_key, caught.value.api_project_id
    assert {seen.json["idempotencyKey"] for seen in requests_to(sandbox, "*-generation")} == {key}
    sandbox.faults.clear()
    assert project is not None
    first = await client.generations.create(api_project_id=project, idempotency_key=key)
    again = await client.generations.create(api_project_id=project, idempotency_key=key)
    assert again.generation_id == first.generation_id
    assert again.idempotent_replay is True


async def test_the_error_of_a_failed_generation_has_its_reason(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """It also has the ids of the project and the generation."""
    sandbox.faults.add(forever(progress_body("error", error="there is no speech in it")))
    with pytest.raises(GenerationFailed, match="there is no speech in it") as caught:
        await client.restore(SPEECH)
    assert caught.value.api_project_id
    assert caught.value.generation_id


async def test_a_timed_out_wait_can_be_continued(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """The ids in the error are sufficient."""
    sandbox.faults.add(forever(progress_body("processing")))
    with pytest.raises(WaitTimeout) as caught:
        await client.restore(SPEECH, timeout=0.2)
    sandbox.faults.clear()
    generation, project = caught.value.generation_id, caught.value.api_project_id
    assert generation is not None
    assert project is not None
    await client.generations.wait_for_complete(generation_id=generation, api_project_id=project)
    result = await client.generations.download(generation_id=generation, api_project_id=project)
    assert result.content == SPEECH


@pytest.mark.slow
async def test_a_cancelled_restoration_leaves_nothing_behind(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """No file is left, and no further request is sent."""
    sandbox.faults.add(forever(progress_body("processing")))
    with anyio.move_on_after(0.4):
        await client.restore(SPEECH, tmp_path / "x.mp3")
    before = len(requests_to(sandbox, PROGRESS))
    await anyio.sleep(0.2)
    assert len(requests_to(sandbox, PROGRESS)) == before
    assert list(tmp_path.iterdir()) == []


async def test_isolate_does_not_wait_for_the_generation(client: AsyncDiffio) -> None:
    """It returns the project and the generation."""
    isolated = await client.audio_isolation.isolate(SPEECH, model="diffio-4.6-pro")
    assert isolated.generation.api_project_id == isolated.project.api_project_id
    assert isolated.generation.status == "queued"
