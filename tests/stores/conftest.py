"""An S3 server (moto's) in a process of its own, a bucket for each test, and a relay before it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
import subprocess
import sys
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field

from diffio_async._stores import connection, writing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

SECRET = "SECRETkeyOfTheTests0123456789"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need the S3 server, which starts in several seconds, as slow."""
    for item in items:
        if "s3_endpoint" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


_SERVER = "import sys; from moto.server import main; main(['-H', '127.0.0.1', '-p', '0'])"


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running S3 server."""
    pytest.importorskip("moto")
    with s3_server(tmp_path_factory.mktemp("s3") / "server.log") as endpoint:
        yield endpoint


@contextlib.contextmanager
def s3_server(log: Path) -> Iterator[str]:
    """Run an S3 server, which logs its requests; return its address."""
    # Compiled modules make the next start faster.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-c", _SERVER]
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            yield _address(server, log)
        finally:
            server.kill()
            server.wait()


def _address(server: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + 120
    while time.monotonic() < end and server.poll() is None:
        found = re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text())
        if found is not None:
            return found[1]
        time.sleep(0.05)
    pytest.fail(f"the S3 server did not start:\n{log.read_text()}")


@pytest.fixture(autouse=True)
def _only_local_stores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Remove the user's configuration of stores; no test requests those of an instance."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "tester")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)


@pytest.fixture(autouse=True)
def _nothing_left_open() -> Iterator[None]:
    """Close the connections of a test, which a program keeps for its next request."""
    yield
    connection._connections.clear()
    connection._memory.clear()
    writing._writable.clear()
    gc.collect()


@define
class Bucket:
    """A bucket of the S3 server, seen by another client than the one that is tested."""

    name: str
    endpoint: str
    client: Any

    def url(self, key: str = "") -> str:
        """Return the URL of an object."""
        return f"s3://{self.name}/{key}"

    def put(self, key: str, content: bytes) -> str:
        """Write an object, and return its URL."""
        self.client.put_object(Bucket=self.name, Key=key, Body=content)
        return self.url(key)

    def get(self, key: str) -> bytes:
        """Return the content of an object."""
        content: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return content

    def all_keys(self) -> list[str]:
        """Return the keys of all objects."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return [each["Key"] for page in pages for each in page.get("Contents", [])]

    def open_uploads(self) -> list[str]:
        """Return the keys of uploads in parts that were neither completed nor aborted."""
        found = self.client.list_multipart_uploads(Bucket=self.name)
        return [each["Key"] for each in found.get("Uploads", [])]

    def abort_uploads(self) -> None:
        """Abort uploads in parts, as a lifecycle rule would."""
        for each in self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", []):
            self.client.abort_multipart_upload(
                Bucket=self.name, Key=each["Key"], UploadId=each["UploadId"]
            )


@pytest.fixture
def s3(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A bucket with credentials in the environment; no open upload may remain in it."""
    boto3 = pytest.importorskip("boto3")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    with contextlib.closing(boto3.client("s3", endpoint_url=s3_endpoint)) as client:
        bucket = Bucket(f"test-{uuid.uuid4().hex[:12]}", s3_endpoint, client)
        client.create_bucket(Bucket=bucket.name)
        yield bucket
        assert bucket.open_uploads() == []


@define
class Relay:
    """A relay before the S3 server.

    Attributes:
        cut_after: Bytes of responses on one connection after which it is reset; None for no limit.
        cuts: Number of connections to reset.
        broken: Whether all connections are reset.
        received: Bytes of requests.
        lose: Pattern of the head of requests; the response to the first is lost. None for none.
        repeated: Response to the others, instead of that of the server; None for none.
        lost: Number of responses that were lost.
    """

    url: str = ""
    cut_after: int | None = None
    cuts: int = 0
    broken: bool = False
    received: int = 0
    lose: re.Pattern[bytes] | None = None
    repeated: bytes | None = None
    lost: int = 0
    losing: bool = False
    tasks: set[asyncio.Task[None]] = field(factory=set)

    async def serve(self, target: str, reader: Any, writer: Any) -> None:
        """Forward one connection."""
        host, port = target.removeprefix("http://").split(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._copy(reader, far_writer, writer, requests=True))
                group.create_task(self._copy(far_reader, writer, far_writer, requests=False))
        except* OSError:
            pass
        finally:
            writer.transport.abort()
            far_writer.transport.abort()

    async def _copy(self, reader: Any, writer: Any, back: Any, *, requests: bool) -> None:
        count = 0
        while block := await reader.read(65_536):
            count += len(block)
            if self.broken:
                raise ConnectionResetError
            if requests:
                self.received += len(block)
                if self.lose is not None and self.lose.match(block):
                    if self.lost and self.repeated is not None:
                        back.write(self.repeated)
                        continue
                    self.losing = not self.lost
            elif self.losing:
                self.losing, self.lost = False, 1
                raise ConnectionResetError
            elif self.cuts and self.cut_after is not None and count > self.cut_after:
                self.cuts -= 1
                raise ConnectionResetError
            writer.write(block)
            await writer.drain()
        raise ConnectionResetError


@contextlib.asynccontextmanager
async def relay_to(endpoint: str, relay: Relay) -> AsyncIterator[Relay]:
    """Run a relay before a server."""

    def accept(reader: Any, writer: Any) -> None:
        task = asyncio.get_running_loop().create_task(relay.serve(endpoint, reader, writer))
        relay.tasks.add(task)
        task.add_done_callback(relay.tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    relay.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield relay
    server.close()
    for task in relay.tasks:
        task.cancel()
    await asyncio.gather(*relay.tasks, return_exceptions=True)


@pytest.fixture
async def relay(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Relay]:
    """A relay, to which the environment points."""
    async with relay_to(s3.endpoint, Relay()) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.url)
        yield relay


@define
class Responder:
    """A server that gives one response to each request."""

    url: str = ""
    status: int = 200
    body: str = ""
    requests: list[str] = field(factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close the connection."""
        head = await reader.readuntil(b"\r\n\r\n")
        self.requests.append(head.partition(b"\r\n")[0].decode())
        body = self.body.encode()
        lines = [f"HTTP/1.1 {self.status} -", f"Content-Length: {len(body)}", "Connection: close"]
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def responder(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Responder]:
    """A server, to which the environment points."""
    responder = Responder()
    async with await asyncio.start_server(responder.serve, "127.0.0.1", 0) as server:
        responder.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL", responder.url)
        yield responder
