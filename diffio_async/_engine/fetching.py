"""A result to a file or to memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffio_async._engine.downloading import Downloading
from diffio_async._engine.targets import MemorySink, written
from diffio_async.models.generations import Downloaded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from diffio_async._engine.reporting import Callback
    from diffio_async._engine.sending import Sender
    from diffio_async._engine.targets import OnConflict, Sink
    from diffio_async.events import DownloadProgress
    from diffio_async.models.generations import Download
    from diffio_async.options import CallOptions


async def fetch(
    sender: Sender,
    under: CallOptions,
    ask: Callable[[], Awaitable[Download]],
    target: Path | None,
    on_conflict: OnConflict,
    on_progress: Callback[DownloadProgress] | None,
) -> Downloaded:
    """Ask for a link and fetch what it leads to; `ask` is called again when the link expires.

    Raises:
        DownloadFailed: The result could not be fetched whole; nothing is left of it.
        TargetUnusable: The target could not be written.
    """
    link = await ask()

    async def renewed() -> str:
        nonlocal link
        link = await ask()
        return link.download_url

    async def into(sink: Sink) -> int:
        return await Downloading(sender, under, renewed, sink, on_progress).run(link.download_url)

    if target is None:
        memory = MemorySink()
        size = await into(memory)
        return Downloaded(download=link, size=size, content=memory.content())
    async with written(target, on_conflict) as sink:
        size = await into(sink)
    return Downloaded(download=link, size=size, path=target)
