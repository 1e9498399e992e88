"""What a handler answers, before anything is put on a socket."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from attrs import field, frozen


@frozen
class FileSlice:
    """A stretch of a file: `length` bytes from `start`."""

    path: Path
    start: int
    length: int


@frozen
class Response:
    """A whole answer; the body is bytes or a stretch of a file."""

    status: int
    headers: Mapping[str, str] = field(factory=dict)
    body: bytes | FileSlice = b""

    @property
    def length(self) -> int:
        """Bytes in the body."""
        return self.body.length if isinstance(self.body, FileSlice) else len(self.body)


class HttpError(Exception):
    """A request is answered with an error; each origin has its own spelling of it."""

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
    """Answer with a JSON object."""
    return Response(status, {"Content-Type": "application/json"}, json.dumps(body).encode())


def api_error_body(refusal: HttpError) -> Response:
    """Spell an error like the API: `{"error": "message", "code": "…"}`."""
    body: dict[str, Any] = {"error": refusal.message}
    if refusal.code is not None:
        body["code"] = refusal.code
    reply = json_response({**body, **refusal.extra}, refusal.status)
    return Response(reply.status, {**reply.headers, **refusal.headers}, reply.body)


def edge_error_body(refusal: HttpError) -> Response:
    """Spell an error like the upload host: `{"error": {"code": "…", "message": "…"}}`."""
    error = {"code": refusal.code or "bad_request", "message": refusal.message}
    reply = json_response({"error": error}, refusal.status)
    return Response(reply.status, {**reply.headers, **refusal.headers}, reply.body)


def media_error_body(refusal: HttpError) -> Response:
    """Spell an error like a storage host: a little XML."""
    text = (
        "<?xml version='1.0' encoding='UTF-8'?>"
        f"<Error><Code>{escape(refusal.code or 'InvalidRequest')}</Code>"
        f"<Message>{escape(refusal.message)}</Message></Error>"
    )
    headers = {"Content-Type": "application/xml; charset=UTF-8", **refusal.headers}
    return Response(refusal.status, headers, text.encode())
