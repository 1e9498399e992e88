"""What became of an upload: the API is asked, and nothing is guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, evolve

from diffio_async._protocol.endpoints import complete_project_upload
from diffio_async._uploads.source import display_name
from diffio_async.errors import ClientClosed, DiffioError, NotReady, UploadFailed
from diffio_async.models.generations import FAILED

if TYPE_CHECKING:
    from diffio_async._http.transport import ApiTransport
    from diffio_async._uploads.source import Source
    from diffio_async.models.uploads import UploadConfirmation
    from diffio_async.options import RequestOptions

NOT_RECEIVED_STATUSES = frozenset({409})


class SizeMismatch(UploadFailed):
    """Other bytes landed than were sent; nothing mends that upload."""


@define(eq=False)
class UploadConfirmer:
    """Asks about the upload of one project."""

    sender: ApiTransport
    api_project_id: str
    source: Source
    options: RequestOptions | None

    async def is_received(self, *, patiently: bool) -> bool | None:
        """Whether the bytes are there, None where the API does not say.

        With patience a "not landed yet" is asked about again: storage takes a moment.
        """
        try:
            await self.confirm_once(patiently=patiently)
        except NotReady:
            return False
        except DiffioError:
            return None
        return True

    async def confirm_once(self, *, patiently: bool) -> None:
        """Hear from the API that the bytes are there.

        Raises:
            NotReady: They are not.
            SizeMismatch: Others are.
        """
        call = complete_project_upload(self.api_project_id)
        if patiently:
            call = evolve(call, extra_retry_statuses=NOT_RECEIVED_STATUSES)
        self._check(await self.sender.send(call, self.options))

    def _check(self, landed: UploadConfirmation) -> None:
        """A generation of half a recording would be billed as well."""
        size = landed.size_bytes
        if landed.status in FAILED or size not in {None, self.source.size}:
            raise SizeMismatch(
                f"of {display_name(self.source)}'s {self.source.size:,} bytes the API says "
                f"{landed.status!r}, with {size} bytes landed"
            )

    async def confirm(self) -> None:
        """Hear it of an upload that was completed.

        Raises:
            UploadFailed: The API did not say so.
        """
        try:
            await self.confirm_once(patiently=True)
        except (ClientClosed, SizeMismatch):
            raise
        except DiffioError as failure:
            raise UploadFailed(
                f"{display_name(self.source)} was sent completely, but the API did not confirm it: "
                f"{failure} (call projects.complete_upload to confirm again)"
            ) from failure
