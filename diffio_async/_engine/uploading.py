"""A source to the service, the way the server offered: in parts, or by one signed PUT."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from diffio_async._engine.bodies import Body, unhurried
from diffio_async._engine.edge_upload import EdgeUploading
from diffio_async._engine.opening import too_large
from diffio_async._engine.sources import Source, called
from diffio_async._engine.tally import Tally
from diffio_async._wire.replay import Replay
from diffio_async._wire.requests import to_media
from diffio_async.errors import (
    ClientClosed,
    DiffioError,
    ResponseInvalid,
    UploadFailed,
)
from diffio_async.options import merged

if TYPE_CHECKING:
    from diffio_async._engine.reporting import Callback
    from diffio_async._engine.sending import Sender
    from diffio_async.events import UploadProgress
    from diffio_async.models.uploads import CreatedProject
    from diffio_async.options import RequestOptions


class Uploader:
    """Uploads for one client: all its parts, and whole files by signed PUT, share one limit."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._slots: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}

    def __reduce__(self) -> tuple[type[Uploader], tuple[Sender]]:
        """Pickle what it was made from."""
        return Uploader, (self._sender,)

    def _slot(self) -> asyncio.Semaphore:
        """The running loop's places in the air."""
        loop = asyncio.get_running_loop()
        if loop not in self._slots:
            for ended in [known for known in self._slots if known.is_closed()]:
                del self._slots[ended]
            self._slots[loop] = asyncio.Semaphore(self._sender.options.parts_in_flight)
        return self._slots[loop]

    async def upload(
        self,
        source: Source,
        created: CreatedProject,
        *,
        content_type: str,
        on_progress: Callback[UploadProgress] | None,
        options: RequestOptions | None,
    ) -> None:
        """Send the source the way the server offered; where it offered both, to the edge.

        Raises:
            UploadFailed: The bytes could not be sent whole, or the API did not confirm them;
                `__cause__` says why.
            SourceUnusable: The source is over the offer's limit, or changed on the way.
        """
        tally = Tally(source.size, on_progress)
        try:
            with self._sender.closing.under_way():
                async with tally.telling():
                    await self._sent(source, created, content_type, tally, options)
        except (UploadFailed, ClientClosed):
            raise
        except DiffioError as failure:
            raise UploadFailed(f"{called(source)} could not be uploaded: {failure}") from failure

    async def _sent(
        self,
        source: Source,
        created: CreatedProject,
        content_type: str,
        tally: Tally,
        options: RequestOptions | None,
    ) -> None:
        offer = created.upload
        if offer is not None:
            if offer.max_bytes is not None and source.size > offer.max_bytes:
                raise too_large(source, offer.max_bytes)
            await EdgeUploading(
                self._sender, self._slot(), created, offer, source, tally, options
            ).run()
        elif created.upload_url is not None:
            await self._signed(source, created, content_type, tally, options)
        else:
            raise ResponseInvalid("create_project was answered without an upload offer")

    async def _signed(
        self,
        source: Source,
        created: CreatedProject,
        content_type: str,
        tally: Tally,
        options: RequestOptions | None,
    ) -> None:
        request = to_media(
            created.upload_method or "PUT",
            created.upload_url or "",
            {"Content-Type": content_type},
        )
        body = Body(source, 0, source.size, tally.counter(1))
        under = merged(self._sender.options, unhurried(self._sender.options, options))
        async with self._slot():
            # Until the last byte is in, a signed PUT changes nothing; after it, the same again.
            await self._sender.perform(
                "signed upload", request, Replay.IDEMPOTENT, under, body=body
            )
        await source.verify()
