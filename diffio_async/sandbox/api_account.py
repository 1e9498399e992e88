"""Endpoints of the account: billing policy, usage, API keys and webhooks.

Generations are billed by the second of processing, with a minimum of one minute.
"""

import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from diffio_async.sandbox.api import ApiCall, Route
from diffio_async.sandbox.messages import HttpError
from diffio_async.sandbox.settings import is_loopback
from diffio_async.sandbox.state import (
    ROOT_KEY_ID,
    SCOPES,
    ApiKey,
    Endpoint,
    Generation,
    State,
    hash_secret,
    iso,
    new_id,
    prefix_of,
)
from diffio_async.sandbox.webhooks import EVENT_TYPES, MODES, new_secret

MIN_BILLED_SECONDS = 60.0


def cents_per_second(model: str) -> float:
    """Return the price of one second, in cents; the sandbox defines its own prices."""
    return 0.1 if model.endswith("-pro") else 0.05


def billed_seconds(generation: Generation) -> float:
    """Return the billed seconds of a generation; 0 if it failed."""
    if generation.status == "failed":
        return 0.0
    if generation.started_at is None or generation.finished_at is None:
        return MIN_BILLED_SECONDS
    return max(MIN_BILLED_SECONDS, generation.finished_at - generation.started_at)


def billed_cents(generation: Generation) -> float:
    """Return the cents that are billed for a generation, or reserved while it runs."""
    return billed_seconds(generation) * cents_per_second(generation.model_key)


def require_payment(state: State) -> None:
    """Check that a new generation can be paid for.

    Raises:
        HttpError: 402 on a billing hold (`billing_status` "paymentFailed"), or if the spend
            limit of the billing policy (`{"type": "spendLimit", "limitCents": …}`) is reached.
    """
    account = state.account
    if account.billing_status == "paymentFailed":
        raise HttpError(402, "the last payment failed; update billing", code="paymentFailed")
    limit = account.billing_policy.get("limitCents")
    if account.billing_policy.get("type") == "spendLimit" and isinstance(limit, int | float):
        spent_cents = sum(billed_cents(generation) for generation in state.generations.values())
        if spent_cents >= limit:
            raise HttpError(
                402, f"the spend limit of {limit} cents is reached", code="spendLimitExceeded"
            )


def periods(generations: Iterable[Generation]) -> list[dict[str, Any]]:
    """Return the usage by month, oldest first."""
    months: dict[str, list[Generation]] = defaultdict(list)
    for generation in generations:
        months[f"{datetime.fromtimestamp(generation.created_at, UTC):%Y-%m}"].append(generation)
    return [_period(month, months[month]) for month in sorted(months)]


def _period(month: str, generations: list[Generation]) -> dict[str, Any]:
    reserved = finalized = 0.0
    seconds: dict[str, float] = defaultdict(float)
    cents: dict[str, float] = defaultdict(float)
    for generation in generations:
        cost = billed_cents(generation)
        if generation.ended:
            finalized += cost
            seconds[generation.model_key] += billed_seconds(generation)
            cents[generation.model_key] += cost
        else:
            reserved += cost
    start = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    return {
        "periodId": month,
        "periodStart": iso(start.timestamp()),
        "reservedCents": round(reserved, 4),
        "finalizedCents": round(finalized, 4),
        "totalCents": round(reserved + finalized, 4),
        "modelSeconds": dict(seconds),
        "modelCents": {model: round(cost, 4) for model, cost in cents.items()},
    }


async def get_account(call: ApiCall) -> dict[str, Any]:
    """Return the account."""
    account = call.state.account
    return {
        "apiKeyId": call.key.id,
        "account": {
            "userId": "user_sandbox",
            "billingMode": account.billing_mode,
            "billingStatus": account.billing_status,
            "billingPolicy": account.billing_policy,
            "currency": account.currency,
            "updatedAt": iso(account.updated_at),
        },
    }


