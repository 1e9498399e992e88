"""`samples/restore_files.py` as a process: results, exit codes, and what it prints about bills."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import anyio
import pytest

from tests.samples.programs import RECORDING, SAMPLES, commands, environment, running, until
from tests.scripts import PROGRESS, forever, progress_body, requests_to

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from diffio_async.sandbox import Sandbox

pytestmark = pytest.mark.slow


async def run(folder: Path, *more: str, **variables: str) -> tuple[int, str]:
    """Run the program in a folder; return its exit code and what it wrote to standard error."""
    names = {"restore_files.py": str(SAMPLES / "restore_files.py"), "noisy-speech.wav": "talk.wav"}
    (command,) = commands("restore_files.py", **names)
    (folder / "talk.wav").write_bytes(RECORDING.read_bytes())
    done = await anyio.run_process(
        [*command, *more], cwd=folder, env=environment(variables), check=False
    )
    return done.returncode, done.stderr.decode()


async def test_every_recording_is_restored_although_one_is_missing(
    diffio_environment: Mapping[str, str], tmp_path: Path
) -> None:
    """The exit code is 0 if all were restored, and 1 if one was not; the others are there."""
    assert await run(tmp_path) == (0, "")
    result = tmp_path / "restored" / "talk.restored.mp3"
    assert result.read_bytes() == RECORDING.read_bytes()
    result.unlink()
    code, errors = await run(tmp_path, "missing.wav", "-o", "restored")
    assert code == 1
    assert "missing.wav: there is no file" in errors
    assert "billed" not in errors
    assert result.exists()


async def test_a_failed_generation_has_no_result_to_download(
    diffio_environment: Mapping[str, str], diffio_sandbox: Sandbox, tmp_path: Path
) -> None:
    diffio_sandbox.faults.add(forever(progress_body("failed", error="there is no speech in it")))
    code, errors = await run(tmp_path)
    assert code == 1
    assert "there is no speech in it" in errors
    assert "diffio-async download" not in errors


async def test_a_refused_key_ends_the_program_at_the_first_recording(
    diffio_environment: Mapping[str, str], diffio_sandbox: Sandbox, tmp_path: Path
) -> None:
    """The exit code is 2, the reason is one line, and nothing else is sent."""
    code, errors = await run(tmp_path, "talk.wav", DIFFIO_API_KEY="diffio_live_other")
    assert (code, len(errors.splitlines())) == (2, 1)
    assert "401" in errors
    assert [request.status for request in diffio_sandbox.requests] == [401]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
@pytest.mark.diffio(duration=5.0)
async def test_ctrl_c_names_what_was_billed_and_how_to_get_it(
    diffio_environment: Mapping[str, str], diffio_sandbox: Sandbox, tmp_path: Path
) -> None:
    """The exit code is 130; the command that it prints downloads the result, without a new bill."""
    script = str(SAMPLES / "restore_files.py")
    command = [sys.executable, script, str(RECORDING)]
    async with running(command, tmp_path / "output", folder=tmp_path) as program:
        await until(lambda: bool(requests_to(diffio_sandbox, PROGRESS)))
        assert await program.stop(signal.SIGINT) == 130
    output = program.output.read_text()
    assert "Traceback" not in output
    assert not any((tmp_path / "restored").iterdir())
    download = output.splitlines()[-1].split()
    await anyio.run_process(
        [*download, "-o", "talk.mp3"], cwd=tmp_path, env=environment({}), stderr=subprocess.STDOUT
    )
    assert (tmp_path / "talk.mp3").read_bytes() == RECORDING.read_bytes()
    assert len(diffio_sandbox.state.generations) == 1
