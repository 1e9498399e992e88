"""Generations: start them, follow them, fetch what they made."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping

from diffio_async._downloads.download import download_result
from diffio_async._http.error_context import attach_ids, attach_started
from diffio_async._protocol import endpoints
from diffio_async._protocol.api_errors import idempotency_conflict
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
from diffio_async.options import RequestOptions, validate_wait
from diffio_async.resources.generation_waits import AsyncGenerationWaits
from diffio_async.types import Callback, OnConflict


class AsyncGenerations(AsyncGenerationWaits):
    """The generations of the key's account."""

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
        """Start a generation. It is billed, and never twice for one key.

        Args:
            api_project_id: The project.
            model: Which are served is the server's word.
            sampling: The model's settings (`seed`, `preset`, …).
            params: Your own words about it (`prompt`, `tag`, …).
            idempotency_key: 1 to 255 characters, made anew where None; every error has it.
            options: Options of this call.

        Raises:
            ConfigurationError: An argument cannot be right; nothing was sent.
            IdempotencyConflict: The key was used before, for another project.
            ModelRetired: The model is no longer served (410).
            PaymentRequired: A billing hold or a spend limit (402).
            NotReady: The upload has not landed (409).
        """
        key = idempotency_key if idempotency_key is not None else str(uuid.uuid4())
        call = endpoints.create_generation(
            api_project_id=api_project_id, model=model, key=key, sampling=sampling, params=params
        )
        with attach_started(api_project_id=api_project_id, idempotency_key=key.strip()):
            generation = await self._sender.send(call, options)
        if generation.api_project_id != api_project_id:
            raise idempotency_conflict(generation, key.strip())
        started = GenerationStarted(generation.generation_id, api_project_id, key.strip())
        if not generation.idempotent_replay:
            self._pacer.record_created(generation.generation_id)
        self._sender.emit(started)
        return generation

    async def attach(self, handle: str, *, options: RequestOptions | None = None) -> Generation:
        """The generation of a handle that was kept, here or elsewhere; asks whether it exists.

        Raises:
            ConfigurationError: It is no handle.
            NotFound: There is no such generation for this key.
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
        """How far a generation is; the project's id speeds the look-up."""
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
        """`create`, then `wait_for_complete`: arguments and errors are theirs."""
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
        """A signed link to a result, good for some hours. Whoever has it has the recording.

        `download_type` None is the server's choice: `video` where there is one, else `audio`.

        Raises:
            NotReady: It is not complete (409), or its transcript is not (`TranscriptPending`).
            TranscriptUnavailable: There will be no transcript (404).
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
        """Download a result to a file, which gets its name only when it is whole, or to memory.

        Args:
            generation_id: The generation.
            api_project_id: Its project.
            download_file_path: The file to write; None keeps the result in memory.
            download_type: As for `get_download`.
            on_conflict: `error` or `overwrite`, where the file exists.
            resume: Go on from what an earlier download to this file left, and leave what this one
                has when it fails: in a hidden file beside it, gone when the result is whole.
            on_progress: Told of bytes received.
            options: Options of this call.

        Raises:
            InvalidTarget: Before anything is asked: the folder is missing or not writable, or
                the file exists. Later: the disk is full.
            DownloadFailed: The result could not be fetched whole, or is damaged.
        """
        kind = "" if download_type is None else endpoints.normalize_download_type(download_type)
        call = endpoints.get_generation_download(generation_id, api_project_id, download_type)
        with attach_ids(generation_id=generation_id, api_project_id=api_project_id):
            return await download_result(
                self._sender,
                call,
                options,
                download_file_path,
                on_conflict,
                on_progress,
                resume_key=(api_project_id, generation_id, kind) if resume else None,
            )
