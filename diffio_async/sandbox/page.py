"""The web page of the sandbox: its routes, who may use them, and its live updates.

The page shows recordings and can start work without an API key. Therefore it is served only to
browsers on this machine, under a name of this machine; changes need a token that only the page
itself can read.
"""

import asyncio
import hmac
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from aiohttp import web

from diffio_async.sandbox.access import PAGE, hostname_of
from diffio_async.sandbox.api import ApiCall, ServerContext
from diffio_async.sandbox.api_projects import complete_upload, create_generation, create_project
from diffio_async.sandbox.faults import FaultPlan, PlanError, read_plan
from diffio_async.sandbox.messages import (
    Fields,
    HttpError,
    IncomingRequest,
    Response,
    api_error_body,
    json_response,
)
from diffio_async.sandbox.origin import close_connection, send_response
from diffio_async.sandbox.page_comparison import Comparisons
from diffio_async.sandbox.page_state import PageState
from diffio_async.sandbox.request_log import RecordedRequest, log
from diffio_async.sandbox.settings import is_loopback
from diffio_async.sandbox.state import ROOT_KEY_ID, Generation, Project
from diffio_async.sandbox.transfers import Media, receive_source

#: Seconds between two comparisons of what the page shows with the state.
_UPDATE_SECONDS = 0.3
#: Seconds after which an idle connection for updates gets a comment, so that its end is noticed.
_COMMENT_SECONDS = 15.0

_SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

#: Content types by suffix of the page's own files.
_ASSET_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}
_TOKEN_FIELD = "{{token}}"  # noqa: S105 - replaced by the token of this run


