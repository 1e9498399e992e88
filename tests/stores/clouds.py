"""Google Cloud Storage and Azure Blob Storage as servers on this machine.

Azure is Azurite, of which `azurite-blob` must be on the PATH (`npm install azurite`). The XML API
of Google is that of S3 with other headers: a relay translates them for the S3 server of the tests.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import io
import shutil
import subprocess
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web
from attrs import define
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

ACCOUNT = "devstoreaccount1"
#: The documented key of the emulator's account.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@define
class Cloud:
    """A bucket of a cloud, to which the environment points.

    Attributes:
        folder: URL of the bucket.
        requests: Methods and paths of the requests that a relay saw.
    """

    folder: str
    requests: list[str]


_REQUEST = {"x-goog-meta-": "x-amz-meta-", "x-goog-if-generation-match": "If-None-Match"}
#: It names the account for the S3 server, which does not verify it.
_S3_AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=tester/20260101/us-east-1/s3/aws4_request"
#: Headers of one connection, which are not forwarded.
_HOP = ("host", "authorization", "transfer-encoding", "connection", "content-length", "date")


def _translated(name: str, table: dict[str, str]) -> str:
    found = next((each for each in table if name.lower().startswith(each)), None)
    return name if found is None else table[found] + name[len(found) :]


@contextlib.asynccontextmanager
async def google(s3_endpoint: str, requests: list[str]) -> AsyncIterator[str]:
    """Run the relay; yield the base URL of Google Cloud Storage."""

    async def forward(request: web.Request) -> web.Response:
        requests.append(f"{request.method} {request.rel_url.raw_path_qs}")
        assert request.headers["Authorization"] == "Bearer token-of-the-tests"
        assert request.headers.get("x-goog-if-generation-match", "0") == "0"
        headers = {
            _translated(name, _REQUEST): "*" if name.lower().endswith("generation-match") else value
            for name, value in request.headers.items()
            if name.lower() not in _HOP
        }
        headers["Authorization"] = _S3_AUTHORIZATION
        url = s3_endpoint + request.rel_url.raw_path_qs
        target = URL(url, encoded=True)
        body = await request.read()
        async with session.request(
            request.method, target, data=io.BytesIO(body), headers=headers
        ) as received:
            content = await received.read()
            found = {
                _translated(name, {"x-amz-meta-": "x-goog-meta-"}): value
                for name, value in received.headers.items()
                if name.lower() not in _HOP or request.method == "HEAD"
            }
        response = web.Response(status=received.status, body=content, headers=found)
        response.force_close()
        return response

    app = web.Application(client_max_size=2**27)
    app.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@contextlib.contextmanager
def azurite(folder: Path) -> Iterator[str]:
    """Run Azurite; yield the endpoint of its account."""
    program = shutil.which("azurite-blob")
    if program is None:
        pytest.skip("azurite-blob is not on the PATH: npm install azurite")
    port = ["--blobHost", "127.0.0.1", "--blobPort", "0"]
    command = [program, *port, "--silent", "--skipApiVersionCheck", "--disableTelemetry"]
    with (folder / "azurite.log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--location", str(folder)], stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            assert server.stdout is not None
            listening = next(each for each in server.stdout if "successfully listens on" in each)
            yield f"{listening.split()[-1]}/{ACCOUNT}"
        finally:
            server.kill()
            server.wait()
            if server.stdout is not None:
                server.stdout.close()


async def azure_request(endpoint: str, method: str, path: str, **query: str) -> str:
    """Send a request that is signed with the key of the account; return the response."""
    headers = {"x-ms-date": formatdate(time.time(), usegmt=True), "x-ms-version": "2023-11-03"}
    signed = [method, *[""] * 11, *(f"{name}:{value}" for name, value in sorted(headers.items()))]
    resource = [f"/{ACCOUNT}/{ACCOUNT}/{path}", *(f"{key}:{query[key]}" for key in sorted(query))]
    text = "\n".join([*signed, *resource]).encode()
    digest = hmac.new(base64.b64decode(KEY), text, hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{base64.b64encode(digest).decode()}"
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            method,
            f"{endpoint}/{path}",
            params=query,
            headers=headers,
            skip_auto_headers=["Content-Type"],
        ) as received,
    ):
        content = await received.text()
        assert received.ok, content
        return content


async def azure_blobs(endpoint: str, container: str) -> list[str]:
    """Return the names of all blobs, also of those without content that was committed."""
    query = {"restype": "container", "comp": "list", "include": "uncommittedblobs"}
    text = await azure_request(endpoint, "GET", container, **query)
    return [each.partition("</Name>")[0] for each in text.split("<Name>")[1:]]
