"""Service that restores recordings: `uvicorn app:app --workers 2`.

    POST /recordings             upload the body as a recording, and start its restoration
    GET  /recordings/{id}        its state
    GET  /recordings/{id}/audio  the restored file
    POST /webhooks/diffio        events of Diffio

It needs `DIFFIO_API_KEY` and `DIFFIO_WEBHOOK_SECRET` (see `diffio-async webhooks configure`), and
`RECORDINGS`, a folder on a local disk for all workers. A worker may be killed at any time: clients
repeat a request without a response, with the same `Idempotency-Key`; Diffio repeats events that
were not acknowledged; and the inbox passes the events of a killed worker to another one.
"""

import asyncio
import logging
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Header, HTTPException, Request
from fastapi.responses import FileResponse, JSONResponse
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.routing import Route

from diffio_async import AsyncDiffio, ClientOptions, DiffioError, InvalidSource, WebhookEvent
from diffio_async.webhooks import WebhookInbox, WebhookVerifier, asgi_app

FOLDER = Path(os.environ.get("RECORDINGS", "recordings"))
FOLDER.mkdir(exist_ok=True)
# The id is that of the project, which is known before there are events.
TABLE = """CREATE TABLE IF NOT EXISTS recordings (key TEXT PRIMARY KEY, id TEXT UNIQUE NOT NULL,
    state TEXT NOT NULL DEFAULT 'uploaded', error TEXT)"""
INSERT = """INSERT INTO recordings (key, id) VALUES (?, ?)
    ON CONFLICT (key) DO UPDATE SET key = key RETURNING id"""
STARTED = "UPDATE recordings SET state = 'processing' WHERE id = ? AND state = 'uploaded'"
ENDED = "UPDATE recordings SET state = ?, error = ? WHERE id = ?"
log = logging.getLogger("uvicorn.error")

telemetry = None
if "OTEL_TRACES_EXPORTER" in os.environ:  # as for `opentelemetry-instrument uvicorn …`
    from diffio_async.telemetry import OpenTelemetryObserver

    telemetry = OpenTelemetryObserver()

client = AsyncDiffio(options=ClientOptions(observers=telemetry))
verifier = WebhookVerifier(*os.environ["DIFFIO_WEBHOOK_SECRET"].split())
# After 10 seconds, another worker handles the events of a killed one.
inbox = WebhookInbox(FOLDER / "inbox.db", verifier=verifier, lease=10, observers=telemetry)


async def query(statement: str, *values: object) -> list[Any]:
    """Run a statement in a transaction, and return its rows. Your own database does as well."""

    def run() -> list[Any]:
        with closing(sqlite3.connect(FOLDER / "recordings.db", timeout=30)) as database, database:
            return database.execute(statement, values).fetchall()

    return await asyncio.to_thread(run)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Handle events while the server runs. Those in progress at its end are released for later."""
    await query(TABLE)
    async with client, inbox.running():
        starting = asyncio.create_task(start_uploaded())
        yield
        starting.cancel()
        await asyncio.wait([starting])


def diffio() -> AsyncDiffio:
    """Return the client of this worker."""
    return client


# A route, not a mount: that would redirect /webhooks/diffio to /webhooks/diffio/.
app = FastAPI(lifespan=lifespan, routes=[Route("/webhooks/diffio", asgi_app(inbox))])


class Recording(BaseModel):
    """State of a recording."""

    id: str
    state: Literal["uploaded", "processing", "restored", "failed"]
    error: str | None


@app.post("/recordings", status_code=202)
async def create(
    request: Request,
    client: Annotated[AsyncDiffio, Depends(diffio)],
    idempotency_key: Annotated[str, Header(min_length=1, max_length=255)],
    file_name: str | None = None,
) -> Recording:
    """Upload a recording and start its generation, once for each key."""
    rows = await query("SELECT id FROM recordings WHERE key = ?", idempotency_key)
    if not rows:
        # A stream passes through a temporary file, since an upload begins with its size.
        project = await client.projects.create(request.stream(), file_name=file_name)
        if not project.size_bytes:
            raise InvalidSource("the body is empty: send a recording")
        # Of two uploads with one key at the same time, the first is restored.
        rows = await query(INSERT, idempotency_key, project.api_project_id)
    await start(client, rows[0][0], idempotency_key)
    return await show(rows[0][0])


async def start(client: AsyncDiffio, recording_id: str, key: str) -> None:
    """Start the generation of an uploaded recording, which Diffio does once for each key."""
    if await query("SELECT 1 FROM recordings WHERE id = ? AND state = 'uploaded'", recording_id):
        await client.generations.create(api_project_id=recording_id, idempotency_key=key)
        await query(STARTED, recording_id)


async def start_uploaded() -> None:
    """Start what a killed worker has uploaded, but not started."""
    for recording_id, key in await query("SELECT id, key FROM recordings WHERE state = 'uploaded'"):
        try:
            await start(client, recording_id, key)
        except DiffioError as error:
            log.warning("recording %s was not started: %s", recording_id, error)


@inbox.on("generation.completed", "generation.failed")
async def ended(event: WebhookEvent) -> None:
    """Download a result. It is called again if it raises, or if its worker is killed."""
    generation_id, recording_id = event.generation_id, event.api_project_id
    unfinished = "SELECT 1 FROM recordings WHERE id = ? AND state != 'restored'"
    if not (generation_id and recording_id and await query(unfinished, recording_id)):
        return  # handled before, or of another program with this API key
    if event.event_type == "generation.completed":
        await client.generations.download(
            generation_id=generation_id,
            api_project_id=recording_id,
            download_file_path=FOLDER / f"{recording_id}.mp3",
            on_conflict="overwrite",
            resume=True,
        )
    state = "restored" if event.event_type == "generation.completed" else "failed"
    await query(ENDED, state, event.error, recording_id)


@app.get("/recordings/{recording_id}")
async def show(recording_id: str) -> Recording:
    """Return the state of a recording."""
    rows = await query("SELECT state, error FROM recordings WHERE id = ?", recording_id)
    if not rows:
        raise HTTPException(404, "there is no such recording")
    return Recording(id=recording_id, state=rows[0][0], error=rows[0][1])


@app.get("/recordings/{recording_id}/audio")
async def audio(recording_id: str) -> FileResponse:
    """Return the restored file."""
    recording = await show(recording_id)
    if recording.state != "restored":
        raise HTTPException(409, f"the recording is {recording.state}")
    return FileResponse(FOLDER / f"{recording_id}.mp3", media_type="audio/mpeg")


@app.exception_handler(DiffioError)
@app.exception_handler(ClientDisconnect)
async def refuse(request: Request, error: Exception) -> JSONResponse:
    """Respond with an error. Only that of a source is the client's: others may name the account."""
    if isinstance(error, InvalidSource):
        return JSONResponse({"detail": str(error)}, 400)
    log.warning("%s %s failed: %s", request.method, request.url.path, error)
    return JSONResponse({"detail": "the recording cannot be processed now: try again later"}, 503)
