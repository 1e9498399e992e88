"""API keys: scoped, shown once, rotated and revoked."""

import secrets
from typing import Any

from diffio_async.sandbox.api_call import ApiCall
from diffio_async.sandbox.records import SCOPES, ApiKey, hashed, iso, new_id
from diffio_async.sandbox.responses import HttpError
from diffio_async.sandbox.state import prefix_of


async def create(call: ApiCall) -> dict[str, Any]:
    """Make a key with some scopes; the answer is the only time its secret is shown."""
    label = call.fields.text("label", longest=80)
    scopes = call.fields.choices("scopes", SCOPES)
    if beyond := sorted(set(scopes) - set(call.key.scopes)):
        raise HttpError(403, f"a key cannot give what it lacks: {', '.join(beyond)}")
    secret = _new_secret()
    key = ApiKey(
        id=new_id("key"),
        label=label,
        secret_hash=hashed(secret),
        prefix=prefix_of(secret),
        role="scoped",
        scopes=scopes,
        resource_bounds=call.fields.mapping("resourceBounds") or {},
        parent_id=call.key.id,
        created_at=call.state.now(),
    )
    call.state.add_key(key)
    return {"key": secret, **_record(key)}


async def list_all(call: ApiCall) -> dict[str, Any]:
    """List the keys the caller may manage, without secrets."""
    keys = sorted(call.state.keys.values(), key=lambda key: key.created_at)
    if call.key.role != "agent":
        keys = [key for key in keys if call.key.id in (key.id, key.parent_id)]
    return {"keys": [_record(key) for key in keys]}


async def rotate(call: ApiCall) -> dict[str, Any]:
    """Give a key another secret; the old one ends at once."""
    key = call.managed_key(call.fields.text("keyId"))
    if key.status != "active":
        raise HttpError(409, f"the API key is {key.status}", code="keyNotActive")
    secret = _new_secret()
    key.rotated_at = call.state.now()
    call.state.change_secret(key, secret)
    return {"key": secret, **_record(key)}


async def revoke(call: ApiCall) -> dict[str, Any]:
    """End a key; doing it twice changes nothing."""
    key = call.managed_key(call.fields.text("keyId"))
    if key.status != "revoked":
        key.status = "revoked"
        key.revoked_at = call.state.now()
        call.state.save(key)
    return _record(key)


def _new_secret() -> str:
    return f"diffio_sandbox_{secrets.token_urlsafe(24)}"


def _record(key: ApiKey) -> dict[str, Any]:
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
