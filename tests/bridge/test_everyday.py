"""Calls, iterations, contexts and callbacks from threads that block, each in a real process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bridge.conftest import Running

    Start = Callable[..., Running]


def said(start: Start, scene: str) -> list[str]:
    """What a scene says that ends well, with nothing on standard error."""
    ended = start("everyday", scene, "-W", "error").ends()
    assert (ended.code, ended.errors) == (0, "")
    return ended.said


def test_inside_a_running_loop(start: Start) -> None:
    """Where a loop already runs, as in a notebook, a blocking call works all the same."""
    assert said(start, "inside_a_running_loop") == ["42 0 1 42 0 1"]


def test_many_threads(start: Start) -> None:
    """32 threads call, enter and iterate at once, over one loop thread."""
    assert said(start, "many_threads") == ["True 1"]


@pytest.mark.slow
def test_first_calls_at_once(start: Start) -> None:
    """Threads whose first calls come together start one loop between them."""
    assert said(start, "first_calls_at_once") == ["1 1"]


def test_own_thread(start: Start) -> None:
    """A blocking call in the loop's own thread raises, and says what to use there."""
    assert said(start, "own_thread") == ["RuntimeError True"] * 5 + ["42"]


def test_collected_in_the_loops_thread(start: Start) -> None:
    """An iteration that the loop's own thread collects is closed without waiting for itself."""
    assert said(start, "collected_in_the_loops_thread") == ["True"]


def test_callbacks(start: Start) -> None:
    """A callback runs in the caller's thread and may call again; a coroutine is awaited."""
    assert said(start, "callbacks") == [
        "[(True, 0), (True, 1), (True, 2)] []",
        "[0, 2, 4]",
        "10 True",
        "(True, 0) (True, 1)",
    ]


def test_exit_in_one_of_two_callbacks(start: Start) -> None:
    """`SystemExit` in a callback ends the call, though another callback is requested."""
    assert said(start, "exit_in_one_of_two_callbacks") == ["1"]


def test_callback_errors(start: Start) -> None:
    """What a callback raises is raised in the coroutine, which may catch it."""
    assert said(start, "callback_errors") == [
        "caught no",
        "ValueError None refuse ['run', 'uncaught']",
        "RuntimeError('coroutine raised StopIteration')",
    ]


@pytest.mark.slow
def test_scopes_around_a_yield(start: Start) -> None:
    """Task groups and timeouts around a `yield` work, to the end and when closed half-way."""
    assert said(start, "scopes_around_a_yield") == ["0 1 2 0 1 2", "TimeoutError()"]


def test_partial_iteration(start: Start) -> None:
    """Leaving a `for` early closes the generator before the next line, as `close()` does."""
    assert said(start, "partial_iteration") == ["closed", "[] closed"]


@pytest.mark.slow
def test_thrown_into(start: Start) -> None:
    """What is thrown into an iteration is raised at the generator's `yield`."""
    assert said(start, "thrown_into") == ["caught it item", "True []"]


@pytest.mark.slow
def test_bare_iterator(start: Start) -> None:
    """An asynchronous iterator that is no generator is iterated as well."""
    assert said(start, "bare_iterator") == ["1 2 3", "True"]


def test_contexts(start: Start) -> None:
    """A context sees its body's error, may swallow it, and else lets it through untouched."""
    lines = ["room", "entering entered left"]
    for error in ("ValueError", "StopIteration", "StopAsyncIteration"):
        lines += ["True fail", f"entering entered {error} left"]
    assert said(start, "contexts") == [*lines, "forgiven", "LookupError('shut') forgiven"]


@pytest.mark.slow
def test_any_names(start: Start) -> None:
    """The names of a coroutine's parameters are its own: none clashes with the bridge's."""
    assert said(start, "any_names") == ["10 10"]


@pytest.mark.slow
def test_context_variables(start: Start) -> None:
    """Coroutines see the caller's context variables; what they set stays theirs."""
    assert said(start, "context_variables") == ["me me me me"]


def test_nothing_kept(start: Start) -> None:
    """Arguments, results and errors are freed with their last user, without the collector."""
    assert said(start, "nothing_kept") == ["9"]


@pytest.mark.slow
def test_nothing_left_after_stop(start: Start) -> None:
    """Stopped, it leaves no thread, no descriptor and no open loop; generators are finalised."""
    assert said(start, "nothing_left_after_stop") == ["True True finalised", "True True"]


def test_stopped_meanwhile(start: Start) -> None:
    """Stopped under a call, an iteration and a context: each unwinds, and whoever waits hears."""
    stopped = "RuntimeError('the event loop that ran this was stopped')"
    assert said(start, "stopped_meanwhile") == [
        "ready",
        f"{stopped} CancelledError asleep closed entered entering left unwound",
        f"{stopped} 42",
    ]


@pytest.mark.slow
def test_signal_handler_calls(start: Start) -> None:
    """A signal handler may call while its thread is in a call."""
    assert said(start, "signal_handler_calls") == ["42"]


@pytest.mark.slow
def test_no_place_for_a_loop(start: Start) -> None:
    """Out of descriptors, the first call raises the system's error, and the next one works."""
    assert said(start, "no_place_for_a_loop") == ["OSError 42 1"]


def test_tracebacks(start: Start) -> None:
    """A traceback is the user's line, a frame or two of ours, and the cause; nothing is chained."""
    assert said(start, "tracebacks") == [
        "FileNotFoundError 1 <lambda> cause",
        "FileNotFoundError 1 <lambda> items cause",
        "FileNotFoundError 2 enter context cause",
        "TypeError 1 <lambda>",
    ]
