"""Results as objects: they appear when they are complete, and do not replace others by mistake."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import TYPE_CHECKING, Any

from attrs import frozen

from diffio_async._protocol.media_types import content_type_of
from diffio_async._storage.threads import wait_all_uncancelled
from diffio_async._store_url import MAX_KEY_BYTES
from diffio_async._stores.connection import connect, obstore, retry_lost
from diffio_async._stores.failures import is_missing, is_upload_missing, store_errors
from diffio_async._validators import one_of
from diffio_async.errors import InvalidTarget
from diffio_async.options import MIB
from diffio_async.types import OnConflict

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from obstore.store import ObjectStore

    from diffio_async._store_url import StoreUrl

#: Bytes of the largest object that one request writes, which can be conditional; it is in memory.
_MAX_PUT = 64 * MIB
#: Bytes of a part; larger if a store's limit of 10,000 parts requires it. Parts in flight.
_PART, _MAX_PARTS, _PARTS_IN_FLIGHT = 8 * MIB, 10_000, 4
#: Seconds to wait for the request in flight, before an upload in parts is aborted.
_ABORT_SECONDS = 10.0
#: Seconds to cache that a folder is writable, and maximum of cached folders.
_WRITABLE_TTL, _MAX_CACHED = 60.0, 1000
_writable: dict[StoreUrl, float] = {}
#: Name of an object that is never written; its first character alone is valid, too.
_PROBE = "_diffio-check"

#: Metadata of an object: the generation whose result it is, and the type of the result. Azure
#: permits no "-" in the name, and some proxies no "_".
_OWNER = "diffioresult"


async def check_object(url: StoreUrl, on_conflict: OnConflict) -> None:
    """Check that the object can be written later; nothing is written.

    Raises:
        InvalidTarget: The object exists and may not be replaced, or the store refuses writes.
        ConfigurationError: The store is not configured, or `on_conflict` is invalid.
    """
    one_of(OnConflict).check("on_conflict", on_conflict)
    _check_not_web(url)
    if url.is_folder:
        raise InvalidTarget(f"{str(url)!r} is a folder: name an object in it")
    # First, because its response has the reason of a failure, and one to HEAD has none.
    await check_writable(url.parent)
    if on_conflict == "error" and await size_of(url) is not None:
        raise already_exists(url)


def _check_not_web(url: StoreUrl) -> None:
    if url.is_web:
        raise InvalidTarget(
            f"{url} is a web address, which is only read: write to a store (s3://, gs://, az://) "
            "or to this machine"
        )


def already_exists(url: StoreUrl) -> InvalidTarget:
    """Return the error for an object that exists."""
    return InvalidTarget(
        f"{str(url)!r} exists: choose another name, or replace it with on_conflict='overwrite'"
    )


async def size_of(url: StoreUrl) -> int | None:
    """Return the size of an object in bytes, or None if it is missing.

    Raises:
        InvalidTarget: The store refused the request or did not respond.
    """
    store = await connect(url, writing=True)
    with store_errors(url, InvalidTarget, "be looked up"):
        return await _size_of(store, url.key)


async def own_size(url: StoreUrl, owner: str) -> int | None:
    """Return the size of an object that `write_object` wrote for this owner, else None.

    Raises:
        InvalidTarget: The store refused the request or did not respond.
    """
    store = await connect(url, writing=True)
    with store_errors(url, InvalidTarget, "be looked up"):
        size = await _size_of(store, url.key)
        is_own = size is not None and await owner_of(store, url.key) == owner
    return size if is_own else None


async def _size_of(store: ObjectStore, key: str) -> int | None:
    try:
        return int((await obstore().head_async(store, key))["size"])
    except Exception as failure:
        # Without the permission to list a bucket, a missing object looks forbidden.
        if is_missing(failure) or type(failure).__name__ == "PermissionDeniedError":
            return None
        raise


@retry_lost
async def check_writable(folder: StoreUrl) -> None:
    """Check that objects can be written in a folder; nothing is written.

    An upload in parts is started and aborted. On Azure, which starts no uploads in parts, it is a
    write whose condition cannot hold.

    Raises:
        InvalidTarget: The bucket is missing, or the store refuses writes.
        ConfigurationError: The store is not configured.
    """
    _check_not_web(folder)
    now = time.monotonic()
    if now - _writable.get(folder, -math.inf) < _WRITABLE_TTL:
        return
    store = await connect(folder, writing=True)
    probe = folder / _PROBE[: MAX_KEY_BYTES - len(folder.key.encode())]
    with store_errors(folder, InvalidTarget, "be written"):
        try:
            await _request_write(store, probe)
        except FileNotFoundError as failure:
            # The response to the abort was lost: the repeated one finds no upload.
            if not is_upload_missing(failure):
                raise
    if len(_writable) >= _MAX_CACHED:
        _writable.clear()
    _writable[folder] = now


async def _request_write(store: ObjectStore, url: StoreUrl) -> None:
    """Request what needs the permission to write, and writes nothing."""
    if url.scheme != "az":
        await _Multipart(store, url.key, {}, part=1, in_flight=1).probe()
        return
    try:
        # There is no version of this object that could be replaced.
        await obstore().put_async(store, url.key, b"", mode={"e_tag": '"0"'}, use_multipart=False)
    except Exception as failure:
        if type(failure).__name__ != "PreconditionError":
            raise


async def write_object(
    url: StoreUrl,
    read: Callable[[int, int], Awaitable[bytes]],
    size: int,
    on_conflict: OnConflict,
    *,
    owner: str,
) -> None:
    """Write an object of `size` bytes, which `read(offset, length)` returns.

    Args:
        url: The object.
        read: Returns bytes of the content.
        size: Size in bytes.
        on_conflict: `error` or `overwrite`, if the object exists.
        owner: Identifies the result, so that a repeated write recognises its own object.

    Raises:
        InvalidTarget: The object exists, or the store refused it; nothing was replaced.
    """
    store = await connect(url, writing=True)
    attributes = {"Content-Type": content_type_of(url.name), _OWNER: owner}
    with store_errors(url, InvalidTarget, "be written"):
        if size <= (_MAX_PUT if on_conflict == "error" else _PART):
            mode = "create" if on_conflict == "error" else "overwrite"
            try:
                await obstore().put_async(
                    store,
                    url.key,
                    await read(0, size),
                    attributes=attributes,
                    mode=mode,
                    use_multipart=False,
                )
            except Exception as failure:
                # The response to an earlier attempt may have been lost.
                exists = type(failure).__name__ == "AlreadyExistsError"
                if not exists or await owner_of(store, url.key) != owner:
                    raise
            return
        # Stores have no conditional upload in parts that obstore can request.
        if on_conflict == "error" and await _size_of(store, url.key) is not None:
            if await owner_of(store, url.key) == owner:
                return
            raise already_exists(url)
        part = max(_PART, math.ceil(size / _MAX_PARTS))
        try:
            await _Multipart(store, url.key, attributes, part, _PARTS_IN_FLIGHT).write(read, size)
        except Exception as failure:
            # The response to the completion may have been lost.
            if not is_upload_missing(failure) or await _size_of(store, url.key) != size:
                raise
            if await owner_of(store, url.key) != owner:
                raise


async def owner_of(store: ObjectStore, key: str) -> str | None:
    """Return the owner that `write_object` recorded, None for an object of another program."""
    found = await obstore().get_async(store, key, options={"head": True})
    owner: str | None = found.attributes.get(_OWNER)
    return owner


@frozen
class _Multipart:
    """An upload in parts, which is aborted unless it completes."""

    store: Any
    key: str
    attributes: dict[str, str]
    part: int
    in_flight: int

    def _writer(self) -> Any:
        return obstore().open_writer_async(
            self.store,
            self.key,
            attributes=self.attributes,
            buffer_size=self.part,
            max_concurrency=self.in_flight,
        )

    async def probe(self) -> None:
        """Start the upload, and abort it."""

        async def start(_: asyncio.Event) -> None:
            with contextlib.suppress(_Aborted):
                async with self._writer() as writer:
                    await writer.write(b"12")  # more than a part starts the upload
                    raise _Aborted

        await _uncancelled(start)

    async def write(self, read: Callable[[int, int], Awaitable[bytes]], size: int) -> None:
        """Send all parts and complete the upload."""

        async def send(cancelled: asyncio.Event) -> None:
            with contextlib.suppress(_Aborted):
                async with self._writer() as writer:
                    for offset in range(0, size, self.part):
                        await writer.write(await read(offset, min(self.part, size - offset)))
                        if cancelled.is_set():
                            raise _Aborted

        await _uncancelled(send)


class _Aborted(Exception):
    """Leaves the writer's block, which aborts its upload."""


async def _uncancelled(work: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run `work`; after a cancellation let it finish its request, so that the abort covers it."""
    cancelled = asyncio.Event()
    running = asyncio.ensure_future(work(cancelled))
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        cancelled.set()
        await wait_all_uncancelled([running], _ABORT_SECONDS)
        running.cancel()
        raise
