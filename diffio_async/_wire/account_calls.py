"""One function per endpoint: account, keys, usage and webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from attrs import evolve

from diffio_async._wire.addresses import secure_url
from diffio_async._wire.calls import Call, given, json_object, named
from diffio_async._wire.replay import Replay
from diffio_async._wire.several import several
from diffio_async.errors import ConfigurationError
from diffio_async.models.account import AccountSettings, ApiKey, ApiKeyList, UsageSummary
from diffio_async.models.webhooks import ConfiguredWebhook, SentTestEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

T = TypeVar("T")

MAX_LABEL = 80


def _call(name: str, returns: type[T], replay: Replay, **fields: object) -> Call[T]:
    return Call(name=name, path=f"/{name}", returns=returns, replay=replay, json=given(**fields))


def _new_secret(name: str, **fields: object) -> Call[ApiKey]:
    # Its response has the secret, once: without it the key is worth nothing.
    return evolve(_call(name, ApiKey, Replay.NEVER, **fields), needs=("key",))


def get_account_settings() -> Call[AccountSettings]:
    """`account/settings/get`."""
    return _call("account/settings/get", AccountSettings, Replay.READ)


def update_account_settings(billing_policy: Mapping[str, object]) -> Call[AccountSettings]:
    """`account/settings/update`: the same policy twice is the same policy."""
    policy = json_object(billing_policy, "billing_policy")
    return _call(
        "account/settings/update", AccountSettings, Replay.IDEMPOTENT, billingPolicy=policy
    )


def create_api_key(
    *, label: str, scopes: Iterable[str], resource_bounds: Mapping[str, object] | None
) -> Call[ApiKey]:
    """`api_keys/create`: twice would leave a live key that nobody knows. Never repeated."""
    if len(label) > MAX_LABEL:
        raise ConfigurationError(f"a label has at most {MAX_LABEL} characters, not {len(label)}")
    return _new_secret(
        "api_keys/create",
        label=named(label, "label"),
        scopes=words(scopes, "scopes"),
        resourceBounds=json_object(resource_bounds, "resource_bounds"),
    )


def list_api_keys() -> Call[ApiKeyList]:
    """`api_keys/list`."""
    return _call("api_keys/list", ApiKeyList, Replay.READ)


def rotate_api_key(key_id: str) -> Call[ApiKey]:
    """`api_keys/rotate`: twice would make the first new key worthless. Never repeated."""
    return _new_secret("api_keys/rotate", keyId=named(key_id, "key_id"))


def revoke_api_key(key_id: str) -> Call[ApiKey]:
    """`api_keys/revoke`: revoked stays revoked."""
    return _call("api_keys/revoke", ApiKey, Replay.IDEMPOTENT, keyId=named(key_id, "key_id"))


def usage_summary(api_key_id: str | None) -> Call[UsageSummary]:
    """`usage/summary`."""
    return _call("usage/summary", UsageSummary, Replay.READ, apiKeyId=api_key_id)


def configure_webhook(
    *,
    mode: str,
    url: str,
    event_types: Iterable[str],
    api_key_id: str | None,
    allow_insecure_http: bool = False,
) -> Call[ConfiguredWebhook]:
    """`webhooks/configure`: each key has one endpoint a mode, so twice is once."""
    return _call(
        "webhooks/configure",
        ConfiguredWebhook,
        Replay.IDEMPOTENT,
        mode=webhook_mode(mode),
        url=secure_url(url, "the webhook's url", allow_insecure_http=allow_insecure_http),
        eventTypes=words(event_types, "event_types"),
        apiKeyId=api_key_id,
    )


def send_test_event(
    *,
    event_type: str,
    mode: str,
    api_key_id: str | None,
    sample_payload: Mapping[str, object] | None,
) -> Call[SentTestEvent]:
    """`webhooks/send_test_event`: twice delivers two events. Never repeated."""
    return _call(
        "webhooks/send_test_event",
        SentTestEvent,
        Replay.NEVER,
        eventType=named(event_type, "event_type"),
        mode=webhook_mode(mode),
        apiKeyId=api_key_id,
        samplePayload=json_object(sample_payload, "sample_payload"),
    )


def webhook_mode(mode: str) -> str:
    """`test` or `live`.

    Raises:
        ConfigurationError: It is neither.
    """
    if mode not in {"test", "live"}:
        raise ConfigurationError(f"{mode!r} is no webhook mode: choose test or live")
    return mode


def words(values: object, name: str) -> list[str]:
    """One or more strings.

    Raises:
        ConfigurationError: It is one string alone, is empty, or holds something else.
    """
    found = several(values, name)
    if not found:
        raise ConfigurationError(f"{name} must be one or more words")
    return list(found)