async def update_account(call: ApiCall) -> dict[str, Any]:
    """Set the billing policy; a spend limit applies immediately."""
    policy = call.fields.required_mapping("billingPolicy")
    policy_type = policy.get("type")
    if not isinstance(policy_type, str) or not policy_type:
        raise HttpError(400, "billingPolicy.type must be a string")
    limit = policy.get("limitCents")
    if policy_type == "spendLimit" and (
        isinstance(limit, bool) or not isinstance(limit, int | float) or limit < 0
    ):
        raise HttpError(400, "billingPolicy.limitCents must be a non-negative number")
    account = call.state.account
    account.billing_policy = policy
    account.updated_at = call.state.now()
    call.state.save(account)
    return await get_account(call)


async def summarize_usage(call: ApiCall) -> dict[str, Any]:
    """Return the usage of a key, and the total cost of the account."""
    key = call.other_key()
    generations = list(call.state.generations.values())
    spent_cents = round(sum(billed_cents(generation) for generation in generations), 4)
    return {
        "usage": {
            "apiKeyId": key.id,
            "periods": periods(
                generation for generation in generations if generation.key_id == key.id
            ),
        },
        "billing": {
            "billingPolicy": call.state.account.billing_policy,
            "lifetimeListPriceCents": spent_cents,
            "lifetimeBillableCents": spent_cents,
            "currency": call.state.account.currency,
        },
    }


async def create_key(call: ApiCall) -> dict[str, Any]:
    """Create a key with some scopes; only this response contains its secret."""
    label = call.fields.text("label", max_length=80)
    scopes = call.fields.choices("scopes", SCOPES)
    if missing_scopes := sorted(set(scopes) - set(call.key.scopes)):
        raise HttpError(
            403, f"the caller lacks these scopes and cannot grant them: {', '.join(missing_scopes)}"
        )
    secret = _new_secret()
    key = ApiKey(
        id=new_id("key"),
        label=label,
        secret_hash=hash_secret(secret),
        prefix=prefix_of(secret),
        role="scoped",
        scopes=scopes,
        resource_bounds=call.fields.mapping("resourceBounds") or {},
        parent_id=call.key.id,
        created_at=call.state.now(),
    )
    call.state.save(key)
    return {"key": secret, **_key_record(key)}


async def list_keys(call: ApiCall) -> dict[str, Any]:
    """List the keys that the caller may manage, without secrets."""
    keys = sorted(call.state.keys.values(), key=lambda key: key.created_at)
    if call.key.role != "agent":
        keys = [key for key in keys if call.key.id in (key.id, key.parent_id)]
    return {"keys": [_key_record(key) for key in keys]}


async def rotate_key(call: ApiCall) -> dict[str, Any]:
    """Replace the secret of a key; the old one is invalid immediately."""
    key = call.managed_key(call.fields.text("keyId"))
    if key.status != "active":
        raise HttpError(409, f"the API key is {key.status}", code="keyNotActive")
    secret = _new_secret()
    key.rotated_at = call.state.now()
    call.state.change_secret(key, secret)
    return {"key": secret, **_key_record(key)}


async def revoke_key(call: ApiCall) -> dict[str, Any]:
    """Revoke a key; idempotent."""
    key = call.managed_key(call.fields.text("keyId"))
    if key.status != "revoked":
        key.status = "revoked"
        key.revoked_at = call.state.now()
        call.state.save(key)
    return _key_record(key)


def _new_secret() -> str:
    return f"diffio_sandbox_{secrets.token_urlsafe(24)}"


def _key_record(key: ApiKey) -> dict[str, Any]:
    return {
        "keyId": key.id,
        "label": key.label,
        "status": key.status,
        "keyPrefix": key.prefix,
        "role": key.role,
        "scopes": key.scopes,
        "resourceBounds": key.resource_bounds,
        "parentKeyId": key.parent_id,
        "createdAt": iso(key.created_at),
        "rotatedAt": iso(key.rotated_at),
        "revokedAt": iso(key.revoked_at),
        "permissions": {
            "read": any(scope.endswith(":read") for scope in key.scopes),
            "write": any(scope.endswith(":write") for scope in key.scopes),
        },
    }


