"""`diffio-async download`: waits for a generation and downloads its result."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._polling.waits import TranscriptWait
from diffio_async._protocol.api_errors import check_has_picture
from diffio_async._storage.files import suffix_of, truncate_name
from diffio_async._store_url import Place, StoreUrl
from diffio_async.cli import FAILED, OK
from diffio_async.cli.client import RequestWatch, check_environment, check_generation, open_client
from diffio_async.cli.command import mark_interruption_reported
from diffio_async.cli.files import (
    ResultOptions,
    copy_to_stdout,
    temporary_result,
)
from diffio_async.cli.reporting import Failed, Interrupted, ResumeCommand, Subject, Succeeded
from diffio_async.errors import ConfigurationError, DiffioError, InvalidTarget
from diffio_async.options import ClientOptions
from diffio_async.restoration import GenerationIds, result_name

if TYPE_CHECKING:
    from diffio_async.cli.reporting import Progress, Reporter, TaskResult
    from diffio_async.client import AsyncDiffio
    from diffio_async.models.generations import DownloadResult


@frozen(kw_only=True)
class DownloadRequest(ResultOptions):
    """Arguments of `download`.

    `resume`: continue an interrupted download, and keep its partial file if interrupted again.
    """

    generation_id: str
    api_project_id: str
    resume: bool = True

    def check(self) -> None:
        """Check the request before anything is sent."""
        if not self.generation_id or not self.api_project_id:
            raise ConfigurationError("name the generation and its --project: an id is empty")
        file = self.named_file()
        self.check_output(self.output if file is None else str(file.parent))
        check_environment()

    async def target(self, file_name: str | None) -> Place:
        """Return the file to write; in a folder it gets the service's name `file_name`.

        Raises:
            InvalidTarget: It exists and may not be replaced, or cannot be written.
        """
        file = self.named_file()
        if file is None:
            name = _safe_name(file_name or result_name(self.generation_id, self.download_type))
            suffix = suffix_of(name)
            name = truncate_name(name.removesuffix(suffix) or "restored", suffix)
            file = self.output_folder / name
            await self.check_result(file)
        return file

    def resume_command(self, *, confirmed: bool) -> ResumeCommand:
        """Return the command that resumes; `confirmed`: the service reported the generation."""
        return ResumeCommand(
            confirmed=confirmed,
            generation_id=self.generation_id,
            api_project_id=self.api_project_id,
            download_type=self.download_type,
            output=None if self.to_stdout else self.output,
            # A file named for a video does not fit the audio.
            audio_output=None if self.named_file() or self.to_stdout else self.output,
        )


def _safe_name(name: str) -> str:
    """Return a name from the service without folders, hidden characters and leading dots."""
    name = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in name if c.isprintable()).strip().lstrip(".")


async def download(request: DownloadRequest, reporter: Reporter) -> int:
    """Wait for a generation and download its result."""
    request.check()
    with reporter.live():
        watch = RequestWatch()
        async with open_client(observer=watch) as client:
            result = await _download(client, request, reporter, watch)
        reporter.on_result(result)
    return OK if result.succeeded else FAILED


async def _download(
    client: AsyncDiffio, request: DownloadRequest, reporter: Reporter, watch: RequestWatch
) -> TaskResult:
    started_at, subject = time.monotonic(), Subject(request.generation_id, "generation_id")
    ids = GenerationIds(generation_id=request.generation_id, api_project_id=request.api_project_id)
    confirmed = False

    def on_progress(progress: Progress) -> None:
        nonlocal confirmed
        confirmed = True
        reporter.on_progress(subject, progress)

    async def download_result() -> DownloadResult:
        file: Place | None = temporary
        if file is None:
            link = await client.generations.get_download(**ids, download_type=request.download_type)
            file = await request.target(link.file_name)
        return await client.generations.download(
            **ids,
            download_file_path=str(file) if isinstance(file, StoreUrl) else file,
            download_type=request.download_type,
            on_conflict=request.on_conflict,
            # Nothing of an object is kept beside it.
            resume=request.resume and temporary is None and not isinstance(file, StoreUrl),
            on_progress=on_progress,
        )

    stack = ExitStack()
    temporary = stack.enter_context(temporary_result()) if request.to_stdout else None
    try:
        named_file = request.named_file()
        if named_file is not None:
            await request.check_result(named_file)
        transcript_wait = TranscriptWait(ClientOptions().wait, request.timeout, asyncio.sleep)
        progress = await check_generation(client, **ids, timeout=request.timeout)
        if progress is not None and progress.complete:
            on_progress(progress)
        else:
            progress = await client.generations.wait_for_complete(
                **ids, timeout=request.timeout, on_progress=on_progress
            )
        confirmed = True
        check_has_picture(request.download_type, progress.has_video)
        result = await transcript_wait.retry_while_pending(download_result)
        if temporary is not None:
            await copy_to_stdout(temporary)
    except DiffioError as error:
        if isinstance(error, ConfigurationError) and not watch.any_sent:
            raise
        # The same command would fail again on the same target.
        useless = isinstance(error, InvalidTarget) and not request.to_stdout
        resume = request.resume_command(confirmed=confirmed).after_error(error)
        return Failed(
            subject=subject,
            seconds=time.monotonic() - started_at,
            error=error,
            resume=None if useless else resume,
        )
    except asyncio.CancelledError:
        resume = request.resume_command(confirmed=confirmed)
        reporter.on_result(Interrupted(subject=subject, resume=resume))
        mark_interruption_reported()
        raise
    finally:
        stack.close()
    return Succeeded(
        subject=subject,
        event="downloaded",
        seconds=time.monotonic() - started_at,
        path=None if temporary else result.path,
        url=result.url,
        progress=progress,
        download=result.download,
    )
