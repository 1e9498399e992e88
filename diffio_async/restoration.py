"""Restoration of one recording: upload, generation, wait and download."""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path, PurePath
from typing import TypedDict, Unpack

from attrs import frozen

from diffio_async._protocol.api_errors import check_has_picture
from diffio_async._protocol.endpoints import (
    create_generation,
    normalize_download_type,
    optional_text,
)
from diffio_async._protocol.endpoints import idempotency_key as checked_key
from diffio_async._protocol.media_types import HEAD, check_video_possible
from diffio_async._reporting import attach_ids, attach_started
from diffio_async._storage.files import split_name, suffix_of, truncate_name
from diffio_async._store_url import Place, StoreUrl, location_of, source_name_of
from diffio_async._validators import validate_wait
from diffio_async.errors import ConfigurationError, InvalidSource
from diffio_async.events import DownloadProgress, UploadProgress
from diffio_async.models.generations import (
    DEFAULT_MODEL,
    DownloadType,
    GenerationProgress,
    Isolation,
    Restoration,
)
from diffio_async.options import RequestOptions, WaitPolicy
from diffio_async.resources.generations import AsyncGenerations
from diffio_async.resources.projects import UNNAMED, AsyncProjects
from diffio_async.types import Callback, OnConflict, SourceLike


class GenerationIds(TypedDict):
    """Ids of a generation."""

    generation_id: str
    api_project_id: str


class UploadOptions(TypedDict):
    """Arguments of `isolate` that `restore` accepts too."""

    file_name: str | None
    content_type: str | None
    file_format: str | None
    model: str
    sampling: Mapping[str, object] | None
    project_params: Mapping[str, object] | None
    generation_params: Mapping[str, object] | None


#: By contract audio is MP3 and the transcript JSON; the service chooses a video's container.
_SUFFIXES = {"audio": ".mp3", "transcript": ".json"}


class AsyncAudioIsolation:
    """Shortcut of the guide: upload a recording and start its generation."""

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
        """Upload a recording and start a generation, without waiting for its end.

        The model, the key and the settings are validated before anything is sent.

        Args:
            source: The recording, as for `projects.create`.
            file_name: Name of the recording. If None, the name of the source.
            content_type: MIME type of the recording. If None, that of the source, or guessed from
                the name.
            file_format: A short label such as `wav`.
            model: Model id, e.g. `diffio-4.6-flash`. The API decides which models are available.
            sampling: Settings of the model (`seed`, `preset`, …).
            project_params: Metadata of the project, as a JSON object.
            generation_params: Metadata of the generation (`prompt`, `tag`, …), as a JSON object.
            idempotency_key: Key of the generation, 1 to 255 characters; random if None.
            on_progress: Receives the progress of the upload, in bytes.
            options: Options of each request.

        Raises:
            ConfigurationError: An argument is invalid; nothing was sent.
            InvalidSource: The source is missing, unreadable, too large or empty, or it changed.
            UploadFailed: The bytes could not be sent; no generation was started.
            ApiError: The API responded with an error.
        """
        key = checked_key(str(uuid.uuid4()) if idempotency_key is None else idempotency_key)
        _check_generation(model, key, sampling, generation_params)
        with attach_ids(idempotency_key=key):
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
                # The size of a stream is known only now; a generation would be billed.
                with attach_ids(api_project_id=project.api_project_id):
                    raise InvalidSource("the source was empty: no generation was started")
            generation = await self._generations.create(
                api_project_id=project.api_project_id,
                model=model,
                sampling=sampling,
                params=generation_params,
                idempotency_key=key,
                options=options,
            )
        return Isolation(project=project, generation=generation)


async def restore(
    isolation: AsyncAudioIsolation,
    generations: AsyncGenerations,
    source: SourceLike,
    to: str | os.PathLike[str] | None,
    *,
    download_type: DownloadType,
    on_conflict: OnConflict,
    poll_interval: float | None,
    timeout: float | None,
    idempotency_key: str | None,
    on_progress: Callback[UploadProgress | GenerationProgress | DownloadProgress] | None,
    options: RequestOptions | None,
    wait: WaitPolicy,
    pause: Callable[[float], Awaitable[None]],
    **upload: Unpack[UploadOptions],
) -> Restoration:
    """See `AsyncDiffio.restore`."""
    # Loaded with the first restoration, not with the client.
    from diffio_async._downloads.sinks import check_target
    from diffio_async._polling.waits import TranscriptWait
    from diffio_async._storage.threads import TrackedExecutor
    from diffio_async._stores.writing import check_object

    kind = normalize_download_type(download_type)
    validate_wait(poll_interval, timeout)
    local: Path | None = None
    if isinstance(source, (str, os.PathLike)):
        location = location_of(source, "the source")
        if isinstance(location, str):
            source, local = location, Path(location)
    target = await TrackedExecutor().run(_resolve_target, source, to, upload, kind)
    place = None if target is None else target.place
    if isinstance(place, StoreUrl):
        await check_object(place, on_conflict)
    elif place is not None:
        await check_target(place, on_conflict)
    key = checked_key(str(uuid.uuid4()) if idempotency_key is None else idempotency_key)
    with attach_ids(idempotency_key=key):
        isolated = await isolation.isolate(
            source, idempotency_key=key, on_progress=on_progress, options=options, **upload
        )
        generation, project = isolated.generation, isolated.project
        ids = GenerationIds(
            generation_id=generation.generation_id, api_project_id=project.api_project_id
        )
        with attach_started(**ids):
            pending = TranscriptWait(wait, timeout, pause)
            progress = await generations.wait_for_complete(
                **ids,
                poll_interval=poll_interval,
                timeout=timeout,
                on_progress=on_progress,
                options=options,
            )
            check_has_picture(kind, progress.has_video)
            if target is not None and not target.named:
                link = await generations.get_download(
                    **ids, download_type=download_type, options=options
                )
                place = target.with_suffix_of(link.file_name)
            result = await pending.retry_while_pending(
                lambda: generations.download(
                    **ids,
                    download_file_path=str(place) if isinstance(place, StoreUrl) else place,
                    download_type=download_type,
                    on_conflict=on_conflict,
                    on_progress=on_progress,
                    options=options,
                )
            )
    return Restoration(
        project=project,
        generation=generation,
        progress=progress,
        download=result.download,
        path=result.path,
        content=result.content,
        source=local,
        url=result.url,
    )


