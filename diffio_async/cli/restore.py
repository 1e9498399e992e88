"""`diffio-async restore`: checks the request, then restores several files through one client."""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, cast

import anyio
from attrs import evolve, frozen

from diffio_async._protocol.endpoints import generation_path
from diffio_async._storage.system_errors import shortage_of
from diffio_async._storage.threads import TrackedExecutor
from diffio_async._store_url import Place, StoreUrl, location_of
from diffio_async._uploads.open_source import check_object_source, open_source
from diffio_async.cli import FAILED, OK
from diffio_async.cli.client import check_environment, open_client
from diffio_async.cli.command import console, mark_interruption_reported
from diffio_async.cli.files import (
    DASH,
    STDIN_NAME,
    ResultOptions,
    StdinRecording,
    check_stdin,
    copy_to_stdout,
    read_stdin,
    temporary_result,
)
from diffio_async.cli.measured import can_measure, measure_pair
from diffio_async.cli.reporting import Failed, Interrupted, ResumeCommand, Subject, Succeeded
from diffio_async.errors import ConfigurationError, DiffioError, InvalidSource, UploadFailed
from diffio_async.events import GenerationStarted
from diffio_async.options import ClientOptions
from diffio_async.restoration import check_recording, result_name

if TYPE_CHECKING:
    from diffio_async.cli.reporting import Reporter, TaskResult
    from diffio_async.client import AsyncDiffio
    from diffio_async.events import Event
    from diffio_async.types import SourceLike


@frozen(kw_only=True)
class RestoreRequest(ResultOptions):
    """Arguments of `restore`; `jobs` is the number of concurrent files.

    `-` among the files is standard input, named `stdin_name`; as the output, standard output.
    """

    files: tuple[str, ...]
    model: str
    sandbox: bool
    jobs: int
    stdin_name: str | None = None

    def check(self) -> None:
        """Check everything that does not depend on a single file."""
        generation_path(self.model)
        urls = [file for file in self.files if file != DASH and isinstance(_place(file), StoreUrl)]
        if urls and self.output is None:
            raise ConfigurationError(
                f"{_shown(urls[0])} is a URL, so that its result needs an output: add -o URL "
                "(s3://BUCKET/FOLDER/), -o FILE or -o DIR"
            )
        if DASH in self.files:
            if self.output is None:
                raise ConfigurationError(
                    "standard input needs an output: add -o - (standard output), -o FILE or -o DIR"
                )
            check_stdin()
        elif self.stdin_name is not None:
            raise ConfigurationError("--stdin-name is the name of -, which is not among the files")
        if self.to_stdout and len(self.unique_files()) > 1:
            raise ConfigurationError(
                "-o - accepts the result of one recording: name one, or a folder with -o DIR"
            )
        named = self.named_file()
        self.check_output(self.output if named is None else str(named.parent))
        if named is not None and _real_place(str(named)) == _real_place(self.files[0]):
            raise ConfigurationError(
                f"-o {named} is the recording itself: name another file, or a folder"
            )
        sources: dict[Place, list[str]] = {}
        for file in self.unique_files():
            sources.setdefault(self.result(file, self.download_type), []).append(_shown(file))
        for result, files in sources.items():
            if len(files) > 1:
                raise ConfigurationError(
                    f"{' and '.join(files)} would each become {result}: restore them one by one, "
                    "each with -o DIR and a folder of its own"
                )
        if not self.sandbox:
            check_environment(alternative="or add --sandbox to restore locally without a key")

    def unique_files(self) -> list[str]:
        """Return each file once, even if it was named with several spellings."""
        first: dict[Place | str, str] = {}
        for file in self.files:
            first.setdefault(file if file in {"", DASH} else _real_place(file), file)
        return [*first.values()]

    def name_of(self, file: str) -> str:
        """Return the file name of a recording."""
        return (self.stdin_name or STDIN_NAME) if file == DASH else _place(file).name

    async def check_file(self, file: str) -> None:
        """Check one file before any is sent, since its upload may start hours later.

        Raises:
            InvalidSource: It cannot be read, or does not have the requested type.
            InvalidTarget: Its result exists and may not be replaced.
        """
        if not file:
            raise InvalidSource("the path is empty: name a file")
        url = None if file == DASH else _place(file)
        if isinstance(url, StoreUrl):
            await check_object_source(url, ClientOptions().max_upload_bytes)
        if file == DASH or isinstance(url, StoreUrl):
            check_recording(b"", self.name_of(file), None, self.download_type)
        else:
            async with open_source(file, max_bytes=ClientOptions().max_upload_bytes):
                pass
            name = self.name_of(file)
            await TrackedExecutor().run(check_recording, file, name, None, self.download_type)
        if not self.to_stdout:
            await self.check_result(self.result(file, self.download_type))

    def named_file(self) -> Place | None:
        """Return the file that `-o` names: it has a suffix, and there is one recording."""
        named = super().named_file()
        has_suffix = named is not None and PurePath(named.name).suffix != ""
        return named if has_suffix and len(self.unique_files()) == 1 else None

    def folder(self, file: str) -> Place:
        """Return the folder of a file's result."""
        if self.output is None or self.to_stdout:
            return Path() if file == DASH else _place(file).parent
        return self.output_folder

    def result(self, file: str, download_type: str) -> Place:
        """Return the place of a result. The service may choose another suffix for a video."""
        name = result_name(self.name_of(file), download_type)
        return self.named_file() or self.folder(file) / name

    def resume_command(self, file: str, started: GenerationStarted) -> ResumeCommand | None:
        """Return how to resume a generation; None if it ends with the command's sandbox."""
        if self.sandbox:
            return None
        # With -o -, the result is later downloaded to the current folder.
        named = self.named_file()
        folder = Path() if self.to_stdout else named.parent if named else self.folder(file)
        output: str | None = str(
            named or folder / result_name(self.name_of(file), self.download_type)
        )
        if self.download_type == "video" and not named:
            # Only the folder is known; the service chooses the name.
            output = None if folder == Path() else str(folder)
        return ResumeCommand(
            generation_id=started.generation_id,
            api_project_id=started.api_project_id,
            idempotency_key=started.idempotency_key,
            download_type=self.download_type,
            output=output,
            audio_output=str(folder / result_name(self.name_of(file), "audio")),
        )


