"""Text that cannot be encoded and unexpected errors fail only one file."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import pytest

from diffio_async.batch.result_stage import JobRunner, ResultDownloader
from diffio_async.batch.upload_stage import FileIntake
from diffio_async.sandbox import Fault, RespondWith
from tests.batch.scenes import JOURNAL, generations, recordings, restored, rows, states
from tests.scripts import GENERATION, PROGRESS, progress_body

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox

HALF = "no speech \ud83d\x00 in it"


async def test_an_error_that_cannot_be_encoded_fails_its_file(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """It is stored and shown with a replacement character, and the other files are restored."""
    source = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(4)))
    for error in (HALF, {"code": HALF}, {"message": HALF}):
        failed = RespondWith(json=progress_body("failed", error=error))
        sandbox.faults.add(Fault(path=PROGRESS, action=failed))
    outcomes = await restored(client, source, tmp_path / "out")
    assert sorted(states(outcomes).values()) == ["done", "failed", "failed", "failed"]
    for outcome in outcomes.values():
        if outcome.error:
            assert "no speech \ufffd" in outcome.error
            assert outcome.error_type == "GenerationFailed"
    assert generations(sandbox) == 4


async def test_an_id_that_cannot_be_encoded_is_retried(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Such a response is invalid; the request is sent again with the same key."""
    source = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(3)))
    body = {"generationId": "gen_1", "apiProjectId": "proj_1", "status": "queued"}
    for field in ("generationId", "apiProjectId"):
        action = RespondWith(json={**body, field: "x\ud83d"})
        sandbox.faults.add(Fault(path=GENERATION, action=action))
    outcomes = await restored(client, source, tmp_path / "out")
    assert set(states(outcomes).values()) == {"done"}
    assert generations(sandbox) == 3


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
async def test_a_file_name_that_is_not_utf8_is_restored(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The project has `?` in its name, the result the bytes of the source."""
    source = recordings(tmp_path / "in", "cafe.wav")
    (source / "cafe.wav").rename(source / os.fsdecode(b"caf\xe9.wav"))
    outcomes = await restored(client, source, tmp_path / "out")
    assert set(states(outcomes).values()) == {"done"}
    (project,) = sandbox.state.projects.values()
    assert project.file_name == "caf?.wav"
    (path,) = next(iter(outcomes.values())).paths.values()
    assert b"caf\xe9" in os.fsencode(path.name)


@pytest.mark.parametrize("stage", [FileIntake, JobRunner, ResultDownloader])
async def test_an_unexpected_error_fails_only_its_file(
    client: AsyncDiffio,
    sandbox: Sandbox,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    stage: type[FileIntake | JobRunner | ResultDownloader],
) -> None:
    """Its traceback is logged, the others are restored, and the next run completes it unbilled."""
    source = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(4)))
    name = {FileIntake: "_upload", JobRunner: "finish", ResultDownloader: "_download"}[stage]
    whole, struck = getattr(stage, name), list[object]()

    async def once(self: object, *args: object) -> object:
        if not struck:
            struck.append(self)
            raise UnicodeEncodeError("utf-8", "\ud83d", 0, 1, "surrogates not allowed")
        return await whole(self, *args)

    monkeypatch.setattr(stage, name, once)
    with caplog.at_level(logging.ERROR, "diffio_async"):
        first = await restored(client, source, tmp_path / "out")
    assert sorted(states(first).values()) == ["done", "done", "done", "failed"]
    (failed,) = [outcome for outcome in first.values() if outcome.error]
    assert failed.error_type == "UnicodeEncodeError"
    assert not failed.retry_is_billed
    (record,) = [each for each in caplog.records if "unexpectedly" in each.getMessage()]
    assert record.exc_info is not None
    again = await restored(client, source, tmp_path / "out")
    assert set(states(again).values()) == {"done"}
    assert generations(sandbox) == 4
    assert rows(tmp_path / "out" / JOURNAL, "SELECT 1 FROM job WHERE state = 'failed'") == []
