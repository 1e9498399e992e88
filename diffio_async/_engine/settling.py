"""What became of an upload: the API is asked, and nothing is guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, evolve

from diffio_async._engine.sources import called
from diffio_async._wire.calls import complete_project_upload
from diffio_async.errors import ClientClosed, DiffioError, NotReady, UploadFailed
from diffio_async.models.generations import FAILED

if TYPE_CHECKING:
    from diffio_async._engine.sending import Sender
    from diffio_async._engine.sources import Source
    from diffio_async.models.uploads import UploadedProject
    from diffio_async.options import RequestOptions

NOT_LANDED_YET = frozenset({409})


class NotAsSent(UploadFailed):
    """Other bytes landed than were sent; nothing mends that upload."""


@define(eq=False)
class Settling:
    """Asks about the upload of one project."""

    sender: Sender
    api_project_id: str
    source: Source
    options: RequestOptions | None

    async def landed(self, *, patiently: bool) -> bool | None:
        """Whether the bytes are there, None where the API does not say.

        With patience a "not landed yet" is asked about again: storage takes a moment.
        """
        try:
            await self.ask(patiently=patiently)
        except NotReady:
            return False
        except DiffioError:
            return None
        return True

    async def ask(self, *, patiently: bool) -> None:
        """Hear from the API that the bytes are there.

        Raises:
            NotReady: They are not.
            NotAsSent: Others are.
        """
        call = complete_project_upload(self.api_project_id)
        if patiently:
            call = evolve(call, also_transient=NOT_LANDED_YET)
        self._check(await self.sender.send(call, self.options))

    def _check(self, landed: UploadedProject) -> None:
        """A generation of half a recording would be billed as well."""
        size = landed.size_bytes
        if landed.status in FAILED or size not in {None, self.source.size}:
            raise NotAsSent(
                f"of {called(self.source)}'s {self.source.size:,} bytes the API says "
                f"{landed.status!r}, with {size} bytes landed"
            )

    async def confirm(self) -> None:
        """Hear it of an upload that was completed.

        Raises:
            UploadFailed: The API did not say so.
        """
        try:
            await self.ask(patiently=True)
        except (ClientClosed, NotAsSent):
            raise
        except DiffioError as failure:
            raise UploadFailed(
                f"{called(self.source)} was sent whole, but the API did not confirm it: {failure} "
                "(projects.complete_upload asks again)"
            ) from failure
