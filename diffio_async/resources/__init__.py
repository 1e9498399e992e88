"""Resource classes of the client, one for each noun of the API."""

from __future__ import annotations

from typing import Generic, TypeVar, cast

T = TypeVar("T")


def declared(kind: type[T]) -> T:
    """Declare an attribute in a class body.

        projects: AsyncProjects = declared(AsyncProjects)

    On the class it is an empty instance of `kind`, so that `create_autospec`, `inspect` and
    interactive completion find its methods with their signatures.
    """
    return cast("T", _Declared(kind))


class _Declared(Generic[T]):
    # No data descriptor: what an instance sets takes its place.
    def __init__(self, kind: type[T]) -> None:
        self._kind = kind
        self._name = kind.__name__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type | None = None) -> T:
        if instance is not None:
            raise AttributeError(f"{type(instance).__name__!r} object has no {self._name!r} yet")
        return self._kind.__new__(self._kind)
