"""What mypy and pyright must accept as a recording; nothing here is run."""

from __future__ import annotations

import gzip
import io
import mmap
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO, TextIO, assert_type

from diffio_async import AsyncDiffio, Diffio, ProjectSummary, Restoration
from diffio_async.models.json_values import ListResponse
from diffio_async.resources.generations import AsyncGenerations
from diffio_async.types import OnConflict, ProgressCallback, SourceLike

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp
    from aiohttp import web
    from fastapi import UploadFile
    from litestar.datastructures import UploadFile as LitestarUpload
    from starlette.datastructures import UploadFile as StarletteUpload

    from diffio_async import DownloadProgress, GenerationProgress, UploadProgress


class DjangoUpload:
    """The shape of `django.core.files.uploadedfile.UploadedFile`."""

    name: str | None
    content_type: str | None
    size: int | None

    def read(self, num_bytes: int | None = None) -> bytes:
        return b""


class FlaskUpload:
    """The shape of `werkzeug.datastructures.FileStorage`, whose `read` no checker sees."""

    stream: IO[bytes]
    filename: str | None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


async def blocks() -> AsyncIterator[bytes]:
    yield b""


def of_the_standard_library(path: Path, binary: BinaryIO, any_binary: IO[bytes]) -> None:
    sources: list[SourceLike] = [
        "a.wav",
        path,
        b"",
        bytearray(),
        memoryview(b""),
        binary,
        any_binary,
        io.BytesIO(),
        path.open("rb"),
        path.open("rb", buffering=0),
        path.open("r+b"),
        sys.stdin.buffer,
        gzip.open(path),
        gzip.GzipFile(path),
        zipfile.ZipFile(path).open("a.wav"),
        tempfile.TemporaryFile(),
        tempfile.NamedTemporaryFile(),
        tempfile.SpooledTemporaryFile(),
        mmap.mmap(0, 1),
        blocks(),
    ]
    Diffio().projects.create(sources[0])


def of_frameworks(
    fastapi: UploadFile,
    starlette: StarletteUpload,
    litestar: LitestarUpload,
    part: aiohttp.BodyPartReader,
    field: web.FileField,
    stream: aiohttp.StreamReader,
) -> list[SourceLike]:
    return [
        *(fastapi, starlette, litestar, part, field, stream),
        *(DjangoUpload(), FlaskUpload()),
    ]


def text_is_refused(text: TextIO) -> list[SourceLike]:
    return [
        text,  # type: ignore[list-item] # pyright: ignore[reportReturnType]
        io.StringIO(),  # type: ignore[list-item] # pyright: ignore[reportReturnType]
        1,  # type: ignore[list-item] # pyright: ignore[reportReturnType]
    ]


def progress(fact: UploadProgress | GenerationProgress | DownloadProgress) -> None: ...


async def restored(
    client: AsyncDiffio,
    source: SourceLike,
    on_progress: ProgressCallback = progress,
    on_conflict: OnConflict = "error",
) -> Restoration:
    found = await client.restore(source, on_progress=on_progress, on_conflict=on_conflict)
    assert_type(found.to_dict(), dict[str, object])
    assert_type(await client.projects.list(), ListResponse[ProjectSummary])
    assert_type(client.generations, AsyncGenerations)
    return found
