"""Blocking calls, iterations, contexts and callbacks, each in a separate process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.bridge.conftest import Running

    Start = Callable[..., Running]


def output_of(start: Start, scene: str) -> list[str]:
    """Return the output of a scene that succeeds, with nothing on standard error."""
    result = start("everyday", scene, "-W", "error").wait()
    assert (result.code, result.errors) == (0, "")
    return result.lines


def test_inside_a_running_loop(start: Start) -> None:
    """If a loop is already running, as in a notebook, a blocking call works nevertheless."""
    assert output_of(start, "inside_a_running_loop") == ["42 0 1 42 0 1"]


def test_calls_in_many_threads(start: Start) -> None:
    """32 threads call, enter and iterate at once, over one loop thread."""
    assert output_of(start, "many_threads") == ["True 1"]


@pytest.mark.slow
def test_first_calls_at_once(start: Start) -> None:
    """Concurrent first calls of several threads start a single loop."""
    assert output_of(start, "first_calls_at_once") == ["1 1"]


def test_call_in_the_loops_own_thread(start: Start) -> None:
    """A blocking call in the loop's own thread raises, and the message names the alternative."""
    assert output_of(start, "own_thread") == ["RuntimeError True"] * 5 + ["42"]


def test_collected_in_the_loops_thread(start: Start) -> None:
    """An iteration that the loop's own thread collects is closed without waiting for itself."""
    assert output_of(start, "collected_in_the_loops_thread") == ["True"]


def test_collected_in_a_thread_that_the_task_waits_for(start: Start) -> None:
    """An iteration that is collected in a thread for which its end waits does not block both."""
    scene = "collected_in_a_thread_that_the_task_waits_for"
    assert output_of(start, scene) == ["closed"]


def test_callbacks(start: Start) -> None:
    """A callback runs in the caller's thread and may call again; a coroutine is awaited."""
    assert output_of(start, "callbacks") == [
        "[(True, 0), (True, 1), (True, 2)] []",
        "[0, 2, 4]",
        "10 True",
        "(True, 0) (True, 1)",
    ]


def test_exit_in_one_of_two_callbacks(start: Start) -> None:
    """`SystemExit` in a callback ends the call, though another callback is requested."""
    assert output_of(start, "exit_in_one_of_two_callbacks") == ["1"]


def test_callback_errors(start: Start) -> None:
    """What a callback raises is raised in the coroutine, which may catch it."""
    assert output_of(start, "callback_errors") == [
        "caught no",
        "ValueError None refuse ['run', 'uncaught']",
        "RuntimeError('coroutine raised StopIteration')",
    ]


@pytest.mark.slow
def test_scopes_around_a_yield(start: Start) -> None:
    """Task groups and timeouts around a `yield` work, to the end and when closed half-way."""
    assert output_of(start, "scopes_around_a_yield") == ["0 1 2 0 1 2", "TimeoutError()"]


def test_partial_iteration(start: Start) -> None:
    """Leaving a `for` early closes the generator before the next line, as `close()` does."""
    assert output_of(start, "partial_iteration") == ["closed", "[] closed"]


@pytest.mark.slow
def test_throwing_into_an_iteration(start: Start) -> None:
    """An exception thrown into an iteration is raised at the generator's `yield`."""
    assert output_of(start, "thrown_into") == ["caught it item", "True []"]


@pytest.mark.slow
def test_an_iterator_that_is_not_a_generator(start: Start) -> None:
    """An asynchronous iterator that is not a generator can be iterated."""
    assert output_of(start, "bare_iterator") == ["1 2 3", "True"]


def test_contexts(start: Start) -> None:
    """A context receives the error of its body, and suppresses it or raises it unchanged."""
    lines = ["resource", "entering entered left"]
    for error in ("ValueError", "StopIteration", "StopAsyncIteration"):
        lines += ["True fail", f"entering entered {error} left"]
    assert output_of(start, "contexts") == [*lines, "forgiven", "LookupError('shut') forgiven"]


@pytest.mark.slow
def test_any_names(start: Start) -> None:
    """Parameters of a coroutine may have any names, also those that the bridge uses."""
    assert output_of(start, "any_names") == ["10 10"]


@pytest.mark.slow
def test_context_variables(start: Start) -> None:
    """Coroutines have the caller's context variables; their changes are not visible outside."""
    assert output_of(start, "context_variables") == ["me me me me"]


def test_no_references_are_kept(start: Start) -> None:
    """Arguments, results and errors are freed with their last user, without the collector."""
    assert output_of(start, "no_references_kept") == ["9"]


@pytest.mark.slow
def test_nothing_left_after_stop(start: Start) -> None:
    """A stopped bridge leaves no thread, descriptor or open loop; generators are finalised."""
    assert output_of(start, "nothing_left_after_stop") == ["True True finalised", "True True"]


def test_stop_during_calls(start: Start) -> None:
    """A stop during calls, iterations and contexts unwinds each; the callers get an error."""
    stopped = "RuntimeError('the event loop that ran this was stopped')"
    assert output_of(start, "stop_during_calls") == [
        "ready",
        f"{stopped} CancelledError asleep closed entered entering left unwound",
        f"{stopped} 42",
    ]


@pytest.mark.slow
def test_signal_handler_calls(start: Start) -> None:
    """A signal handler may call while its thread is in a call."""
    assert output_of(start, "signal_handler_calls") == ["42"]


@pytest.mark.slow
def test_no_descriptors_for_a_loop(start: Start) -> None:
    """Without free descriptors, a call raises the system's error, and the next one works."""
    assert output_of(start, "no_descriptors_for_a_loop") == ["OSError 42 1"]


def test_tracebacks_are_short(start: Start) -> None:
    """A traceback is the user's line, a frame or two of ours, and the cause; nothing is chained."""
    assert output_of(start, "tracebacks") == [
        "FileNotFoundError 1 <lambda> cause",
        "FileNotFoundError 1 <lambda> items cause",
        "FileNotFoundError 2 enter context cause",
        "TypeError 1 <lambda>",
    ]