def _place(file: str) -> Place:
    location = location_of(file, "the source")
    return location if isinstance(location, StoreUrl) else Path(location)


def _shown(file: str) -> str:
    """Return a file as the user named it, without the query of a URL, which may be a credential."""
    place = file if file in {"", DASH} else _place(file)
    return str(place) if isinstance(place, StoreUrl) else file


def _real_place(file: str) -> Place:
    place = _place(file)
    if isinstance(place, StoreUrl):
        return place
    try:
        return Path(os.path.realpath(place.parent), place.name)
    except (OSError, ValueError):  # E.g. the current folder was removed: compare the spelling.
        return place


async def restore_files(request: RestoreRequest, reporter: Reporter) -> int:
    """Restore files, `jobs` at a time. A failed file does not stop the others.

    All files are checked before the first byte is sent.
    """
    request.check()
    succeeded: list[bool] = []
    async with AsyncExitStack() as stack:
        stdin = None
        if DASH in request.files:
            stdin = await stack.enter_async_context(read_stdin(request.stdin_name))
            request = evolve(request, stdin_name=stdin.name)
        restorations = _Restorations(request, reporter, stdin)
        service: tuple[str | None, str | None] = None, None
        if request.sandbox:
            from diffio_async.sandbox import Sandbox

            sandbox = await stack.enter_async_context(Sandbox())
            service = sandbox.api_key, sandbox.base_url
        client = await stack.enter_async_context(
            open_client(*service, observer=restorations.observe)
        )
        slots = anyio.CapacityLimiter(request.jobs)
        shortage: list[DiffioError] = []

        async def restore(file: str) -> None:
            async with slots:
                # After a full disk, an upload would be paid for a result that cannot be written.
                result = (
                    _not_started(file, shortage[0])
                    if shortage
                    else await restorations.restore(client, file)
                )
            if isinstance(result, Failed) and not shortage and _is_lasting(result.error):
                shortage.append(result.error)
            succeeded.append(result.succeeded)
            reporter.on_result(result)

        stack.enter_context(reporter.live())
        files = request.unique_files()
        reporter.expect(len(files))
        usable = []
        for file in files:
            try:
                await request.check_file(file)
            except DiffioError as error:
                succeeded.append(False)
                reporter.on_result(Failed(subject=Subject(_shown(file)), error=error))
            else:
                usable.append(file)
        async with anyio.create_task_group() as group:
            for file in usable:
                group.start_soon(restore, file)
    return OK if all(succeeded) else FAILED


