"""`diffio-async restore`: what cannot work is said in a line or two, before anything is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async.sandbox import Sandbox
    from tests.cli.conftest import Run


async def test_a_missing_key_names_both_ways_out(run: Run, talk: Path) -> None:
    """Without a key, the error names the variable to set and the sandbox."""
    done = await run("restore", talk)
    assert done.returncode == 2
    assert "DIFFIO_API_KEY" in done.stderr
    assert "--sandbox" in done.stderr
    assert done.stdout == ""


async def test_a_key_that_cannot_be_sent_is_not_shown(run: Run, talk: Path) -> None:
    """A key with a line break in it is refused, and stays out of the message."""
    done = await run("restore", talk, env={"DIFFIO_API_KEY": "diffio_live_secret\n"})
    assert done.returncode == 2
    assert "key" in done.stderr
    assert "secret" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["talk.wav", "--model", "Diffio 4"], "'Diffio 4' cannot be a model's name"),
        (["talk.wav", "-o", "nowhere"], "there is no folder nowhere"),
        (["talk.wav", "-o", "talk.wav"], "there is no folder talk.wav"),
        (["talk.wav", "talk.wav"], "would all become"),
        (["talk.wav", "talk.flac"], "would all become"),
    ],
)
async def test_a_wrong_order_is_refused_as_a_whole(
    run: Run, talk: Path, echo: Sandbox, arguments: list[str], words: str
) -> None:
    """What is wrong for every file ends the command with code 2 and a line that says so."""
    done = await run("restore", *arguments, env=echo.environment)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert echo.requests == []


@pytest.mark.parametrize(
    "arguments", [["talk.wav", "--type", "text"], ["talk.wav", "--jobs", "0"], []]
)
async def test_wrong_usage_is_refused(run: Run, talk: Path, arguments: list[str]) -> None:
    """An option's value that cannot be, or no file at all, ends the command with code 2."""
    done = await run("restore", "--sandbox", *arguments)
    assert done.returncode == 2
    assert "restore" in done.stderr


@pytest.mark.parametrize("name", ["missing.wav", ".", "", "existing.wav", "unreadable.wav"])
async def test_a_file_that_cannot_be_restored_is_refused(
    run: Run, talk: Path, echo: Sandbox, tmp_path: Path, name: str
) -> None:
    """A missing file, a folder, or a result that exists is a line on stderr; nothing is sent."""
    (tmp_path / "existing.wav").write_bytes(b"sound")
    (tmp_path / "existing.restored.mp3").write_bytes(b"precious")
    if name == "unreadable.wav":
        # Unreadable for everybody, the superuser included.
        (tmp_path / name).symlink_to(name)
    done = await run("restore", name, env=echo.environment)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert 1 <= len(done.stderr.splitlines()) <= 2
    assert ("--overwrite" in done.stderr) == (name == "existing.wav")
    assert echo.requests == []
    assert (tmp_path / "existing.restored.mp3").read_bytes() == b"precious"
