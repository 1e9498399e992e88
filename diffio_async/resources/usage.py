"""Usage: what was processed, and what it costs."""

from __future__ import annotations

from diffio_async._http.transport import ApiTransport
from diffio_async._protocol import endpoints as calls
from diffio_async.models.account import UsageSummary
from diffio_async.options import RequestOptions


class AsyncUsageReports:
    """The usage of the account's keys."""

    def __init__(self, sender: ApiTransport) -> None:
        self._sender = sender

    async def summary(
        self, *, api_key_id: str | None = None, options: RequestOptions | None = None
    ) -> UsageSummary:
        """Usage by period, and billing (scope `usage:read`).

        Args:
            api_key_id: The key whose usage is asked for; the calling one where None.
            options: Options of this call.
        """
        return await self._sender.send(calls.usage_summary(api_key_id), options)
