"""One upload to a project, by the method that the API offers: multipart or one signed PUT."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, TypeVar

import anyio
from attrs import evolve, frozen

from diffio_async._http.shutdown import ABORT_SECONDS, ShutdownCoordinator
from diffio_async._http.transport import ApiTransport
from diffio_async._protocol.endpoints import (
    abort_upload,
    complete_project_upload,
    complete_upload,
    put_part,
    start_upload,
)
from diffio_async._protocol.requests import signed_url_request
from diffio_async._protocol.retry import RetrySafety
from diffio_async._storage.threads import run_workers
from diffio_async._uploads.open_source import too_large
from diffio_async._uploads.parts import (
    Part,
    UploadLimiter,
    UploadProgressReporter,
    limited_part_body,
    plan_parts,
)
from diffio_async._uploads.resume_file import UploadCheckpoint
from diffio_async._uploads.source import Source, display_name
from diffio_async.errors import (
    ApiError,
    ClientClosed,
    DiffioError,
    InvalidResponse,
    InvalidSource,
    NotReady,
    UploadFailed,
)
from diffio_async.events import PartUploaded, UploadProgress
from diffio_async.models.generations import FAILED
from diffio_async.models.projects import CreatedProject, EdgeUpload, MultipartStarted
from diffio_async.options import RequestOptions
from diffio_async.types import Callback

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from diffio_async._http.bodies import StreamingBody
    from diffio_async._protocol.requests import ApiRequest

NOT_RECEIVED_STATUSES = frozenset({409})


T = TypeVar("T")


class SizeMismatch(UploadFailed):
    """The API received other bytes than were sent; the upload cannot be repaired."""


#: Methods that an offer of a signed upload may name.
_UPLOAD_METHODS = frozenset({"PUT", "POST"})


@frozen
class Upload:
    """Upload of one source; `limiter` is shared by all uploads of the client."""

    sender: ApiTransport
    limiter: UploadLimiter
    source: Source
    on_progress: Callback[UploadProgress] | None
    options: RequestOptions | None

    async def send(
        self,
        created: CreatedProject,
        content_type: str,
        checkpoint: UploadCheckpoint | None = None,
    ) -> None:
        """Send the source to a project; prefer multipart if both methods are offered.

        Raises:
            UploadFailed: Not all bytes could be sent, or the API did not confirm them;
                `__cause__` is the reason.
            InvalidSource: The source is over the limit of the offer, or changed during the upload.
        """
        progress = UploadProgressReporter(self.source.size, self.on_progress)
        try:
            with self.sender.closing.cancel_on_close():
                async with progress.reporting():
                    if created.upload is not None:
                        await MultipartUpload(
                            self, created, created.upload, progress, checkpoint
                        ).run()
                    else:
                        await self._signed_put(created, content_type, progress)
        except (UploadFailed, ClientClosed):
            raise
        except DiffioError as failure:
            raise UploadFailed(
                f"{display_name(self.source)} could not be uploaded: {failure}"
            ) from failure

    async def call(self, request: ApiRequest[T], body: StreamingBody | None = None) -> T:
        """Send a request with the options of the upload."""
        return await self.sender.send(request, self.options, body=body)

    async def is_received(self, api_project_id: str, *, retry_409: bool) -> bool | None:
        """Return whether the bytes were received, or None if the API does not say.

        With `retry_409`, a "not received yet" is retried: storage may take a moment.
        """
        try:
            await self.confirm_once(api_project_id, retry_409=retry_409)
        except NotReady:
            return False
        except DiffioError:
            return None
        return True

    async def confirm_once(self, api_project_id: str, *, retry_409: bool) -> None:
        """Confirm with one call that the bytes were received.

        Raises:
            NotReady: They were not received.
            SizeMismatch: Other bytes were received. A generation of them would be billed as well.
        """
        request = complete_project_upload(api_project_id)
        if retry_409:
            request = evolve(request, extra_retry_statuses=NOT_RECEIVED_STATUSES)
        confirmation = await self.call(request)
        size = confirmation.size_bytes
        if confirmation.status in FAILED or size not in {None, self.source.size}:
            raise SizeMismatch(
                f"{display_name(self.source)} has {self.source.size:,} bytes, but the API reports "
                f"status {confirmation.status!r} and a size of {size} bytes: upload it again"
            )

    async def confirm(self, api_project_id: str) -> None:
        """Confirm an upload that was completed at the edge.

        Raises:
            UploadFailed: The API did not confirm it.
        """
        try:
            await self.confirm_once(api_project_id, retry_409=True)
        except (ClientClosed, SizeMismatch):
            raise
        except DiffioError as failure:
            raise UploadFailed(
                f"{display_name(self.source)} was sent completely, but the API did not confirm it: "
                f"{failure} (call projects.complete_upload to confirm again)"
            ) from failure

    async def _signed_put(
        self, created: CreatedProject, content_type: str, progress: UploadProgressReporter
    ) -> None:
        if created.upload_url is None:
            raise InvalidResponse(
                "the response to create_project has no upload offer that can be used"
            )
        method = (created.upload_method or "PUT").upper()
        if method not in _UPLOAD_METHODS:
            raise InvalidResponse(
                f"the upload offer names the method {created.upload_method!r}: only PUT and POST "
                "upload"
            )
        request = signed_url_request(
            method,
            created.upload_url,
            {"Content-Type": content_type},
            base_url=self.sender.base_url,
        )
        body = limited_part_body(self.limiter, progress, self.source, Part(1, 0, self.source.size))
        # An incomplete signed PUT has no effect, and a repeated one writes the same content.
        await self.sender.send_with_retries(
            "signed upload",
            request,
            RetrySafety.IDEMPOTENT,
            self.sender.resolve(self.options),
            body=body,
        )
        await self.source.verify()


@frozen
class MultipartUpload:
    """One multipart upload, from `start` to the confirmation by the API."""

    upload: Upload
    created: CreatedProject
    offer: EdgeUpload
    progress: UploadProgressReporter
    #: State to resume from; None if a failed upload is aborted.
    checkpoint: UploadCheckpoint | None

    async def run(self) -> None:
        """Start or resume, send every part, complete, and confirm with the API."""
        # A limit that no recording meets is ignored: the source is not to blame.
        if self.offer.max_bytes is not None and 0 < self.offer.max_bytes < self.upload.source.size:
            source = self.upload.source
            raise too_large(display_name(source), source.size, self.offer.max_bytes)
        upload_id, parts = await self._start_or_resume()
        try:
            etags = await self._send_parts(upload_id, parts)
            if self.checkpoint is None:  # else each part was verified before it was recorded
                await self.upload.source.verify()
        except BaseException:
            await self._finish(lambda: self._cleanup(upload_id))
            raise
        try:
            confirmed = await self._complete(upload_id, etags)
        except DiffioError:
            raise
        except BaseException:
            # Interrupted while completing: the upload may be complete nevertheless.
            if self.checkpoint is None:
                await self._finish(lambda: self._abort_unless_received(upload_id))
            raise
        if not confirmed:
            await self.upload.confirm(self.created.api_project_id)

    async def _start_or_resume(self) -> tuple[str, list[Part]]:
        """Return the id and parts of the multipart upload to resume, or of a new one."""
        if self.checkpoint is not None:
            record = self.checkpoint.record
            if record.upload_id is not None and record.part_size_bytes is not None:
                return record.upload_id, plan_parts(self.upload.source.size, record.part_size_bytes)
        now = asyncio.get_running_loop().time
        began_at = now()
        started = await self._start()
        self.upload.limiter.on_round_trip(now() - began_at)
        size = started.part_size_bytes or self.offer.part_size_bytes
        try:
            parts = plan_parts(self.upload.source.size, size)
            if self.checkpoint is not None:
                await self.checkpoint.record_start(started.upload_id, size)
        except Exception:
            # Not on cancellation: the upload may be recorded already, and is resumed then.
            await self._finish(lambda: self._abort(started.upload_id))
            raise
        return started.upload_id, parts

    async def _start(self) -> MultipartStarted:
        """Start the upload; a cancellation waits for the response, whose id the abort needs."""
        starting = asyncio.create_task(self.upload.call(start_upload(self.offer)))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:

            async def abort() -> None:
                await self._abort((await starting).upload_id)

            await self._finish(abort)
            raise

    async def _send_parts(self, upload_id: str, parts: list[Part]) -> list[str]:
        etags = {} if self.checkpoint is None else dict(self.checkpoint.record.etags)
        missing = [part for part in parts if part.number not in etags]
        for part in parts:
            if part.number in etags:
                self.progress.part_callback(part.number)(part.size)
        waiting = iter(missing)

        async def work() -> None:
            for part in waiting:
                etag = await self._send_part(upload_id, part)
                if self.checkpoint is not None:
                    # Record only parts of the content that was digested.
                    await self.upload.source.verify()
                    await self.checkpoint.record_part(part.number, etag)
                etags[part.number] = etag

        await run_workers(work, min(len(missing), self.upload.sender.options.max_concurrent_parts))
        return [etags[part.number] for part in parts]

    async def _send_part(self, upload_id: str, part: Part) -> str:
        body = limited_part_body(self.upload.limiter, self.progress, self.upload.source, part)
        call = put_part(self.offer, upload_id, part.number)
        receipt = await self.upload.call(call, body)
        if not receipt.etag:
            raise InvalidResponse(f"the edge gave no etag for part {part.number}")
        self.upload.sender.emit(
            PartUploaded(
                api_project_id=self.created.api_project_id,
                part_number=part.number,
                size=part.size,
            )
        )
        return receipt.etag

    async def _complete(self, upload_id: str, etags: list[str]) -> bool:
        """Complete the upload; return True if it failed but the API confirmed the upload.

        A failure may hide a success, such as a lost response, or a 404 after a lost response. So
        the API is called, and the upload is aborted only if it was not received. If that is
        unknown, the upload may be complete and is not aborted.
        """
        try:
            await self.upload.sender.send(
                complete_upload(self.offer, upload_id, etags), self.upload.options
            )
        except DiffioError as failure:
            project = self.created.api_project_id
            received = await self.upload.is_received(project, retry_409=not _is_definitive(failure))
            if received:
                return True
            if received is False and (self.checkpoint is None or _is_definitive(failure)):
                await self._finish(lambda: self._discard(upload_id))
            raise
        return False

    async def _finish(self, work: Callable[[], Awaitable[None]]) -> None:
        await run_shielded(self.upload.sender.closing, work, project=self.created.api_project_id)

    async def _cleanup(self, upload_id: str) -> None:
        """Abort an upload that cannot be resumed."""
        if self.checkpoint is not None:
            with contextlib.suppress(InvalidSource):
                await self.upload.source.verify()
                return
        await self._discard(upload_id)

    async def _discard(self, upload_id: str) -> None:
        if self.checkpoint is not None:
            await self.checkpoint.delete()
        await self._abort(upload_id)

    async def _abort_unless_received(self, upload_id: str) -> None:
        project = self.created.api_project_id
        if await self.upload.is_received(project, retry_409=False) is False:
            await self._abort(upload_id)

    async def _abort(self, upload_id: str) -> None:
        await self.upload.call(abort_upload(self.offer, upload_id))


def _is_definitive(failure: DiffioError) -> bool:
    """Return whether the edge rejected the request permanently: not 5xx, 404, 408, 409 or 429."""
    return (
        isinstance(failure, ApiError)
        and 400 <= failure.status < 500  # noqa: PLR2004 - the class of statuses
        and failure.status not in {404, 408, 409, 429}
    )


async def run_shielded(
    closing: ShutdownCoordinator,
    work: Callable[[], Awaitable[None]],
    *,
    project: str | None = None,
) -> None:
    """Run the end of an upload in a task of its own: a cancellation must not cut it.

    It is limited to five seconds, most of them in the background. Its errors are suppressed: the
    exception that is being raised matters more.
    """

    async def bounded() -> None:
        with anyio.move_on_after(ABORT_SECONDS), contextlib.suppress(DiffioError):
            await work()

    await closing.finish(bounded, project=project)
