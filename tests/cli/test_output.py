"""Output failures never end paid work: results are written."""

from __future__ import annotations

import contextlib
import csv
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async.sandbox import Fault, RespondWith, Sandbox
from tests.cli.conftest import COMMAND, environment

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run, Start

#: Most tests start processes.
pytestmark = pytest.mark.slow

#: A name that retitles a terminal, clears it, reverses text, forges a line, and is markup.
HOSTILE = "e\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r[red]:dog:.wav"
ESCAPED = r"e\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r[red]:dog:"


def copies(tmp_path: Path, talk: Path, *names: str) -> list[str]:
    """Copy the recording to several names."""
    for name in names:
        (tmp_path / name).write_bytes((tmp_path / talk).read_bytes())
    return list(names)


def result_names(tmp_path: Path) -> set[str]:
    """Return the names of the results."""
    return {path.name for path in tmp_path.glob("*.restored.mp3")}


async def finished(
    arguments: list[object], tmp_path: Path, env: dict[str, str], *, shell: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a shell line in which `"$@"` is the command."""
    with anyio.fail_after(120):
        return await anyio.run_process(
            ["bash", "-c", shell, "-", sys.executable, "-c", COMMAND, *map(str, arguments)],
            cwd=tmp_path,
            env=environment(env),
            check=False,
        )


async def test_a_name_that_cannot_be_encoded_is_escaped(
    talk: Path, echo: Sandbox, tmp_path: Path, run: Run
) -> None:
    """With cp1252 a Cyrillic name is printed with escapes, and all three files are restored."""
    files = copies(tmp_path, talk, "интервью.wav", "b.wav", "c.wav")
    done = await run("restore", *files, env={**echo.environment, "PYTHONIOENCODING": "cp1252"})
    assert done.returncode == 0, done.stderr
    assert result_names(tmp_path) == {"интервью.restored.mp3", "b.restored.mp3", "c.restored.mp3"}
    assert "\\u0438\\u043d" in done.stdout


@pytest.mark.parametrize("unbuffered", ["", "1"])
async def test_a_reader_that_closes_the_pipe_ends_nothing(
    talk: Path, echo: Sandbox, tmp_path: Path, unbuffered: str
) -> None:
    """`restore --json a b c | head -1` writes three results, and exits with 0 and no message.

    The same holds for unbuffered standard output.
    """
    files = copies(tmp_path, talk, "a.wav", "b.wav", "c.wav")
    env = {**echo.environment, "PYTHONUNBUFFERED": unbuffered}
    done = await finished(
        ["restore", "--json", *files], tmp_path, env, shell='"$@" | head -1; exit ${PIPESTATUS[0]}'
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert len(done.stdout.splitlines()) == 1
    assert len(result_names(tmp_path)) == 3


@pytest.mark.parametrize("how", ["--json", "plain"])
@pytest.mark.parametrize(
    "streams",
    [
        ">/dev/full",
        "2>/dev/full",
        ">/dev/full 2>/dev/full",
        ">&-",
        "2>&-",
        ">&- 2>&-",
        "> >(true)",
        "2> >(true)",
        "> >(true) 2>&1",
    ],
)
async def test_streams_that_fail_end_no_restoration(
    talk: Path, echo: Sandbox, tmp_path: Path, streams: str, how: str
) -> None:
    """With a full disk, a closed descriptor or a closed pipe, results are written."""
    copies(tmp_path, talk, "a.wav", "b.wav")
    files = ["a.wav", "missing.wav", "b.wav", *(["--json"] if how == "--json" else [])]
    done = await finished(["restore", *files], tmp_path, echo.environment, shell=f'"$@" {streams}')
    assert done.returncode == 1, "one file is missing"
    assert result_names(tmp_path) == {"a.restored.mp3", "b.restored.mp3"}
    assert b"Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize("streams", [">/dev/full 2>&1", ">&- 2>&-", "> >(true) 2>&1"])
@pytest.mark.parametrize("how", ["--json", "plain"])
async def test_streams_that_fail_end_no_other_command(
    talk: Path, echo: Sandbox, tmp_path: Path, streams: str, how: str
) -> None:
    """A batch, a wait and a download finish despite a failure of their output."""
    more: list[object] = ["--json"] if how == "--json" else []
    copies(tmp_path, talk, "a.wav", "b.wav")
    line = f'"$@" {streams}'
    env = echo.environment
    done = await finished(["batch", "a.wav", "b.wav", "-o", ".", *more], tmp_path, env, shell=line)
    assert done.returncode == 0
    assert result_names(tmp_path) == {"a.restored.mp3", "b.restored.mp3"}
    generation = next(iter(echo.state.generations.values()))
    ids: list[object] = [generation.id, "--project", generation.project_id]
    assert (await finished(["wait", *ids, *more], tmp_path, env, shell=line)).returncode == 0
    done = await finished(["download", *ids, "-o", "x.mp3", *more], tmp_path, env, shell=line)
    assert done.returncode == 0
    assert (tmp_path / "x.mp3").stat().st_size


async def test_a_full_disk_is_reported_once(talk: Path, echo: Sandbox, tmp_path: Path) -> None:
    """A failure of standard output is one line on stderr."""
    done = await finished(["restore", talk], tmp_path, echo.environment, shell='"$@" >/dev/full')
    assert done.returncode == 0
    assert done.stderr.decode().splitlines() == [
        "diffio-async: standard output is incomplete: No space left on device"
    ]


async def test_a_report_that_cannot_be_written_is_a_failure(
    talk: Path, echo: Sandbox, tmp_path: Path, run: Run
) -> None:
    """For commands that only print, a full disk is code 1, and a closed pipe 0."""
    assert (await run("batch", talk, "-o", "out", env=echo.environment)).returncode == 0
    commands: list[list[object]] = [
        ["batch", "report", "out"],
        ["batch", "report", "--csv", "out"],
        ["batch", "status", "out"],
        ["doctor"],
    ]
    for command in commands:
        full = await finished(command, tmp_path, echo.environment, shell='"$@" >/dev/full')
        assert full.returncode == 1, command
        assert b"No space left" in full.stderr
        cut = await finished(
            command, tmp_path, echo.environment, shell='"$@" | true; exit ${PIPESTATUS[0]}'
        )
        assert (cut.returncode, cut.stderr) == (0, b""), command


async def test_without_streams_results_are_written(
    talk: Path, echo: Sandbox, tmp_path: Path
) -> None:
    """Results are written without stdout and stderr, as under pythonw."""
    files = copies(tmp_path, talk, "a.wav", "b.wav")
    command = f"import sys; sys.stdout = sys.stderr = None; {COMMAND}"
    with anyio.fail_after(120):
        done = await anyio.run_process(
            [sys.executable, "-c", command, "restore", *files],
            cwd=tmp_path,
            env=environment(echo.environment),
            check=False,
        )
    assert done.returncode == 0
    assert len(result_names(tmp_path)) == 2


@pytest.mark.parametrize("blocking", [True, False])
async def test_a_reader_that_does_not_read_does_not_block_the_work(
    start: Start, talk: Path, echo: Sandbox, tmp_path: Path, blocking: bool
) -> None:
    """Results are written while a pipe is full; a later reader gets every complete line.

    The same holds for a non-blocking pipe (EAGAIN).
    """
    names = [f"{number}.wav" for number in range(12)]
    files = copies(tmp_path, talk, *names)
    near, far = os.pipe()
    fcntl.fcntl(far, fcntl.F_SETPIPE_SZ, 4096)
    os.set_blocking(far, blocking)
    process = await start("restore", "--json", *files, env=echo.environment, stdout=far)
    os.close(far)
    with anyio.fail_after(60):
        while len(result_names(tmp_path)) < len(files):
            await anyio.sleep(0.05)
    text = await anyio.to_thread.run_sync(_all_of, near)
    with anyio.fail_after(120):
        assert await process.wait() == 0
    facts = [json.loads(line) for line in text.splitlines()]
    assert sorted(f["file"] for f in facts if f["event"] == "restored") == sorted(names)


@pytest.mark.parametrize("command", ["restore", "batch"])
async def test_a_closed_terminal_ends_nothing(talk: Path, tmp_path: Path, command: str) -> None:
    """After SIGHUP and EIO the work continues: three results are written, code 0."""
    files = copies(tmp_path, talk, "a.wav", "b.wav", "c.wav")
    more = ["-o", "."] if command == "batch" else []
    async with Sandbox(engine="echo", duration=2.0) as sandbox:
        near, process = _on_a_terminal([command, *files, *more], tmp_path, sandbox.environment)
        with anyio.fail_after(120):
            while len(sandbox.state.generations) < (1 if command == "batch" else 3):
                await anyio.sleep(0.02)
        os.close(near)
        with anyio.fail_after(120):
            assert await anyio.to_thread.run_sync(process.wait) == 0
    assert len(result_names(tmp_path)) == 3


@pytest.mark.parametrize("columns", [0, 20, 60, 200])
async def test_progress_keeps_its_numbers_at_any_width(
    talk: Path, tmp_path: Path, columns: int
) -> None:
    """Count, failures and time left are shown in 20 columns as in 200; names are shortened."""
    names = [f"一二三四五六七八九十 a very long name of a recording {n}.wav" for n in range(4)]
    copies(tmp_path, talk, *names)
    bad = Fault(path="*-generation", times=1, action=RespondWith(400, json={"error": "no"}))
    async with Sandbox(engine="echo", duration=0.5, faults=[bad]) as sandbox:
        near, process = _on_a_terminal(
            ["restore", *names, "-j", "2"], tmp_path, sandbox.environment, columns
        )
        shown = await anyio.to_thread.run_sync(_all_of, near)
        assert await anyio.to_thread.run_sync(process.wait) == 1
    drawn = [_plain(line) for line in re.split(r"[\r\n]+", shown)]
    counted = [line for line in drawn if re.match(r"3/4;? 1 failed;? \d+:\d\d", line)]
    assert counted, drawn[-20:]
    rows = [line for line in drawn if re.search(r"(?<![.\d])\d+ %", line)]
    assert rows
    assert max(_columns(line) for line in [*counted, *rows]) <= (columns or 80)


async def test_batches_keep_their_numbers_at_any_width(talk: Path, tmp_path: Path) -> None:
    """In 20 columns the line of a batch has its count, its failures and the time left."""
    copies(tmp_path, talk, "a.wav", "b.wav", "c.wav")
    (tmp_path / "b.wav").write_bytes((tmp_path / talk).read_bytes() + b"other")
    bad = Fault(path="*-generation", times=1, action=RespondWith(400, json={"error": "no"}))
    async with Sandbox(engine="echo", duration=2.5, faults=[bad]) as sandbox:
        near, process = _on_a_terminal(
            ["batch", "a.wav", "b.wav", "-o", "out", "-j", "1"], tmp_path, sandbox.environment, 30
        )
        shown = await anyio.to_thread.run_sync(_all_of, near)
        assert await anyio.to_thread.run_sync(process.wait) == 1
    drawn = [_plain(line) for line in re.split(r"[\r\n]+", shown)]
    assert [line for line in drawn if re.match(r"1/2; 1 failed; \d+:\d\d left", line)], drawn


async def test_names_are_escaped(talk: Path, echo: Sandbox, tmp_path: Path, run: Run) -> None:
    """A name that would retitle the terminal, or forge a line, is printed with escapes."""
    copies(tmp_path, talk, HOSTILE)
    done = await run("restore", HOSTILE, "-o", ".", env=echo.environment)
    assert done.stdout == f"{ESCAPED}.wav -> {ESCAPED}.restored.mp3\n"
    gone = await run("restore", f"gone\nb.wav -> b.mp3{HOSTILE}", env=echo.environment)
    assert gone.stderr.count("\n") == 1
    assert gone.stderr.rstrip("\n").isprintable()


async def test_names_are_escaped_on_a_terminal(talk: Path, tmp_path: Path) -> None:
    """In bars and in the lines above them, names are escaped, and are neither markup nor emoji."""
    copies(tmp_path, talk, HOSTILE)
    async with Sandbox(engine="echo", duration=1.0) as sandbox:
        near, process = _on_a_terminal(["restore", HOSTILE], tmp_path, sandbox.environment, 200)
        shown = await anyio.to_thread.run_sync(_all_of, near)
        assert await anyio.to_thread.run_sync(process.wait) == 0
    assert f"{ESCAPED}.wav -> {ESCAPED}.restored.mp3" in shown
    assert f"{ESCAPED}.wav processing" in shown or f"{ESCAPED}.wav restoring" in shown
    assert "\x1b]0;" not in shown
    assert "\x9b" not in shown
    assert "\u202e" not in shown


async def test_messages_of_the_service_are_escaped(talk: Path, echo: Sandbox, run: Run) -> None:
    """A reason with escape sequences and line breaks is one printable line."""
    failure = {
        "generationId": "gen_1",
        "apiProjectId": "proj_1",
        "status": "failed",
        "error": "no\x1b]0;owned\x07 sound\r\nb.wav -> b.restored.mp3\u202e",
    }
    echo.faults.add(Fault(path="*/get_generation_progress", action=RespondWith(200, json=failure)))
    done = await run("restore", talk, env=echo.environment)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.rstrip("\n").isprintable()
    assert "no" in done.stderr


async def test_reports_run_nothing_in_a_spreadsheet(
    talk: Path, echo: Sandbox, tmp_path: Path, run: Run
) -> None:
    """CSV cells that would be formulas in a spreadsheet begin with a quote; all are one line."""
    bad = RespondWith(400, json={"error": '=HYPERLINK("http://x","a")\r\n+cmd'})
    echo.faults.add(Fault(path="*-generation", times=None, action=bad))
    (tmp_path / "=1+1.csv").write_text(f"source,to\n{talk},=2+3\n")
    copies(tmp_path, talk, HOSTILE)
    await run("batch", "=1+1.csv", HOSTILE, "-o", "out", env=echo.environment)
    done = await run("batch", "report", "--csv", "out")
    rows = list(csv.DictReader(done.stdout.splitlines()))
    assert len(rows) == 2
    assert done.stdout.replace("\n", "").isprintable()
    for row in rows:
        assert not any(value[:1] in {"=", "+", "-", "@"} for value in row.values() if value)


async def test_a_copied_command_names_the_same_file(
    talk: Path, echo: Sandbox, tmp_path: Path, run: Run
) -> None:
    """The printed command is printable, and names the same file in a shell."""
    name = "new\nline\x1b[2J.wav"
    copies(tmp_path, talk, name)
    queued = {"generationId": "gen_1", "apiProjectId": "proj_1", "status": "queued"}
    echo.faults.add(
        Fault(path="*/get_generation_progress", times=None, action=RespondWith(200, json=queued))
    )
    done = await run("restore", name, "--timeout", "0.3", env=echo.environment)
    line = done.stderr.splitlines()[1].partition("resume: ")[2]
    assert line.isprintable()
    words = await anyio.run_process(["bash", "-c", f"printf '%s\\0' {line}"])
    assert words.stdout.split(b"\0")[-2].decode() == "new\nline\x1b[2J.restored.mp3"


def _on_a_terminal(
    arguments: list[str], folder: Path, env: dict[str, str], columns: int = 100
) -> tuple[int, subprocess.Popen[bytes]]:
    """Start the command in a session on a new terminal; return its near end and the process."""
    near, far = pty.openpty()
    fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 24 if columns else 0, columns, 0, 0))
    lead = (
        "import fcntl, os, sys, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
        "os.execv(sys.executable, [sys.executable, '-c', *sys.argv[1:]])"
    )
    wanted = environment({**env, "TERM": "xterm-256color"})
    del wanted["COLUMNS"]
    process = subprocess.Popen(
        [sys.executable, "-c", lead, COMMAND, *arguments],
        cwd=folder,
        env=wanted,
        stdin=far,
        stdout=far,
        stderr=far,
    )
    os.close(far)
    return near, process


def _all_of(descriptor: int) -> str:
    printed = b""
    # Linux ends a terminal with an error, others with an empty read.
    with contextlib.suppress(OSError):
        while piece := os.read(descriptor, 65536):
            printed += piece
    os.close(descriptor)
    return printed.decode("utf-8", "surrogateescape")


def _plain(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line)


def _columns(line: str) -> int:
    from rich.cells import cell_len

    return cell_len(line)
