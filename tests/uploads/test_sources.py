"""Every type of source arrives unchanged, by both upload methods."""

from __future__ import annotations

import contextlib
import gzip
import io
import mmap
import os
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import aiohttp
import anyio
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from litestar.datastructures import UploadFile as litestar_upload  # noqa: N813
from starlette.datastructures import Headers
from starlette.datastructures import UploadFile as starlette_upload  # noqa: N813

from diffio_async import ConfigurationError, InvalidSource
from tests.uploads.scenes import PART, scene, sound

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = pytest.mark.usefixtures("_no_task_left")

#: No multiple of a part, and more parts than are sent at once.
CONTENT = sound(6 * PART + 12_345)
HEAD = b"what was read already"


class _Kept:
    """Opens things in a folder, and closes them."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "talk.wav"
        self.path.write_bytes(CONTENT)
        self._open: list[BinaryIO] = []

    def opened(self, file: Any) -> Any:
        self._open.append(file)
        return file

    def close(self) -> None:
        for file in self._open:
            file.close()

    def not_at_its_start(self, **how: Any) -> Any:
        self.path.write_bytes(HEAD + CONTENT)
        file = self.opened(self.path.open("rb", **how))
        assert file.read(len(HEAD)) == HEAD
        return file

    def zipped(self) -> Any:
        packed = self.path.with_name("talk.wav.gz")
        packed.write_bytes(gzip.compress(HEAD + CONTENT, 1))
        file = self.opened(gzip.open(packed))  # noqa: SIM115 - `close` does it  # noqa: SIM115 - `close` does it
        file.read(len(HEAD))
        return file

    def half_written(self) -> Any:
        file = self.opened(self.path.open("w+b"))
        file.write(CONTENT)
        file.seek(0)
        return file

    def unwritten(self) -> Any:
        """The head still in the object's own buffer, as it was written over what was read."""
        self.path.write_bytes(bytes(100) + CONTENT[100:])
        file = self.opened(self.path.open("r+b"))
        file.read(200)
        file.seek(0)
        file.write(CONTENT[:100])
        file.seek(0)
        return file

    def temporary(self) -> Any:
        file = self.opened(tempfile.NamedTemporaryFile())  # noqa: SIM115 - `close` does it  # noqa: SIM115 - `close` does it
        file.write(CONTENT)
        file.seek(0)
        return file


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[_Kept]:
    """A file of the content, and whatever is opened of it; closed after the test."""
    made = _Kept(tmp_path)
    yield made
    made.close()


class _OnlyReads:
    """The least that a file object can be."""

    def __init__(self) -> None:
        self._inner = io.BytesIO(CONTENT)

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(size)


async def _generated() -> AsyncIterator[bytes | bytearray | memoryview]:
    """Blocks of all sizes and kinds; the view's items are of four bytes."""
    yield CONTENT[:1]
    yield b""
    yield bytearray(CONTENT[1:3])
    yield memoryview(CONTENT[3:4003]).cast("I")
    yield CONTENT[4003:]


def _advanced() -> io.BytesIO:
    buffer = io.BytesIO(HEAD + CONTENT)
    buffer.seek(len(HEAD))
    return buffer


KINDS: dict[str, Callable[[_Kept], Any]] = {
    "a path": lambda kept: kept.path,
    "a str": lambda kept: str(kept.path),
    "bytes": lambda kept: CONTENT,
    "a bytearray": lambda kept: bytearray(CONTENT),
    "a memoryview": lambda kept: memoryview(CONTENT),
    "a memoryview with gaps": lambda kept: memoryview(bytes(2 * len(CONTENT)))[::2],
    "a BytesIO not at its start": lambda kept: _advanced(),
    "an open file": lambda kept: kept.opened(kept.path.open("rb")),
    "a file not at its start": lambda kept: kept.not_at_its_start(),
    "an unbuffered file": lambda kept: kept.not_at_its_start(buffering=0),
    "a file just written": lambda kept: kept.half_written(),
    "a file with unwritten bytes": lambda kept: kept.unwritten(),
    "a temporary file": lambda kept: kept.temporary(),
    "a GzipFile not at its start": lambda kept: kept.zipped(),
    "an object that reads": lambda kept: _OnlyReads(),
    "an async generator": lambda kept: _generated(),
}


