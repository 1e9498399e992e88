"""Names that are too long, form a loop, or are not text fail alone; other files are restored."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from diffio_async import AsyncDiffio
from diffio_async.sandbox import Fault, RespondWith
from tests.batch.scenes import content
from tests.cli.test_shortages import of
from tests.cli.test_shortages import run as run_after

if TYPE_CHECKING:
    from diffio_async.sandbox import Sandbox
    from tests.cli.conftest import Run

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform != "linux", reason="names of bytes, and links"),
]

LONG = "x" * 246 + ".wav"
WIDE = "ü" * 125 + ".wav"


def odd_files(folder: Path) -> list[str]:
    """Recordings with odd names; the first four can be restored."""
    folder.mkdir()
    good = [b"ok.wav", LONG.encode(), WIDE.encode(), b"no\xfftext.wav"]
    for name in good:
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(content(repr(name)))
    (folder / "loop.wav").symlink_to("loop.wav")
    bad: list[str | bytes] = ["y" * 300 + ".wav", "loop.wav", "none/x.wav", "ok.wav/y.wav"]
    return [str(folder / os.fsdecode(name)) for name in [*good, *bad]]


async def test_restore_restores_the_others(tmp_path: Path, run: Run, echo: Sandbox) -> None:
    """Four files with odd names are restored, four unreadable ones are reported."""
    files = odd_files(tmp_path / "in")
    (tmp_path / "out").mkdir()
    done = await run("restore", *files, "-o", "out", env={**of(echo), "PYTHONUTF8": "1"})
    assert done.returncode == 1
    names = sorted(os.fsencode(path.name) for path in (tmp_path / "out").iterdir())
    assert names == sorted(
        [
            b"ok.restored.mp3",
            b"x" * 242 + b".restored.mp3",
            ("ü" * 121 + ".restored.mp3").encode(),
            b"no\xfftext.restored.mp3",
        ]
    )
    assert all(len(name) <= 255 for name in names)
    for reason in ("File name too long", "Too many levels", "no file", "Not a directory"):
        assert reason in done.stderr


@pytest.mark.slow
async def test_a_dry_run_reports_the_same_as_the_run(
    tmp_path: Path, run: Run, echo: Sandbox
) -> None:
    """`--dry-run` reports for each file what the run then does."""
    odd_files(tmp_path / "in")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "ok.restored.mp3").write_bytes(b"mine")
    rehearsed = await run("batch", "in", "-o", "out", "--dry-run", env=of(echo))
    assert rehearsed.returncode == 1
    assert "Too many levels" in rehearsed.stdout
    assert "ok.restored.mp3' exists and was not written by this batch" in rehearsed.stdout
    assert echo.requests == []
    done = await run("batch", "in", "-o", "out", env=of(echo))
    assert "3 restored, 2 failed" in done.stderr
    assert "exists and was not written by this batch" in done.stderr
    arguments = ("batch", "in/ok.wav", "-o", "out", "--journal", "other.sqlite")
    skipping = await run(*arguments, "--on-conflict", "skip", "--dry-run", env=of(echo))
    assert "0 to restore" in skipping.stdout


@pytest.mark.slow
async def test_a_name_that_the_service_chose_is_shortened(
    tmp_path: Path, run: Run, echo: Sandbox
) -> None:
    """A download into a folder keeps the suffix of a name that is too long."""
    source = tmp_path / "in.wav"
    source.write_bytes(content("in"))
    (tmp_path / "out").mkdir()
    async with AsyncDiffio(echo.api_key, base_url=echo.base_url) as client:
        restored = await client.restore(source)
        link = restored.download
    response = {
        "generationId": link.generation_id,
        "apiProjectId": link.api_project_id,
        "downloadType": "audio",
        "downloadUrl": link.download_url,
        "fileName": "ü" * 300 + ".mp3",
    }
    echo.faults.add(
        Fault(path="/v1/get_generation_download", times=None, action=RespondWith(json=response))
    )
    done = await run(
        "download",
        link.generation_id,
        "--project",
        link.api_project_id,
        "-o",
        "out",
        env=of(echo),
    )
    assert done.returncode == 0, done.stderr
    [name] = [path.name for path in (tmp_path / "out").iterdir()]
    assert len(name.encode()) <= 255
    assert name.endswith("ü.mp3")


@pytest.mark.parametrize("output", ["y" * 300, "file/x", "loop"])
async def test_an_unusable_output_is_refused_in_one_line(
    output: str, tmp_path: Path, run: Run, echo: Sandbox
) -> None:
    """No command that accepts a path prints a traceback."""
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "ok.wav").write_bytes(content("ok"))
    for command in (
        ("restore", "ok.wav", "-o", output),
        ("batch", "ok.wav", "-o", output),
        ("batch", "ok.wav", "-o", "out", "--journal", output),
        ("batch", "ok.wav", "-o", "out", "--dry-run", "--journal", output),
        ("batch", "status", output),
        ("webhooks", "inbox", "list", "--inbox", output),
    ):
        done = await run(*command, env=of(echo))
        assert done.returncode == 2, (command, done.stderr)
        assert "diffio-async: " in done.stderr or "Usage" in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    sys.version_info[:3] == (3, 13, 0), reason="this Python cannot import socket in such a folder"
)
async def test_a_removed_current_folder_is_reported(tmp_path: Path, echo: Sandbox) -> None:
    """A relative path is then an error in one line, not a traceback."""
    gone = str(tmp_path / "gone")
    before = f"import os; os.mkdir({gone!r}); os.chdir({gone!r}); os.rmdir({gone!r})\n"
    for arguments, code in ((["batch", "x.wav", "-o", "out"], 2), (["restore", "x.wav"], 1)):
        done = await run_after(tmp_path, before, *arguments, env=of(echo))
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