async def configure_webhook(call: ApiCall) -> dict[str, Any]:
    """Create or update the webhook endpoint of a key and mode."""
    key = call.other_key()
    mode = call.fields.choice("mode", MODES)
    url = call.fields.text("url", max_length=2048)
    _require_safe_url(url, allow_http=call.context.settings.allow_remote_webhooks)
    event_types = call.fields.choices("eventTypes", EVENT_TYPES, min_items=1)
    endpoint = call.context.deliveries.endpoint(key.id, mode)
    if endpoint is None:
        root = key.id == ROOT_KEY_ID
        endpoint = Endpoint(
            id=new_id("ep"),
            key_id=key.id,
            mode=mode,
            url=url,
            event_types=event_types,
            secret=call.context.settings.webhook_secret if root else new_secret(),
            updated_by=call.key.id,
        )
    endpoint.url, endpoint.event_types, endpoint.updated_by = url, event_types, call.key.id
    call.state.save(endpoint)
    return {
        "webhook": {
            "apiKeyId": key.id,
            "mode": mode,
            "svixEnv": f"sandbox-{mode}",
            "endpointId": endpoint.id,
            "eventTypes": event_types,
            "url": url,
            "signing": "svix",
            "updatedByKeyId": call.key.id,
        }
    }


async def send_test_event(call: ApiCall) -> dict[str, Any]:
    """Deliver a test event, signed like a real one."""
    key = call.other_key()
    event_type = call.fields.choice("eventType", EVENT_TYPES)
    mode = call.fields.choice("mode", MODES)
    sample = call.fields.mapping("samplePayload") or {}
    endpoint = call.context.deliveries.endpoint(key.id, mode)
    if endpoint is None:
        raise HttpError(404, f"no {mode} webhook is configured for this API key")
    if event_type not in endpoint.event_types:
        raise HttpError(400, f"the {mode} webhook is not subscribed to {event_type}")
    status = event_type.partition(".")[2].replace("completed", "complete")
    data = {
        "apiProjectId": "proj_test",
        "generationId": "gen_test",
        "status": status.replace("failed", "error"),
        "hasVideo": False,
        "modelKey": "diffio-4.6-flash",
        "error": "a test failure" if status == "failed" else None,
        "errorDetails": None,
        **sample,
    }
    message_id, event_id = call.context.deliveries.send(endpoint, event_type, data)
    return {
        "svixMessageId": message_id,
        "eventId": event_id,
        "eventType": event_type,
        "mode": mode,
        "apiKeyId": key.id,
    }


def _require_safe_url(url: str, *, allow_http: bool) -> None:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise HttpError(400, "url is not a valid URL") from None
    # A receiver under development listens on loopback, where plain HTTP is safe.
    is_local = parts.scheme == "http" and (
        allow_http or is_loopback(host) or host.endswith(".localhost")
    )
    if not host or port == 0 or not (parts.scheme == "https" or is_local):
        raise HttpError(400, "url must begin with https:// (http:// is allowed for loopback only)")


ROUTES: Mapping[str, Route] = {
    "account/settings/get": Route(get_account, ("account:read",)),
    "account/settings/update": Route(update_account, ("account:write",), ("billingPolicy",)),
    "usage/summary": Route(summarize_usage, ("usage:read",), ("apiKeyId",)),
    "api_keys/create": Route(create_key, ("keys:write",), ("label", "scopes", "resourceBounds")),
    "api_keys/list": Route(list_keys, ("keys:read",)),
    "api_keys/rotate": Route(rotate_key, ("keys:write",), ("keyId",)),
    "api_keys/revoke": Route(revoke_key, ("keys:write",), ("keyId",)),
    "webhooks/configure": Route(
        configure_webhook, ("webhooks:write",), ("mode", "url", "eventTypes", "apiKeyId")
    ),
    "webhooks/send_test_event": Route(
        send_test_event,
        ("webhooks:write",),
        ("eventType", "mode", "apiKeyId", "samplePayload"),
    ),
}
