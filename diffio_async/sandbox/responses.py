"""Responses of handlers, and the error formats of the origins."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from attrs import field, frozen


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
    """An error response; each origin has its own format for it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.headers = dict(headers or {})
        self.extra = extra


def json_response(body: Mapping[str, Any], status: int = 200) -> Response:
    """Return a response with a JSON object."""
    return Response(status, {"Content-Type": "application/json"}, json.dumps(body).encode())


def api_error_body(error: HttpError) -> Response:
    """Return an error response in the format of the API: `{"error": "message", "code": "…"}`."""
    body: dict[str, Any] = {"error": error.message}
    if error.code is not None:
        body["code"] = error.code
    reply = json_response({**body, **error.extra}, error.status)
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
