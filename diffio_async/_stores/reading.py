"""Objects as sources: their size and version, and their bytes in ranges, in order."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from attrs import frozen

from diffio_async._storage.loops import running_loop
from diffio_async._storage.threads import wait_all_uncancelled
from diffio_async._store_url import StoreUrl
from diffio_async._stores.connection import connect, obstore
from diffio_async._stores.failures import is_missing, store_errors
from diffio_async.errors import InvalidSource
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from obstore.store import ObjectStore

#: Bytes of one request; obstore resumes within it after a broken connection.
_RANGE = 8 * MIB
#: Ranges of one object in flight, and of all objects of an event loop, which bounds the memory.
_PER_OBJECT, _IN_ALL = 4, 12

_NO_RANGE = re.compile(r"status code: 416|range", re.IGNORECASE)

_limits: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = WeakKeyDictionary()


@frozen
class ObjectInfo:
    """Size in bytes, version, and modification time (ns since 1970) of an object.

    `version` is the ETag: it changes with the content, and need not be a digest.
    """

    size: int
    version: str | None
    modified_ns: int


def info_of(meta: Any) -> ObjectInfo:
    """Return the information in obstore's description of an object."""
    modified_ns = int(meta["last_modified"].timestamp() * 1e9)
    return ObjectInfo(meta["size"], meta["e_tag"], modified_ns)


async def find_object(url: StoreUrl) -> ObjectInfo | None:
    """Return the information about an object, or None if it is missing.

    Raises:
        InvalidSource: It is a folder, or the store refused the request or did not respond.
    """
    _check_names_object(url)
    store = await connect(url)
    with store_errors(url, InvalidSource, "be looked up"):
        try:
            return info_of(await obstore().head_async(store, _key(url)))
        except Exception as failure:
            if is_missing(failure):
                return None
            raise


def empty(url: StoreUrl) -> InvalidSource:
    """Return the error for an object without content."""
    return InvalidSource(f"{str(url)!r} is empty: there is nothing to restore")


@frozen
class OpenObject:
    """An object whose first bytes have arrived, with its size and version."""

    url: StoreUrl
    info: ObjectInfo
    content_type: str | None
    _store: Any
    _first: Any

    async def blocks(self) -> AsyncGenerator[memoryview, None]:
        """Yield all bytes in order; each later request demands the version of the first.

        Raises:
            InvalidSource: The object changed, or the store failed.
        """
        yield memoryview(self._first)
        offsets = iter(range(len(self._first), self.info.size, _RANGE))
        running = deque[asyncio.Task[Any]]()
        limit = _range_limit()
        try:
            while True:
                while len(running) < _PER_OBJECT and (offset := next(offsets, None)) is not None:
                    running.append(asyncio.create_task(self._range(offset, limit)))
                if not running:
                    return
                with store_errors(self.url, InvalidSource, "be read"):
                    content = await running[0]
                running.popleft()
                try:
                    yield memoryview(content)
                finally:
                    del content
                    limit.release()
        finally:
            for each in running:
                each.add_done_callback(lambda task: _release(task, limit))
                each.cancel()
            await wait_all_uncancelled(running)

    async def _range(self, offset: int, limit: asyncio.Semaphore) -> Any:
        """Return one range; the caller releases the limit when the bytes are written.

        The ranges of an object wait in order, so that the one to be written first is never behind
        those that wait for it.
        """
        await limit.acquire()
        try:
            end = min(offset + _RANGE, self.info.size)
            options = {"range": (offset, end), "if_match": self.info.version}
            _, content = await _get(self._store, self.url, options)
        except BaseException:
            limit.release()
            raise
        return content


def _release(task: asyncio.Task[Any], limit: asyncio.Semaphore) -> None:
    if not task.cancelled() and task.exception() is None:
        limit.release()


def _range_limit() -> asyncio.Semaphore:
    loop = running_loop()
    if loop not in _limits:
        _limits[loop] = asyncio.Semaphore(_IN_ALL)
    return _limits[loop]


async def open_object(url: StoreUrl) -> OpenObject:
    """Request the first bytes of an object; they arrive with its size and version.

    Raises:
        InvalidSource: There is no such object, it is empty, or the store refused the request.
        ConfigurationError: The store is not configured, or the address is a folder.
    """
    _check_names_object(url)
    store = await connect(url)
    with store_errors(url, InvalidSource, "be read"):
        try:
            result, first = await _get(store, url, {"range": (0, _RANGE)})
        except Exception as failure:
            # No range of an empty object can be requested.
            found = await find_object(url) if _NO_RANGE.search(str(failure)) else None
            if found is None or found.size:
                raise
            result = first = None
    if result is None:
        raise empty(url)
    info, kind = info_of(result.meta), result.attributes.get("Content-Type")
    return OpenObject(url, info, kind, store, first)


async def _get(store: ObjectStore, url: StoreUrl, options: dict[str, Any]) -> tuple[Any, Any]:
    result = await obstore().get_async(store, _key(url), options=options)
    return result, await result.bytes_async()


def _key(url: StoreUrl) -> str:
    """Return the key; the connection to a web address has all of it."""
    return "" if url.is_web else url.key


def _check_names_object(url: StoreUrl) -> None:
    if url.is_folder and not url.is_web:
        raise InvalidSource(f"{str(url)!r} is a folder: name an object in it")
