"""Errors are equal after `type(e)(*e.args)`, copying, pickling and JSON."""

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

CLASSES: list[type[Any]] = [
    error_class
    for module, root in ((errors, errors.DiffioError), (compat, compat.DiffioApiError))
    for _, error_class in sorted(inspect.getmembers(module, inspect.isclass))
    if issubclass(error_class, root) and error_class.__module__ == module.__name__
]
BODY = {"error": "no such project", "code": "x"}


def example_of(error_class: type[Any]) -> Any:
    """Return an error of a class with all its attributes set."""
    error: Any
    if error_class is errors.BatchFailed:
        error = error_class(
            "two of two failed", [example_of(errors.NotFound), example_of(errors.WaitTimeout)]
        )
    elif issubclass(error_class, errors.ApiError):
        error = error_class("create returned 404", status=404, code="x", body=BODY, retry_after=1.5)
    elif issubclass(error_class, compat.DiffioApiError):
        error = error_class("no such project", 404, BODY)
        error.code, error.apiProjectId = "x", "proj_1"
    elif issubclass(error_class, errors.InvalidResponse):
        error = error_class("it does not fit", status=200, body=BODY)
    elif issubclass(error_class, errors.ConnectionFailed):
        error = error_class("no certificate", permanent=True)
    elif issubclass(error_class, errors.WebhookRejected):
        error = error_class("too old", code="too_old")
    elif issubclass(error_class, (errors.GenerationFailed, errors.WaitTimeout)):
        progress = GenerationProgress(generation_id="g", api_project_id="p", status="failed")
        error = error_class("it ended", progress=progress)
    else:
        error = error_class("something \ud83d happened\nhere")
    if isinstance(error, DiffioError):
        error.api_project_id, error.generation_id = "proj_1", "gen_1"
    if isinstance(error, errors.BatchStopped):
        error.journal, error.remaining_files = "/tmp/journal", 3
    return error


def plain_attributes(error: Any) -> dict[str, Any]:
    """Return the attributes of an error that are plain data."""
    return {
        name: value
        for name, value in vars(error).items()
        if not name.startswith("_") and isinstance(value, (str, int, float, list, dict))
    }


COPIES: dict[str, Callable[[Any], Any]] = {
    "args": lambda e: type(e)(*e.args),
    "args through JSON": lambda e: type(e)(*json.loads(json.dumps(e.args, default=repr))),
    "message": lambda e: type(e)(e.args[0]),
    "args twice": lambda e: type(e)(*type(e)(*e.args).args),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda e: pickle.loads(pickle.dumps(e)),
    "an old pickle": lambda e: pickle.loads(pickle.dumps(e, 2)),
}


@pytest.mark.parametrize("method", COPIES)
@pytest.mark.parametrize("error_class", CLASSES, ids=lambda error_class: error_class.__qualname__)
def test_a_copied_error_equals_the_original(error_class: type[Any], method: str) -> None:
    """It has the same class, message, ids, status and body."""
    error = example_of(error_class)
    copied = COPIES[method](error)
    assert type(copied) is error_class
    if method == "message" and issubclass(error_class, compat.DiffioApiError):
        assert str(copied) == error.message
        return
    if error_class is errors.BatchFailed:
        assert copied.message == error.message
        assert all(isinstance(each, DiffioError) for each in copied.exceptions)
        return
    assert str(copied) == str(error)
    if method != "message":
        assert plain_attributes(copied) == plain_attributes(error)


def test_every_error_class_can_be_created_from_a_message() -> None:
    for error_class in CLASSES:
        assert "it broke" in str(error_class("it broke"))


def test_a_copied_batch_failed_keeps_its_errors() -> None:
    error = example_of(errors.BatchFailed)
    for copied in (type(error)(*error.args), copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert [type(each) for each in copied.exceptions] == [errors.NotFound, errors.WaitTimeout]
        assert str(copied) == str(error)
    not_found = error.split(errors.NotFound)[0]
    assert not_found is not None
    assert len(not_found.exceptions) == 1
