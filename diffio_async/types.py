"""Types of the parameters of public methods, for your own annotations.

    from diffio_async.types import ProgressCallback, SourceLike

This module stands on the standard library and the models alone: it loads no HTTP library.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Literal, Protocol, TypeVar, runtime_checkable

from diffio_async.events import DownloadProgress, UploadProgress
from diffio_async.models.batches import BatchItem, BatchProgress
from diffio_async.models.generations import GenerationProgress

__all__ = [
    "AsyncBinaryReader",
    "BatchConflict",
    "BatchProgressCallback",
    "BinaryReader",
    "Callback",
    "OnConflict",
    "OnError",
    "ProgressCallback",
    "SourceLike",
    "SourceName",
    "Sources",
    "UploadWithFile",
    "UploadWithStream",
]

T = TypeVar("T")


@runtime_checkable
class BinaryReader(Protocol):
    """A binary file object: `open(path, "rb")`, `BytesIO`, `GzipFile`, a pipe, Django's upload."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, and none at the end."""
        ...


@runtime_checkable
class AsyncBinaryReader(Protocol):
    """A binary file object that is awaited: `UploadFile` of Starlette, FastAPI and Litestar."""

    def read(self, size: int, /) -> Awaitable[bytes]:
        """Return at most `size` bytes, and none at the end."""
        ...


@runtime_checkable
class UploadWithFile(Protocol):
    """An upload whose content is in its `file`: `aiohttp.web.FileField`."""

    @property
    def file(self) -> BinaryReader:
        """The content."""
        ...


@runtime_checkable
class UploadWithStream(Protocol):
    """An upload whose content is in its `stream`: `FileStorage` of Werkzeug and Flask."""

    @property
    def stream(self) -> BinaryReader:
        """The content."""
        ...


#: A recording to upload: a path, bytes, a file object (read from where it stands), an upload that a
#: web framework received, or an async iterable of bytes.
SourceLike = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | BinaryReader
    | AsyncBinaryReader
    | UploadWithFile
    | UploadWithStream
    | AsyncIterable[bytes]
)

#: What to do where the target exists: refuse, or replace it in one step.
OnConflict = Literal["error", "overwrite"]

#: Receives progress; what it returns is awaited if it can be, and ignored.
Callback = Callable[[T], object]
#: The progress callback of `restore`.
ProgressCallback = Callback[UploadProgress | GenerationProgress | DownloadProgress]
#: The progress callback of `restore_many`.
BatchProgressCallback = Callback[BatchProgress]

#: One thing that names recordings: a file, a folder, a glob, a manifest, or an item of its own.
SourceName = str | os.PathLike[str] | BatchItem
#: One of them, or many, awaited or not.
Sources = SourceName | Iterable[SourceName] | AsyncIterable[SourceName]
#: What a batch does where a result's file exists and is not its own.
BatchConflict = Literal["error", "overwrite", "skip"]
#: Whether a batch continues with the other files after one failed.
OnError = Literal["continue", "stop"]
