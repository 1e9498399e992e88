"""Ctrl-C, `SystemExit` and friends: the work is unwound, and the caller gets a plain error."""

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
    ended = program.ends()
    assert (ended.code, ended.errors) == (0, "")
    return ended.lines


def test_in_a_call(start: Start) -> None:
    """Ctrl-C in a call cancels the coroutine, waits for its `finally`, and is raised again."""
    assert interrupted(start, "call") == ["asleep unwound"]


def test_uncaught(start: Start) -> None:
    """Ctrl-C that is not caught ends the process by that signal; few frames are ours."""
    program = start("interrupts", "uncaught")
    assert program.next_line() == "ready"
    program.send()
    ended = program.ends()
    assert ended.code == -signal.SIGINT
    assert ended.errors.rstrip().endswith("KeyboardInterrupt")
    assert "During handling" not in ended.errors
    assert ended.errors.count("_bridge") <= 3


@pytest.mark.slow
def test_unwinding_has_a_limit(start: Start) -> None:
    """A coroutine that takes more than five seconds to unwind is left to itself."""
    assert interrupted(start, "unwinding_for_long") == ["['asleep'] 5"]


@pytest.mark.slow
def test_a_second_one_does_not_wait(start: Start) -> None:
    """A second Ctrl-C leaves at once, though the coroutine has not unwound."""
    program = start("interrupts", "unwinding_cut_short")
    for word in ("ready", "again", "ready"):
        assert program.next_line() == word
        time.sleep(0.05)
        if word == "ready":
            program.send()
    ended = program.ends()
    assert (ended.code, ended.errors) == (0, "")
    assert ended.lines == ["asleep unwound asleep"]


def test_while_entering_a_context(start: Start) -> None:
    """Ctrl-C while a `with` is being entered: it is not entered later, nor its body run."""
    assert interrupted(start, "entering") == ["entering never entered"]


def test_in_the_body_of_a_context(start: Start) -> None:
    """Ctrl-C in the body of a `with` leaves the context before it is raised again."""
    assert interrupted(start, "body") == ["entering entered resource CancelledError left"]


@pytest.mark.slow
def test_while_leaving_a_context(start: Start) -> None:
    """Ctrl-C while a `with` is being left cancels what leaving waits for."""
    assert interrupted(start, "leaving") == ["asleep unwound"]


def test_in_an_iteration_that_waits(start: Start) -> None:
    """Ctrl-C while an iteration waits for its next item cancels the generator."""
    assert interrupted(start, "waiting_for_an_item") == ["1 asleep unwound"]


def test_in_the_body_of_an_iteration(start: Start) -> None:
    """Ctrl-C in the body of a `for` closes the generator before it is caught."""
    assert interrupted(start, "between_items") == ["closed"]


def test_in_a_callback(start: Start) -> None:
    """Ctrl-C in a callback cancels the coroutine that called it."""
    assert interrupted(start, "callback") == ["CancelledError unwound"]


def test_a_callback_while_unwinding(start: Start) -> None:
    """A coroutine that calls back while it unwinds is refused: its caller has left."""
    assert interrupted(start, "callback_while_unwinding") == [
        "[] asleep unwound CancelledError unwound"
    ]


def test_exit_inside(start: Start) -> None:
    """`SystemExit` in a coroutine is raised in the caller, and the loop lives on."""
    ended = start("interrupts", "exit_inside").ends()
    assert ended == (7, ["alive"], "")


def test_exit_in_a_child_task(start: Start) -> None:
    """`SystemExit` in a task of a coroutine's own ends neither the loop nor other calls."""
    ended = start("interrupts", "exit_in_a_child_task").ends()
    assert (ended.code, ended.errors) == (0, "")
    assert ended.lines[-1] == "7 asleep unwound" or ended.lines == ["7"]


@pytest.mark.slow
def test_exit_in_a_callback(start: Start) -> None:
    """`SystemExit` in a callback cancels the coroutine, and is raised by the call."""
    ended = start("interrupts", "exit_in_a_callback").ends()
    assert ended == (0, ["5 CancelledError unwound"], "")


@pytest.mark.slow
def test_at_any_moment(start: Start) -> None:
    """Wherever Ctrl-C strikes, what was entered is left and what began has ended."""
    ended = start("interrupts", "at_any_moment").ends()
    assert ended == (0, ["200 True"], "")
