"""Types of the parameters of public methods, for your own annotations.

    from diffio_async.types import ProgressCallback, SourceLike

Importing this module does not load an HTTP library.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

from diffio_async._store_url import StoreUrl
from diffio_async.events import DownloadProgress, UploadProgress
from diffio_async.models.batches import BatchItem, BatchProgress
from diffio_async.models.generations import GenerationProgress

__all__ = [
    "AsyncBinaryReader",
    "BatchConflict",
    "BatchExecutor",
    "BatchProgressCallback",
    "BinaryReader",
    "Callback",
    "OnConflict",
    "OnError",
    "ProgressCallback",
    "SourceLike",
    "SourceName",
    "Sources",
    "StoreUrl",
    "UploadWithFile",
    "UploadWithStream",
]

T = TypeVar("T")


@runtime_checkable
class BinaryReader(Protocol):
    """A binary file object: `open(path, "rb")`, `BytesIO`, `GzipFile`, a pipe, Django's upload."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, `b""` at the end."""
        ...


@runtime_checkable
class AsyncBinaryReader(Protocol):
    """A binary file object that is awaited: `UploadFile` of Starlette, FastAPI and Litestar."""

    def read(self, size: int, /) -> Awaitable[bytes]:
        """Return at most `size` bytes, `b""` at the end."""
        ...


@runtime_checkable
class UploadWithFile(Protocol):
    """An upload whose content is in its `file`: `aiohttp.web.FileField`."""

    @property
    def file(self) -> BinaryReader:
        """Return the content."""
        ...


@runtime_checkable
class UploadWithStream(Protocol):
    """An upload whose content is in its `stream`: `FileStorage` of Werkzeug and Flask."""

    @property
    def stream(self) -> BinaryReader:
        """Return the content."""
        ...


#: A recording to upload: a path, a URL as text (of an S3 object, say), bytes, a binary file object
#: (read from its position), an upload received by a web framework, or an async iterable of bytes.
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

#: What to do if the target exists: raise `InvalidTarget`, or replace it atomically.
OnConflict = Literal["error", "overwrite"]

#: Receives progress. An awaitable that it returns is awaited; its result is ignored.
Callback = Callable[[T], object]
#: The progress callback of `restore`.
ProgressCallback = Callback[UploadProgress | GenerationProgress | DownloadProgress]
#: The progress callback of `restore_many`.
BatchProgressCallback = Callback[BatchProgress]

#: Source of recordings: a file, a folder, a glob, a manifest, or an item with its own settings.
SourceName = str | os.PathLike[str] | BatchItem
#: One source, or an iterable of sources, asynchronous or not.
Sources = SourceName | Iterable[SourceName] | AsyncIterable[SourceName]
#: What a batch does if the file of a result exists and is not its own.
BatchConflict = Literal["error", "overwrite", "skip"]
#: Whether a batch continues with the other files after one failed.
OnError = Literal["continue", "stop"]


@runtime_checkable
class BatchExecutor(Protocol):
    """What moves the bytes of a batch, in place of this process: `dask.DaskExecutor`."""

    # The run and its executor are internal: an executor of your own would depend on the journal.
    def start_run(self, run: Any, /) -> AbstractAsyncContextManager[Any]:
        """Start for one run, and stop afterwards."""
        ...
