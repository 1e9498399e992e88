"""Generations: start them, wait for them, download their results."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping

from diffio_async._protocol import endpoints
from diffio_async._protocol.api_errors import idempotency_conflict
from diffio_async._reporting import attach_ids, attach_started
from diffio_async._validators import validate_wait
from diffio_async.events import DownloadProgress, GenerationStarted
from diffio_async.models.generations import (
    DEFAULT_MODEL,
    Download,
    DownloadResult,
    DownloadType,
    Generation,
    GenerationProgress,
    ids_of,
)
from diffio_async.options import RequestOptions
from diffio_async.resources.generation_waits import AsyncGenerationWaits
from diffio_async.types import Callback, OnConflict


class AsyncGenerations(AsyncGenerationWaits):
    """Generations of the account."""

    async def create(
        self,
        *,
        api_project_id: str,
        model: str = DEFAULT_MODEL,
        sampling: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
        options: RequestOptions | None = None,
    ) -> Generation:
        """Start a generation. It is billed, but only once for each idempotency key.

        Args:
            api_project_id: The project.
            model: Model id, e.g. `diffio-4.6-flash`. The API decides which models are available.
            sampling: Settings of the model (`seed`, `preset`, …).
            params: Metadata of the generation (`prompt`, `tag`, …), as a JSON object.
            idempotency_key: 1 to 255 characters; random if None. Errors have it.
            options: Options of this call.

        Raises:
            ConfigurationError: An argument is invalid; nothing was sent.
            IdempotencyConflict: The key was used for another project.
            ModelRetired: The model is no longer available (410).
            PaymentRequired: A billing hold or a spend limit (402).
            NotReady: The recording is not uploaded completely (409, `UploadIncomplete`).
        """
        key = idempotency_key if idempotency_key is not None else str(uuid.uuid4())
        call = endpoints.create_generation(
            api_project_id=api_project_id, model=model, key=key, sampling=sampling, params=params
        )
        with self._sender.operation(
            "create_generation", api_project_id=api_project_id
        ) as operation:
            with attach_started(api_project_id=api_project_id, idempotency_key=key.strip()):
                generation = await self._sender.send(call, options)
            if generation.api_project_id != api_project_id:
                raise idempotency_conflict(generation, key.strip())
            operation.generation_id = generation.generation_id
            if not generation.idempotent_replay:
                self._pacer.record_created(generation.generation_id)
            self._sender.emit(
                GenerationStarted(
                    generation.generation_id,
                    api_project_id,
                    key.strip(),
                    operation_id=operation.number,
                )
            )
        return generation

    async def attach(self, handle: str, *, options: RequestOptions | None = None) -> Generation:
        """Return the generation of a handle, after a request that checks that it exists.

        Args:
            handle: The `handle` of a generation, for example from another process.
            options: Options of this call.

        Raises:
            ConfigurationError: It is not a handle.
            NotFound: The account has no such generation.
        """
        generation_id, api_project_id = ids_of(handle)
        with attach_ids(generation_id=generation_id, api_project_id=api_project_id):
            call = endpoints.get_generation_progress(generation_id, api_project_id)
            progress = await self._sender.send(call, options)
        return Generation(
            generation_id=progress.generation_id,
            api_project_id=progress.api_project_id,
            status=progress.status,
        )

    async def get_progress(
        self,
        *,
        generation_id: str,
        api_project_id: str | None = None,
        options: RequestOptions | None = None,
    ) -> GenerationProgress:
        """Return the progress of a generation.

        Args:
            generation_id: The generation.
            api_project_id: Its project, by which the API finds it faster.
            options: Options of this call.

        Raises:
            NotFound: The account has no such generation.
        """
        call = endpoints.get_generation_progress(generation_id, api_project_id)
        with attach_ids(generation_id=generation_id, api_project_id=api_project_id):
            return await self._sender.send(call, options)

    async def create_and_wait(
        self,
        *,
        api_project_id: str,
        model: str = DEFAULT_MODEL,
        sampling: Mapping[str, object] | None = None,
        params: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
        poll_interval: float | None = None,
        timeout: float | None = None,
        on_progress: Callback[GenerationProgress] | None = None,
        show_progress: bool = False,
        options: RequestOptions | None = None,
    ) -> GenerationProgress:
        """Call `create`, then `wait_for_complete`; return the last progress.

        Args:
            api_project_id: The project with the recording.
            model: Model id, e.g. `diffio-4.6-flash`. The API decides which models are available.
            sampling: Settings of the model (`seed`, `preset`, …).
            params: Metadata of the generation (`prompt`, `tag`, …), as a JSON object.
            idempotency_key: 1 to 255 characters; random if None. Errors have it.
            poll_interval: Seconds between polls, as for `wait_for_complete`. None is adaptive.
            timeout: Seconds, as for `wait_for_complete`.
            on_progress: Called when the progress changed.
            show_progress: Print progress changes to standard error.
            options: Options of both calls.

        Raises:
            GenerationFailed: The generation ended without a result.
            WaitTimeout: The time is over; the generation continues, and the error has its ids.
            ApiError: The API responded with an error.
        """
        validate_wait(poll_interval, timeout)
        generation = await self.create(
            api_project_id=api_project_id,
            model=model,
            sampling=sampling,
            params=params,
            idempotency_key=idempotency_key,
            options=options,
        )
        ids = {
            "generation_id": generation.generation_id,
            "api_project_id": generation.api_project_id,
        }
        with attach_started(**ids):
            return await self.wait_for_complete(
                **ids,
                poll_interval=poll_interval,
                timeout=timeout,
                on_progress=on_progress,
                show_progress=show_progress,
                options=options,
            )

    async def get_download(
        self,
        *,
        generation_id: str,
        api_project_id: str,
        download_type: DownloadType | None = None,
        options: RequestOptions | None = None,
    ) -> Download:
        """Return a signed link to a result, which expires after two to six hours.

        Anyone who has the link can download the result.

        Args:
            generation_id: The generation.
            api_project_id: Its project.
            download_type: `audio` (or `mp3`), `video` or `transcript`. If None, `video` if the
                recording has video, otherwise `audio`.
            options: Options of this call.

        Raises:
            NotReady: It is not complete (409), or its transcript is not (`TranscriptPending`).
            TranscriptUnavailable: It has no transcript and will not get one (404).
        """
        call = endpoints.get_generation_download(generation_id, api_project_id, download_type)
        with attach_ids(generation_id=generation_id, api_project_id=api_project_id):
            return await self._sender.send(call, options)

    async def download(
        self,
        *,
        generation_id: str,
        api_project_id: str,
        download_file_path: str | os.PathLike[str] | None = None,
        download_type: DownloadType | None = None,
        on_conflict: OnConflict = "error",
        resume: bool = False,
        on_progress: Callback[DownloadProgress] | None = None,
        options: RequestOptions | None = None,
    ) -> DownloadResult:
        """Download a result to memory, or to a file that appears only when it is complete.

        Args:
            generation_id: The generation.
            api_project_id: Its project.
            download_file_path: The file to write, or the URL of an object (`s3://bucket/key`). If
                None, the result is kept in memory.
            download_type: As for `get_download`.
            on_conflict: `error` or `overwrite`, if the file exists.
            resume: Resume an earlier download to this file, and keep what was received if this one
                fails: in a hidden file beside it, which is deleted when the result is complete.
            on_progress: Receives the progress, in bytes.
            options: Options of this call.

        Raises:
            InvalidTarget: Before the first request: the folder is missing or not writable, or
                the file exists. Later: the disk is full.
            DownloadFailed: The result could not be downloaded completely, or is damaged.
        """
        return await self._download(
            generation_id,
            api_project_id,
            download_file_path,
            download_type,
            on_conflict=on_conflict,
            resume=resume,
            on_progress=on_progress,
            options=options,
        )

    async def _download(
        self,
        generation_id: str,
        api_project_id: str,
        path: str | os.PathLike[str] | None,
        download_type: DownloadType | None,
        *,
        on_conflict: OnConflict,
        resume: bool,
        on_progress: Callback[DownloadProgress] | None,
        options: RequestOptions | None,
        before_open: Callable[[], object] | None = None,
    ) -> DownloadResult:
        """See `download`; `before_open` of a batch prepares the folder in the same thread."""
        from diffio_async._downloads.download import download_result

        kind = "" if download_type is None else endpoints.normalize_download_type(download_type)
        call = endpoints.get_generation_download(generation_id, api_project_id, download_type)
        ids = {"generation_id": generation_id, "api_project_id": api_project_id}

        async def get_link() -> Download:
            return await self._sender.send(call, options)

        with self._sender.operation("download", **ids) as operation, attach_ids(**ids):
            result = await download_result(
                self._sender,
                get_link,
                options,
                path,
                on_conflict,
                on_progress,
                result_key=(api_project_id, generation_id, kind),
                resume=resume,
                before_open=before_open,
            )
            operation.size = result.size
        return result
