"""Webhooks: configuration of endpoints, test events and verification."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from diffio_async._http.transport import ApiTransport
from diffio_async._protocol import endpoints
from diffio_async.models.webhooks import (
    SentTestEvent,
    WebhookEndpoint,
    WebhookEvent,
    WebhookMode,
)
from diffio_async.options import RequestOptions
from diffio_async.webhooks.verifier import WebhookVerifier


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
        return WebhookVerifier(secret).verify(payload, headers)