def _is_lasting(error: DiffioError) -> bool:
    """Return whether every other file would fail for the same reason, such as a full disk."""
    shortage = shortage_of(error)
    return shortage is not None and not shortage.transient


def _not_started(file: str, cause: DiffioError) -> Failed:
    error = UploadFailed(f"it was not started, and nothing was sent: {cause}")
    error.__cause__ = cause
    return Failed(subject=Subject(_shown(file)), error=error)


class _Restorations:
    """Restorations of files, and the generations that they started, by idempotency key."""

    def __init__(
        self, request: RestoreRequest, reporter: Reporter, stdin: StdinRecording | None
    ) -> None:
        self._request, self._reporter, self._stdin = request, reporter, stdin
        self._started: dict[str, GenerationStarted] = {}

    def observe(self, event: Event) -> None:
        """Receive an event of the client."""
        if isinstance(event, GenerationStarted):
            self._started[event.idempotency_key] = event

    async def restore(self, client: AsyncDiffio, file: str) -> TaskResult:
        """Restore one file. If cancelled, report the generation that continues."""
        request = self._request
        recording = self._stdin if file == DASH else None
        name = request.name_of(file) if recording else _shown(file)
        started_at, subject, key = time.monotonic(), Subject(name), str(uuid.uuid4())
        stack = ExitStack()
        temporary = stack.enter_context(temporary_result()) if request.to_stdout else None
        target = temporary or request.named_file() or request.folder(file)
        try:
            restoration = await client.restore(
                # An open source is accepted too; only the public type does not include it.
                cast("SourceLike", recording.source) if recording else file,
                str(target) if isinstance(target, StoreUrl) else target,
                file_name=recording.name if recording else None,
                model=request.model,
                download_type=request.download_type,
                on_conflict=request.on_conflict,
                timeout=request.timeout,
                idempotency_key=key,
                on_progress=lambda progress: self._reporter.on_progress(subject, progress),
            )
            if temporary is not None:
                await copy_to_stdout(temporary)
        except Exception as failure:
            shortage = shortage_of(failure)
            if isinstance(failure, DiffioError):
                error = failure
            elif shortage is not None:
                # The other files continue: they may be paid for already.
                error = DiffioError(shortage.text)
                error.__cause__ = failure
            else:
                raise
            resume = self._resume_command(file, key)
            return Failed(
                subject=subject,
                seconds=time.monotonic() - started_at,
                error=error,
                resume=None if resume is None else resume.after_error(error),
            )
        except asyncio.CancelledError as error:
            # The data of a sandbox is deleted when the command ends.
            ids = {} if request.sandbox else vars(error)
            self._reporter.on_result(
                Interrupted(
                    subject=subject,
                    resume=self._resume_command(file, key),
                    api_project_id=ids.get("api_project_id"),
                    idempotency_key=ids.get("idempotency_key"),
                    may_be_billed=ids.get("may_be_billed", False),
                )
            )
            mark_interruption_reported()
            raise
        finally:
            stack.close()
        result = Succeeded(
            subject=subject,
            event="restored",
            seconds=time.monotonic() - started_at,
            path=None if request.to_stdout else restoration.path,
            url=restoration.url,
            progress=restoration.progress,
            download=restoration.download,
            model=restoration.generation.model_key,
        )
        return result if recording else await self._with_measurements(result)

    async def _with_measurements(self, result: Succeeded) -> Succeeded:
        """Return the result with what a terminal shows of its sound."""
        request = self._request
        if result.path is None or request.as_json or request.download_type == "transcript":
            return result
        if not (console.out.isatty() and can_measure()):
            return result
        try:
            return evolve(result, measured=await measure_pair(result.subject.name, result.path))
        except asyncio.CancelledError:
            # The file is complete.
            self._reporter.on_result(result)
            raise
        except (DiffioError, OSError):
            # The result does not depend on whether it can be measured.
            return result

    def _resume_command(self, file: str, key: str) -> ResumeCommand | None:
        started = self._started.get(key)
        return None if started is None else self._request.resume_command(file, started)
