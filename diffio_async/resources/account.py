"""The account the key belongs to."""

from __future__ import annotations

from collections.abc import Mapping

from diffio_async._http.transport import ApiTransport
from diffio_async._protocol import endpoints as calls
from diffio_async.models.account import AccountSettings
from diffio_async.options import RequestOptions


class AsyncAccounts:
    """Read and change the settings of the account the key belongs to."""

    def __init__(self, sender: ApiTransport) -> None:
        self._sender = sender

    async def get_settings(self, *, options: RequestOptions | None = None) -> AccountSettings:
        """The account's settings (scope `account:read`)."""
        return await self._sender.send(calls.get_account_settings(), options)

    async def update_settings(
        self, *, billing_policy: Mapping[str, object], options: RequestOptions | None = None
    ) -> AccountSettings:
        """Set the billing policy (scope `account:write`).

        Args:
            billing_policy: In the API's own keys: `type`, and what that type needs.
            options: Options of this call.

        Raises:
            ConfigurationError: The policy is no JSON object; nothing was sent.
            BadRequest: The API takes no such policy.
        """
        return await self._sender.send(calls.update_account_settings(billing_policy), options)
