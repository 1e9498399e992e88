"""A source to the service, the way the server offered: in parts, or by one signed PUT."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from attrs import evolve, frozen

from diffio_async._engine.air import Air
from diffio_async._engine.bodies import aloft, unhurried
from diffio_async._engine.concerning import concerning
from diffio_async._engine.descriptors import connections_per_host
from diffio_async._engine.edge_upload import EdgeUploading
from diffio_async._engine.loops import running_loop
from diffio_async._engine.opening import too_large
from diffio_async._engine.resuming import Resuming, created_of
from diffio_async._engine.sources import Source, called
from diffio_async._engine.tally import Tally
from diffio_async._wire.calls import Call
from diffio_async._wire.parts import Part
from diffio_async._wire.replay import Replay
from diffio_async._wire.requests import to_media
from diffio_async.errors import (
    ClientClosed,
    DiffioError,
    ResponseInvalid,
    UploadFailed,
)
from diffio_async.models.projects import Project
from diffio_async.models.uploads import CreatedProject

if TYPE_CHECKING:
    from diffio_async._engine.notes import Notes
    from diffio_async._engine.sending import Sender
    from diffio_async.events import UploadProgress
    from diffio_async.models.resuming import UploadStore
    from diffio_async.options import RequestOptions
    from diffio_async.types import Callback


@frozen
class NewProject:
    """What a project is asked for with."""

    call: Call[CreatedProject]
    file_name: str
    content_type: str

    def uploaded(self, created: CreatedProject, source: Source) -> Project:
        """The project, its recording in it."""
        return Project(
            api_project_id=created.api_project_id,
            status="uploaded",
            file_name=self.file_name,
            content_type=self.content_type,
            size_bytes=source.size,
            object_path=created.object_path,
            expires_at=created.expires_at,
        )


#: The methods that a server may have a recording sent with.
_UPLOADING = frozenset({"PUT", "POST"})


class Uploader:
    """Uploads for one client: all its parts, and whole files by signed PUT, share one limit."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._air: dict[asyncio.AbstractEventLoop, Air] = {}
        self._turns: WeakValueDictionary[tuple[object, int, str], asyncio.Lock] = (
            WeakValueDictionary()
        )

    def __reduce__(self) -> tuple[type[Uploader], tuple[Sender]]:
        """Pickle what it was made from."""
        return Uploader, (self._sender,)

    async def create(
        self,
        source: Source,
        new: NewProject,
        *,
        store: UploadStore | None,
        on_progress: Callback[UploadProgress] | None,
        options: RequestOptions | None,
    ) -> Project:
        """Make a project and upload its recording; with a store an earlier try is gone on with.

        Raises:
            UploadFailed: As `upload` does.
            AnswerLost: The project may have been created, and was not asked for a second time.
            ApiError: The API refused to create it.
        """
        if store is None:
            created = await self._sender.send(new.call, options)
            with concerning(api_project_id=created.api_project_id):
                await self.upload(
                    source,
                    created,
                    content_type=new.content_type,
                    on_progress=on_progress,
                    options=options,
                )
            return new.uploaded(created, source)

        async def send(created: CreatedProject, notes: Notes) -> None:
            await self.upload(
                source,
                created,
                content_type=notes.record.content_type,
                on_progress=on_progress,
                options=options,
                notes=notes,
            )

        resuming = Resuming(self._sender, source, store, new, send, options)
        # One content has one record: the same content twice at once goes one after the other.
        async with self._turn(store, await source.digest()):
            record = await resuming.run()
        earlier = evolve(new, file_name=record.file_name, content_type=record.content_type)
        return earlier.uploaded(created_of(record), source)

    def _turn(self, store: UploadStore, digest: str) -> asyncio.Lock:
        key = running_loop(), id(store), digest
        return self._turns.setdefault(key, asyncio.Lock())

    def _here(self) -> Air:
        """The running loop's places in the air."""
        loop = running_loop()
        if loop not in self._air:
            for ended in [known for known in self._air if known.is_closed()]:
                del self._air[ended]
            self._air[loop] = Air(
                min(
                    self._sender.options.parts_in_flight, connections_per_host(self._sender.options)
                )
            )
        return self._air[loop]

    async def upload(
        self,
        source: Source,
        created: CreatedProject,
        *,
        content_type: str,
        on_progress: Callback[UploadProgress] | None,
        options: RequestOptions | None,
        notes: Notes | None = None,
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
                    await self._sent(source, created, content_type, tally, options, notes)
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
        notes: Notes | None,
    ) -> None:
        offer = created.upload
        if offer is not None:
            if offer.max_bytes is not None and source.size > offer.max_bytes:
                raise too_large(source, offer.max_bytes)
            await EdgeUploading(
                self._sender, self._here(), created, offer, source, tally, options, notes
            ).run()
        elif created.upload_url is not None:
            await self._signed(source, created, content_type, tally, options)
        else:
            raise ResponseInvalid(
                "create_project was answered without an upload offer that can be used"
            )

    async def _signed(
        self,
        source: Source,
        created: CreatedProject,
        content_type: str,
        tally: Tally,
        options: RequestOptions | None,
    ) -> None:
        method = (created.upload_method or "PUT").upper()
        if method not in _UPLOADING:
            raise ResponseInvalid(
                f"the upload offer names the method {created.upload_method!r}: only PUT and POST "
                "upload"
            )
        request = to_media(
            method,
            created.upload_url or "",
            {"Content-Type": content_type},
            base_url=self._sender.base_url,
        )
        body = aloft(self._here(), tally, source, Part(1, 0, source.size), tally.counter(1))
        under = self._sender.under(unhurried(self._sender.options, options))
        # Until the last byte is in, a signed PUT changes nothing; after it, the same again.
        await self._sender.perform("signed upload", request, Replay.IDEMPOTENT, under, body=body)
        await source.verify()
