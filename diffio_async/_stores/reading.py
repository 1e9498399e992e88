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
from diffio_async._stores.connection import connect, obstore, retry_lost
from diffio_async._stores.failures import is_missing, is_unexplained, store_errors
from diffio_async.errors import InvalidSource
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from obstore.store import ObjectStore

#: Bytes of one request; obstore resumes within it after a broken connection.
_RANGE = 4 * MIB
#: Ranges of one object in flight, and of all objects of an event loop, which bounds the memory.
_PER_OBJECT, _IN_ALL = 4, 16

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


@retry_lost
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
            if is_unexplained(failure) and not url.is_web:
                await _get(store, url, {"range": (0, 1)})
            raise


def changed(url: StoreUrl) -> InvalidSource:
    """Return the error for an object that was replaced."""
    return InvalidSource(
        f"{str(url)!r} changed while it was read: try again when nothing writes to it"
    )


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
    #: The response of a web server that sends an object only as a whole.
    _whole: Any = None

    @property
    def content(self) -> Any:
        """The bytes of an object that has arrived as a whole, None for a larger one."""
        return self._first if len(self._first) == self.info.size else None

    async def blocks(self) -> AsyncGenerator[memoryview, None]:
        """Yield all bytes in order; each later request demands the version of the first.

        Raises:
            InvalidSource: The object changed, or the store failed.
        """
        if self._whole is not None:
            with store_errors(self.url, InvalidSource, "be read"):
                async for block in self._whole.stream(min_chunk_size=_RANGE):
                    yield memoryview(block)
            return
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
                    info, content = await running[0]
                running.popleft()
                try:
                    if info != self.info:  # a web server need not know ETags
                        raise changed(self.url)
                    yield memoryview(content)
                finally:
                    del content
                    limit.release()
        finally:
            for each in running:
                each.add_done_callback(lambda task: _release(task, limit))
                each.cancel()
            await wait_all_uncancelled(running)

    async def _range(self, offset: int, limit: asyncio.Semaphore) -> tuple[ObjectInfo, Any]:
        """Return the object as it is now, and one range of it.

        The caller releases the limit when the bytes are written. The ranges of an object wait in
        order, so that the one to be written first is never behind those that wait for it.
        """
        await limit.acquire()
        try:
            end = min(offset + _RANGE, self.info.size)
            options = {"range": (offset, end), "if_match": self.info.version}
            result, content = await _get(self._store, self.url, options)
        except BaseException:
            limit.release()
            raise
        return info_of(result.meta), content


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
            if url.is_web and type(failure).__name__ == "NotSupportedError":
                return await _open_whole(url, store)
            # No range of an empty object can be requested.
            found = await find_object(url) if _NO_RANGE.search(str(failure)) else None
            if found is None or found.size:
                raise
            result = first = None
    if result is None:
        raise empty(url)
    info, kind = info_of(result.meta), result.attributes.get("Content-Type")
    return OpenObject(url, info, kind, store, first)


async def _open_whole(url: StoreUrl, store: ObjectStore) -> OpenObject:
    """Request all bytes at once, of a server that ignores ranges."""
    whole = await obstore().get_async(store, _key(url))
    info = info_of(whole.meta)
    if not info.size:
        raise empty(url)
    return OpenObject(url, info, whole.attributes.get("Content-Type"), store, b"", whole)


async def _get(store: ObjectStore, url: StoreUrl, options: dict[str, Any]) -> tuple[Any, Any]:
    result = await obstore().get_async(store, _key(url), options=options)
    return result, await result.bytes_async()


def _key(url: StoreUrl) -> str:
    """Return the key; the connection to a web address has all of it."""
    return "" if url.is_web else url.key


def _check_names_object(url: StoreUrl) -> None:
    if url.is_folder and not url.is_web:
        raise InvalidSource(f"{str(url)!r} is a folder: name an object in it")
