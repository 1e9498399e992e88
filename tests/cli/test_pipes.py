"""`-`: a recording on standard input, a result on standard output, and messages on stderr."""

from __future__ import annotations

import os
import pty
import select
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, NamedTuple

import anyio
import pytest

from tests.cli.conftest import COMMAND, environment, in_process
from tests.scripts import forever, progress_body, requests_to

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox

SPEECH = b"speech " * 50_000
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + SPEECH


class Ended(NamedTuple):
    """Exit code and output of the command."""

    code: int
    out: bytes
    stderr: str


async def piped(
    folder: Path, *arguments: str, content: bytes = WAV, env: Mapping[str, str] | None = None
) -> Ended:
    """Run the command with `content` on standard input."""
    done = await in_process(folder, *arguments, content=content, env=env)
    return Ended(done.returncode, done.stdout, done.stderr.decode())


async def test_a_recording_comes_in_and_a_result_goes_out(
    sandbox: Sandbox, client: AsyncDiffio, tmp_path: Path
) -> None:
    """Stdout has only the bytes of the result; messages are on stderr."""
    done = await piped(tmp_path, "restore", "-", "-o", "-", env=sandbox.environment)
    assert (done.code, done.out) == (0, WAV)
    assert done.stderr.startswith("stdin.wav -> standard output\n")
    (project,) = await client.projects.list()
    assert (project.original_file_name, project.content_type) == ("stdin.wav", "audio/x-wav")
    assert list(tmp_path.iterdir()) == []


async def test_the_name_of_standard_input_may_be_given(
    sandbox: Sandbox, client: AsyncDiffio, tmp_path: Path
) -> None:
    """It names the result as well, in a folder."""
    arguments = ("restore", "-", "--stdin-name", "talk.flac", "-o", ".")
    done = await piped(tmp_path, *arguments, env=sandbox.environment)
    assert (done.code, done.out) == (0, b"talk.flac -> talk.restored.mp3\n")
    assert (tmp_path / "talk.restored.mp3").read_bytes() == WAV
    (project,) = await client.projects.list()
    assert project.original_file_name == "talk.flac"


