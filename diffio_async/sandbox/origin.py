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
    Answer,
    Drop,
    DropAfter,
    FaultBook,
    LoseAnswer,
    RefuseBody,
    Stall,
    Truncate,
)
from diffio_async.sandbox.incoming import CutOff, Incoming
from diffio_async.sandbox.replies import FileSlice, Refusal, Reply
from diffio_async.sandbox.witness import Witness, log

Handler = Callable[[Incoming], Awaitable[Reply]]
Spelling = Callable[[Refusal], Reply]

# How long a refused client may take to see the answer before its body is cut off.
_LOOK_UP = 0.25


class Origin:
    """Serves what one of the three hosts of the service does."""

    def __init__(
        self,
        name: str,
        handle: Handler,
        spell: Spelling,
        *,
        witness: Witness,
        faults: FaultBook,
        disk: Disk,
        addresses: Addresses,
    ) -> None:
        self.name = name
        self._handle = handle
        self._spell = spell
        self._witness = witness
        self._faults = faults
        self._disk = disk
        self._addresses = addresses

    async def serve(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Answer a request; `path` is the one within this origin."""
        seen = self._witness.see(self.name, request.method, path, request.query, request.headers)
        incoming = Incoming(request, seen)
        try:
            self._addresses.refuse_foreign(self.name, request.method, request.headers)
        except Refusal as refusal:
            self._witness.complain(seen, refusal.message)
            return await self._send(incoming, self._spell(refusal), None)
        wait, fault = self._faults.strike(self.name, request.method, path)
        action = None
        if fault is not None:
            seen.fault = fault.name
            action = fault.action
        if wait:
            await asyncio.sleep(wait)
        try:
            reply = await self._replied(incoming, action)
        except CutOff:
            reply = None
        if reply is None:
            return _hang_up(request)
        response = await self._send(incoming, reply, action)
        if isinstance(action, RefuseBody):
            await asyncio.sleep(_LOOK_UP)
            _hang_up(request)
        return response

    async def _replied(self, incoming: Incoming, action: Action | None) -> Reply | None:
        """Decide the answer; None for a socket closed without one."""
        match action:
            case Drop():
                return None
            case RefuseBody(status, headers, body):
                return _scripted(status, {**headers, "Connection": "close"}, body, None)
            case Answer(status, headers, body, text):
                await incoming.skim()
                return _scripted(status, headers, body, text)
            case LoseAnswer():
                await self._handled(incoming)
                return None
            case DropAfter(count):
                incoming.cut_after = count
        return await self._handled(incoming)

    async def _handled(self, incoming: Incoming) -> Reply:
        try:
            return await self._handle(incoming)
        except Refusal as refusal:
            return self._spell(refusal)
        except (CutOff, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 - one bad request must not end the server
            log.exception("the sandbox itself failed on %r", incoming.path)
            return self._spell(Refusal(500, f"the sandbox itself failed: {error!r}"))

    async def _send(
        self, incoming: Incoming, reply: Reply, action: Action | None
    ) -> web.StreamResponse:
        headers = CIMultiDict({"x-request-id": incoming.seen.request_id})
        headers.update(reply.headers)  # a scripted answer may bring its own
        shaped = isinstance(action, Truncate | Stall | RefuseBody)
        self._witness.answered(incoming.seen, reply.status)
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


def _scripted(status: int, headers: Any, body: Any, text: str | None) -> Reply:
    kind = {}
    content = b""
    if body is not None:
        kind, content = {"Content-Type": "application/json"}, json.dumps(body).encode()
    elif text is not None:
        kind, content = {"Content-Type": "text/plain; charset=utf-8"}, text.encode()
    if any(name.lower() == "content-type" for name in headers):
        kind = {}
    return Reply(status, {**kind, **headers}, content)


def _hang_up(request: web.BaseRequest) -> web.StreamResponse:
    """Close the connection; the response returned is for aiohttp's eyes and never leaves."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()
