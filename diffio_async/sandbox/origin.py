"""One origin: its handler, and the faults between that and the wire."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from diffio_async.sandbox.addresses import Addresses
from diffio_async.sandbox.disk import BATCH, Disk, read_slice
from diffio_async.sandbox.faults import (
    Action,
    Drop,
    DropAfter,
    FaultPlan,
    LoseResponse,
    RefuseBody,
    RespondWith,
    Stall,
    Truncate,
)
from diffio_async.sandbox.request import ConnectionCut, IncomingRequest
from diffio_async.sandbox.request_log import RequestLog, log
from diffio_async.sandbox.responses import FileSlice, HttpError, Response

Handler = Callable[[IncomingRequest], Awaitable[Response]]
ErrorBody = Callable[[HttpError], Response]

# How long a refused client may take to see the answer before its body is cut off.
_LOOK_UP = 0.25


class Origin:
    """Serves what one of the three hosts of the service does."""

    def __init__(
        self,
        name: str,
        handle: Handler,
        spell: ErrorBody,
        *,
        witness: RequestLog,
        faults: FaultPlan,
        disk: Disk,
        addresses: Addresses,
    ) -> None:
        self.name = name
        self._handle = handle
        self._error_body = spell
        self._request_log = witness
        self._faults = faults
        self._disk = disk
        self._addresses = addresses

    async def serve(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Answer a request; `path` is the one within this origin."""
        seen = self._request_log.record(
            self.name, request.method, path, request.query, request.headers
        )
        incoming = IncomingRequest(request, seen)
        try:
            self._addresses.refuse_foreign(self.name, request.method, request.headers)
        except HttpError as refusal:
            self._request_log.violation(seen, refusal.message)
            return await self._send(incoming, self._error_body(refusal), None)
        wait, fault = self._faults.match(self.name, request.method, path)
        action = None
        if fault is not None:
            seen.fault = fault.name
            action = fault.action
        if wait:
            await asyncio.sleep(wait)
        try:
            reply = await self._respond(incoming, action)
        except ConnectionCut:
            reply = None
        except ConnectionError:
            log.info("%s %s: the client went away", request.method, path)
            reply = None
        if reply is None:
            return _hang_up(request)
        response = await self._send(incoming, reply, action)
        if isinstance(action, RefuseBody):
            await asyncio.sleep(_LOOK_UP)
            _hang_up(request)
        return response

    async def _respond(self, incoming: IncomingRequest, action: Action | None) -> Response | None:
        """Decide the answer; None for a socket closed without one."""
        match action:
            case Drop():
                return None
            case RefuseBody(status, headers, body):
                return _scripted_response(status, {**headers, "Connection": "close"}, body, None)
            case RespondWith(status, headers, body, text):
                await incoming.drain()
                return _scripted_response(status, headers, body, text)
            case LoseResponse():
                await self._handled(incoming)
                return None
            case DropAfter(count):
                incoming.cut_after = count
        return await self._handled(incoming)

    async def _handled(self, incoming: IncomingRequest) -> Response:
        try:
            return await self._handle(incoming)
        except HttpError as refusal:
            return self._error_body(refusal)
        except (ConnectionCut, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 - one bad request must not end the server
            log.exception("the sandbox itself failed on %r", incoming.path)
            return self._error_body(HttpError(500, f"the sandbox itself failed: {error!r}"))

    async def _send(
        self, incoming: IncomingRequest, reply: Response, action: Action | None
    ) -> web.StreamResponse:
        headers = CIMultiDict({"x-request-id": incoming.record.request_id})
        headers.update(reply.headers)  # a scripted answer may bring its own
        shaped = isinstance(action, Truncate | Stall | RefuseBody)
        self._request_log.responded(incoming.record, reply.status)
        if isinstance(reply.body, bytes) and not shaped:
            return web.Response(status=reply.status, headers=headers, body=reply.body)
        response = web.StreamResponse(status=reply.status, headers=headers)
        response.content_length = reply.length
        await response.prepare(incoming.request)
        if incoming.method == "HEAD":
            return response
        # The head goes out before the body stalls, is cut, or is read from the disk.
        end = int(reply.length * action.fraction) if isinstance(action, Truncate) else reply.length
        pause = min(action.after, end) if isinstance(action, Stall) else end
        await self._write(response, reply.body, 0, pause)
        if isinstance(action, Stall):
            await asyncio.sleep(action.seconds)
            await self._write(response, reply.body, pause, end)
        if isinstance(action, Truncate):
            _hang_up(incoming.request)
            return response
        await response.write_eof()
        return response

    async def _write(
        self, response: web.StreamResponse, body: bytes | FileSlice, start: int, end: int
    ) -> None:
        if isinstance(body, bytes):
            await response.write(body[start:end])
            return
        while start < end:
            size = min(BATCH, end - start)
            chunk = await self._disk.run(read_slice, body.path, body.start + start, size)
            if not chunk:
                raise ConnectionError("the file became shorter while it was sent")
            await response.write(chunk)
            start += len(chunk)


def _scripted_response(status: int, headers: Any, body: Any, text: str | None) -> Response:
    kind = {}
    content = b""
    if body is not None:
        kind, content = {"Content-Type": "application/json"}, json.dumps(body).encode()
    elif text is not None:
        kind, content = {"Content-Type": "text/plain; charset=utf-8"}, text.encode()
    if any(name.lower() == "content-type" for name in headers):
        kind = {}
    return Response(status, {**kind, **headers}, content)


def _hang_up(request: web.BaseRequest) -> web.StreamResponse:
    """Close the connection; the response returned is for aiohttp's eyes and never leaves."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()
