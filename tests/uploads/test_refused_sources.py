"""Errors of sources are raised before a request is sent."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import (
    AsyncDiffio,
    ConfigurationError,
    InvalidResponse,
    InvalidSource,
    UploadFailed,
)
from diffio_async._uploads.open_source import open_source
from diffio_async.sandbox import Fault, RespondWith, Sandbox
from tests.uploads.scenes import PART, Scene, scene

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("_no_task_left")


@pytest.fixture
async def on() -> AsyncIterator[Scene]:
    """A scene whose sandbox must not receive any request."""
    async with scene(max_upload_bytes=PART) as made:
        yield made
        assert made.sandbox.requests == []


async def test_a_path_that_is_not_a_readable_file_is_named(on: Scene, tmp_path: Path) -> None:
    """The error names the problem: missing, a folder, empty, below a file, looping, with a null."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    refusals: list[tuple[Any, str]] = [
        (tmp_path / "missing.wav", "there is no file .*missing.wav"),
        (tmp_path, "is a folder: name a file in it"),
        ("", "the source's path is empty: name a file"),
        (tmp_path / "file" / "below.wav", "cannot be read: Not a directory"),
        (tmp_path / "loop", "cannot be read: Too many levels"),
        ("nu\0ll", "cannot be read: .*embedded null"),
    ]
    for path, why in refusals:
        with pytest.raises(InvalidSource, match=why):
            await on.client.projects.create(path)


async def test_a_path_to_a_pipe_or_a_device_is_refused_at_once(on: Scene, tmp_path: Path) -> None:
    """Opening a named pipe does not wait for a writer; the message describes the alternative."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero"):
        with pytest.raises(InvalidSource, match=r"not a regular file \(for a pipe, pass an"):
            await on.client.projects.create(path)


@pytest.fixture
def _not_root() -> Iterator[None]:
    """Act as another user during the test: root may read everything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    yield
    if root:
        os.seteuid(0)


@pytest.mark.usefixtures("_not_root")
async def test_a_file_without_permission_is_refused(on: Scene) -> None:
    with pytest.raises(InvalidSource, match="permission denied"):
        await on.client.projects.create("/etc/shadow")


async def test_an_unreadable_file_object_is_refused(on: Scene, tmp_path: Path) -> None:
    """It is write-only or closed, or fails when read; the original error is the cause."""
    path = tmp_path / "talk.wav"
    path.write_bytes(b"x")
    closed = path.open("rb")
    closed.close()

    class Broken:
        def read(self, size: int = -1) -> bytes:
            raise LookupError("the tape is torn")

    broken: Any = Broken()
    with path.open("ab") as write_only, path.open("ab", buffering=0) as raw:
        refusals = [
            (write_only, "not open for reading"),
            (raw, "not open for reading"),
            (closed, "closed file"),
            (broken, "the tape is torn"),
        ]
        for source, why in refusals:
            with pytest.raises(InvalidSource, match=why):
                await on.client.projects.create(source)


async def test_a_folder_that_cannot_be_read_as_a_file_object_is_refused(on: Scene) -> None:
    """The error of a reset socket becomes `InvalidSource`."""
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb") as source:
        ours.settimeout(0.01)
        with pytest.raises(InvalidSource, match="timed out"):
            await on.client.projects.create(source)


async def test_a_source_over_the_clients_limit_is_refused(on: Scene, tmp_path: Path) -> None:
    (tmp_path / "long.wav").write_bytes(bytes(PART + 1))
    for source in (tmp_path / "long.wav", bytes(PART + 1)):
        with pytest.raises(InvalidSource, match=r"65,537 bytes; the upload limit is 65,536"):
            await on.client.projects.create(source)


async def test_an_unsupported_source_is_refused(on: Scene) -> None:
    nothing: list[Any] = [None, 5, ["a.wav"], iter([b"x"])]
    for source in nothing:
        with pytest.raises(ConfigurationError, match="pass a path, bytes, a binary file object"):
            await on.client.projects.create(source)


async def test_invalid_arguments_are_refused_before_the_source_is_read(on: Scene) -> None:
    """A source that can be read only once is not consumed by a call that must fail."""
    read = False

    async def once() -> AsyncIterator[bytes]:
        nonlocal read
        read = True
        yield b"x"

    with pytest.raises(ConfigurationError, match="params"):
        await on.client.projects.create(once(), params={"a": object()})
    with pytest.raises(ConfigurationError, match="Content-Type"):
        await on.client.projects.create(once(), content_type="audio/wav\r\nX-Evil: 1")
    assert not read


async def test_a_source_over_the_offers_limit_sends_no_byte() -> None:
    """The limit of the offer is known after the project was created, whose id is in the error."""
    async with scene(max_bytes=PART) as on:
        with pytest.raises(InvalidSource, match="the upload limit is 65,536 bytes") as caught:
            await on.client.projects.create(bytes(PART + 1))
        assert caught.value.api_project_id == on.only_project()
        assert [seen.path for seen in on.sandbox.requests] == ["/v1/create_project"]


async def test_a_full_disk_while_spooling_is_an_invalid_source(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If a read-once source cannot be spooled, the message has the reason and a remedy."""
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")

    async def once() -> AsyncIterator[bytes]:
        yield b"x"

    with pytest.raises(InvalidSource, match=r"could not be kept .*TMPDIR"):
        async with open_source(once(), max_bytes=PART):
            pass


async def test_a_closed_client_raises() -> None:
    from diffio_async import ClientClosed

    client = AsyncDiffio("diffio_x", base_url="http://localhost:1")
    await client.aclose()
    with pytest.raises(ClientClosed):
        await client.projects.create(b"x")


@pytest.mark.parametrize("limit", [0, -5])
async def test_an_impossible_limit_is_ignored(
    client: AsyncDiffio, sandbox: Sandbox, limit: int
) -> None:
    """An invalid limit in the offer is ignored."""
    evil = offer(sandbox, maxBytes=limit)
    sandbox.faults.add(evil)
    with pytest.raises(UploadFailed) as caught:
        await client.projects.create(b"x" * 100, file_name="a.wav")
    assert "limit" not in str(caught.value)


@pytest.mark.parametrize("address", ["{}/#f", "{}/?a=b", "http://u:p@127.0.0.1/e"])
async def test_an_upload_url_that_cannot_be_extended_is_refused(
    client: AsyncDiffio, sandbox: Sandbox, address: str
) -> None:
    sandbox.faults.add(offer(sandbox, edgeBaseUrl=address.format(sandbox.edge_url)))
    with pytest.raises(UploadFailed, match="user, a query or a fragment") as caught:
        await client.projects.create(b"x" * 100, file_name="a.wav")
    assert isinstance(caught.value.__cause__, InvalidResponse)
    assert "u:p" not in str(caught.value)


def offer(sandbox: Sandbox, **more: object) -> Fault:
    """Return a fault that responds to `create_project` with an unusual offer."""
    found = {
        "edgeBaseUrl": sandbox.edge_url,
        "uploadToken": "token",
        "partSizeBytes": 5_242_880,
        **more,
    }
    response = {"apiProjectId": "proj_1", "upload": found}
    return Fault(path="/v1/create_project", action=RespondWith(json=response))
