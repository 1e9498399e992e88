"""Download of a result to a file or to memory."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from diffio_async._downloads.downloader import Downloader
from diffio_async._downloads.part_file import PartFile
from diffio_async._downloads.resumable_part_file import ResumablePartFile
from diffio_async._downloads.sinks import MemorySink, invalid_name, open_sink
from diffio_async._storage.atomic_write import sibling_path
from diffio_async._storage.descriptors import transfer_slot
from diffio_async._storage.local_paths import local_path
from diffio_async.errors import ConfigurationError, DiffioError
from diffio_async.models.generations import DownloadResult

if TYPE_CHECKING:
    import os
    from collections.abc import Awaitable, Callable

    from diffio_async._downloads.sinks import Sink
    from diffio_async._http.transport import ApiTransport
    from diffio_async.events import DownloadProgress
    from diffio_async.models.generations import Download
    from diffio_async.options import ResolvedOptions
    from diffio_async.types import Callback, OnConflict

#: Types of results that are neither text nor JSON.
_MEDIA = frozenset({"audio", "video"})


async def download_result(
    sender: ApiTransport,
    options: ResolvedOptions,
    get_link: Callable[[], Awaitable[Download]],
    path: str | os.PathLike[str] | None,
    on_conflict: OnConflict,
    on_progress: Callback[DownloadProgress] | None,
    *,
    resume_key: tuple[str, ...] | None,
) -> DownloadResult:
    """Download a result; `get_link` is called first, and again when the link expires.

    `resume_key` identifies the result. With it, resume from the part file of an earlier download,
    and keep the part file on failure.

    Raises:
        DownloadFailed: The complete result could not be fetched.
        InvalidTarget: The target cannot be written; raised before the first request if possible.
        ConfigurationError: `on_conflict` is invalid, or a download to memory is to be resumed.
    """

    async def download_into(sink: Sink) -> tuple[Download, int]:
        link = await get_link()

        async def renew() -> str:
            nonlocal link
            link = await get_link()
            return link.download_url

        url = link.download_url
        media = link.download_type in _MEDIA
        size = await Downloader(sender, options, renew, sink, on_progress, url, media).run()
        return link, size

    if path is None:
        if resume_key is not None:
            raise ConfigurationError("only a file is resumed: name it, or leave out resume=True")
        memory = MemorySink()
        download, size = await download_into(memory)
        return DownloadResult(download=download, size=size, content=memory.content())
    target = Path(local_path(path, "download_file_path"))
    async with transfer_slot():
        return await _download_to_file(download_into, target, on_conflict, resume_key)


async def _download_to_file(
    download_into: Callable[[Sink], Awaitable[tuple[Download, int]]],
    target: Path,
    on_conflict: OnConflict,
    resume_key: tuple[str, ...] | None,
) -> DownloadResult:
    try:
        if resume_key is None:
            file = PartFile(sibling_path(target, f"{secrets.token_hex(4)}.part"))
        else:
            file = ResumablePartFile(target, resume_key)
    except ValueError:
        raise invalid_name(target) from None
    try:
        async with open_sink(file, target, on_conflict) as sink:
            download, size = await download_into(sink)
    except DiffioError as error:
        if file.resumable_bytes:
            error.add_note(
                f"{file.resumable_bytes:,} bytes are kept beside {target.name!r}; "
                "the same download resumes from there with resume=True"
            )
        raise
    return DownloadResult(download=download, size=size, path=target)
