"""The likely seconds of `batch --dry-run`, from the lengths of the recordings."""

from __future__ import annotations

import json
import sys
import threading
import wave
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async.cli.batch import lengths, report

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run


@pytest.fixture
def recordings(tmp_path: Path) -> None:
    """A recording of 90 seconds, one of 3 seconds, and a file that is not a recording."""
    (tmp_path / "in").mkdir()
    for name, seconds in (("a.wav", 90), ("b.wav", 3)):
        with wave.open(str(tmp_path / "in" / name), "wb") as file:
            file.setparams((1, 1, 8000, 0, "NONE", ""))
            file.writeframes(bytes([seconds]) * 8000 * seconds)
    (tmp_path / "in" / "c.wav").write_bytes(b"not a recording" * 20)


async def dry_run(run: Run) -> tuple[list[dict[str, Any]], str]:
    """Return the objects and the lines of a dry run."""
    arguments = ("batch", "in", "-o", "out", "--dry-run")
    done = await run(*arguments, "--json")
    lines = await run(*arguments)
    assert (done.returncode, lines.returncode, done.stderr + lines.stderr) == (0, 0, "")
    return [json.loads(line) for line in done.stdout.splitlines()], lines.stdout


@pytest.mark.usefixtures("recordings")
async def test_the_likely_seconds_are_the_lengths_with_a_minimum(run: Run) -> None:
    """60 for each at least, and for a file whose length is unknown, which is counted."""
    (*plans, totals), lines = await dry_run(run)
    found = {plan["file"][-5:]: plan["seconds"] for plan in plans}
    assert found == {"a.wav": 90.0, "b.wav": 3.0, "c.wav": None}
    assert (totals["billed_seconds"], totals["likely_seconds"]) == (180, 210)
    assert totals["unknown_lengths"] == 1
    assert "a.restored.mp3 (720.0 kB, 1:30)" in lines
    assert "likely 210 seconds, if each is billed by its length; 1 of unknown length" in lines


@pytest.mark.usefixtures("recordings")
async def test_reading_lengths_ends_when_its_time_is_used_up(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All files are listed nevertheless, and their lengths are unknown."""
    released = threading.Event()

    def read_from_slow_disk(path: Path) -> None:
        released.wait(60)

    monkeypatch.setattr(lengths, "_length", read_from_slow_disk)
    monkeypatch.setattr(report, "_LENGTHS_BUDGET", 0.05)
    try:
        (*plans, totals), lines = await dry_run(run)
    finally:
        released.set()
    assert {plan["file"][-5:] for plan in plans} == {"a.wav", "b.wav", "c.wav"}
    assert (totals["likely_seconds"], totals["unknown_lengths"]) == (None, 3)
    assert "reading lengths ended after" in lines


@pytest.mark.usefixtures("recordings")
async def test_without_the_extra_only_the_least_is_known(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last line names the extra that reads lengths."""
    monkeypatch.setitem(sys.modules, "av", None)
    (*plans, totals), lines = await dry_run(run)
    assert {plan["seconds"] for plan in plans} == {None}
    assert (totals["billed_seconds"], totals["likely_seconds"]) == (180, None)
    assert "install the extra 'report'" in lines
