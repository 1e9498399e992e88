"""Fixtures of the download tests: a finished job, and links to any address."""

import stat
from pathlib import Path
from typing import Any

from attrs import frozen

from diffio_async import AsyncDiffio, DownloadResult
from diffio_async.sandbox import Fault, RecordedRequest, RespondWith, Sandbox
from tests.scripts import uploaded

LINK = "/v1/get_generation_download"
RESULT = "/*/results/*"


@frozen
class Job:
    """A complete generation of an echoing sandbox, whose result equals the upload."""

    client: AsyncDiffio
    generation_id: str
    api_project_id: str

    async def download(self, to: str | Path | None = None, **more: Any) -> DownloadResult:
        """Download the audio."""
        return await self.client.generations.download(
            generation_id=self.generation_id,
            api_project_id=self.api_project_id,
            download_type="audio",
            download_file_path=to,
            **more,
        )


async def finished(client: AsyncDiffio, content: bytes) -> Job:
    """Return a finished job whose result is `content`."""
    project_id = await uploaded(client, content)
    generation = await client.generations.create(api_project_id=project_id)
    await client.generations.wait_for_complete(
        generation_id=generation.generation_id, api_project_id=project_id, poll_interval=0.01
    )
    return Job(client, generation.generation_id, project_id)


def linked(client: AsyncDiffio) -> Job:
    """Return a scripted job of the sandbox: only its links are requested."""
    return Job(client, "gen_1", "proj_1")


def leads_to(sandbox: Sandbox, *urls: str) -> None:
    """Make links point to these addresses in turn, and then to the last one."""
    for number, url in enumerate(urls, 1):
        link = {
            "generationId": "gen_1",
            "apiProjectId": "proj_1",
            "downloadType": "audio",
            "downloadUrl": url,
            "fileName": "restored.mp3",
            "storagePath": "somewhere",
            "mimeType": "audio/mpeg",
        }
        times = None if number == len(urls) else 1
        sandbox.faults.add(Fault(path=LINK, times=times, action=RespondWith(json=link)))


def media(sandbox: Sandbox) -> list[RecordedRequest]:
    """Return the download requests that the sandbox received."""
    return [seen for seen in sandbox.requests if seen.origin == "media" and seen.method == "GET"]


def entries(folder: Path) -> list[str]:
    """Return the names in a folder, including hidden ones."""
    return sorted(entry.name for entry in folder.iterdir())


def mode(path: Path) -> int:
    """Return the permission bits of a file."""
    return stat.S_IMODE(path.stat().st_mode)