class Page:
    """Handler of the page: `/` and everything below `/page/` on the port of the API.

    Its requests are not recorded and get no faults: they are not those of a client under test.
    """

    def __init__(self, context: ServerContext, faults: FaultPlan, media: Media) -> None:
        self._context = context
        self._faults = faults
        self._media = media
        self._state = PageState(context, faults)
        self._comparisons = Comparisons(context)
        self._token = secrets.token_urlsafe(24)

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request."""
        record = RecordedRequest(
            origin=PAGE,
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers={},
            at=0.0,
            request_id="page",
        )
        incoming = IncomingRequest(request, record)
        try:
            self._require_local(request)
            if request.path == "/page/updates":
                _require_method(incoming, "GET")
                return await self._send_updates(request)
            response = await self._respond(incoming)
        except HttpError as error:
            response = api_error_body(error)
        except PlanError as error:
            response = api_error_body(HttpError(400, str(error)))
        except ConnectionError:
            return close_connection(request)
        except Exception as error:  # noqa: BLE001 - a bug must not stop the server
            log.exception("internal error of the page on %r", request.path)
            response = api_error_body(HttpError(500, f"internal error of the sandbox: {error!r}"))
        headers = {**_SECURITY_HEADERS, **response.headers}
        return await send_response(
            request, Response(response.status, headers, response.body), self._context.disk
        )

    def _require_local(self, request: web.BaseRequest) -> None:
        """Check that a browser on this machine sends the request, from the page itself.

        Raises:
            HttpError: 400, 403 or 421.
        """
        self._context.addresses.require_own_host(PAGE, request.method, request.headers)
        host = hostname_of(request.headers.get("Host", ""))
        if not is_loopback(request.remote or "") or not is_loopback(host):
            raise HttpError(
                403,
                "the page of the sandbox is served on its own machine only: open it as "
                f"http://127.0.0.1:{self._context.addresses.ports['api']}/ there",
                headers={"Connection": "close"},
            )
        if request.method in ("GET", "HEAD"):
            return
        sent = request.headers.get("X-Page-Token", "")
        if not hmac.compare_digest(sent.encode("utf-8", "surrogateescape"), self._token.encode()):
            raise HttpError(
                403,
                "the sandbox was restarted since this page was loaded: reload it",
                code="pageToken",
                headers={"Connection": "close"},
            )

    async def _respond(self, incoming: IncomingRequest) -> Response:
        match incoming.path.split("/")[1:]:
            case [""]:
                _require_method(incoming, "GET")
                return self._asset("index.html")
            case ["page", "assets", name]:
                _require_method(incoming, "GET")
                return self._asset(name)
            case ["page", "media", generation_id, side]:
                _require_method(incoming, "GET")
                return await self._media_file(incoming, generation_id, side)
            case ["page", "comparison", generation_id]:
                _require_method(incoming, "GET")
                return await self._comparisons.row(
                    self._generation(generation_id), lambda: incoming.request.transport is not None
                )
            case ["page", "comparison", generation_id, name]:
                _require_method(incoming, "GET")
                return await self._comparisons.file(self._generation(generation_id), name)
            case ["page", "transcript", generation_id]:
                _require_method(incoming, "POST")
                return await self._transcribe(self._generation(generation_id))
            case ["page", "upload"]:
                _require_method(incoming, "POST")
                return await self._upload(incoming)
            case ["page", "faults"]:
                _require_method(incoming, "POST")
                return await self._change_faults(incoming)
        raise HttpError(404, f"the page has no {incoming.path}")

    def _asset(self, name: str) -> Response:
        content = _read_assets().get(name)
        if content is None:
            raise HttpError(404, f"the page has no file {name}")
        if name == "index.html":
            content = content.replace(_TOKEN_FIELD, self._token)
        suffix = name[name.rfind(".") :]
        return Response(200, {"Content-Type": _ASSET_TYPES[suffix]}, content.encode())

    async def _send_updates(self, request: web.BaseRequest) -> web.StreamResponse:
        """Send each section of the page as a server-sent event when it has changed."""
        response = web.StreamResponse(
            headers={**_SECURITY_HEADERS, "Content-Type": "text/event-stream"}
        )
        await response.prepare(request)
        loop = asyncio.get_running_loop()
        sent: dict[str, str] = {}
        sent_at = loop.time()
        while True:
            for name, section in self._state.sections().items():
                text = json.dumps(section)
                if sent.get(name) != text:
                    await response.write(f"event: {name}\ndata: {text}\n\n".encode())
                    sent[name], sent_at = text, loop.time()
            if loop.time() - sent_at > _COMMENT_SECONDS:
                await response.write(b": idle\n\n")
                sent_at = loop.time()
            await asyncio.sleep(_UPDATE_SECONDS)

    async def _media_file(
        self, incoming: IncomingRequest, generation_id: str, side: str
    ) -> Response:
        generation = self._generation(generation_id)
        if side != "before" and side not in generation.files:
            raise HttpError(404, f"this restoration has no {side}")
        if side != "before":
            response = await self._media.result(incoming, generation, side)
        else:
            project = self._context.state.projects[generation.project_id]
            response = await self._media.source(incoming, project)
        # The type of a recording is that of its sender: no document may come from here.
        kind = response.headers["Content-Type"].partition("/")[0]
        safe = kind in ("audio", "video") or side == "transcript"
        headers = {
            **response.headers,
            "Content-Security-Policy": "default-src 'none'; sandbox",
            **({} if safe else {"Content-Type": "application/octet-stream"}),
        }
        return Response(response.status, headers, response.body)

    def _generation(self, generation_id: str) -> Generation:
        generation = self._context.state.generations.get(generation_id)
        if generation is None:
            raise HttpError(404, "there is no such restoration")
        return generation

    async def _transcribe(self, generation: Generation) -> Response:
        """Make the transcript of a complete generation, unless it has one."""
        if generation.status == "complete" and generation.transcription == "pending":
            await self._context.jobs.transcribe(generation)
        if generation.transcription == "unavailable":
            raise HttpError(
                404,
                "no transcript can be made: install the extra 'transcript'",
                code="noTranscript",
            )
        return json_response({"status": generation.transcription})

    async def _upload(self, incoming: IncomingRequest) -> Response:
        """Store the recording in the body, and start its restoration."""
        query, settings = incoming.query, self._context.settings
        models = settings.models or ()
        model = query.get("model") or min(models, default="diffio-4.6-flash")
        created = await self._call(
            create_project,
            incoming,
            fileName=query.get("name") or "recording",
            contentType=incoming.headers.get("Content-Type") or "application/octet-stream",
        )
        ids = {"apiProjectId": created["apiProjectId"]}
        project: Project = self._context.state.projects[created["apiProjectId"]]
        try:
            await receive_source(self._context, incoming, project)
        except BaseException:
            # An upload that was cut off leaves nothing, because nobody could continue it.
            self._context.state.drop(project)
            raise
        await self._call(complete_upload, incoming, **ids)
        return json_response(dict(await self._call(create_generation, incoming, model, **ids)))

    async def _call(
        self,
        endpoint: Callable[[ApiCall], Awaitable[Mapping[str, Any]]],
        incoming: IncomingRequest,
        model: str = "",
        **fields: Any,
    ) -> Mapping[str, Any]:
        """Call an endpoint of the API with the key of the sandbox."""
        key = self._context.state.keys[ROOT_KEY_ID]
        return await endpoint(
            ApiCall(
                context=self._context,
                key=key,
                fields=Fields(fields),
                incoming=incoming,
                model=model,
            )
        )

    async def _change_faults(self, incoming: IncomingRequest) -> Response:
        """Add the faults of a plan, or remove one by its position, or all.

        The body is a plan (`{"faults": […]}`) or `{"remove": position}` or `{"remove": "all"}`.
        """
        body = await incoming.json_object()
        if "remove" not in body:
            self._faults.add(*read_plan(body))
        elif body["remove"] == "all":
            self._faults.clear()
        elif type(position := body["remove"]) is int and 0 <= position < len(self._faults):
            self._faults.remove(position)
        else:
            raise HttpError(400, "remove must be the position of a fault, or 'all'")
        return json_response({"active": len(self._faults)})


def _require_method(incoming: IncomingRequest, method: str) -> None:
    if incoming.method != method and not (method == "GET" and incoming.method == "HEAD"):
        raise HttpError(405, f"this is a {method}", headers={"Allow": method})


@cache
def _read_assets() -> Mapping[str, str]:
    """Return the text files of the page by name: its own, and those shared with reports."""
    package = files("diffio_async")
    return {
        file.name: file.read_text(encoding="utf-8")
        for folder in (package / "report" / "page", package / "sandbox" / "web")
        if folder.is_dir()
        for file in folder.iterdir()
        if file.name[file.name.rfind(".") :] in _ASSET_TYPES
    }
