"""HTTP messages as handlers see them: requests, the fields of their JSON, and responses."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from aiohttp import web
from attrs import field, frozen

from diffio_async.sandbox.request_log import RecordedRequest


@frozen
class FileSlice:
    """A part of a file: `length` bytes from `start`."""

    path: Path
    start: int
    length: int


@frozen
class Response:
    """A complete response; its body is bytes or a part of a file."""

    status: int
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes | FileSlice = b""

    @property
    def length(self) -> int:
        """The number of bytes in the body."""
        return self.body.length if isinstance(self.body, FileSlice) else len(self.body)


class HttpError(Exception):
    """An error response; each origin has its own format for it.

    With `is_violation`, the request is also recorded as a violation of the contract.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        is_violation: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
        self.is_violation = is_violation


def json_response(body: Mapping[str, Any], status: int = 200) -> Response:
    """Return a response with a JSON object."""
    return Response(status, {"Content-Type": "application/json"}, json.dumps(body).encode())


def api_error_body(error: HttpError) -> Response:
    """Return an error response in the format of the API: `{"error": "message", "code": "…"}`."""
    body: dict[str, Any] = {"error": error.message}
    if error.code is not None:
        body["code"] = error.code
    reply = json_response(body, error.status)
    return Response(reply.status, {**reply.headers, **error.headers}, reply.body)


def edge_error_body(error: HttpError) -> Response:
    """Return an error response of the upload host: `{"error": {"code": …, "message": …}}`."""
    details = {"code": error.code or "bad_request", "message": error.message}
    reply = json_response({"error": details}, error.status)
    return Response(reply.status, {**reply.headers, **error.headers}, reply.body)


def media_error_body(error: HttpError) -> Response:
    """Return an error response in the XML format of a storage host."""
    text = (
        "<?xml version='1.0' encoding='UTF-8'?>"
        f"<Error><Code>{escape(error.code or 'InvalidRequest')}</Code>"
        f"<Message>{escape(error.message)}</Message></Error>"
    )
    headers = {"Content-Type": "application/xml; charset=UTF-8", **error.headers}
    return Response(error.status, headers, text.encode())


JSON_LIMIT = 1024 * 1024


class ConnectionCut(Exception):
    """A fault closed the connection in the middle of the request."""


class IncomingRequest:
    """A request as handlers see it; its body is read in chunks and counted."""

    def __init__(self, request: web.BaseRequest, record: RecordedRequest) -> None:
        self.request = request
        self.record = record
        self.method = request.method
        self.path = record.path
        self.query = request.query
        self.headers = request.headers
        self.cut_after: int | None = None
        self._continued = "100-continue" not in request.headers.get("Expect", "").lower()

    @property
    def declared_length(self) -> int | None:
        """The declared length of the body."""
        return self.request.content_length

    async def read_some(self) -> bytes:
        """Return the next bytes of the body; b"" at its end."""
        if not self._continued:
            self._continued = True
            await self.request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        chunk = await self.request.content.readany()
        self.record.bytes_received += len(chunk)
        if self.cut_after is not None and self.record.bytes_received >= self.cut_after:
            raise ConnectionCut
        return chunk

    async def json_object(self) -> dict[str, Any]:
        """Return the body as a JSON object.

        Raises:
            HttpError: 400 if it is not a JSON object, 413 if it exceeds 1 MiB.
        """
        content_type = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        text = bytearray()
        while chunk := await self.read_some():
            text += chunk
            if len(text) > JSON_LIMIT:
                raise HttpError(
                    413, "the request body is over 1 MiB", code="bodyTooLarge", is_violation=True
                )
        if content_type != "application/json":
            received = content_type or "nothing"
            raise _bad_body(f"Content-Type must be application/json, not {received}")
        try:
            body = json.loads(text)
        except ValueError as error:
            raise _bad_body(f"the request body is not JSON: {error}") from error
        except RecursionError:
            raise _bad_body("the request body is nested too deeply") from None
        self.record.json = body
        if not isinstance(body, dict):
            raise _bad_body("the request body must be a JSON object")
        return body

    async def drain(self) -> None:
        """Read the body to its end, only to record it."""
        text = bytearray()
        while chunk := await self.read_some():
            if len(text) <= JSON_LIMIT:
                text += chunk
        if "json" in self.headers.get("Content-Type", ""):
            try:
                self.record.json = json.loads(text)
            except (ValueError, RecursionError):
                self.record.json = None


def _bad_body(message: str) -> HttpError:
    return HttpError(400, message, is_violation=True)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Fields:
    """The fields of a JSON body; an invalid field raises a 400 that names it."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self._body = body

    def unknown(self, known: Collection[str]) -> list[str]:
        """Return the names of the fields that are not in `known`."""
        return sorted(set(self._body) - set(known))

    def has(self, name: str) -> bool:
        """Return whether a field was sent."""
        return name in self._body

    def text(self, name: str, *, max_length: int | None = None) -> str:
        """Return a required, non-empty string."""
        value = self._body.get(name)
        if name not in self._body:
            raise HttpError(400, f"{name} is required")
        if not isinstance(value, str):
            raise HttpError(400, f"{name} must be a string")
        if not value.strip():
            raise HttpError(400, f"{name} must not be empty")
        if not _is_unicode(value):
            raise HttpError(400, f"{name} contains an unpaired surrogate")
        if max_length is not None and len(value) > max_length:
            raise HttpError(400, f"{name} must have at most {max_length} characters")
        return value

    def optional_text(self, name: str, *, max_length: int | None = None) -> str | None:
        """Return an optional string."""
        return self.text(name, max_length=max_length) if name in self._body else None

    def choice(self, name: str, choices: Collection[str]) -> str:
        """Return a required string that is one of the choices."""
        value = self.text(name)
        if value not in choices:
            raise HttpError(400, f"{name} must be one of {', '.join(sorted(choices))}")
        return value

    def count(self, name: str) -> int | None:
        """Return an optional non-negative integer."""
        if name not in self._body:
            return None
        value = self._body[name]
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise HttpError(400, f"{name} must be a non-negative integer")
        return value

    def mapping(self, name: str) -> dict[str, Any] | None:
        """Return an optional object."""
        if name not in self._body:
            return None
        value = self._body[name]
        if not isinstance(value, dict):
            raise HttpError(400, f"{name} must be an object")
        return dict(value)

    def required_mapping(self, name: str) -> dict[str, Any]:
        """Return a required object."""
        value = self.mapping(name)
        if value is None:
            raise HttpError(400, f"{name} is required")
        return value

    def choices(self, name: str, choices: Collection[str], *, min_items: int = 0) -> list[str]:
        """Return a required list of strings from the choices, without duplicates."""
        if name not in self._body:
            raise HttpError(400, f"{name} is required")
        value = self._body[name]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise HttpError(400, f"{name} must be a list of strings")
        unknown_items = sorted(set(value) - set(choices))
        if unknown_items:
            raise HttpError(400, f"{name} has unknown entries: {', '.join(unknown_items)}")
        if len(value) < min_items:
            raise HttpError(400, f"{name} must not be empty")
        return list(dict.fromkeys(value))

    def objects(self, name: str) -> list[dict[str, Any]]:
        """Return a required, non-empty list of objects."""
        value = self._body.get(name)
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            raise HttpError(400, f"{name} must be a list of objects")
        if not value:
            raise HttpError(400, f"{name} must not be empty")
        return value