@pytest.mark.parametrize("era", ["signed", "edge"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_source_arrives_byte_by_byte(era: str, kind: str, kept: _Kept) -> None:
    source = KINDS[kind](kept)
    due = bytes(len(CONTENT)) if "gaps" in kind else CONTENT
    async with scene(uploads=(era,)) as on:
        project = await on.client.projects.create(source, file_name="talk.wav")
        assert on.landed(project) == due
        assert project.size_bytes == len(due)
        assert len(on.parts()) == (1 if era == "signed" else 7)


async def test_a_file_object_keeps_its_place_and_stays_open(kept: _Kept) -> None:
    file = kept.not_at_its_start()
    async with scene() as on:
        await on.client.projects.create(file)
        assert file.tell() == len(HEAD)


async def test_memory_is_released_after_the_upload() -> None:
    """A bytearray can grow and a BytesIO can be closed after the upload."""
    growing, buffer = bytearray(CONTENT), io.BytesIO(CONTENT)
    async with scene() as on:
        await on.client.projects.create(growing)
        await on.client.projects.create(buffer)
    growing.append(0)
    buffer.close()


async def test_a_buffer_beyond_its_end_is_empty() -> None:
    (buffer := io.BytesIO(b"short")).seek(100)
    async with scene() as on:
        assert on.landed(await on.client.projects.create(buffer)) == b""


async def test_names_and_types_are_the_sources_own(kept: _Kept, tmp_path: Path) -> None:
    """A GzipFile has the name of its content; a name that is not UTF-8 is made valid."""
    odd = os.fsdecode(bytes(tmp_path) + b"/t\xe4lk.mp3")
    Path(odd).write_bytes(b"x")
    async with scene(uploads=("signed",)) as on:
        create = on.client.projects.create
        project = await create(kept.zipped())
        assert (project.file_name, project.content_type) == ("talk.wav", "audio/x-wav")
        project = await create(tmp_path / "talk.wav.gz")
        assert project.content_type == "application/octet-stream"
        project = await create(odd)
        assert (project.file_name, project.content_type) == ("t?lk.mp3", "audio/mpeg")
        assert (await create(b"x")).file_name == "recording"
        project = await create(b"x", file_name="a.flac", content_type="audio/x-my-own")
        assert (project.file_name, project.content_type) == ("a.flac", "audio/x-my-own")
        assert on.parts()[-1].headers["content-type"] == "audio/x-my-own"


async def test_an_empty_file_is_one_empty_part(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    for era in ("signed", "edge"):
        async with scene(uploads=(era,)) as on:
            assert on.landed(await on.client.projects.create(tmp_path / "empty.wav")) == b""
            (part,) = on.parts()
            assert part.headers["content-length"] == "0"


async def test_an_error_of_the_users_generator_is_raised_unchanged() -> None:
    ended = False

    async def broken() -> AsyncIterator[bytes]:
        nonlocal ended
        try:
            yield b"some"
            raise LookupError("the recorder is gone")
        finally:
            ended = True

    async with scene() as on:
        with pytest.raises(LookupError, match="the recorder is gone"):
            await on.client.projects.create(broken())
        assert on.sandbox.requests == []
    assert ended


async def test_a_generator_is_closed_where_the_upload_ends_early() -> None:
    ended = False

    async def endless() -> AsyncIterator[bytes]:
        nonlocal ended
        try:
            while True:
                yield bytes(PART)
        finally:
            ended = True

    async with scene(max_upload_bytes=10 * PART) as on:
        with pytest.raises(InvalidSource, match=f"more than the upload limit of {10 * PART:,}"):
            await on.client.projects.create(endless())
        assert on.sandbox.requests == []
    assert ended


async def test_text_is_refused(kept: _Kept) -> None:
    """A text-mode file, a generator of str and a reader of str are refused."""

    async def words() -> AsyncIterator[str]:
        yield "la"

    class Words:
        def read(self, size: int = -1) -> str:
            return "la"

    sources: list[Any] = [
        kept.opened(kept.path.open(encoding="latin-1")),
        io.StringIO("la"),
        words(),
        Words(),
    ]
    async with scene() as on:
        for source in sources:
            with pytest.raises(ConfigurationError, match="mode 'rb'"):
                await on.client.projects.create(source)
        assert on.sandbox.requests == []


class FileField:
    """As aiohttp's `FileField`, or with `stream` Werkzeug's `FileStorage`; `name` is the form's."""

    def __init__(self, at: str, file: BinaryIO) -> None:
        setattr(self, at, file)
        self.name, self.filename, self.content_type = "upload", "C:\\x\\talk.flac", "audio/x-flac"


class DjangoUpload:
    """As Django's `UploadedFile`: `read` and the name that the browser gave."""

    def __init__(self, content: bytes, content_type: str) -> None:
        self.name, self.content_type = "talk.mp3", content_type
        self._file = io.BytesIO(content)

    @property
    def read(self) -> Callable[[int], bytes]:
        """Of the file within."""
        return self._file.read


def received(**more: Any) -> Any:
    """Starlette's upload, which is FastAPI's as well."""
    return starlette_upload(io.BytesIO(CONTENT), **more)


FLAC = Headers({"content-type": "audio/x-flac"})
UPLOADS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "starlette": (
        lambda: received(filename="talk.flac", headers=FLAC),
        "talk.flac",
        "audio/x-flac",
    ),
    "starlette, without a type": (
        lambda: received(filename="x/talk.mp3"),
        "talk.mp3",
        "audio/mpeg",
    ),
    "starlette, without a name": (lambda: received(headers=FLAC), "recording", "audio/x-flac"),
    "litestar": (
        lambda: litestar_upload("audio/x-flac; charset=x", "talk.flac", CONTENT),
        "talk.flac",
        "audio/x-flac",
    ),
    "aiohttp": (lambda: FileField("file", io.BytesIO(CONTENT)), "talk.flac", "audio/x-flac"),
    "werkzeug": (lambda: FileField("stream", io.BytesIO(CONTENT)), "talk.flac", "audio/x-flac"),
    "django": (lambda: DjangoUpload(CONTENT, "audio/x-own"), "talk.mp3", "audio/x-own"),
    "django, as plain text": (
        lambda: DjangoUpload(CONTENT, "text/plain; charset=utf-8"),
        "talk.mp3",
        "audio/mpeg",
    ),
    "django, of unknown type": (
        lambda: DjangoUpload(CONTENT, "application/octet-stream"),
        "talk.mp3",
        "audio/mpeg",
    ),
}


@pytest.mark.parametrize("kind", UPLOADS)
async def test_uploads_of_web_frameworks_are_sources(kind: str) -> None:
    """With the file name and the content type that the browser sent."""
    made, name, content_type = UPLOADS[kind]
    source = made()
    async with scene() as on:
        project = await on.client.projects.create(source)
        assert on.landed(project) == CONTENT
        assert (project.file_name, project.content_type) == (name, content_type)
    if hasattr(source, "close"):
        await source.close()


async def test_a_part_of_a_multipart_request_is_a_source() -> None:
    """Aiohttp's `BodyPartReader` is read as it arrives, in chunks."""
    form = aiohttp.FormData()
    form.add_field("upload", CONTENT, filename="talk.flac", content_type="audio/x-flac")
    async with scene() as on:

        async def handle(request: web.Request) -> web.Response:
            part = await (await request.multipart()).next()
            assert isinstance(part, aiohttp.BodyPartReader)
            project = await on.client.projects.create(part)
            assert on.landed(project) == CONTENT
            return web.json_response(project.to_dict())

        app = web.Application(client_max_size=2**30)
        app.router.add_post("/", handle)
        async with TestClient(TestServer(app)) as browser:
            response = await (await browser.post("/", data=form)).json()
    assert (response["file_name"], response["content_type"]) == ("talk.flac", "audio/x-flac")


async def test_an_asynchronous_file_is_read_by_the_block(kept: _Kept) -> None:
    """Not line by line, as iterating over it would."""
    async with scene() as on, await anyio.open_file(kept.path, "rb") as file:
        project = await on.client.projects.create(file)
        assert on.landed(project) == CONTENT
        assert project.file_name == "talk.wav"


@pytest.mark.parametrize("kind", ["a SpooledTemporaryFile", "a member of a zip file", "mmap"])
async def test_file_objects_of_the_standard_library_are_sources(kind: str, kept: _Kept) -> None:
    async with scene() as on:
        with contextlib.ExitStack() as stack:
            source: Any
            if kind == "mmap":
                file = stack.enter_context(kept.path.open("rb"))
                source = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            elif kind == "a SpooledTemporaryFile":
                source = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=10))
                source.write(CONTENT)
                source.seek(0)
            else:
                packed = kept.path.with_suffix(".zip")
                with zipfile.ZipFile(packed, "w") as archive:
                    archive.write(kept.path, "folder/talk.wav")
                archive = stack.enter_context(zipfile.ZipFile(packed))
                source = stack.enter_context(archive.open("folder/talk.wav"))
            project = await on.client.projects.create(source)
        assert on.landed(project) == CONTENT
        assert project.file_name == ("talk.wav" if "zip" in kind else "recording")


async def test_an_upload_of_text_is_refused() -> None:
    """Whether it is read at once or awaited."""

    class Awaited:
        async def read(self, size: int) -> str:
            return "la"

    text: Any = tempfile.SpooledTemporaryFile(mode="w+")  # noqa: SIM115
    text.write("la")
    text.seek(0)
    async with scene() as on:
        sources: list[Any] = [Awaited(), text]
        for source in sources:
            with pytest.raises(ConfigurationError, match="mode 'rb'"):
                await on.client.projects.create(source)
        assert on.sandbox.requests == []
    text.close()
