"""The requests of a batch with bare aiohttp: a lower bound of its CPU, for `batch.py --bare`.

    python benchmarks/batch_bare.py FROM TO none|journal

No retries, models, limits or events. With `journal`, the transitions of a batch are recorded in its
journal, and each result is written under another name, synced and renamed. A generation is polled
after 1.6 s and then every 0.6 s, which takes about as many polls as `restore_many`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from diffio_async.batch.journal import Journal

BASE, KEY = os.environ["DIFFIO_API_BASE_URL"], os.environ["DIFFIO_API_KEY"]
FIRST_POLL, NEXT_POLLS = 1.6, 0.6
IN_FLIGHT = 64


async def api(session: aiohttp.ClientSession, name: str, **body: object) -> dict[str, Any]:
    """Call the API; return the response."""
    return await call(session, "POST", f"{BASE}/{name}", KEY, json=body)


async def call(
    session: aiohttp.ClientSession, method: str, url: str, token: str, **options: Any
) -> dict[str, Any]:
    """Send one request; return the response, decoded from JSON."""
    headers = {"Authorization": f"Bearer {token}"}
    async with session.request(method, url, headers=headers, **options) as response:
        response.raise_for_status()
        found: dict[str, Any] = await response.json()
        return found


async def upload(session: aiohttp.ClientSession, created: dict[str, Any], content: bytes) -> None:
    """Upload a recording in one part, and confirm it."""
    offer = created["upload"]
    url, token = f"{offer['edgeBaseUrl']}/v1/uploads", offer["uploadToken"]
    started = await call(session, "POST", f"{url}/start", token, json={})
    part = f"{url}/parts/1?uploadId={started['uploadId']}"
    etag = (await call(session, "PUT", part, token, data=content))["etag"]
    parts = [{"partNumber": 1, "etag": etag}]
    body = {"uploadId": started["uploadId"], "parts": parts}
    await call(session, "POST", f"{url}/complete", token, json=body)
    await api(session, "complete_project_upload", apiProjectId=created["apiProjectId"])


async def restore(
    session: aiohttp.ClientSession, source: Path, target: Path, file: int, journal: Journal | None
) -> None:
    """Restore one recording; record the transitions of its row in the journal, if there is one."""
    content, job = source.read_bytes(), 0  # noqa: ASYNC240 - a few kilobytes, here and below
    if journal is not None:
        digest = hashlib.sha256(content).hexdigest()
        assigned = await journal.transition(
            journal_jobs().assign_job, file, digest, len(content), None
        )
        job = assigned.id
    created = await api(
        session,
        "create_project",
        fileName=source.name,
        contentType="audio/wav",
        contentLength=len(content),
    )
    project = created["apiProjectId"]
    if journal is not None:
        text = json.dumps(created)
        await journal.transition(journal_jobs().save_upload_state, job, project, text)
    await upload(session, created, content)
    if journal is not None:
        await journal.transition(journal_jobs().record_upload, job, project)
    started = await api(session, "diffio-4.6-flash-generation", apiProjectId=project)
    ids = {"generationId": started["generationId"], "apiProjectId": project}
    if journal is not None:
        await journal.transition(
            journal_jobs().record_generation, job, project, started["generationId"]
        )
    await asyncio.sleep(FIRST_POLL)
    while (await api(session, "get_generation_progress", **ids))["status"] != "complete":  # noqa: ASYNC110
        await asyncio.sleep(NEXT_POLLS)
    if journal is not None:
        await journal.write(journal_jobs().record_completion, journal.run_id, job)
    link = await api(session, "get_generation_download", **ids, downloadType="audio")
    async with session.get(link["downloadUrl"]) as response:
        result = await response.read()
    if journal is None:
        target.write_bytes(result)  # noqa: ASYNC240
        return
    (download,) = await journal.transition(journal_files().lease_downloads, 1)
    await asyncio.to_thread(write_synced, target, result)
    stored = import_module("diffio_async.batch.executor").StoredResult(size=len(result))
    await journal.transition(journal_files().finish_download, download, str(target), stored)


def journal_jobs() -> Any:
    """Return the module; imported only for a journal, since imports are measured too."""
    return import_module("diffio_async.batch.job_queries")


def journal_files() -> Any:
    """Return the module, as `journal_jobs`."""
    return import_module("diffio_async.batch.file_queries")


def write_synced(target: Path, content: bytes) -> None:
    """Write a file under another name, sync it, and rename it."""
    part = target.with_suffix(".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fdatasync(file.fileno())
    part.rename(target)
    folder = os.open(target.parent, os.O_RDONLY)
    os.fsync(folder)
    os.close(folder)


async def listed(source: Path, to: Path) -> tuple[Journal, dict[int, Path]]:
    """Return a journal, and its files by the number of their row."""
    from diffio_async.batch.file_queries import lease_files
    from diffio_async.batch.journal import Journal
    from diffio_async.batch.request import BatchRequest, RunOptions
    from diffio_async.batch.restore_many import list_sources

    request = BatchRequest.create(source, to, service=None, run=RunOptions())
    journal = await Journal.open(request.journal)
    await journal.register(request)
    await list_sources(request, journal)
    journal.expect_transitions(IN_FLIGHT)
    files = await journal.write(lease_files, journal.run_id, 1_000_000)
    return journal, {file.id: Path(file.path) for file in files}


async def main(source: Path, to: Path, mode: str) -> None:
    """Restore all files of a folder, and print their number."""
    to.mkdir()  # noqa: ASYNC240
    journal: Journal | None = None
    if mode == "journal":
        journal, files = await listed(source, to)
    else:
        files = dict(enumerate(sorted(source.iterdir())))  # noqa: ASYNC240
    free = asyncio.Semaphore(IN_FLIGHT)
    async with aiohttp.ClientSession() as session:

        async def one(number: int, path: Path) -> None:
            async with free:
                await restore(session, path, to / f"{path.stem}.mp3", number, journal)

        await asyncio.gather(*(one(number, path) for number, path in files.items()))
    if journal is not None:
        await journal.close()
    print(len(files))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
