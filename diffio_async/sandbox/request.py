"""A request on its way in, read in pieces and counted."""

import json
from typing import Any

from aiohttp import web

from diffio_async.sandbox.request_log import RecordedRequest
from diffio_async.sandbox.responses import HttpError

JSON_LIMIT = 1024 * 1024


class ConnectionCut(Exception):
    """The connection was closed on purpose in the middle of the request."""


class IncomingRequest:
    """What a handler may know of a request."""

    def __init__(self, request: web.BaseRequest, seen: RecordedRequest) -> None:
        self.request = request
        self.record = seen
        self.method = request.method
        self.path = seen.path
        self.query = request.query
        self.headers = request.headers
        self.cut_after: int | None = None
        self._continued = "100-continue" not in request.headers.get("Expect", "").lower()

    @property
    def declared_length(self) -> int | None:
        """The body's length as the client declared it."""
        return self.request.content_length

    async def read_some(self) -> bytes:
        """Read what has arrived of the body; b"" at its end."""
        if not self._continued:
            self._continued = True
            await self.request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        chunk = await self.request.content.readany()
        self.record.bytes_received += len(chunk)
        if self.cut_after is not None and self.record.bytes_received >= self.cut_after:
            raise ConnectionCut
        return chunk

    async def json_object(self) -> dict[str, Any]:
        """Read the body as a JSON object.

        Raises:
            Refusal: 400 when it is none, 413 when it is over a megabyte.
        """
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        text = bytearray()
        while chunk := await self.read_some():
            text += chunk
            if len(text) > JSON_LIMIT:
                raise HttpError(413, "the request body is over 1 MiB", code="bodyTooLarge")
        if kind != "application/json":
            found = kind or "nothing"
            raise HttpError(400, f"Content-Type must be application/json, not {found}")
        try:
            body = json.loads(text)
        except ValueError as error:
            raise HttpError(400, f"the request body is not JSON: {error}") from error
        except RecursionError:
            raise HttpError(400, "the request body is nested too deeply") from None
        self.record.json = body
        if not isinstance(body, dict):
            raise HttpError(400, "the request body must be a JSON object")
        return body

    async def drain(self) -> None:
        """Read the body to its end for the record alone."""
        text = bytearray()
        while chunk := await self.read_some():
            if len(text) <= JSON_LIMIT:
                text += chunk
        if "json" in self.headers.get("Content-Type", ""):
            try:
                self.record.json = json.loads(text)
            except (ValueError, RecursionError):
                self.record.json = None
