"""The account: its billing policy, and what was used."""

from typing import Any

from diffio_async.sandbox.api_call import ApiCall
from diffio_async.sandbox.billing import cents_of, periods
from diffio_async.sandbox.records import iso
from diffio_async.sandbox.responses import HttpError


async def get(call: ApiCall) -> dict[str, Any]:
    """Show the account."""
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


async def update(call: ApiCall) -> dict[str, Any]:
    """Change the billing policy; a spend limit is enforced from now on."""
    policy = call.fields.required_mapping("billingPolicy")
    kind = policy.get("type")
    if not isinstance(kind, str) or not kind:
        raise HttpError(400, "billingPolicy.type must be a string")
    limit = policy.get("limitCents")
    if kind == "spendLimit" and (
        isinstance(limit, bool) or not isinstance(limit, int | float) or limit < 0
    ):
        raise HttpError(400, "billingPolicy.limitCents must be a number from 0 up")
    account = call.state.account
    account.billing_policy = policy
    account.updated_at = call.state.now()
    call.state.save(account)
    return await get(call)


async def usage(call: ApiCall) -> dict[str, Any]:
    """Sum up the generations of a key, and what the account has spent in all."""
    key = call.other_key()
    everything = list(call.state.generations.values())
    spent = round(sum(cents_of(generation) for generation in everything), 4)
    return {
        "usage": {
            "apiKeyId": key.id,
            "periods": periods(one for one in everything if one.key_id == key.id),
        },
        "billing": {
            "billingPolicy": call.state.account.billing_policy,
            "lifetimeListPriceCents": spent,
            "lifetimeBillableCents": spent,
            "currency": call.state.account.currency,
        },
    }
