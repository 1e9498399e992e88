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

#: Not a multiple of the part size, and more parts than are sent at once.
CONTENT = sound(6 * PART + 12_345)
HEAD = b"what was read already"


class _SourceFiles:
    """A recording in a folder, and files opened from it."""

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
        compressed = self.path.with_name("talk.wav.gz")
        compressed.write_bytes(gzip.compress(HEAD + CONTENT, 1))
        file = self.opened(gzip.open(compressed))  # noqa: SIM115 - closed by `close`
        file.read(len(HEAD))
        return file

    def half_written(self) -> Any:
        file = self.opened(self.path.open("w+b"))
        file.write(CONTENT)
        file.seek(0)
        return file

    def unwritten(self) -> Any:
        """Return a file whose first bytes are still in its write buffer."""
        self.path.write_bytes(bytes(100) + CONTENT[100:])
        file = self.opened(self.path.open("r+b"))
        file.read(200)
        file.seek(0)
        file.write(CONTENT[:100])
        file.seek(0)
        return file

    def temporary(self) -> Any:
        file = self.opened(tempfile.NamedTemporaryFile())  # noqa: SIM115 - closed by `close`
        file.write(CONTENT)
        file.seek(0)
        return file


@pytest.fixture
def files(tmp_path: Path) -> Iterator[_SourceFiles]:
    """A recording, and files opened from it, which are closed after the test."""
    source_files = _SourceFiles(tmp_path)
    yield source_files
    source_files.close()


class _OnlyReads:
    """A file object with only a `read` method."""

    def __init__(self) -> None:
        self._inner = io.BytesIO(CONTENT)

    def read(self, size: int = -1) -> bytes:
        return self._inner.read(size)


async def _generated() -> AsyncIterator[bytes | bytearray | memoryview]:
    """Yield chunks of several sizes and types; the items of the memoryview have four bytes."""
    yield CONTENT[:1]
    yield b""
    yield bytearray(CONTENT[1:3])
    yield memoryview(CONTENT[3:4003]).cast("I")
    yield CONTENT[4003:]


def _advanced() -> io.BytesIO:
    buffer = io.BytesIO(HEAD + CONTENT)
    buffer.seek(len(HEAD))
    return buffer


KINDS: dict[str, Callable[[_SourceFiles], Any]] = {
    "a path": lambda files: files.path,
    "a str": lambda files: str(files.path),
    "bytes": lambda files: CONTENT,
    "a bytearray": lambda files: bytearray(CONTENT),
    "a memoryview": lambda files: memoryview(CONTENT),
    "a memoryview with gaps": lambda files: memoryview(bytes(2 * len(CONTENT)))[::2],
    "a BytesIO not at its start": lambda files: _advanced(),
    "an open file": lambda files: files.opened(files.path.open("rb")),
    "a file not at its start": lambda files: files.not_at_its_start(),
    "an unbuffered file": lambda files: files.not_at_its_start(buffering=0),
    "a file just written": lambda files: files.half_written(),
    "a file with unwritten bytes": lambda files: files.unwritten(),
    "a temporary file": lambda files: files.temporary(),
    "a GzipFile not at its start": lambda files: files.zipped(),
    "an object that reads": lambda files: _OnlyReads(),
    "an async generator": lambda files: _generated(),
}


@pytest.mark.parametrize("upload_mode", ["signed", "edge"])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_source_arrives_byte_by_byte(
    upload_mode: str, kind: str, files: _SourceFiles
) -> None:
    source = KINDS[kind](files)
    expected = bytes(len(CONTENT)) if "gaps" in kind else CONTENT
    async with scene(uploads=(upload_mode,)) as on:
        project = await on.client.projects.create(source, file_name="talk.wav")
        assert on.uploaded_bytes(project) == expected
        assert project.size_bytes == len(expected)
        assert len(on.parts()) == (1 if upload_mode == "signed" else 7)


async def test_a_file_object_keeps_its_position_and_stays_open(files: _SourceFiles) -> None:
    file = files.not_at_its_start()
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
        assert on.uploaded_bytes(await on.client.projects.create(buffer)) == b""


async def test_names_and_types_are_taken_from_the_source(
    files: _SourceFiles, tmp_path: Path
) -> None:
    """A GzipFile has the name of its content; a name that is not UTF-8 is made valid."""
    odd = os.fsdecode(bytes(tmp_path) + b"/t\xe4lk.mp3")
    Path(odd).write_bytes(b"x")
    async with scene(uploads=("signed",)) as on:
        create = on.client.projects.create
        project = await create(files.zipped())
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
    for upload_mode in ("signed", "edge"):
        async with scene(uploads=(upload_mode,)) as on:
            assert on.uploaded_bytes(await on.client.projects.create(tmp_path / "empty.wav")) == b""
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


async def test_a_generator_is_closed_if_the_upload_ends_early() -> None:
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


