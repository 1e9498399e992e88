"""Take items from an iterable of the user's without blocking the event loop."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Collection, Iterable, Iterator
from contextlib import aclosing
from typing import TypeVar

from diffio_async._storage.threads import DedicatedThread

T = TypeVar("T")

#: Seconds that an iterator which blocks is waited for, when nobody wants its items any more.
_PATIENCE = 0.1
_END = object()


async def taken(items: Iterable[T] | AsyncIterable[T]) -> AsyncGenerator[T, None]:
    """Yield each item, whether it is awaited or not.

    An iterator that is not asynchronous may block, or call a blocking client itself: it runs in a
    thread of its own. A collection has its items already, and runs here.
    """
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    elif isinstance(items, Collection):
        for item in items:
            yield item
    else:
        async with aclosing(_aside(items)) as found:
            async for item in found:
                yield item


async def _aside(items: Iterable[T]) -> AsyncGenerator[T, None]:
    aside = DedicatedThread()
    iterator: Iterator[T] | None = None

    def following() -> object:
        nonlocal iterator
        if iterator is None:
            iterator = iter(items)
        return next(iterator, _END)

    try:
        while (item := await aside.run(following)) is not _END:
            yield item  # type: ignore[misc]
    finally:
        await aside.end(_PATIENCE)
