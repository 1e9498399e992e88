"""Root of the error classes, and the ids of paid work that are attached to errors.

This is below the models, which name the root in their annotations. Import the classes from
`diffio_async.errors`: that is the module that they report as theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from diffio_async._logging import log
from diffio_async._text import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_ARGS: Any = BaseException.__dict__["args"]
_PLAIN = (str, int, float, list, dict, type(None))


class Rebuildable(Exception):
    """An exception that `type(error)(*error.args)` reconstructs, as task queues do.

    After the message, `args` has a dict of the attributes that are plain data.
    """

    if not TYPE_CHECKING:  # type checkers know `args` from BaseException, where it is an attribute

        @property
        def args(self) -> tuple[Any, ...]:
            """Return the arguments for the constructor."""
            return self._constructor_args()

        @args.setter
        def args(self, value: Iterable[Any]) -> None:
            _ARGS.__set__(self, value)

    def _constructor_args(self) -> tuple[Any, ...]:
        state = {
            name: value
            for name, value in vars(self).items()
            if not name.startswith("_") and isinstance(value, _PLAIN)
        }
        return (*self._positional(), state) if state else self._positional()

    def _positional(self) -> tuple[Any, ...]:
        found: tuple[Any, ...] = _ARGS.__get__(self)
        return found

    def _restore(self, state: object) -> None:
        """Set the attributes in `state`; names that the class does not have are ignored."""
        if isinstance(state, Mapping):
            vars(self).update({n: value for n, value in state.items() if hasattr(self, str(n))})


class DiffioError(Rebuildable):
    """Base of all errors that this package raises on purpose.

    Errors pickle. `str(error)` is one printable line, whatever a server or a file name contained.
    `args` has the unchanged message, and a dict of the attributes that are plain data.

    Attributes:
        api_project_id: The project that the error is about, if one was created.
        generation_id: The generation that the error is about, if one was created.
        idempotency_key: The idempotency key of the generation. Creating it again with this key
            returns the same generation, which is not billed again.
    """

    api_project_id: str | None = None
    generation_id: str | None = None
    idempotency_key: str | None = None

    def __init__(self, message: str = "", state: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self._restore(state)

    def __str__(self) -> str:
        return printable(super().__str__())

    def __reduce__(self) -> tuple[Callable[..., DiffioError], tuple[object, ...]]:
        """Pickle by state, so that constructors may have keyword parameters."""
        return _rebuild, (type(self), self._positional(), self.__dict__)


def _rebuild(
    kind: type[DiffioError], args: tuple[object, ...], state: dict[str, object]
) -> DiffioError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ConfigurationError(DiffioError, ValueError):
    """A key, URL, option or argument is invalid; nothing was sent."""


for _public in (DiffioError, ConfigurationError):
    _public.__module__ = "diffio_async.errors"


#: Exceptions that interrupt a call; the generations that it started continue at the service.
INTERRUPTIONS = (asyncio.CancelledError, KeyboardInterrupt, SystemExit)
#: Generations that one interruption names; more would hide the traceback.
_MAX_NAMED = 100
#: Log messages about a generation that an interrupted call started, or was starting.
STARTED = "interrupted; generation %s of project %s may still run and be billed"
REQUESTED = (
    "interrupted while a generation of project %s was being started (idempotency key %s); it may "
    "run and be billed"
)


@contextlib.contextmanager
def attach_ids(**ids: str | None) -> Iterator[None]:
    """Attach the ids of uploaded or paid work to every exception of the body.

    Args:
        ids: `api_project_id`, `generation_id` or `idempotency_key`; None is omitted.
    """
    try:
        yield
    except DiffioError as error:
        for name, value in ids.items():
            # A key is useful with its project; before that exists, nothing was paid for.
            useful = name != "idempotency_key" or error.api_project_id is not None
            if value is not None and useful and getattr(error, name) is None:
                setattr(error, name, value)
                error.add_note(f"{name}={value}")
        raise
    except BaseException as error:
        noted = getattr(error, "__notes__", [])
        for name, value in ids.items():
            if value is not None and not any(note.startswith(f"{name}=") for note in noted):
                error.add_note(f"{name}={value}")
                if isinstance(error, INTERRUPTIONS):
                    setattr(error, name, value)
        raise


@contextlib.contextmanager
def attach_started(
    *, api_project_id: str, generation_id: str | None = None, idempotency_key: str | None = None
) -> Iterator[None]:
    """Attach the ids of a generation that this call starts, or has started.

    An interruption is also logged: `asyncio.TaskGroup` and `gather` drop the notes of a cancelled
    child. It gets the attribute `may_be_billed`.

    Args:
        api_project_id: The project.
        generation_id: The generation; None while it is requested.
        idempotency_key: The key of the request.
    """
    ids = {"api_project_id": api_project_id, "generation_id": generation_id}
    with attach_ids(**ids, idempotency_key=idempotency_key):
        try:
            yield
        except INTERRUPTIONS as error:
            vars(error)["may_be_billed"] = True
            if generation_id is None:
                log.warning(REQUESTED, api_project_id, idempotency_key)
            else:
                log.warning(STARTED, generation_id, api_project_id)
            raise


@contextlib.contextmanager
def concerning_many(running: Callable[[], Collection[tuple[str, str | None]]]) -> Iterator[None]:
    """Attach the generations that continue when the body is interrupted.

    Args:
        running: Returns their ids, each with that of its project, if known.
    """
    try:
        yield
    except INTERRUPTIONS as error:
        ids = running()
        for generation_id, api_project_id in islice(ids, _MAX_NAMED):
            error.add_note(f"generation_id={generation_id}")
            if api_project_id is not None:
                error.add_note(f"api_project_id={api_project_id}")
        if len(ids) > _MAX_NAMED:
            error.add_note(f"and {len(ids) - _MAX_NAMED} more generations")
        raise
