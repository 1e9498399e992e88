"""`diffio-async restore`: results, output and exit codes."""

from __future__ import annotations

import contextlib
import json
import os
import pty
from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async.sandbox import Delay, Fault, RespondWith, Sandbox

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run, Start


@pytest.mark.slow
async def test_a_recording_is_restored_without_a_key(run: Run, talk: Path, tmp_path: Path) -> None:
    """`--sandbox` restores a recording, and prints its path and the measured gain."""
    done = await run("restore", "--sandbox", talk)
    assert done.returncode == 0, done.stderr
    assert "talk.wav -> talk.restored.mp3" in done.stdout
    assert "speech over noise" in done.stdout
    assert done.stderr == ""
    assert (tmp_path / "talk.restored.mp3").stat().st_size > 10_000


async def test_the_service_of_the_environment_is_used(
    run: Run, talk: Path, echo: Sandbox, tmp_path: Path
) -> None:
    """Key and URL come from the environment; `-o` sets the folder of the result."""
    (tmp_path / "out").mkdir()
    done = await run("restore", talk, "-o", "out", env=echo.environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "talk.restored.mp3").is_file()
    assert {path.name for path in tmp_path.iterdir()} == {"talk.wav", "out"}
    assert echo.requests[0].headers["authorization"] == f"Bearer {echo.api_key}"


async def test_a_result_is_replaced_with_overwrite(
    run: Run, talk: Path, echo: Sandbox, tmp_path: Path
) -> None:
    """`--overwrite` replaces an existing result."""
    (tmp_path / "talk.restored.mp3").write_bytes(b"old")
    done = await run("restore", talk, "--overwrite", env=echo.environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "talk.restored.mp3").read_bytes() != b"old"


async def test_the_result_of_one_recording_has_the_name_given(
    run: Run, talk: Path, echo: Sandbox, tmp_path: Path
) -> None:
    """`-o` accepts a file, as `download -o` does."""
    (tmp_path / "out").mkdir()
    done = await run("restore", talk, "-o", "out/mine.mp3", env=echo.environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "mine.mp3").exists()
    again = await run("restore", talk, "-o", "out/mine.mp3", env=echo.environment)
    assert "out/mine.mp3 exists: --overwrite replaces it" in again.stderr


