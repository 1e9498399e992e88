"""A result to a file or to memory."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from diffio_async._engine.downloading import Downloading
from diffio_async._engine.kept_files import KeptFile
from diffio_async._engine.placing import beside
from diffio_async._engine.sinks import MemorySink, written
from diffio_async._engine.temporaries import Temporary
from diffio_async.errors import DiffioError
from diffio_async.models.generations import Downloaded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from diffio_async._engine.reporting import Callback
    from diffio_async._engine.sending import Sender
    from diffio_async._engine.sinks import Sink
    from diffio_async._engine.targets import OnConflict
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
    *,
    resume: bool = False,
) -> Downloaded:
    """Ask for a link and fetch what it leads to; `ask` is called again when the link expires.

    With `resume`, go on from what an earlier download left, and leave what a failure leaves.

    Raises:
        DownloadFailed: The result could not be fetched whole.
        TargetUnusable: The target could not be written.
    """
    link = await ask()

    async def renewed() -> str:
        nonlocal link
        link = await ask()
        return link.download_url

    async def into(sink: Sink) -> int:
        return await Downloading(sender, under, renewed, sink, on_progress, link.download_url).run()

    if target is None:
        memory = MemorySink()
        size = await into(memory)
        return Downloaded(download=link, size=size, content=memory.content())
    file = Temporary(beside(target, f"{secrets.token_hex(4)}.part"))
    if resume:
        file = KeptFile(target, (link.api_project_id, link.generation_id, link.download_type))
    try:
        async with written(file, target, on_conflict) as sink:
            size = await into(sink)
    except DiffioError as error:
        if file.kept:
            error.add_note(
                f"{file.kept:,} bytes are kept beside {target.name!r}: the same download goes on "
                "from there with resume=True"
            )
        raise
    return Downloaded(download=link, size=size, path=target)
