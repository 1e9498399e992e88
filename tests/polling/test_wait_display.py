"""Output of `wait_many(show_progress=True)`: lines on standard error, a table on a terminal."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import pytest

from diffio_async import AsyncDiffio, Outcome, WaitTimeout
from diffio_async._polling import wait_display
from tests.scripts import forever, progress_body

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffio_async.sandbox import Sandbox


class Terminal(io.StringIO):
    """Text stream that is a terminal."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error a terminal of 120 columns."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


async def test_a_summary_is_printed_at_the_end(
    client: AsyncDiffio, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal there is one line at the end, and standard output is not used."""
    sandbox.faults.add(forever(progress_body("complete")))
    seen: list[str] = []
    outcomes = await client.generations.wait_many(
        ["gen_1", "gen_2"],
        show_progress=True,
        on_progress=lambda progress: seen.append(progress.status),
    )
    shown = capsys.readouterr()
    assert [outcome.ok for outcome in outcomes] == [True, True]
    assert shown.out == ""
    assert shown.err == "2 of 2 ended: 2 complete\n"
    assert seen == ["complete", "complete"]


async def test_nothing_is_shown_by_default(
    client: AsyncDiffio, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without `show_progress`, nothing is written anywhere."""
    sandbox.faults.add(forever(progress_body("complete")))
    await client.generations.wait_many(["gen_1"])
    assert capsys.readouterr() == ("", "")


async def test_a_terminal_gets_one_table(
    client: AsyncDiffio, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table has counts by state, and is replaced by one line at the end."""
    watched = terminal(monkeypatch)
    sandbox.faults.add(forever(progress_body("complete")))
    await client.generations.wait_many(["gen_1"], show_progress=True)
    drawn = watched.getvalue()
    assert "1 of 1 generations ended" in drawn
    assert "ends a minute" in drawn
    assert drawn.endswith("1 of 1 ended: 1 complete\n")


@pytest.mark.parametrize(
    ("rich", "kind"), [(True, wait_display.LiveDisplay), (False, wait_display.TextDisplay)]
)
def test_a_terminal_without_rich_gets_lines(
    monkeypatch: pytest.MonkeyPatch, rich: bool, kind: type
) -> None:
    """The table requires the extra `cli`."""
    terminal(monkeypatch)
    monkeypatch.setattr(wait_display, "find_spec", lambda _: object() if rich else None)
    assert type(wait_display.make_display()) is kind


def test_a_line_is_printed_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only if the counts have changed."""
    now = [0.0]
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731 - a clock that is set by hand
    monkeypatch.setattr("diffio_async._polling.wait_display.time.monotonic", clock)
    with wait_display.TextDisplay() as display:
        for number in range(50):
            display.started(f"gen_{number}")
        for number in range(50):
            now[0] += 1
            error = WaitTimeout("late") if number % 5 == 0 else None
            display.ended(Outcome(generation_id=f"gen_{number}", error=error))
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("10 of 50 ended: 40 waiting, 8 complete, 2 late")
    assert lines[-1].startswith("50 of 50 ended: 40 complete, 10 late")