async def test_a_file_goes_out_and_a_redirected_file_comes_in(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """`restore talk.wav -o -`, and `restore - -o - < talk.wav`."""
    (tmp_path / "talk.wav").write_bytes(WAV)
    done = await piped(tmp_path, "restore", "talk.wav", "-o", "-", env=sandbox.environment)
    assert (done.code, done.out) == (0, WAV)
    done = await piped(tmp_path, "restore", "-", "-o", "-", env=sandbox.environment)
    assert (done.code, done.out) == (0, WAV)


@pytest.mark.slow
async def test_pipes_of_a_process_are_used(sandbox: Sandbox, tmp_path: Path) -> None:
    """`cat talk.wav | diffio-async restore - -o - | cat` has only the result on stdout."""
    with anyio.fail_after(120):
        done = await anyio.run_process(
            [sys.executable, "-c", COMMAND, "restore", "-", "-o", "-"],
            input=WAV,
            cwd=tmp_path,
            env=environment(sandbox.environment),
        )
    assert done.stdout == WAV
    assert done.stderr.startswith(b"stdin.wav -> standard output\n")
    assert list(tmp_path.iterdir()) == []


async def test_a_generation_is_downloaded_to_standard_output(
    sandbox: Sandbox, client: AsyncDiffio, tmp_path: Path
) -> None:
    started = await client.audio_isolation.isolate(WAV, file_name="talk.wav")
    ids = (started.generation.generation_id, "--project", started.project.api_project_id)
    done = await piped(tmp_path, "download", *ids, "-o", "-", env=sandbox.environment)
    assert (done.code, done.out) == (0, WAV)
    assert "standard output" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["restore", "-"], "standard input needs an output"),
        (["restore", "-", "a.wav", "-o", "-"], "one recording"),
        (["restore", "a.wav", "b.wav", "-o", "-"], "one recording"),
        (["restore", "-", "-o", "-", "--json"], "--json"),
        (["restore", "a.wav", "--stdin-name", "x.wav"], "not among the files"),
        (["download", "gen_1", "--project", "proj_1", "-o", "-", "--json"], "--json"),
        (["batch", "-", "-o", "out"], "use diffio-async restore for -"),
        (["batch", "a.wav", "-o", "-"], "use diffio-async restore for -"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
async def test_invalid_pipes_are_refused_before_anything_is_sent(
    sandbox: Sandbox, tmp_path: Path, arguments: list[str], words: str
) -> None:
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(WAV)
    done = await piped(tmp_path, *arguments, env=sandbox.environment)
    assert done.code == 2
    assert words in done.stderr
    assert list(sandbox.requests) == []


async def test_nothing_on_standard_input_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    done = await piped(tmp_path, "restore", "-", "-o", "-", content=b"", env=sandbox.environment)
    assert (done.code, done.out) == (2, b"")
    assert "standard input is empty" in done.stderr
    assert list(sandbox.requests) == []


async def test_a_video_of_piped_sound_is_refused(sandbox: Sandbox, tmp_path: Path) -> None:
    arguments = ("restore", "-", "-o", "-", "--type", "video")
    done = await piped(tmp_path, *arguments, env=sandbox.environment)
    assert (done.code, done.out) == (1, b"")
    assert "--type audio" in done.stderr
    assert list(sandbox.requests) == []


@pytest.mark.slow
@pytest.mark.parametrize("which", ["stdin", "stdout"])
async def test_a_terminal_is_refused_on_either_side(
    sandbox: Sandbox, tmp_path: Path, which: str
) -> None:
    """The message explains how to redirect."""
    ours, theirs = pty.openpty()
    try:
        (tmp_path / "talk.wav").write_bytes(WAV)
        source = "-" if which == "stdin" else "talk.wav"
        with anyio.fail_after(120):
            done = await anyio.run_process(
                [sys.executable, "-c", COMMAND, "restore", source, "-o", "-"],
                stdin=theirs if which == "stdin" else subprocess.DEVNULL,
                stdout=theirs if which == "stdout" else subprocess.PIPE,
                cwd=tmp_path,
                env=environment(sandbox.environment),
                check=False,
            )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 2
    assert b"terminal" in done.stderr
    assert list(sandbox.requests) == []


@pytest.mark.slow
async def test_a_closed_pipe_prints_the_command_that_downloads_the_result(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """After `| head -c 10` the exit code is 1, since the result is paid for."""
    (tmp_path / "talk.wav").write_bytes(WAV)
    reading, writing = os.pipe()
    process = await anyio.open_process(
        [sys.executable, "-c", COMMAND, "restore", "talk.wav", "-o", "-"],
        stdout=writing,
        cwd=tmp_path,
        env=environment(sandbox.environment),
    )
    os.close(writing)
    async with process:
        with anyio.fail_after(120):
            assert await anyio.to_thread.run_sync(os.read, reading, 10) == WAV[:10]
            os.close(reading)
            assert process.stderr is not None
            printed = b"".join([block async for block in process.stderr]).decode()
            assert await process.wait() == 1
    assert "standard output was closed" in printed
    assert "resume: diffio-async download gen_" in printed
    assert "-o talk.restored.mp3" in printed


@pytest.mark.slow
@pytest.mark.parametrize("source", ["-", "a.wav"])
async def test_ctrl_c_ends_a_pipe_at_once(sandbox: Sandbox, tmp_path: Path, source: str) -> None:
    """While standard input is idle, and while the generation runs."""
    (tmp_path / "a.wav").write_bytes(WAV)
    sandbox.faults.add(forever(progress_body("processing")))
    reading, writing = os.pipe()
    os.write(writing, WAV[:10])
    process = await anyio.open_process(
        [sys.executable, "-c", COMMAND, "restore", source, "-o", "-"],
        stdin=reading,
        cwd=tmp_path,
        env=environment(sandbox.environment),
    )

    def is_working() -> bool:
        if source == "a.wav":
            return bool(requests_to(sandbox, "/v1/get_generation_progress"))
        return not select.select([reading], [], [], 0)[0]  # it has read what there was

    async with process:
        with anyio.fail_after(120):
            while not is_working():
                await anyio.sleep(0.02)
            await anyio.sleep(0.1)
            process.send_signal(signal.SIGINT)
            assert process.stdout is not None
            assert [block async for block in process.stdout] == []
            assert await process.wait() == 130
    for end in (reading, writing):
        os.close(end)
