"""Fork, spawn and exit: calls work in child and parent, and both processes end."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bridge.conftest import Running

    Start = Callable[..., Running]

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def output_of(start: Start, scene: str) -> list[str]:
    """Return the output of a scene that succeeds, with nothing on standard error."""
    # Python warns of every fork beside a thread.
    result = start("processes", scene, "-W", "error", "-W", "ignore::DeprecationWarning").wait()
    assert (result.code, result.errors) == (0, "")
    return result.lines


@forks
@pytest.mark.parametrize("scene", ["fork", "fork_before_the_first_call"])
def test_fork(start: Start, scene: str) -> None:
    """After a fork, the child's first call works, and so do the parent's."""
    assert output_of(start, scene) == ["child 1", "0", "parent 2"]


@forks
def test_fork_and_exit_with_handlers(start: Start) -> None:
    """A child that runs its exit handlers prints nothing and does not affect the parent."""
    assert output_of(start, "fork_and_exit_with_handlers") == [
        "ready",
        "child 1",
        "0",
        "parent 1 2",
    ]


@forks
@pytest.mark.slow
def test_fork_while_another_thread_calls(start: Start) -> None:
    """A fork beside a thread that is in a call: the child calls, the thread gets its result."""
    assert output_of(start, "fork_while_another_thread_calls") == ["child 1", "0", "parent 5"]


@pytest.mark.slow
@forks
def test_fork_twice(start: Start) -> None:
    """A child of a child can make calls."""
    assert output_of(start, "fork_twice") == ["grandchild 1", "0", "0"]


@forks
def test_fork_inside(start: Start) -> None:
    """The child can neither continue the parent's iteration nor leave the parent's context."""
    assert output_of(start, "fork_inside") == [
        "True",
        "0",
        "1 entering entered left closed",
        "0 entering entered left",
    ]


@forks
def test_fork_in_a_callback(start: Start) -> None:
    """A callback may fork; the call continues in the parent."""
    assert output_of(start, "fork_in_a_callback") == ["child 1", "0", "done"]


@forks
def test_fork_with_a_connection(start: Start) -> None:
    """What a child finalises is not unregistered from the epoll that the parent waits on."""
    assert output_of(start, "fork_with_a_connection") == ["0", "parent True"]


@pytest.mark.slow
@forks
def test_pools(start: Start) -> None:
    """Process pools of every kind call; calls and errors travel between processes."""
    each = ["7", "Broken here"]
    assert output_of(start, "pools") == [
        *("spawn 0 1 2", *each),
        *("fork 0 1 2", *each),
        *("forkserver 0 1 2", *each),
        "42",
    ]


@pytest.mark.slow
def test_spawn(start: Start) -> None:
    """A spawned process makes calls, including a pickled blocking call."""
    assert output_of(start, "spawn") == ["7"]


def test_exit_while_idle(start: Start) -> None:
    """A process that made a call and closed nothing ends at once."""
    program = start("processes", "idle")
    assert program.next_line() == "42"
    started = time.monotonic()
    assert program.wait() == (0, [], "")
    assert time.monotonic() - started < 4


def test_exit_while_busy(start: Start) -> None:
    """A daemon thread in a call does not keep the process; its coroutine unwinds first."""
    assert output_of(start, "busy") == ["ready", "unwound"]


def test_exit_waits_for_threads_that_are_waited_for(start: Start) -> None:
    """A thread that is not a daemon finishes its call before the process ends."""
    assert output_of(start, "busy_in_a_thread_that_is_waited_for") == ["done"]


def test_exit_without_close(start: Start) -> None:
    """Whatever was not closed is closed at exit; exit handlers can make calls before that."""
    lines = output_of(start, "unfinished")
    assert lines[:3] == ["0 resource", "a handler still calls 42", "entering entered"]
    assert sorted(lines[3:]) == ["items closed", "resource left", "session closed"]


def test_no_thread_is_started_at_exit(start: Start) -> None:
    """A call after the loop was stopped at exit raises, and starts no thread."""
    assert output_of(start, "at_exit_too_late") == ["True [] []"]


def test_uncaught_error(start: Start) -> None:
    """The printed traceback ends with the user's line, one of the package, and the cause."""
    result = start("processes", "raising").wait()
    assert result.code == 1
    lines = [line for line in result.errors.splitlines() if "File " in line]
    assert [line.rpartition(" in ")[2] for line in lines[-3:]] == ["raising", "run", "broken"]
    assert result.errors.rstrip().endswith("Broken: here")


@pytest.mark.slow
def test_exit_while_the_loop_is_blocked(start: Start) -> None:
    """A coroutine that blocks the loop forever delays the exit for a limited time."""
    started = time.monotonic()
    assert output_of(start, "stuck") == []
    assert time.monotonic() - started < 30
