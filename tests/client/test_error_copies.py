"""Errors survive `type(e)(*e.args)`, copies, pickles, and JSON in between."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import DiffioError, errors
from diffio_async.compat import errors as compat
from diffio_async.models.generations import GenerationProgress

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS: list[type[Any]] = [
    kind
    for module, root in ((errors, errors.DiffioError), (compat, compat.DiffioApiError))
    for _, kind in sorted(inspect.getmembers(module, inspect.isclass))
    if issubclass(kind, root) and kind.__module__ == module.__name__
]
BODY = {"error": "no such project", "code": "x"}


def made(kind: type[Any]) -> Any:
    """An error of each kind with all that it can have."""
    error: Any
    if kind is errors.BatchFailed:
        error = kind("two of two failed", [made(errors.NotFound), made(errors.WaitTimeout)])
    elif issubclass(kind, errors.ApiError):
        error = kind("create returned 404", status=404, code="x", body=BODY, retry_after=1.5)
    elif issubclass(kind, compat.DiffioApiError):
        error = kind("no such project", 404, BODY)
        error.code, error.apiProjectId = "x", "proj_1"
    elif issubclass(kind, errors.InvalidResponse):
        error = kind("it does not fit", status=200, body=BODY)
    elif issubclass(kind, errors.ConnectionFailed):
        error = kind("no certificate", permanent=True)
    elif issubclass(kind, errors.WebhookRejected):
        error = kind("too old", code="too_old")
    elif issubclass(kind, (errors.GenerationFailed, errors.WaitTimeout)):
        progress = GenerationProgress(generation_id="g", api_project_id="p", status="failed")
        error = kind("it ended", progress=progress)
    else:
        error = kind("something \ud83d happened\nhere")
    if isinstance(error, DiffioError):
        error.api_project_id, error.generation_id = "proj_1", "gen_1"
    if isinstance(error, errors.BatchStopped):
        error.journal, error.remaining_files = "/tmp/journal", 3
    return error


def plain(error: Any) -> dict[str, Any]:
    """Its attributes that are plain data."""
    return {
        name: value
        for name, value in vars(error).items()
        if not name.startswith("_") and isinstance(value, (str, int, float, list, dict))
    }


WAYS: dict[str, Callable[[Any], Any]] = {
    "args": lambda e: type(e)(*e.args),
    "args through JSON": lambda e: type(e)(*json.loads(json.dumps(e.args, default=repr))),
    "message": lambda e: type(e)(e.args[0]),
    "args twice": lambda e: type(e)(*type(e)(*e.args).args),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda e: pickle.loads(pickle.dumps(e)),
    "an old pickle": lambda e: pickle.loads(pickle.dumps(e, 2)),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__qualname__)
def test_an_error_is_the_same_afterwards(kind: type[Any], way: str) -> None:
    """Of the same class, with the same text, and with its ids, its status and its body."""
    error = made(kind)
    again = WAYS[way](error)
    assert type(again) is kind
    if way == "message" and issubclass(kind, compat.DiffioApiError):
        assert str(again) == error.message
        return
    if kind is errors.BatchFailed:
        assert again.message == error.message
        assert all(isinstance(each, DiffioError) for each in again.exceptions)
        return
    assert str(again) == str(error)
    if way != "message":
        assert plain(again) == plain(error)


def test_a_message_is_an_error_of_every_kind() -> None:
    for kind in KINDS:
        assert "it broke" in str(kind("it broke"))


def test_a_batch_that_failed_keeps_its_errors_in_a_process() -> None:
    error = made(errors.BatchFailed)
    for again in (type(error)(*error.args), copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert [type(each) for each in again.exceptions] == [errors.NotFound, errors.WaitTimeout]
        assert str(again) == str(error)
    missed = error.split(errors.NotFound)[0]
    assert missed is not None
    assert len(missed.exceptions) == 1
