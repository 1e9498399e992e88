"""What file objects and uploads of web frameworks say of themselves, and how they are read."""

from __future__ import annotations

import inspect
import io
import re
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from pathlib import PurePath, PureWindowsPath
from typing import Any

from diffio_async._protocol.media_types import is_packed
from diffio_async.errors import InvalidSource
from diffio_async.options import MIB

#: A MIME type without its parameters.
_MIME_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+", re.ASCII)
#: What senders write where they do not know the type. No recording is plain text.
_UNKNOWN_TYPES = frozenset({"application/octet-stream", "text/plain"})


def file_name_of(source: Any) -> str | None:
    """Return the name of the file that a source was, without folders; None where it has none.

    Uploads of web frameworks have it in `filename`, and often the form field's name in `name`.
    """
    if not isinstance(source, io.IOBase) and hasattr(source, "filename"):
        given = source.filename
        # It comes from a browser, of whatever system.
        return PureWindowsPath(given).name or None if isinstance(given, str) else None
    name = getattr(source, "name", None)
    if not isinstance(name, str) or not name or name.startswith("<"):  # "<stdin>"
        return None
    return PurePath(name).name or None


def packed_name(name: str | None) -> str | None:
    """Return the name of what is in a file of this name: a `GzipFile` gives that."""
    if name is not None and is_packed(name):
        return PurePath(name).stem
    return name


def content_type_of(source: object) -> str | None:
    """Return the MIME type that an upload was sent with, None where it does not say."""
    given = getattr(source, "content_type", None)
    if given is None:
        headers = getattr(source, "headers", None)
        find = getattr(headers, "get", None)
        given = find("Content-Type") if callable(find) else None
    if not isinstance(given, str):
        return None
    found = given.partition(";")[0].strip().lower()
    return found if _MIME_TYPE.fullmatch(found) and found not in _UNKNOWN_TYPES else None


def content_of(source: object) -> object:
    """Return what is to be read: the source, or the file object within an upload."""
    if callable(getattr(source, "read", None)):
        return source
    for name in ("file", "stream"):
        inner = getattr(source, name, None)
        if callable(getattr(inner, "read", None)):
            return inner
    return source


def awaited_blocks(source: object) -> AsyncIterable[bytes] | None:
    """Return the blocks of a source that is read by awaiting; None for all others."""
    for name in ("read_chunk", "read"):  # `read` of a part of aiohttp's gives it whole
        read = getattr(source, name, None)
        if inspect.iscoroutinefunction(read):
            return _blocks(read)
    return source if isinstance(source, AsyncIterable) else None


async def _blocks(read: Callable[[int], Any]) -> AsyncGenerator[bytes, None]:
    while True:
        try:
            block = await read(MIB)
        except Exception as failure:  # any kind of object, any kind of failure
            raise InvalidSource(f"the source cannot be read: {failure}") from failure
        if not block:
            return
        yield block