def _check_generation(
    model: str,
    key: str,
    sampling: Mapping[str, object] | None,
    params: Mapping[str, object] | None,
) -> None:
    """Raise before the upload what would be raised after it."""
    create_generation(
        api_project_id="not yet known", model=model, key=key, sampling=sampling, params=params
    )


@frozen
class _Target:
    """Place of the result; `named` if its suffix is final, not chosen by the service (video)."""

    place: Place
    named: bool

    def with_suffix_of(self, file_name: str | None) -> Place:
        """Return the place with the suffix of the service's file name, if that has one."""
        suffix = suffix_of(file_name)
        if not suffix:
            return self.place
        bare, _, _ = self.place.name.rpartition(".restored")
        return self.place.with_name(truncate_name(bare, f".restored{suffix}"))


def _resolve_target(
    source: SourceLike, to: str | os.PathLike[str] | None, upload: UploadOptions, kind: str
) -> _Target | None:
    """Return the place to write to, None to keep the result in memory; blocks."""
    if _is_empty(source):
        raise InvalidSource("the source is empty: there is nothing to restore")
    name = _source_name(source, upload["file_name"])
    check_recording(source, name, upload["content_type"], kind)
    if to is None:
        return None
    shown = location_of(to, "the target")
    if isinstance(shown, StoreUrl):
        if shown.is_folder and not shown.is_web:
            return _Target(shown / result_name(name, kind), kind in _SUFFIXES)
        return _Target(shown, named=True)
    if not shown:
        raise ConfigurationError("the target's path is empty: name a file or a folder")
    if not (shown.endswith(("/", os.sep)) or os.path.isdir(shown)):  # noqa: PTH112 - any text
        return _Target(Path(shown), named=True)
    return _Target(Path(shown) / result_name(name, kind), kind in _SUFFIXES)


def check_recording(source: SourceLike, name: str, content_type: str | None, kind: str) -> None:
    """Check that the recording can have a result of this type; may read the disk.

    Raises:
        InvalidSource: The type is video, and the recording contains only audio.
    """
    if kind == "video":
        check_video_possible([kind], name, content_type, _head(source))


def _head(source: SourceLike) -> bytes:
    """Return the first bytes of a source that is not consumed by reading, else b""."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(memoryview(source).cast("B")[:HEAD])
    if isinstance(source, (str, os.PathLike)):
        try:
            if stat.S_ISREG(os.stat(os.fsdecode(source)).st_mode):  # noqa: PTH116 - as _is_empty
                with open(os.fsdecode(source), "rb") as file:  # noqa: PTH123 - as _is_empty
                    return file.read(HEAD)
        except (OSError, ValueError):
            pass  # the upload reports the error
    return b""


def result_name(name: str, kind: str) -> str:
    """Return the default name of a result: `talk.wav` becomes `talk.restored.mp3`.

    A video keeps its suffix, unless the service chooses another container. A name that is too
    long for a disk is shortened before `.restored`.
    """
    stem, suffix = split_name(PurePath(name).name)
    return truncate_name(stem or UNNAMED, f".restored{_SUFFIXES.get(kind, suffix)}")


def _is_empty(source: SourceLike) -> bool:
    if not isinstance(source, (str, os.PathLike)):
        return isinstance(source, (bytes, bytearray, memoryview)) and len(source) == 0
    try:
        status = os.stat(os.fsdecode(source))  # noqa: PTH116 - a path may hold anything
    except (OSError, ValueError):
        return False  # the upload reports the error
    return stat.S_ISREG(status.st_mode) and status.st_size == 0


def _source_name(source: SourceLike, file_name: str | None) -> str:
    if file_name is not None:
        return optional_text(file_name, "file_name")
    if isinstance(source, (str, os.PathLike)):
        return source_name_of(source) or os.fsdecode(source)
    from diffio_async._uploads.open_source import content_of, file_name_of

    return file_name_of(source) or file_name_of(content_of(source)) or UNNAMED