async def test_text_is_refused(files: _SourceFiles) -> None:
    """A text-mode file, a generator of str and a reader of str are refused."""

    async def words() -> AsyncIterator[str]:
        yield "la"

    class Words:
        def read(self, size: int = -1) -> str:
            return "la"

    sources: list[Any] = [
        files.opened(files.path.open(encoding="latin-1")),
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
    """Imitation of aiohttp's `FileField`, or with `stream` of Werkzeug's `FileStorage`."""

    def __init__(self, at: str, file: BinaryIO) -> None:
        setattr(self, at, file)
        self.name, self.filename, self.content_type = "upload", "C:\\x\\talk.flac", "audio/x-flac"


class DjangoUpload:
    """Imitation of Django's `UploadedFile`."""

    def __init__(self, content: bytes, content_type: str) -> None:
        self.name, self.content_type = "talk.mp3", content_type
        self._file = io.BytesIO(content)

    @property
    def read(self) -> Callable[[int], bytes]:
        """Return the method of the inner file."""
        return self._file.read


def starlette_file(**more: Any) -> Any:
    """Return an `UploadFile` of Starlette, which FastAPI uses too."""
    return starlette_upload(io.BytesIO(CONTENT), **more)


FLAC = Headers({"content-type": "audio/x-flac"})
UPLOADS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "starlette": (
        lambda: starlette_file(filename="talk.flac", headers=FLAC),
        "talk.flac",
        "audio/x-flac",
    ),
    "starlette, without a type": (
        lambda: starlette_file(filename="x/talk.mp3"),
        "talk.mp3",
        "audio/mpeg",
    ),
    "starlette, without a name": (
        lambda: starlette_file(headers=FLAC),
        "recording",
        "audio/x-flac",
    ),
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
    """The file name and the content type are those that the browser sent."""
    create_source, name, content_type = UPLOADS[kind]
    source = create_source()
    async with scene() as on:
        project = await on.client.projects.create(source)
        assert on.uploaded_bytes(project) == CONTENT
        assert (project.file_name, project.content_type) == (name, content_type)
    if hasattr(source, "close"):
        await source.close()


@pytest.mark.parametrize("framework", ["starlette", "litestar", "none"])
async def test_an_upload_that_a_framework_wrote_to_a_file_is_not_copied(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read from its position, which does not change; buffered bytes are not left out."""
    source: Any
    if framework == "litestar":
        source = litestar_upload("audio/x-flac", "talk.flac", max_spool_size=10)
    else:
        spooled: Any = tempfile.SpooledTemporaryFile(max_size=10)  # noqa: SIM115
        source = spooled if framework == "none" else starlette_upload(spooled, headers=FLAC)
    file = getattr(source, "file", source)
    file.write(b"before" + CONTENT)
    file.seek(6)

    def copied(**_: object) -> None:
        pytest.fail("a second temporary file")

    monkeypatch.setattr("tempfile.TemporaryFile", copied)
    async with scene() as on:
        assert on.uploaded_bytes(await on.client.projects.create(source)) == CONTENT
    assert file.tell() == 6
    file.close()


async def test_a_part_of_a_multipart_request_is_a_source() -> None:
    """Aiohttp's `BodyPartReader` is read as it arrives, in chunks."""
    form = aiohttp.FormData()
    form.add_field("upload", CONTENT, filename="talk.flac", content_type="audio/x-flac")
    async with scene() as on:

        async def handle(request: web.Request) -> web.Response:
            part = await (await request.multipart()).next()
            assert isinstance(part, aiohttp.BodyPartReader)
            project = await on.client.projects.create(part)
            assert on.uploaded_bytes(project) == CONTENT
            return web.json_response(project.to_dict())

        app = web.Application(client_max_size=2**30)
        app.router.add_post("/", handle)
        async with TestClient(TestServer(app)) as browser:
            response = await (await browser.post("/", data=form)).json()
    assert (response["file_name"], response["content_type"]) == ("talk.flac", "audio/x-flac")


async def test_an_asynchronous_file_is_read_in_chunks(files: _SourceFiles) -> None:
    """It is not read line by line, as by iteration."""
    async with scene() as on, await anyio.open_file(files.path, "rb") as file:
        project = await on.client.projects.create(file)
        assert on.uploaded_bytes(project) == CONTENT
        assert project.file_name == "talk.wav"


@pytest.mark.parametrize("kind", ["a SpooledTemporaryFile", "a member of a zip file", "mmap"])
async def test_file_objects_of_the_standard_library_are_sources(
    kind: str, files: _SourceFiles
) -> None:
    async with scene() as on:
        with contextlib.ExitStack() as stack:
            source: Any
            if kind == "mmap":
                file = stack.enter_context(files.path.open("rb"))
                source = stack.enter_context(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            elif kind == "a SpooledTemporaryFile":
                source = stack.enter_context(tempfile.SpooledTemporaryFile(max_size=10))
                source.write(CONTENT)
                source.seek(0)
            else:
                compressed = files.path.with_suffix(".zip")
                with zipfile.ZipFile(compressed, "w") as archive:
                    archive.write(files.path, "folder/talk.wav")
                archive = stack.enter_context(zipfile.ZipFile(compressed))
                source = stack.enter_context(archive.open("folder/talk.wav"))
            project = await on.client.projects.create(source)
        assert on.uploaded_bytes(project) == CONTENT
        assert project.file_name == ("talk.wav" if "zip" in kind else "recording")


async def test_an_upload_of_text_is_refused() -> None:
    """The `read` method may be synchronous or asynchronous."""

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
