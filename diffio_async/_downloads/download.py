"""A result to a file or to memory."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from diffio_async._downloads.downloader import Downloader
from diffio_async._downloads.part_file import PartFile, ResumablePartFile
from diffio_async._downloads.sinks import MemorySink, open_sink
from diffio_async._downloads.target import invalid_name
from diffio_async._storage.atomic_write import sibling_path
from diffio_async._storage.descriptors import files_of_one_transfer
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
    under: ResolvedOptions,
    ask: Callable[[], Awaitable[Download]],
    path: str | os.PathLike[str] | None,
    on_conflict: OnConflict,
    on_progress: Callback[DownloadProgress] | None,
    *,
    kept_as: tuple[str, ...] | None,
) -> DownloadResult:
    """Ask for a link and fetch what it leads to; `ask` is called again when the link expires.

    With `kept_as`, which names the result, go on from what an earlier download of it left, and
    leave what a failure leaves.

    Raises:
        DownloadFailed: The result could not be fetched whole.
        InvalidTarget: Before anything is asked, or later: the target cannot be written.
        ConfigurationError: `on_conflict` is no such word, or there is no file to resume.
    """

    async def into(sink: Sink) -> tuple[Download, int]:
        link = await ask()

        async def renewed() -> str:
            nonlocal link
            link = await ask()
            return link.download_url

        url = link.download_url
        media = link.download_type in _MEDIA
        size = await Downloader(sender, under, renewed, sink, on_progress, url, media).run()
        return link, size

    if path is None:
        if kept_as is not None:
            raise ConfigurationError("only a file is resumed: name it, or leave out resume=True")
        memory = MemorySink()
        download, size = await into(memory)
        return DownloadResult(download=download, size=size, content=memory.content())
    target = Path(local_path(path, "download_file_path"))
    async with files_of_one_transfer():
        return await _to_file(into, target, on_conflict, kept_as)


async def _to_file(
    into: Callable[[Sink], Awaitable[tuple[Download, int]]],
    target: Path,
    on_conflict: OnConflict,
    kept_as: tuple[str, ...] | None,
) -> DownloadResult:
    try:
        if kept_as is None:
            file = PartFile(sibling_path(target, f"{secrets.token_hex(4)}.part"))
        else:
            file = ResumablePartFile(target, kept_as)
    except ValueError:
        raise invalid_name(target) from None
    try:
        async with open_sink(file, target, on_conflict) as sink:
            download, size = await into(sink)
    except DiffioError as error:
        if file.resumable_bytes:
            error.add_note(
                f"{file.resumable_bytes:,} bytes are kept beside {target.name!r}; "
                "the same download resumes from there with resume=True"
            )
        raise
    return DownloadResult(download=download, size=size, path=target)
