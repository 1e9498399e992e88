"""The account, its API keys and its usage."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from attrs import field, frozen

from diffio_async.models.json_values import ApiModel

#: A JSON object whose fields the API defines, with the API's names.
Json = Mapping[str, object]


@frozen(kw_only=True)
class Account(ApiModel):
    """An account: who pays, how, and up to which limit.

    Attributes:
        user_id: Id of the account.
        billing_mode: How it is billed, as the API reports it.
        billing_status: Whether billing works, as the API reports it.
        billing_policy: `type` and what that type needs, by the API's names.
        currency: Currency of all `…_cents` fields.
        updated_at: When the settings last changed.
    """

    user_id: str | None = None
    billing_mode: str | None = None
    billing_status: str | None = None
    billing_policy: Json | None = field(default=None, hash=False)
    currency: str | None = None
    updated_at: datetime | None = None


@frozen(kw_only=True)
class AccountSettings(ApiModel):
    """Response of `account/settings`.

    Attributes:
        account: The account that the API key belongs to.
        api_key_id: Id of that key.
    """

    account: Account
    api_key_id: str | None = None


@frozen(kw_only=True)
class ApiKey(ApiModel):
    """An API key.

    Attributes:
        key_id: The id, which is not secret.
        label: The label, at most 80 characters.
        status: `active`, `revoked`, or a status added later.
        key: The secret: only in the response that creates or rotates the key.
        key_prefix: First characters of the secret.
        role: Role, as the API reports it.
        scopes: Scopes, such as `projects:read`.
        resource_bounds: Resources that the key is limited to, by the API's names.
        parent_key_id: Id of the key that created it.
        created_at: When it was created.
        rotated_at: When its secret last changed.
        revoked_at: When it was revoked.
        permissions: Permissions, in a shape that the API defines.
    """

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


@frozen(kw_only=True)
class ApiKeyList(ApiModel):
    """Response of `api_keys/list`, without secrets."""

    keys: tuple[ApiKey, ...]


@frozen(kw_only=True)
class UsagePeriod(ApiModel):
    """Usage in one billing period, in cents of the account's currency.

    Attributes:
        period_id: Id of the period.
        period_start: When it began.
        reserved_cents: Reserved for running generations.
        finalized_cents: Billed.
        total_cents: The sum of both.
        model_seconds: Seconds of processing by model.
        model_cents: Cents by model.
    """

    period_id: str | None = None
    period_start: datetime | None = None
    reserved_cents: float | None = None
    finalized_cents: float | None = None
    total_cents: float | None = None
    model_seconds: Json | None = field(default=None, hash=False)
    model_cents: Json | None = field(default=None, hash=False)


@frozen(kw_only=True)
class Usage(ApiModel):
    """Usage of an API key by period.

    Attributes:
        periods: The billing periods, in the order of the response.
        api_key_id: Id of the key.
    """

    periods: tuple[UsagePeriod, ...] = ()
    api_key_id: str | None = None


@frozen(kw_only=True)
class Billing(ApiModel):
    """Billing of the account since it was created.

    Attributes:
        billing_policy: `type` and what that type needs, by the API's names.
        lifetime_list_price_cents: All usage by the list price, in cents of the account's currency.
        lifetime_billable_cents: All usage by what is billed for it, in the same cents.
    """

    billing_policy: Json | None = field(default=None, hash=False)
    lifetime_list_price_cents: float | None = None
    lifetime_billable_cents: float | None = None


@frozen(kw_only=True)
class UsageSummary(ApiModel):
    """Response of `usage/summary`.

    Attributes:
        usage: Usage of one API key by period.
        billing: Billing of the whole account.
    """

    usage: Usage
    billing: Billing = field(factory=Billing)
