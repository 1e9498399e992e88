"""The account, its API keys and its usage."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attrs import field, frozen

from diffio_async.models._plain import Plain

#: An object whose shape is the service's: the API's own keys, as they came.
Json = Mapping[str, object]


@frozen(kw_only=True)
class Account(Plain):
    """Who pays, how, and up to what. `billing_policy` has the API's own keys (`type`, …)."""

    user_id: str | None = None
    billing_mode: str | None = None
    billing_status: str | None = None
    billing_policy: Json | None = field(default=None, hash=False)
    currency: str | None = None
    updated_at: datetime | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class AccountSettings(Plain):
    """`account/settings`' answer: the account the key belongs to."""

    account: Account
    api_key_id: str | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class ApiKey(Plain):
    """An API key's record. `key` is the secret: shown once, when created or rotated."""

    key_id: str
    label: str | None = None
    status: str | None = None
    key: str | None = field(default=None, repr=False)
    key_prefix: str | None = None
    role: str | None = None
    scopes: tuple[str, ...] = ()
    resource_bounds: Json | None = field(default=None, hash=False)
    parent_key_id: str | None = None
    created_at: datetime | None = None
    rotated_at: datetime | None = None
    revoked_at: datetime | None = None
    permissions: object = field(default=None, hash=False)
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class ApiKeyList(Plain):
    """`api_keys/list`'s answer; no secrets in it."""

    keys: tuple[ApiKey, ...]
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class UsagePeriod(Plain):
    """One period's usage, in cents and in seconds by model."""

    period_id: str | None = None
    period_start: datetime | None = None
    reserved_cents: float | None = None
    finalized_cents: float | None = None
    total_cents: float | None = None
    model_seconds: Json | None = field(default=None, hash=False)
    model_cents: Json | None = field(default=None, hash=False)
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class Usage(Plain):
    """A key's usage, period by period."""

    periods: tuple[UsagePeriod, ...] = ()
    api_key_id: str | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class Billing(Plain):
    """The account's billing over its life, in cents."""

    billing_policy: Json | None = field(default=None, hash=False)
    lifetime_list_price_cents: float | None = None
    lifetime_billable_cents: float | None = None
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)


@frozen(kw_only=True)
class UsageSummary(Plain):
    """`usage/summary`'s answer."""

    usage: Usage
    billing: Billing = field(factory=Billing)
    extra: Mapping[str, object] = field(factory=dict, hash=False, repr=False)
