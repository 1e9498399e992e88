"""Root of the error classes, below the models, which name it in their annotations.

Import the classes from `diffio_async.errors`: that is the module that they report as theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from diffio_async._text import printable

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

    def __reduce__(self) -> str | tuple[Any, ...]:
        """Pickle by class and arguments.

        `tblib`, which Dask installs for all exceptions, handles inherited methods in another way.
        """
        return super().__reduce__()

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
