"""One recording, from upload to download."""

from __future__ import annotations

import os
import stat
import uuid
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from diffio_async._engine.concerning import concerning
from diffio_async._engine.targets import check_target
from diffio_async._wire.calls import create_generation, wire_download_type
from diffio_async.errors import ConfigurationError, SourceUnusable
from diffio_async.models.generations import DEFAULT_MODEL
from diffio_async.models.restorations import Isolation, Restoration
from diffio_async.options import check_wait
from diffio_async.resources.projects import UNNAMED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from diffio_async._engine.opening import SourceLike
    from diffio_async._engine.reporting import Callback
    from diffio_async._engine.targets import OnConflict
    from diffio_async.events import DownloadProgress, UploadProgress
    from diffio_async.models.generations import DownloadType, GenerationProgress
    from diffio_async.options import RequestOptions
    from diffio_async.resources.generations import AsyncGenerations
    from diffio_async.resources.projects import AsyncProjects

# The contract: audio is MP3, the transcript JSON; a video's container is the recording's.
_SUFFIXES = {"audio": ".mp3", "transcript": ".json"}


class AsyncAudioIsolation:
    """The guide's shortcut: upload a recording and start its generation."""

    def __init__(self, projects: AsyncProjects, generations: AsyncGenerations) -> None:
        self._projects = projects
        self._generations = generations

    async def isolate(
        self,
        source: SourceLike,
        *,
        file_name: str | None = None,
        content_type: str | None = None,
        file_format: str | None = None,
        model: str = DEFAULT_MODEL,
        sampling: Mapping[str, object] | None = None,
        project_params: Mapping[str, object] | None = None,
        generation_params: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
        on_progress: Callback[UploadProgress] | None = None,
        options: RequestOptions | None = None,
    ) -> Isolation:
        """Upload a recording and start a generation on it; does not wait for its end.

        Arguments and errors are those of `projects.create` and `generations.create`; the model,
        the key and the settings are checked before anything is sent.
        """
        key = idempotency_key if idempotency_key is not None else str(uuid.uuid4())
        _check_generation(model, key, sampling, generation_params)
        with concerning(idempotency_key=key.strip()):
            project = await self._projects.create(
                source,
                file_name=file_name,
                content_type=content_type,
                file_format=file_format,
                params=project_params,
                on_progress=on_progress,
                options=options,
            )
            if project.size_bytes == 0:
                # A source that is read once tells only now; a generation would be billed.
                with concerning(api_project_id=project.api_project_id):
                    raise SourceUnusable("the source was empty: no generation was started")
            generation = await self._generations.create(
                api_project_id=project.api_project_id,
                model=model,
                sampling=sampling,
                params=generation_params,
                idempotency_key=key,
                options=options,
            )
        return Isolation(project=project, generation=generation)


class Restorer:
    """A recording in, a restored one out."""

    def __init__(self, isolation: AsyncAudioIsolation, generations: AsyncGenerations) -> None:
        self._isolation = isolation
        self._generations = generations

    async def restore(
        self,
        source: SourceLike,
        to: str | os.PathLike[str] | None,
        *,
        model: str,
        download_type: DownloadType,
        file_name: str | None,
        content_type: str | None,
        file_format: str | None,
        sampling: Mapping[str, object] | None,
        project_params: Mapping[str, object] | None,
        generation_params: Mapping[str, object] | None,
        idempotency_key: str | None,
        on_conflict: OnConflict,
        poll_interval: float | None,
        timeout: float | None,
        on_progress: Callback[UploadProgress | GenerationProgress | DownloadProgress] | None,
        options: RequestOptions | None,
    ) -> Restoration:
        """See `AsyncDiffio.restore`, which has the words for the user."""
        kind = wire_download_type(download_type)
        check_wait(poll_interval, timeout)
        _refuse_empty(source)
        stem = _stem(source, file_name)
        target, named = _target(to, stem, kind)
        if target is not None:
            await check_target(target, on_conflict)
        isolated = await self._isolation.isolate(
            source,
            file_name=file_name,
            content_type=content_type,
            file_format=file_format,
            model=model,
            sampling=sampling,
            project_params=project_params,
            generation_params=generation_params,
            idempotency_key=idempotency_key,
            on_progress=on_progress,
            options=options,
        )
        project, generation = isolated.project, isolated.generation
        generation_id, project_id = generation.generation_id, project.api_project_id
        with concerning(generation_id=generation_id, api_project_id=project_id):
            progress = await self._generations.wait_for_complete(
                generation_id=generation_id,
                api_project_id=project_id,
                poll_interval=poll_interval,
                timeout=timeout,
                on_progress=on_progress,
                options=options,
            )
            if target is not None and not named:
                link = await self._generations.get_download(
                    generation_id=generation_id,
                    api_project_id=project_id,
                    download_type=download_type,
                    options=options,
                )
                suffix = PurePosixPath(link.file_name or "").suffix
                target = target.with_name(f"{target.name}{suffix}")
            result = await self._generations.download(
                generation_id=generation_id,
                api_project_id=project_id,
                download_file_path=target,
                download_type=download_type,
                on_conflict=on_conflict,
                on_progress=on_progress,
                options=options,
            )
        return Restoration(
            project=project,
            generation=generation,
            progress=progress,
            download=result.download,
            path=result.path,
            content=result.content,
        )


def _check_generation(
    model: str,
    key: str,
    sampling: Mapping[str, object] | None,
    params: Mapping[str, object] | None,
) -> None:
    """Raise now what would otherwise be raised after the upload."""
    create_generation(
        api_project_id="not yet known", model=model, key=key, sampling=sampling, params=params
    )


def _refuse_empty(source: SourceLike) -> None:
    if isinstance(source, (str, os.PathLike)):
        try:
            status = os.stat(os.fsdecode(source))  # noqa: PTH116 - a path may hold anything
        except (OSError, ValueError):
            return  # opening it says what is wrong, in better words
        empty = stat.S_ISREG(status.st_mode) and status.st_size == 0
    else:
        empty = isinstance(source, (bytes, bytearray, memoryview)) and len(source) == 0
    if empty:
        raise SourceUnusable("the source is empty: there is nothing to restore")


def _stem(source: SourceLike, file_name: str | None) -> str:
    name = file_name
    if name is None:
        path = source if isinstance(source, (str, os.PathLike)) else getattr(source, "name", None)
        name = os.fsdecode(path) if isinstance(path, (str, os.PathLike)) else UNNAMED
        name = UNNAMED if name.startswith("<") else name  # "<stdin>"
    return Path(name).stem or UNNAMED


def _target(to: str | os.PathLike[str] | None, stem: str, kind: str) -> tuple[Path | None, bool]:
    """The file to write, and whether its ending is known: a video's is told with its link."""
    if to is None:
        return None, True
    if not os.fspath(to):
        raise ConfigurationError("the target's path is empty: name a file or a folder")
    target = Path(to)
    if not (os.fspath(to).endswith(("/", os.sep)) or os.path.isdir(target)):  # noqa: PTH112
        return target, True
    return target / f"{stem}.restored{_SUFFIXES.get(kind, '')}", kind in _SUFFIXES
