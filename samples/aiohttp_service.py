"""aiohttp: accept recordings, receive webhooks, serve results. `python aiohttp_service.py [PORT]`.

`POST /recordings` with a form that has a file `recording`, then `GET /recordings/{generation_id}`.
Needs `DIFFIO_API_KEY` and `DIFFIO_WEBHOOK_SECRET`, and the endpoint of the key's events set to
`https://…/webhooks/diffio`.
"""

import asyncio
import logging
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import BodyPartReader, web
from aiohttp.typedefs import Handler

from diffio_async import (
    AsyncDiffio,
    DiffioError,
    InvalidSource,
    NotFound,
    WebhookEvent,
    WebhookInbox,
    WebhookVerifier,
)
from diffio_async.webhooks import aiohttp_app

RESULTS = Path(os.environ.get("RESULTS", "results"))

# One client for all requests; it opens connections when it is first used.
client = AsyncDiffio()
inbox = WebhookInbox(
    os.environ.get("DIFFIO_INBOX", "diffio-inbox.db"),
    verifier=WebhookVerifier(*os.environ["DIFFIO_WEBHOOK_SECRET"].split()),
)
routes = web.RouteTableDef()
log = logging.getLogger(__name__)


@inbox.on("generation.completed")
async def fetch(event: WebhookEvent) -> None:
    """Download a result. If that fails, or the server stops, it is called again later."""
    if event.generation_id and event.api_project_id:
        await client.generations.download(
            generation_id=event.generation_id,
            api_project_id=event.api_project_id,
            download_file_path=RESULTS / f"{event.generation_id}.mp3",
            on_conflict="overwrite",
            resume=True,
        )


@routes.post("/recordings")
async def upload(request: web.Request) -> web.Response:
    """Start the restoration of the file `recording` of a form; it is read as it arrives."""
    if request.content_type == "multipart/form-data":
        async for part in await request.multipart():
            if isinstance(part, BodyPartReader) and part.name == "recording":
                started = await client.audio_isolation.isolate(part)
                return web.json_response(started.generation.to_dict(), status=202)
    raise web.HTTPBadRequest(text="send a form with the file 'recording'")


@routes.get(r"/recordings/{generation_id:[\w-]+}")
async def result(request: web.Request) -> web.StreamResponse:
    """Send the result, or, until it is here, the progress.

    A real service authorizes the caller first.
    """
    generation_id = request.match_info["generation_id"]
    path = RESULTS / f"{generation_id}.mp3"
    if await asyncio.to_thread(path.exists):
        return web.FileResponse(path)
    progress = await client.generations.get_progress(generation_id=generation_id)
    return web.json_response(progress.to_dict(), status=202)


@web.middleware
async def respond_to_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Respond to errors of Diffio: the caller's with a reason, others are logged."""
    try:
        return await handler(request)
    except InvalidSource as error:
        raise web.HTTPBadRequest(text=str(error)) from error
    except NotFound as error:
        raise web.HTTPNotFound from error
    except DiffioError as error:
        log.exception("%s %s failed", request.method, request.path)
        raise web.HTTPBadGateway(text="the recording could not be processed") from error


async def resources(_: web.Application) -> AsyncIterator[None]:
    """Keep the client and the inbox open, and handle events, while the server runs."""
    await asyncio.to_thread(RESULTS.mkdir, parents=True, exist_ok=True)
    async with client, inbox.running():
        yield


def create_app() -> web.Application:
    """Return the application."""
    app = web.Application(middlewares=[respond_to_errors])
    app.cleanup_ctx.append(resources)
    app.add_routes(routes)
    app.add_subapp("/webhooks/diffio", aiohttp_app(inbox))
    return app


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    web.run_app(create_app(), host="127.0.0.1", port=port)
