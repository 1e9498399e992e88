"""The account, its API keys and its usage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from diffio_async._http.transport import ApiTransport
from diffio_async._protocol import endpoints
from diffio_async.models.account import AccountSettings, ApiKey, UsageSummary
from diffio_async.models.json_values import ListResponse
from diffio_async.options import RequestOptions


class AsyncAccounts:
    """Read and change the settings of the account the key belongs to."""

    def __init__(self, sender: ApiTransport) -> None:
        self._sender = sender

    async def get_settings(self, *, options: RequestOptions | None = None) -> AccountSettings:
        """The account's settings (scope `account:read`)."""
        return await self._sender.send(endpoints.get_account_settings(), options)

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
        return await self._sender.send(endpoints.update_account_settings(billing_policy), options)


class AsyncApiKeys:
    """The keys of the account."""

    def __init__(self, sender: ApiTransport) -> None:
        self._sender = sender

    async def create(
        self,
        *,
        label: str,
        scopes: Iterable[str],
        resource_bounds: Mapping[str, object] | None = None,
        options: RequestOptions | None = None,
    ) -> ApiKey:
        """Make a key (scope `keys:write`). Its secret is in `key`, now and never again.

        Never sent twice when the answer was lost: look with `list()` for a key of that label,
        and revoke it.

        Args:
            label: At most 80 characters.
            scopes: Such as `projects:read`, `generations:write`.
            resource_bounds: What the key is bound to, in the API's own keys.
            options: Options of this call.

        Raises:
            ConfigurationError: The label or the scopes cannot be right; nothing was sent.
            ResponseLost: A key may have been made.
        """
        call = endpoints.create_api_key(label=label, scopes=scopes, resource_bounds=resource_bounds)
        return await self._sender.send(call, options)

    async def list(self, *, options: RequestOptions | None = None) -> ListResponse[ApiKey]:
        """Every key of the account, without its secret (scope `keys:read`)."""
        found = await self._sender.send(endpoints.list_api_keys(), options)
        return ListResponse(found.keys, found.extra)

    async def rotate(self, *, key_id: str, options: RequestOptions | None = None) -> ApiKey:
        """Give a key a new secret, which is in `key` (scope `keys:write`).

        Never sent twice when the answer was lost: the old secret may be worthless by then, and
        rotating again gives one that is known.

        Raises:
            NotFound: The account has no such key.
            ResponseLost: The secret may have been changed.
        """
        return await self._sender.send(endpoints.rotate_api_key(key_id), options)

    async def revoke(self, *, key_id: str, options: RequestOptions | None = None) -> ApiKey:
        """End a key for good (scope `keys:write`).

        Raises:
            NotFound: The account has no such key.
        """
        return await self._sender.send(endpoints.revoke_api_key(key_id), options)


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
        return await self._sender.send(endpoints.usage_summary(api_key_id), options)
