"""HTTP servers of the origins: listening ports, request logs and injected faults."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from diffio_async.sandbox.access import Addresses
from diffio_async.sandbox.api import ServerContext
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
from diffio_async.sandbox.messages import (
    ConnectionCut,
    FileSlice,
    HttpError,
    IncomingRequest,
    Response,
)
from diffio_async.sandbox.request_log import log
from diffio_async.sandbox.storage import BATCH_BYTES, Disk, read_slice

Handler = Callable[[IncomingRequest], Awaitable[Response]]
PageHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
ErrorBody = Callable[[HttpError], Response]

# Time for a client to read the response of `RefuseBody` before the connection is closed.
_REFUSAL_GRACE_SECONDS = 0.25


class Origin:
    """One of the three hosts of the service: a handler behind the faults."""

    def __init__(
        self,
        name: str,
        context: ServerContext,
        faults: FaultPlan,
        handle: Handler,
        error_body: ErrorBody,
    ) -> None:
        self.name = name
        self._handle = handle
        self._error_body = error_body
        self._request_log = context.request_log
        self._faults = faults
        self._disk = context.disk
        self._addresses = context.addresses

    async def serve(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        """Serve a request; `path` is the path within this origin."""
        record = self._request_log.record(
            self.name, request.method, path, request.query, request.headers
        )
        incoming = IncomingRequest(request, record)
        try:
            self._addresses.require_own_host(self.name, request.method, request.headers)
        except HttpError as error:
            return await self._send(incoming, self._error_response(incoming, error), None)
        wait, fault = self._faults.match(self.name, request.method, path)
        action = None
        if fault is not None:
            record.fault = fault.name
            action = fault.action
        if wait:
            await asyncio.sleep(wait)
        response = None
        try:
            reply = await self._respond(incoming, action)
            if reply is not None:
                response = await self._send(incoming, reply, action)
        except ConnectionCut:
            pass
        except ConnectionError:
            log.info("%s %s: the client went away", request.method, path)
        if response is None:
            return close_connection(request)
        if isinstance(action, RefuseBody):
            await asyncio.sleep(_REFUSAL_GRACE_SECONDS)
            close_connection(request)
        return response

    async def _respond(self, incoming: IncomingRequest, action: Action | None) -> Response | None:
        """Return the response, or None to close the connection without one."""
        match action:
            case Drop():
                return None
            case RefuseBody(status, headers, body):
                return _scripted_response(status, {**headers, "Connection": "close"}, body, None)
            case RespondWith(status, headers, body, text):
                await incoming.drain()
                return _scripted_response(status, headers, body, text)
            case LoseResponse():
                await self._call_handler(incoming)
                return None
            case DropAfter(count):
                incoming.cut_after = count
        return await self._call_handler(incoming)

    async def _call_handler(self, incoming: IncomingRequest) -> Response:
        try:
            return await self._handle(incoming)
        except HttpError as error:
            return self._error_response(incoming, error)
        except (ConnectionCut, ConnectionError):
            raise
        except Exception as error:  # noqa: BLE001 - a bug must not stop the server
            log.exception("internal error of the sandbox on %r", incoming.path)
            return self._error_body(HttpError(500, f"internal error of the sandbox: {error!r}"))

    def _error_response(self, incoming: IncomingRequest, error: HttpError) -> Response:
        if error.is_violation:
            self._request_log.violation(incoming.record, error.message)
        return self._error_body(error)

    async def _send(
        self, incoming: IncomingRequest, reply: Response, action: Action | None
    ) -> web.StreamResponse:
        headers = CIMultiDict({"x-request-id": incoming.record.request_id})
        headers.update(reply.headers)  # a scripted response may override it
        is_streamed = isinstance(action, Truncate | Stall | RefuseBody)
        self._request_log.responded(incoming.record, reply.status)
        if isinstance(reply.body, bytes) and not is_streamed:
            return web.Response(status=reply.status, headers=headers, body=reply.body)
        response = web.StreamResponse(status=reply.status, headers=headers)
        response.content_length = reply.length
        await response.prepare(incoming.request)
        if incoming.method == "HEAD":
            return response
        # The head is sent before the body stalls, is truncated, or is read from the disk.
        end = int(reply.length * action.fraction) if isinstance(action, Truncate) else reply.length
        pause = min(action.after, end) if isinstance(action, Stall) else end
        await _write(self._disk, response, reply.body, 0, pause)
        if isinstance(action, Stall):
            await asyncio.sleep(action.seconds)
            await _write(self._disk, response, reply.body, pause, end)
        if isinstance(action, Truncate):
            close_connection(incoming.request)
            return response
        await response.write_eof()
        return response


async def send_response(
    request: web.BaseRequest, reply: Response, disk: Disk
) -> web.StreamResponse:
    """Send a response without faults; return it as aiohttp expects it."""
    if isinstance(reply.body, bytes):
        return web.Response(status=reply.status, headers=reply.headers, body=reply.body)
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    response.content_length = reply.length
    await response.prepare(request)
    if request.method != "HEAD":
        await _write(disk, response, reply.body, 0, reply.length)
    await response.write_eof()
    return response


async def _write(
    disk: Disk, response: web.StreamResponse, body: bytes | FileSlice, start: int, end: int
) -> None:
    if isinstance(body, bytes):
        await response.write(body[start:end])
        return
    while start < end:
        size = min(BATCH_BYTES, end - start)
        chunk = await disk.run(read_slice, body.path, body.start + start, size)
        if not chunk:
            raise OSError("the file became shorter while it was sent")
        await response.write(chunk)
        start += len(chunk)


def _scripted_response(status: int, headers: Any, body: Any, text: str | None) -> Response:
    type_header = {}
    content = b""
    if body is not None:
        type_header, content = {"Content-Type": "application/json"}, json.dumps(body).encode()
    elif text is not None:
        type_header, content = {"Content-Type": "text/plain; charset=utf-8"}, text.encode()
    if any(name.lower() == "content-type" for name in headers):
        type_header = {}
    return Response(status, {**type_header, **headers}, content)


def close_connection(request: web.BaseRequest) -> web.StreamResponse:
    """Close the connection, and return the response that aiohttp expects; it is never sent."""
    if request.transport is not None:
        request.transport.close()
    return web.Response()


class Listener:
    """A listening port for one origin, or for several by the first part of the path.

    Args:
        origins: The origins by name.
        addresses: Gets the port of each origin.
        page: The handler of the web page, if it is on this port.
    """

    def __init__(
        self, origins: Mapping[str, Origin], addresses: Addresses, page: PageHandler | None = None
    ) -> None:
        self._origins = origins
        self._page = page
        self._addresses = addresses
        self._runner: web.ServerRunner | None = None
        self._serving: set[asyncio.Task[Any]] = set()

    async def open(self, host: str, port: int) -> None:
        """Listen on a port; 0 selects any free one.

        Raises:
            OSError: The port is not available.
        """
        # Bodies are stored as sent, without decompression.
        server = web.Server(self._serve, access_log=None, auto_decompress=False, read_bufsize=2**18)
        runner = web.ServerRunner(server, shutdown_timeout=0.05)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        for name in self._origins:
            self._addresses.ports[name] = runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening, and cancel the requests in progress."""
        if self._runner is None:
            return
        # asyncio leaks a connection that it has accepted, but not begun to serve. Timers run after
        # the accepts of their iteration; `sleep(0)` may run before them.
        await asyncio.sleep(0.001)
        for site in self._runner.sites:
            await site.stop()
        # aiohttp cancels requests that stall on purpose, but does not wait until they have ended.
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._runner.cleanup()
        self._runner = None

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        if self._page is not None and (request.path == "/" or request.path.startswith("/page/")):
            return await self._page(request)
        name, path = self._addresses.split(self._origins, request.path)
        return await self._origins[name].serve(request, path)
