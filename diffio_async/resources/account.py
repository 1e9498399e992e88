"""The account: its settings, API keys, usage and webhook endpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from diffio_async._http.transport import ApiTransport
from diffio_async._protocol import endpoints
from diffio_async.models.account import AccountSettings, ApiKey, UsageSummary
from diffio_async.models.json_values import ListResponse
from diffio_async.models.webhooks import (
    SentTestEvent,
    WebhookEndpoint,
    WebhookEvent,
    WebhookMode,
)
from diffio_async.options import RequestOptions


class AsyncAccounts:
    """Settings of the account that the API key belongs to."""

    def __init__(self, sender: ApiTransport) -> None:
        self._sender = sender

    async def get_settings(self, *, options: RequestOptions | None = None) -> AccountSettings:
        """Return the settings of the account (scope `account:read`).

        Args:
            options: Options of this call.

        Raises:
            PermissionDenied: The key lacks the scope.
        """
        return await self._sender.send(endpoints.get_account_settings(), options)

    async def update_settings(
        self, *, billing_policy: Mapping[str, object], options: RequestOptions | None = None
    ) -> AccountSettings:
        """Set the billing policy (scope `account:write`).

        Args:
            billing_policy: `type` and what that type needs, by the API's names.
            options: Options of this call.

        Raises:
            ConfigurationError: The policy is not a JSON object; nothing was sent.
            BadRequest: The API does not accept the policy.
        """
        return await self._sender.send(endpoints.update_account_settings(billing_policy), options)


class AsyncApiKeys:
    """API keys of the account."""

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
        """Create a key (scope `keys:write`). Only this response has its secret, in `key`.

        The request is not repeated if its response is lost: find the key by its label with
        `list()`, and revoke it.

        Args:
            label: At most 80 characters.
            scopes: Such as `projects:read`, `generations:write`.
            resource_bounds: Resources that the key is limited to, by the API's names.
            options: Options of this call.

        Raises:
            ConfigurationError: The label or the scopes are invalid; nothing was sent.
            ResponseLost: The key may have been created.
        """
        call = endpoints.create_api_key(label=label, scopes=scopes, resource_bounds=resource_bounds)
        return await self._sender.send(call, options)

    async def list(self, *, options: RequestOptions | None = None) -> ListResponse[ApiKey]:
        """Return all keys of the account, without secrets (scope `keys:read`).

        Args:
            options: Options of this call.

        Raises:
            PermissionDenied: The key lacks the scope.
        """
        found = await self._sender.send(endpoints.list_api_keys(), options)
        return ListResponse(found.keys, found.extra)

    async def rotate(self, *, key_id: str, options: RequestOptions | None = None) -> ApiKey:
        """Replace the secret of a key (scope `keys:write`); the new one is in `key`.

        The request is not repeated if its response is lost: the old secret may be invalid then,
        and rotating again returns a new one.

        Args:
            key_id: Id of the key, not its secret.
            options: Options of this call.

        Raises:
            NotFound: The account has no such key.
            ResponseLost: The secret may have been changed.
        """
        return await self._sender.send(endpoints.rotate_api_key(key_id), options)

    async def revoke(self, *, key_id: str, options: RequestOptions | None = None) -> ApiKey:
        """Revoke a key permanently (scope `keys:write`).

        Args:
            key_id: Id of the key, not its secret.
            options: Options of this call.

        Raises:
            NotFound: The account has no such key.
        """
        return await self._sender.send(endpoints.revoke_api_key(key_id), options)


class AsyncUsageReports:
    """Usage of the API keys of the account."""

    def __init__(self, sender: ApiTransport) -> None:
        self._sender = sender

    async def summary(
        self, *, api_key_id: str | None = None, options: RequestOptions | None = None
    ) -> UsageSummary:
        """Return the usage by period, and the billing (scope `usage:read`).

        Args:
            api_key_id: Id of the API key. If None, the key of the client.
            options: Options of this call.

        Raises:
            PermissionDenied: The key lacks the scope.
        """
        return await self._sender.send(endpoints.usage_summary(api_key_id), options)


class AsyncWebhooks:
    """Webhook endpoints of the API keys of the account."""

    def __init__(self, sender: ApiTransport) -> None:
        self._sender = sender

    async def configure(
        self,
        *,
        mode: WebhookMode,
        url: str,
        event_types: Iterable[str],
        api_key_id: str | None = None,
        options: RequestOptions | None = None,
    ) -> WebhookEndpoint:
        """Configure where events are delivered (scope `webhooks:write`).

        Args:
            mode: `test` or `live`.
            url: An `https://` URL.
            event_types: Such as `generation.completed`, `generation.failed`.
            api_key_id: Id of the API key of the endpoint. If None, the key of the client.
            options: Options of this call.

        Raises:
            ConfigurationError: The mode, the URL or the types are invalid; nothing was sent.
        """
        call = endpoints.configure_webhook(
            mode=mode,
            url=url,
            event_types=event_types,
            api_key_id=api_key_id,
            allow_insecure_http=self._sender.options.allow_insecure_http,
        )
        return (await self._sender.send(call, options)).webhook

    async def send_test_event(
        self,
        *,
        event_type: str,
        mode: WebhookMode,
        api_key_id: str | None = None,
        sample_payload: Mapping[str, object] | None = None,
        options: RequestOptions | None = None,
    ) -> SentTestEvent:
        """Send a test event to the endpoint (scope `webhooks:write`).

        The request is not repeated if its response is lost.

        Args:
            event_type: Such as `generation.completed`.
            mode: `test` or `live`.
            api_key_id: Id of the API key of the endpoint. If None, the key of the client.
            sample_payload: Fields of the event, by the API's names.
            options: Options of this call.

        Raises:
            ConfigurationError: The type or the mode is invalid; nothing was sent.
            ResponseLost: The event may have been sent.
        """
        call = endpoints.send_test_event(
            event_type=event_type, mode=mode, api_key_id=api_key_id, sample_payload=sample_payload
        )
        return await self._sender.send(call, options)

    def verify_signature(
        self, *, payload: bytes | str, headers: Mapping[str, str], secret: str
    ) -> WebhookEvent:
        """Verify a delivery and return its event. Nothing is sent; see `WebhookVerifier`.

        Args:
            payload: The raw body as received. JSON that was parsed and written again does not
                verify.
            headers: The request's headers, in any case.
            secret: The endpoint's signing secret (`whsec_…`).

        Raises:
            WebhookRejected: The delivery is not genuine; `code` is the reason.
            ConfigurationError: The secret is malformed.
        """
        from diffio_async.webhooks.verifier import WebhookVerifier

        return WebhookVerifier(secret).verify(payload, headers)