async def test_a_file_named_twice_is_restored_once(
    run: Run, talk: Path, echo: Sandbox, tmp_path: Path
) -> None:
    """Different spellings of a path are one file, uploaded and billed once."""
    done = await run("restore", talk, f"./{talk}", tmp_path / talk, talk, env=echo.environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "talk.wav -> talk.restored.mp3"
    assert len(echo.state.generations) == 1


async def test_one_bad_file_does_not_stop_the_others(
    run: Run, talk: Path, echo: Sandbox, tmp_path: Path
) -> None:
    """The good files are restored, the bad one is reported, and the exit code is 1."""
    for name in ("a.wav", "b.wav", "c.wav", "d.wav"):
        (tmp_path / name).write_bytes((tmp_path / talk).read_bytes())
    done = await run(
        "restore", "a.wav", "missing.wav", "b.wav", "c.wav", "d.wav", env=echo.environment
    )
    assert done.returncode == 1
    assert sorted(tmp_path.glob("*.restored.mp3")) == [
        tmp_path / f"{name}.restored.mp3" for name in "abcd"
    ]
    assert len(done.stdout.splitlines()) == 4
    assert done.stderr.startswith("missing.wav: ")
    assert len(done.stderr.splitlines()) == 1


async def test_json_output(run: Run, talk: Path, echo: Sandbox) -> None:
    """`--json` prints only one object per step and per result on stdout."""
    done = await run("restore", "--json", talk, "missing.wav", env=echo.environment)
    assert done.returncode == 1
    assert done.stderr == ""
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert {fact["event"] for fact in printed} >= {"upload", "progress", "restored", "failed"}
    (failed,) = [fact for fact in printed if fact["event"] == "failed"]
    assert failed["file"] == "missing.wav"
    assert failed["error"] == "InvalidSource"
    (restored,) = [fact for fact in printed if fact["event"] == "restored"]
    assert restored["path"] == "talk.restored.mp3"
    assert restored["generation_id"]
    assert echo.api_key not in done.stdout


async def test_a_failed_generation_is_reported_with_its_ids(
    run: Run, talk: Path, echo: Sandbox
) -> None:
    """A refused restoration is a line with the reason and the ids, and code 1."""
    failure = {
        "generationId": "gen_1",
        "apiProjectId": "proj_1",
        "status": "failed",
        "error": "there is no audio stream in this file",
    }
    echo.faults.add(Fault(path="*/get_generation_progress", action=RespondWith(200, json=failure)))
    done = await run("restore", talk, env=echo.environment)
    assert done.returncode == 1
    assert "there is no audio stream" in done.stderr
    assert "generation" in done.stderr
    assert len(done.stderr.splitlines()) <= 2


async def test_an_invalid_key_is_reported_and_not_shown(
    run: Run, talk: Path, echo: Sandbox
) -> None:
    """The error for an unknown key names the variable, not the key."""
    wrong = {**echo.environment, "DIFFIO_API_KEY": "diffio_live_wrong_key"}
    done = await run("restore", talk, env=wrong)
    assert done.returncode == 1
    assert "DIFFIO_API_KEY" in done.stderr
    assert "wrong_key" not in done.stderr + done.stdout


@pytest.mark.slow
async def test_a_timeout_ends_the_wait(run: Run, talk: Path, echo: Sandbox) -> None:
    """`--timeout` ends the wait for a generation, and the command that resumes is printed."""
    queued = {"generationId": "gen_1", "apiProjectId": "proj_1", "status": "queued"}
    echo.faults.add(
        Fault(path="*/get_generation_progress", times=None, action=RespondWith(200, json=queued))
    )
    done = await run("restore", talk, "--timeout", "0.3", env=echo.environment)
    assert done.returncode == 1
    (generation,) = echo.state.generations.values()
    command = f"diffio-async download {generation.id} --project {generation.project_id}"
    reason, advice = done.stderr.splitlines()
    assert reason.endswith("was 'queued' after 0.3 s; it continues")
    assert advice == f"  resume: {command} -o talk.restored.mp3"


@pytest.mark.slow
async def test_a_generation_of_the_embedded_sandbox_cannot_be_resumed(
    run: Run, long_talk: Path
) -> None:
    """After a `--timeout` with `--sandbox`, the message recommends more time."""
    done = await run("restore", "--sandbox", long_talk, "--timeout", "0.05")
    assert done.returncode == 1
    assert "allow more time with --timeout" in done.stderr
    assert "diffio-async download" not in done.stderr
    assert "continues" not in done.stderr


@pytest.mark.slow
async def test_a_file_created_during_the_run_is_kept(
    run: Run, talk: Path, echo: Sandbox, tmp_path: Path
) -> None:
    """A new file at the target is not replaced; the message names the option."""

    async def appear() -> None:
        while not echo.state.generations:
            await anyio.sleep(0.005)
        (tmp_path / "talk.restored.mp3").write_bytes(b"precious")

    echo.faults.add(Fault(origin="media", method="GET", action=Delay(1.0)))
    async with anyio.create_task_group() as group:
        group.start_soon(appear)
        done = await run("restore", talk, env=echo.environment)
        assert done.returncode == 1
        assert "--overwrite" in done.stderr
        assert "on_conflict" not in done.stderr
    assert (tmp_path / "talk.restored.mp3").read_bytes() == b"precious"


@pytest.mark.slow
async def test_a_terminal_shows_bars(start: Start, talk: Path) -> None:
    """A terminal shows a bar per stage; the lines that remain are those of other outputs."""
    async with Sandbox(engine="echo", duration=2.0) as sandbox:
        near, far = pty.openpty()
        environment = {**sandbox.environment, "TERM": "xterm-256color"}
        process = await start(
            "restore", talk, "gone[1].wav", env=environment, stdout=far, stderr=far
        )
        os.close(far)
        shown = await anyio.to_thread.run_sync(_all_of, near)
        with anyio.fail_after(120):
            assert await process.wait() == 1
    assert "talk.wav restoring" in shown
    assert "talk.wav -> talk.restored.mp3" in shown
    assert "gone[1].wav: " in shown
    assert "Traceback" not in shown


def _all_of(descriptor: int) -> str:
    """Read from a terminal until its other end is closed."""
    printed = b""
    # Linux ends a terminal with an error, others with an empty read.
    with contextlib.suppress(OSError):
        while piece := os.read(descriptor, 65536):
            printed += piece
    os.close(descriptor)
    return printed.decode()
