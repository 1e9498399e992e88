"""The work of `diffio-async download`: wait for a generation that was started, and fetch it."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._downloads.target import check_target
from diffio_async._polling.single_wait import TranscriptWait
from diffio_async._storage.file_names import shortened, suffix_of
from diffio_async._storage.local_paths import local_paths
from diffio_async._storage.threads import TrackedExecutor
from diffio_async.cli.environment import Sent, check_environment, connected, first_answer
from diffio_async.cli.exit_codes import FAILED, OK
from diffio_async.cli.interrupts import interruption_reported
from diffio_async.cli.pipes import DASH, check_stdout, spare_file, write_out
from diffio_async.cli.restore_request import folder_of
from diffio_async.cli.resume_command import ResumeCommand
from diffio_async.cli.task_results import Failed, Interrupted, Subject, Succeeded
from diffio_async.errors import ConfigurationError, DiffioError, InvalidTarget
from diffio_async.models.generations import DownloadType
from diffio_async.options import ClientOptions
from diffio_async.restoration import GenerationIds, result_name

if TYPE_CHECKING:
    from diffio_async.cli.progress import Reporter
    from diffio_async.cli.task_results import Fact, TaskResult
    from diffio_async.client import AsyncDiffio
    from diffio_async.models.generations import DownloadResult
    from diffio_async.types import OnConflict


@frozen(kw_only=True)
class DownloadRequest:
    """What the user asked for: a generation, and a file or folder for it; `timeout` in seconds.

    `resume`: go on from what an earlier try left.
    """

    generation_id: str
    api_project_id: str
    output: str | None
    download_type: DownloadType
    overwrite: bool
    timeout: float | None
    resume: bool = True
    as_json: bool = False

    @property
    def to_stdout(self) -> bool:
        """Whether the result goes to standard output."""
        return self.output == DASH

    def check(self) -> None:
        """Find what is wrong before anything is sent.

        Raises:
            ConfigurationError: Nothing can be sent as things are.
        """
        if not self.generation_id or not self.api_project_id:
            raise ConfigurationError("name the generation and its --project: an id is empty")
        local_paths(self.output, "-o")
        if self.to_stdout:
            check_stdout(as_json=self.as_json)
        file = self._file()
        if file is not None:
            folder_of(str(file.parent))
        elif self.output is not None and not self.to_stdout:
            folder_of(self.output)
        check_environment()

    async def check_target(self) -> None:
        """Find out whether the file can be written, where its name is known.

        Raises:
            InvalidTarget: It exists and may not be replaced, or cannot be written.
        """
        file = self._file()
        if file is not None:
            await self._usable(file)

    async def target(self, file_name: str | None) -> Path:
        """The file to write; in a folder it gets the service's name for it.

        Raises:
            InvalidTarget: As for `check_target`.
        """
        file = self._file()
        if file is None:
            name = _plain(file_name or result_name(self.generation_id, self.download_type))
            suffix = suffix_of(name)
            name = shortened(name.removesuffix(suffix) or "restored", suffix)
            file = Path(self.output or "") / name
            await self._usable(file)
        return file

    @property
    def on_conflict(self) -> OnConflict:
        """What to do where the file exists."""
        return "overwrite" if self.overwrite else "error"

    def resume_command(self, *, seen: bool) -> ResumeCommand:
        """How to try again; `seen`: the service was heard to know the generation."""
        return ResumeCommand(
            seen=seen,
            generation_id=self.generation_id,
            api_project_id=self.api_project_id,
            download_type=self.download_type,
            output=None if self.to_stdout else self.output,
            # A file that was named for a video is not the audio's.
            audio_output=None if self._file() or self.to_stdout else self.output,
        )

    def _file(self) -> Path | None:
        output = self.output
        if not output or self.to_stdout or output.endswith(("/", os.sep)):
            return None
        if os.path.isdir(output):  # noqa: PTH112 - any text
            return None
        return Path(output)

    async def _usable(self, file: Path) -> None:
        there = await TrackedExecutor().run(os.path.exists, file)
        if not self.overwrite and there:
            raise InvalidTarget(f"{file} exists: --overwrite replaces it")
        await check_target(file, self.on_conflict)


def _plain(name: str) -> str:
    """A name that leads to no other folder and hides nothing, whatever the service says."""
    name = name.replace("\\", "/").rpartition("/")[2]
    return "".join(c for c in name if c.isprintable()).strip().lstrip(".")


async def download(order: DownloadRequest, reporter: Reporter) -> int:
    """Wait for the generation, and download its result.

    Raises:
        ConfigurationError: Nothing can be sent as things are, and nothing was.
    """
    order.check()
    with reporter:
        sent = Sent()
        async with connected(observer=sent) as client:
            outcome = await _downloaded(client, order, reporter, sent)
        reporter.ended(outcome)
    return OK if outcome.done else FAILED


async def _downloaded(
    client: AsyncDiffio, order: DownloadRequest, reporter: Reporter, sent: Sent
) -> TaskResult:
    begun, subject = time.monotonic(), Subject(order.generation_id, "generation_id")
    ids = GenerationIds(generation_id=order.generation_id, api_project_id=order.api_project_id)
    kind = order.download_type

    seen = False

    def progressed(fact: Fact) -> None:
        nonlocal seen
        seen = True
        reporter.progressed(subject, fact)

    async def fetched() -> DownloadResult:
        file = spare
        if file is None:
            link = await client.generations.get_download(**ids, download_type=kind)
            file = await order.target(link.file_name)
        return await client.generations.download(
            **ids,
            download_file_path=file,
            download_type=kind,
            on_conflict=order.on_conflict,
            resume=order.resume and spare is None,
            on_progress=progressed,
        )

    stack = ExitStack()
    spare = stack.enter_context(spare_file()) if order.to_stdout else None
    try:
        await order.check_target()
        pending = TranscriptWait(ClientOptions().wait, order.timeout, asyncio.sleep)
        progress = await first_answer(client, **ids, timeout=order.timeout)
        if progress is not None and progress.complete:
            progressed(progress)
        else:
            progress = await client.generations.wait_for_complete(
                **ids, timeout=order.timeout, on_progress=progressed
            )
        seen = True
        result = await pending.retry_while_pending(fetched)
        if spare is not None:
            await write_out(spare)
    except DiffioError as error:
        if isinstance(error, ConfigurationError) and not sent.any:
            raise
        return Failed(
            subject=subject,
            seconds=time.monotonic() - begun,
            error=error,
            # A target in the way stays in the way of the same command.
            resume=None
            if isinstance(error, InvalidTarget) and not order.to_stdout
            else order.resume_command(seen=seen).for_error(error),
        )
    except asyncio.CancelledError:
        reporter.ended(Interrupted(subject=subject, resume=order.resume_command(seen=seen)))
        interruption_reported()
        raise
    finally:
        stack.close()
    return Succeeded(
        subject=subject,
        event="downloaded",
        seconds=time.monotonic() - begun,
        path=None if spare else result.path,
        progress=progress,
        download=result.download,
    )
