"""Ctrl-C and `SystemExit`: the work is unwound, and the caller gets the plain exception."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bridge.conftest import Running

    Start = Callable[..., Running]


def interrupted(start: Start, scene: str) -> list[str]:
    """Return the output of a program that receives Ctrl-C once it is ready."""
    program = start("interrupts", scene)
    assert program.next_line() == "ready"
    time.sleep(0.05)
    program.send()
    result = program.wait()
    assert (result.code, result.errors) == (0, "")
    return result.lines


def test_ctrl_c_in_a_call(start: Start) -> None:
    """Ctrl-C in a call cancels the coroutine, waits for its `finally`, and is raised again."""
    assert interrupted(start, "call") == ["asleep unwound"]


def test_uncaught_ctrl_c(start: Start) -> None:
    """Ctrl-C that is not caught ends the process by that signal; few frames are ours."""
    program = start("interrupts", "uncaught")
    assert program.next_line() == "ready"
    program.send()
    result = program.wait()
    assert result.code == -signal.SIGINT
    assert result.errors.rstrip().endswith("KeyboardInterrupt")
    assert "During handling" not in result.errors
    assert result.errors.count("_bridge") <= 3


@pytest.mark.slow
def test_unwinding_has_a_limit(start: Start) -> None:
    """A coroutine that takes more than five seconds to unwind is no longer waited for."""
    (line,) = interrupted(start, "unwinding_for_long")
    assert line in [f"['asleep'] {seconds}" for seconds in range(5, 20)]


@pytest.mark.slow
def test_a_second_ctrl_c_does_not_wait(start: Start) -> None:
    """A second Ctrl-C returns at once, although the coroutine has not unwound."""
    program = start("interrupts", "unwinding_cut_short")
    for word in ("ready", "again", "ready"):
        assert program.next_line() == word
        time.sleep(0.05)
        if word == "ready":
            program.send()
    result = program.wait()
    assert (result.code, result.errors) == (0, "")
    assert result.lines == ["asleep unwound asleep"]


def test_ctrl_c_while_entering_a_context(start: Start) -> None:
    """If a `with` is being entered, it is not entered later, and its body does not run."""
    assert interrupted(start, "entering") == ["entering never entered"]


def test_ctrl_c_in_the_body_of_a_context(start: Start) -> None:
    """Ctrl-C in the body of a `with` leaves the context before it is raised again."""
    assert interrupted(start, "body") == ["entering entered resource CancelledError left"]


@pytest.mark.slow
def test_ctrl_c_while_leaving_a_context(start: Start) -> None:
    """Ctrl-C while a `with` is being left cancels what leaving waits for."""
    assert interrupted(start, "leaving") == ["asleep unwound"]


def test_ctrl_c_in_an_iteration_that_waits(start: Start) -> None:
    """Ctrl-C while an iteration waits for its next item cancels the generator."""
    assert interrupted(start, "waiting_for_an_item") == ["1 asleep unwound"]


def test_ctrl_c_in_the_body_of_an_iteration(start: Start) -> None:
    """Ctrl-C in the body of a `for` closes the generator before it is caught."""
    assert interrupted(start, "between_items") == ["closed"]


def test_ctrl_c_in_a_callback(start: Start) -> None:
    """Ctrl-C in a callback cancels the coroutine that called it."""
    assert interrupted(start, "callback") == ["CancelledError unwound"]


def test_a_callback_while_unwinding_is_refused(start: Start) -> None:
    """A coroutine that calls back while it unwinds is refused: its caller has left."""
    assert interrupted(start, "callback_while_unwinding") == [
        "[] asleep unwound CancelledError unwound"
    ]


def test_system_exit_in_a_coroutine(start: Start) -> None:
    """`SystemExit` in a coroutine is raised in the caller, and the loop continues."""
    result = start("interrupts", "exit_inside").wait()
    assert result == (7, ["alive"], "")


def test_system_exit_in_a_child_task(start: Start) -> None:
    """`SystemExit` in a task of a coroutine's own ends neither the loop nor other calls."""
    result = start("interrupts", "exit_in_a_child_task").wait()
    assert (result.code, result.errors) == (0, "")
    assert result.lines[-1] == "7 asleep unwound" or result.lines == ["7"]


@pytest.mark.slow
def test_system_exit_in_a_callback(start: Start) -> None:
    """`SystemExit` in a callback cancels the coroutine, and is raised by the call."""
    result = start("interrupts", "exit_in_a_callback").wait()
    assert result == (0, ["5 CancelledError unwound"], "")


@pytest.mark.slow
def test_ctrl_c_at_any_moment(start: Start) -> None:
    """Whenever Ctrl-C arrives, entered contexts are left and started work has ended."""
    result = start("interrupts", "at_any_moment").wait()
    assert result == (0, ["200 True"], "")
