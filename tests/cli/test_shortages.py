"""A shortage of the process fails no file: the command slows down, or stops."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import anyio
import pytest

from tests.batch.scenes import content, generations, recordings
from tests.cli.conftest import COMMAND, environment
from tests.disks import disk, fill, in_namespace, limited, read_only

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from diffio_async.sandbox import Sandbox

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="limits of a process are POSIX"),
    pytest.mark.anyio,
    #: Each test is a process of its own, or fills a disk.
    pytest.mark.slow,
]


async def run(
    folder: Path,
    before: str,
    *arguments: object,
    env: Mapping[str, str],
    prefix: Sequence[str] = (),
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process with the limits that `before` sets."""
    with anyio.fail_after(120):
        done = await anyio.run_process(
            [*prefix, sys.executable, "-c", before + COMMAND, *map(str, arguments)],
            cwd=folder,
            env=environment(env),
            check=False,
        )
    return subprocess.CompletedProcess(
        done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
    )


def of(sandbox: Sandbox) -> dict[str, str]:
    """Return the environment for a sandbox."""
    return {"DIFFIO_API_KEY": sandbox.api_key, "DIFFIO_API_BASE_URL": sandbox.base_url}


@pytest.mark.parametrize("command", ["batch", "restore"])
async def test_few_descriptors_make_it_slower_and_no_file_fails(
    command: str, tmp_path: Path, echo: Sandbox
) -> None:
    """With 64 descriptors, 60 files and many concurrent jobs, all are restored."""
    source = recordings(tmp_path / "in", *(f"{n:02}.wav" for n in range(60)))
    (tmp_path / "out").mkdir()
    files = [source] if command == "batch" else sorted(source.iterdir())
    done = await run(
        tmp_path, limited("NOFILE", 64), command, *files, "-o", "out", "-j", 50, env=of(echo)
    )
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("*.mp3"))) == 60
    assert generations(echo) == 60


async def test_a_process_without_descriptors_stops_and_reports_the_shortage(
    tmp_path: Path, echo: Sandbox
) -> None:
    """No file fails, and the message names the solution."""
    source = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(5)))
    done = await run(tmp_path, limited("NOFILE", 9), "batch", source, "-o", "out", env=of(echo))
    assert done.returncode in {1, 2}
    assert "Too many open files" in done.stderr
    assert "ulimit -n" in done.stderr
    assert ".wav" not in done.stderr
    assert "Traceback" not in done.stderr


async def test_a_full_disk_of_results_stops_a_batch(tmp_path: Path, echo: Sandbox) -> None:
    """Results are kept, no file fails, and the rest is downloaded after space was freed."""
    source = recordings(tmp_path / "in", *(f"{n:02}.wav" for n in range(20)))
    with disk(tmp_path / "disk", size="400k") as small:
        filled = fill(small)
        arguments = ("batch", source, "-o", small, "--journal", tmp_path / "journal.sqlite")
        done = await run(tmp_path, "", *arguments, env=of(echo))
        assert done.returncode == 1
        assert "No space left on device" in done.stderr
        assert ".wav: " not in done.stderr
        filled.unlink()
        again = await run(tmp_path, "", *arguments, env=of(echo))
        assert len(list(small.glob("*.mp3"))) == 20
    assert again.returncode == 0, again.stderr
    assert generations(echo) == 20


async def test_a_full_disk_of_the_journal_is_not_wrong_usage(tmp_path: Path, echo: Sandbox) -> None:
    """The code is 2 only if nothing was sent; otherwise it is 1."""
    source = recordings(tmp_path / "in", *(f"{n:03}.wav" for n in range(100)))
    with disk(tmp_path / "disk", size="300k") as small:
        prefix, at = in_namespace(small)
        arguments = ("batch", source, "-o", "out", "--journal", at / "journal.sqlite")
        done = await run(tmp_path, "", *arguments, env=of(echo), prefix=prefix)
    assert "the disk is full" in done.stderr
    assert done.returncode == (1 if echo.requests else 2), done.stderr
    assert ".wav: " not in done.stderr


async def test_a_journal_that_fails_after_something_was_sent_is_a_failure(
    tmp_path: Path, echo: Sandbox
) -> None:
    """A limit on the size of files stops the journal during uploads."""
    source = recordings(tmp_path / "in", *(f"{n:03}.wav" for n in range(100)))
    late = (
        "import threading, time, resource\n"
        "def limit():\n"
        "    import pathlib\n"
        "    while not list(pathlib.Path('out').glob('*.mp3')): time.sleep(0.01)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))\n"
        "threading.Thread(target=limit, daemon=True).start()\n"
    )
    done = await run(tmp_path, late, "batch", source, "-o", "out", env=of(echo))
    assert echo.requests
    assert done.returncode == 1, done.stderr
    assert "run the same command again" in done.stderr
    assert ".wav: " not in done.stderr
    again = await run(tmp_path, "", "batch", source, "-o", "out", env=of(echo))
    assert again.returncode == 0, again.stderr
    assert generations(echo) == 100


async def test_a_read_only_disk_stops_a_batch_before_anything_is_sent(
    tmp_path: Path, echo: Sandbox
) -> None:
    """It would affect every result: no file fails, and nothing is billed."""
    source = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(5)))
    with disk(tmp_path / "disk", size="64k") as small:
        (small / "out").mkdir()
        read_only(small)
        arguments = ("batch", source, "-o", small / "out", "--journal", tmp_path / "j.sqlite")
        done = await run(tmp_path, "", *arguments, env=of(echo))
    assert done.returncode == 1
    assert "Read-only file system" in done.stderr
    assert "5 of its files" in done.stderr
    assert generations(echo) == 0


async def test_restore_starts_no_file_after_a_full_disk(tmp_path: Path, echo: Sandbox) -> None:
    """The current file reports how to download its result; the others are not sent."""
    source = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(8)))
    for path in source.iterdir():
        path.write_bytes(content(path.name, 30_000))
    with disk(tmp_path / "disk", size="64k") as small:
        done = await run(
            tmp_path, "", "restore", *sorted(source.iterdir()), "-o", small, "-j", 1, env=of(echo)
        )
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert done.stderr.count("resume: diffio-async") == 1
    assert "it was not started, and nothing was sent" in done.stderr
    assert generations(echo) < 8
