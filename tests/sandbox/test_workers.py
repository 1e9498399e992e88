"""Restorations in worker processes: progress, failures, and the end of the processes."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from raw_caller import Caller, calling

from diffio_async.sandbox import Sandbox

SAMPLE = Path(__file__).parents[2] / "samples" / "noisy-speech.wav"


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def until(
    caller: Caller, ids: dict[str, str], true: Callable[[dict[str, Any]], bool]
) -> None:
    async with asyncio.timeout(120):
        while not true(result := await caller.ok("get_generation_progress", **ids)):
            assert result["status"] in ("queued", "processing"), result
            await asyncio.sleep(0.01)


async def test_a_file_that_is_not_a_recording_fails_its_generation_with_the_reason() -> None:
    async with calling(Sandbox(failed_status="error")) as caller:
        ids = await caller.generation(await caller.project(b"only text", name="talk.wav"))
        failed = await caller.ended(ids)
        assert failed["status"] == "error"
        assert failed["error"]
        assert failed["preProcessing"]["status"] == "failed"
        assert failed["transcription"] == {"status": "unavailable"}
        got = await caller.api("get_generation_download", **ids)
        assert got.status == 409
        assert failed["error"] in got.json["error"]
        [period] = (await caller.ok("usage/summary"))["usage"]["periods"]
        assert period["totalCents"] == 0
        pids = caller.sandbox.worker_pids
        assert len(pids) == 1
    assert not any(running(pid) for pid in pids)


@pytest.mark.slow
async def test_a_killed_worker_fails_its_generation_but_not_the_server() -> None:
    async with calling(Sandbox(workers=1)) as caller:
        project = await caller.project(SAMPLE.read_bytes())
        ids = await caller.generation(project)
        async with asyncio.timeout(60):
            # A worker that has no work yet would be replaced.
            while not (await caller.ok("get_generation_progress", **ids))["stage"]:
                await asyncio.sleep(0.01)
        pids = caller.sandbox.worker_pids
        os.kill(pids[0], signal.SIGSTOP)  # so that it does not finish before it is killed
        waiting = await caller.generation(await caller.project(b"text"))
        queued = await caller.ok("get_generation_progress", **waiting)
        assert queued["queue"]["position"] == 0
        os.kill(pids[0], signal.SIGKILL)
        failed = await caller.ended(ids)
        assert failed["status"] == "failed"
        assert failed["error"] == "the restoration failed unexpectedly"
        assert "SIGKILL" in failed["errorDetails"]
        assert "not a recording" in (await caller.ended(waiting))["error"]


@pytest.mark.slow
async def test_closing_kills_a_worker_in_the_middle_of_its_work_at_once() -> None:
    async with calling(Sandbox()) as caller:
        ids = await caller.generation(await caller.project(SAMPLE.read_bytes()))
        await until(caller, ids, lambda result: result["stage"] is not None)
        pids = caller.sandbox.worker_pids
        start = time.monotonic()
    assert time.monotonic() - start < 4
    assert not any(running(pid) for pid in pids)


@pytest.mark.slow
async def test_a_recording_is_restored_with_progress(tmp_path: Path) -> None:
    async with calling(Sandbox(tmp_path)) as caller:
        ids = await caller.generation(await caller.project(SAMPLE.read_bytes()))
        percents = []
        progress: Any = {"status": "queued"}
        while progress["status"] in ("queued", "processing"):
            progress = await caller.ok("get_generation_progress", **ids)
            percents.append(progress["progress"] or 0)
            await asyncio.sleep(0.02)
        assert progress["status"] == "complete"
        assert percents == sorted(percents)
        assert len(set(percents)) > 4
        gained = progress["restoration"]
        assert gained["noiseFloorDb"]["after"] < gained["noiseFloorDb"]["before"] - 5
        got = await caller.send("GET", await caller.link(ids))
        assert got.headers["Content-Type"] == "audio/mpeg"
        assert len(got.body) > 10_000


@pytest.mark.slow
async def test_a_video_that_cannot_be_made_is_reported_and_the_sound_is_delivered(
    tmp_path: Path,
) -> None:
    source = Path(__file__).parent / "audio" / "media" / "unknown-picture.mp4"
    async with calling(Sandbox(tmp_path)) as caller:
        ids = await caller.generation(await caller.project(source.read_bytes()))
        progress = await caller.ended(ids, within=120)
        assert progress["status"] == "complete"
        assert progress["hasVideo"] is True
        warning = "the video is missing: its format is not known"
        assert progress["restoration"]["warnings"] == [warning]
        got = await caller.send("GET", await caller.link(ids))
        assert got.headers["Content-Type"] == "audio/mpeg"
        refused = await caller.api("get_generation_download", **ids, downloadType="video")
        assert refused.status == 404
        assert "cannot be copied" in refused.json["error"]


@pytest.mark.slow
async def test_an_interrupted_restoration_is_repeated_after_a_restart(tmp_path: Path) -> None:
    async with calling(Sandbox(tmp_path)) as caller:
        ids = await caller.generation(await caller.project(SAMPLE.read_bytes()))
        await until(caller, ids, lambda result: result["status"] == "processing")
    async with calling(Sandbox(tmp_path)) as caller:
        assert (await caller.ended(ids, within=120))["status"] == "complete"


@pytest.mark.slow
def test_a_worker_ignores_ctrl_c_and_ends_with_its_server() -> None:
    program = (
        "import asyncio\n"
        "from diffio_async.sandbox.workers import Worker\n"
        "async def main():\n"
        "    worker = await Worker.start()\n"
        "    print(worker.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        worker = int(server.stdout.readline())
        time.sleep(0.5)
        os.kill(worker, signal.SIGINT)
        time.sleep(0.2)
        assert running(worker)
        server.kill()
    until = time.monotonic() + 60
    while running(worker):
        assert time.monotonic() < until
        time.sleep(0.02)


def restoring(folder: Path | None, **options: Any) -> Sandbox:
    return Sandbox(folder, **options)


def leftovers(folder: Path) -> list[Path]:
    """Temporary files of restorations."""
    return [path for path in (folder / "results").rglob("*") if ".working" in path.parts]


async def test_a_restoration_over_the_time_limit_is_stopped(
    tmp_path: Path,
) -> None:
    """Its generation fails with the limit, and its temporary files are gone."""
    sandbox = Sandbox(tmp_path, max_processing_seconds=0.01, workers=1)
    async with calling(sandbox) as caller:
        ids = await caller.generation(await caller.project(SAMPLE.read_bytes()))
        failed = await caller.ended(ids)
        assert failed["error"] == (
            "the restoration took longer than 0.01 s, the limit of this sandbox"
        )
        async with asyncio.timeout(60):
            while leftovers(tmp_path) or caller.sandbox.worker_pids:
                await asyncio.sleep(0.01)


@pytest.mark.slow
async def test_a_recording_over_a_limit_fails_with_it(tmp_path: Path) -> None:
    """The options of the sandbox reach its workers."""
    for options, reason in (
        ({"max_recording_seconds": 1.0}, "longer than 1 s"),
        ({"max_decoded_bytes": 100_000}, "more than 0.1 MiB"),
    ):
        async with calling(restoring(tmp_path, **options)) as caller:
            ids = await caller.generation(await caller.project(SAMPLE.read_bytes()))
            failed = await caller.ended(ids)
            assert (failed["status"], reason in failed["error"]) == ("failed", True), failed
            assert leftovers(tmp_path) == []


@pytest.mark.slow
async def test_text_that_generates_sound_fails_immediately() -> None:
    """A few bytes for FFmpeg's SBaGen reader would be sound without an end."""
    async with calling(Sandbox()) as caller:
        ids = await caller.generation(await caller.project(b"SBAGEN\n-SE\nx: 200+5/50\nNOW x\n"))
        assert "not a recording" in (await caller.ended(ids))["error"]


@pytest.mark.parametrize("name", ["max_recording_seconds", "max_decoded_bytes"])
def test_a_limit_of_zero_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        restoring(None, **{name: 0})
