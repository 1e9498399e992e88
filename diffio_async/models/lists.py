"""Listings: a list of rows that keeps the other fields of its response."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")


class ListResponse(list[T]):
    """The rows of a listing; `extra` has the other fields of the response, such as a page token."""

    extra: Mapping[str, object]

    def __init__(self, rows: Iterable[T] = (), extra: Mapping[str, object] | None = None) -> None:
        super().__init__(rows)
        self.extra = {} if extra is None else extra
