"""Minimal fast server: the parts of the API and its hosts that a transfer needs.

    python -m moving.sink [CERTIFICATE.pem] [--host ADDRESS]

Received bytes are counted and dropped; sent bytes repeat one block of noise. Sizes are encoded in
the ids, so that the processes of the connections need no memory in common but two counters.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import re
import secrets
import ssl
from typing import TYPE_CHECKING, Any

from moving.serving import listening, serve

if TYPE_CHECKING:
    import socket
    from pathlib import Path

PART = 32 * 1024 * 1024
BLOCK = random.Random(4).randbytes(1024 * 1024)  # noqa: S311 - noise, the same each time
_BUFFER = memoryview(bytearray(1024 * 1024))
_HEAD = re.compile(rb"(\w+) (\S+) HTTP/1\.1\r\n(.*)", re.DOTALL)
_bodies = multiprocessing.Value("i", 0)
_most = multiprocessing.Value("i", 0)


def content(start: int, length: int) -> bytes:
    """Return the bytes between two offsets of a result."""
    block = start % len(BLOCK)
    return (BLOCK[block:] + BLOCK * (length // len(BLOCK) + 1))[:length]


def check(path: Path, size: int) -> None:
    """Check the size and some bytes of a downloaded file."""
    found = path.stat().st_size
    if found != size:
        raise RuntimeError(f"{found:,} of {size:,} bytes are in the file")
    with path.open("rb") as file:
        for offset in range(0, size, max(1, size // 7)):
            file.seek(offset)
            length = min(4096, size - offset)
            if file.read(length) != content(offset, length):
                raise RuntimeError(f"other bytes than were served are at {offset:,}")


class Conversation:
    """The requests of one connection."""

    def __init__(self, connection: socket.socket, scheme: str) -> None:
        self._connection = connection
        self._scheme = scheme
        self._rest = b""
        self._headers: dict[str, str] = {}

    def run(self) -> None:
        """Respond until the client disconnects."""
        while True:
            method, path = self._head()
            length = int(self._headers.get("content-length", 0))
            if self._headers.get("expect"):
                self._connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            if method == "PUT":
                self._swallow(length)
                self._put(path, length)
            elif method == "POST":
                body = self._body(length)
                self._send_json(self._post(path, json.loads(body or b"{}")))
            elif path == "/stats":
                self._stats()
            else:
                self._media(path, head=method == "HEAD")

    def _head(self) -> tuple[str, str]:
        while b"\r\n\r\n" not in self._rest:
            self._rest += self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        found = _HEAD.fullmatch(head)
        if found is None:
            raise EOFError
        lines = (line.split(":", 1) for line in found[3].decode("latin-1").split("\r\n"))
        self._headers = {name.strip().lower(): value.strip() for name, value in lines}
        return found[1].decode(), found[2].decode()

    def _more(self) -> bytes:
        data = self._connection.recv(65536)
        if not data:
            raise EOFError
        return data

    def _body(self, length: int) -> bytes:
        while len(self._rest) < length:
            self._rest += self._more()
        body, self._rest = self._rest[:length], self._rest[length:]
        return body

    def _swallow(self, length: int) -> None:
        with _bodies.get_lock():
            _bodies.value += 1
            _most.value = max(_most.value, _bodies.value)
        try:
            left = length - len(self._rest)
            self._rest = b""
            while left > 0:
                size = self._connection.recv_into(_BUFFER, min(left, len(_BUFFER)))
                if not size:
                    raise EOFError
                left -= size
        finally:
            with _bodies.get_lock():
                _bodies.value -= 1

    def _put(self, path: str, length: int) -> None:
        self._send_json({"etag": f'"{path.partition("?")[0].rpartition("/")[2]}-{length}"'})

    def _post(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        here = f"{self._scheme}://{self._headers['host']}"
        match path.rpartition("/")[2]:
            case "create_project":
                return _project(request, here, signed=path.startswith("/signed/"))
            case "start":
                return {"uploadId": secrets.token_hex(8), "partSizeBytes": PART}
            case "complete_project_upload":
                project = request["apiProjectId"]
                size = int(project.split("-")[1])
                return {"apiProjectId": project, "status": "uploaded", "sizeBytes": size}
            case "get_generation_download":
                size = int(request["generationId"].split("-")[1])
                return {
                    **{name: request[name] for name in ("generationId", "apiProjectId")},
                    "downloadType": "audio",
                    "downloadUrl": f"{here}/media/{size}?signature=none",
                    "fileName": "restored.mp3",
                    "storagePath": "results/restored.mp3",
                    "mimeType": "audio/mpeg",
                }
            case "get_generation_progress":
                stage = {"status": "complete", "progress": 100}
                return {
                    **{name: request[name] for name in ("generationId", "apiProjectId")},
                    "status": "complete",
                    "hasVideo": False,
                    "preProcessing": stage,
                    "inference": stage,
                }
            case name if name.endswith("-generation"):
                project = request["apiProjectId"]
                # Its result has the size of the recording.
                generation = project.replace("p-", "g-", 1)
                return {"generationId": generation, "apiProjectId": project, "status": "queued"}
            case _:
                return {}

    def _send_json(self, response: dict[str, Any]) -> None:
        body = json.dumps(response).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        self._connection.sendall(head.encode() + b"\r\n\r\n" + body)

    def _stats(self) -> None:
        """Send the maximum number of concurrent bodies since the last request."""
        with _bodies.get_lock():
            self._send_json({"at_once": _most.value})
            _most.value = 0

    def _media(self, path: str, *, head: bool) -> None:
        total = int(path.partition("?")[0].rpartition("/")[2])
        start, end, status, extra = 0, total, "200 OK", ""
        request = re.fullmatch(r"bytes=(\d+)-(\d*)", self._headers.get("range", ""))
        if request is not None:
            start, end = int(request[1]), min(total, int(request[2] or total) + 1)
            status = "206 Partial Content"
            extra = f"Content-Range: bytes {start}-{end - 1}/{total}\r\n"
        self._connection.sendall(
            f"HTTP/1.1 {status}\r\nContent-Type: audio/mpeg\r\n{extra}Accept-Ranges: bytes\r\n"
            f'ETag: "{total}"\r\nContent-Length: {end - start}\r\n\r\n'.encode()
        )
        if head:
            return
        with _bodies.get_lock():
            _bodies.value += 1
            _most.value = max(_most.value, _bodies.value)
        try:
            view = memoryview(BLOCK)
            while start < end:
                piece = view[start % len(BLOCK) :][: end - start]
                self._connection.sendall(piece)
                start += len(piece)
        finally:
            with _bodies.get_lock():
                _bodies.value -= 1


def _project(request: dict[str, Any], here: str, *, signed: bool) -> dict[str, Any]:
    project = f"p-{request.get('contentLength') or 0}-{secrets.token_hex(4)}"
    response: dict[str, Any] = {
        "apiProjectId": project,
        "objectPath": f"uploads/{project}",
        "expiresAt": "2099-01-01T00:00:00Z",
    }
    if signed:
        url = f"{here}/bucket/{project}?signature=none"
        return {**response, "uploadUrl": url, "uploadMethod": "PUT", "bucket": "bucket"}
    response["upload"] = {
        "uploadSessionId": project,
        "edgeBaseUrl": here,
        "uploadToken": "token",
        "objectKey": f"uploads/{project}",
        "partSizeBytes": PART,
        "maxBytes": 2 * 1024**3,
        "expiresAt": "2099-01-01T00:00:00Z",
    }
    return response


def main() -> None:
    """Serve until killed."""
    given = argparse.ArgumentParser()
    given.add_argument("certificate", nargs="?")
    given.add_argument("--host", default="127.0.0.1")
    options = given.parse_args()
    context: ssl.SSLContext | None = None
    if options.certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(options.certificate)

    def handle(connection: socket.socket) -> None:
        if context is None:
            Conversation(connection, "http").run()
        else:
            with context.wrap_socket(connection, server_side=True) as secured:
                Conversation(secured, "https").run()

    serve(listening(host=options.host), handle)


if __name__ == "__main__":
    main()
