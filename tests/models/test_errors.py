"""Error classes: hierarchy, attributes and pickling."""

from __future__ import annotations

import copy
import inspect
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING

import pytest

from diffio_async import errors
from diffio_async._protocol import api_errors
from diffio_async.errors import ApiError, DiffioError
from diffio_async.models.generations import GenerationProgress, StageProgress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRESS = GenerationProgress(
    generation_id="g",
    api_project_id="p",
    status="failed",
    inference=StageProgress(status="failed", error="no voice"),
    extra={"new": [1]},
)


def every_class(root: type[DiffioError] = DiffioError) -> Iterator[type[DiffioError]]:
    """Yield the classes of the module `errors`; other packages may add subclasses."""
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from every_class(kind)


KINDS = sorted(set(every_class()), key=lambda kind: kind.__name__)


#: A value for each keyword that a constructor takes; another one would get a word.
KEYWORDS: dict[str, object] = {
    "status": 409,
    "body": {"error": ["x"]},
    "retry_after": 1.5,
    "progress": PROGRESS,
    "permanent": True,
}


def made(kind: Callable[..., DiffioError]) -> DiffioError:
    taken = inspect.signature(kind.__init__).parameters.values()
    names = [each.name for each in taken if each.kind is each.KEYWORD_ONLY]
    several = [[errors.WaitTimeout("late")]] if kind is errors.BatchFailed else []
    error = kind(
        "what happened", *several, **{name: KEYWORDS.get(name, "a word") for name in names}
    )
    error.api_project_id, error.generation_id, error.idempotency_key = "p", "g", "k"
    error.add_note("attempt 1: lost")
    return error


def same(one: BaseException, other: BaseException) -> bool:
    return (
        type(one) is type(other)
        and str(one) == str(other)
        and repr(one) == repr(other)
        and repr(one.args) == repr(other.args)
        and one.__dict__ == other.__dict__
        and one.__notes__ == other.__notes__ == ["attempt 1: lost"]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_pickles_and_copies_with_its_attributes(kind: type[DiffioError]) -> None:
    error = made(kind)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert same(pickle.loads(pickle.dumps(error, protocol)), error)
    assert same(copy.copy(error), error)
    assert same(copy.deepcopy(error), error)
    assert error.api_project_id == "p"


@pytest.mark.slow
def test_an_error_of_another_process_is_complete() -> None:
    """Callers catch what workers raise: the same class, ids, notes and progress."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        for kind in KINDS:
            error = made(kind)
            raised = pool.submit(exec, "raise error", {"error": error}).exception()
            assert raised is not None
            assert same(raised, error), kind
            assert isinstance(raised, kind)


def test_an_error_of_the_users_own_pickles_too() -> None:
    group = ExceptionGroup("several", [made(errors.RateLimited), made(errors.WaitTimeout)])
    back = pickle.loads(pickle.dumps(group))
    assert all(map(same, back.exceptions, group.exceptions))


@pytest.mark.parametrize(
    ("kind", "bases"),
    [
        ("ConfigurationError", [ValueError]),
        ("ClientClosed", []),
        ("ConnectionFailed", []),
        ("ResponseLost", []),
        ("ResponseTimeout", [errors.ResponseLost, TimeoutError]),
        ("AuthenticationFailed", [ApiError]),
        ("PaymentRequired", [ApiError]),
        ("SpendLimitExceeded", [errors.PaymentRequired]),
        ("PermissionDenied", [ApiError]),
        ("NotFound", [ApiError]),
        ("TranscriptUnavailable", [errors.NotFound]),
        ("NotReady", [ApiError]),
        ("TranscriptPending", [errors.NotReady]),
        ("ModelRetired", [ApiError]),
        ("RateLimited", [ApiError]),
        ("ServerError", [ApiError]),
        ("InvalidResponse", []),
        ("UploadFailed", []),
        ("InvalidSource", [errors.UploadFailed]),
        ("DownloadFailed", []),
        ("InvalidTarget", [errors.DownloadFailed]),
        ("GenerationFailed", []),
        ("WaitTimeout", [TimeoutError]),
    ],
)
def test_classes_have_their_bases(kind: str, bases: list[type[BaseException]]) -> None:
    found: type[DiffioError] = getattr(errors, kind)
    assert issubclass(found, DiffioError)
    for base in bases:
        assert issubclass(found, base)
    # Not sent, sent without a response, and refused are distinct.
    families: list[type[DiffioError]] = [
        errors.ConnectionFailed,
        errors.ResponseLost,
        ApiError,
        errors.ConfigurationError,
    ]
    assert sum(issubclass(found, family) for family in families) <= 1
    assert issubclass(found, TimeoutError) == (kind in {"ResponseTimeout", "WaitTimeout"})


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (errors.AuthenticationFailed, "DIFFIO_API_KEY"),
        (errors.PaymentRequired, "billing"),
        (errors.SpendLimitExceeded, "limit"),
        (errors.PermissionDenied, "scope"),
        (errors.NotFound, "id"),
        (errors.TranscriptUnavailable, "audio"),
        (errors.NotReady, "Wait"),
        (errors.TranscriptPending, "again"),
        (errors.ModelRetired, "diffio-4.6-flash"),
        (errors.RateLimited, "fewer"),
    ],
)
def test_hints_state_what_to_do(kind: type[ApiError], word: str) -> None:
    assert word in kind.hint
    assert kind.hint.endswith(".")
    for parent in kind.__mro__[1:]:
        assert kind.hint != vars(parent).get("advice"), "a kind of its own has its own advice"


def test_ids_are_none_until_they_are_known() -> None:
    error = DiffioError("x")
    assert (error.api_project_id, error.generation_id, error.idempotency_key) == (None,) * 3
    assert DiffioError("x").__dict__ == {}


def test_the_tables_name_subclasses_of_their_status() -> None:
    """Catching the class of a status catches those of its codes."""
    for (status, _), kind in api_errors.BY_CODE.items():
        assert issubclass(kind, api_errors.BY_STATUS[status])
