"""The `usage` command: seconds and money by period and model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffio_async.cli import FAILED, OK
from diffio_async.cli.account.listings import advice_for, format_time, or_dash
from diffio_async.cli.client import advice_for_key_id, call_service
from diffio_async.cli.command import console, exit_code_after_output, print_event
from diffio_async.errors import DiffioError
from diffio_async.models.json_values import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from diffio_async.client import AsyncDiffio
    from diffio_async.models.account import UsagePeriod, UsageSummary

_COLUMNS = ("PERIOD", "START", "MODEL", " SECONDS", " BILLED", " RESERVED", " TOTAL", "UNIT")


async def print_usage(api_key_id: str | None, *, as_json: bool) -> int:
    """Print the usage of a key (None: the calling one) by period. Return the exit code."""
    found = await call_service(
        lambda client: _summary_and_currency(client, api_key_id),
        as_json=as_json,
        advice=advice_for("usage:read", advice_for_key_id(api_key_id)),
    )
    if found is None:
        return FAILED
    summary, currency = found
    periods = summary.usage.periods
    if as_json:
        for period in periods:
            seconds = sum(_numbers(period.model_seconds).values())
            console.json(
                {"event": "period", **period.to_dict(), "seconds": seconds, "currency": currency}
            )
    elif periods:
        rows = (row for period in periods for row in _rows(period, currency))
        console.table(_COLUMNS, [*rows])
    else:
        console.note("Nothing was used yet with this key.")
    lifetime = {
        **summary.billing.to_dict(),
        "api_key_id": summary.usage.api_key_id,
        "currency": currency,
    }
    billing = summary.billing
    unit = _unit(currency)
    line = (
        f"account: {_amount(billing.lifetime_billable_cents, currency)} {unit} billed since it was "
        f"created (list price {_amount(billing.lifetime_list_price_cents, currency)} {unit}); "
        f"the periods are those of the key {or_dash(summary.usage.api_key_id)}"
    )
    print_event({"event": "billing", **lifetime}, line, as_json=as_json)
    return exit_code_after_output(OK)


async def _summary_and_currency(
    client: AsyncDiffio, api_key_id: str | None
) -> tuple[UsageSummary, str | None]:
    """Return the usage, and the currency if the key may read it."""
    summary = await client.usage.summary(api_key_id=api_key_id)
    currency: object = summary.billing.extra.get("currency")
    if not isinstance(currency, str):
        try:
            currency = (await client.account.get_settings()).account.currency
        except DiffioError:
            currency = None
    return summary, currency if isinstance(currency, str) else None


def _rows(period: UsagePeriod, currency: str | None) -> Iterator[tuple[str, ...]]:
    """Yield the row of a period, then one for each of several models."""
    seconds, cents = _numbers(period.model_seconds), _numbers(period.model_cents)
    models = [*dict.fromkeys([*seconds, *cents])]
    start = (or_dash(period.period_id), format_time(period.period_start)[:10])
    amounts = (period.finalized_cents, period.reserved_cents, period.total_cents)
    yield (
        *start,
        models[0] if len(models) == 1 else "all" if models else "-",
        _seconds(sum(seconds.values())),
        *(_amount(each, currency) for each in amounts),
        _unit(currency),
    )
    for model in models if len(models) > 1 else ():
        billed = _amount(cents.get(model), currency)
        used = _seconds(seconds[model]) if model in seconds else "-"
        yield (*start, model, used, billed, "-", "-", _unit(currency))


def _numbers(values: Mapping[str, object] | None) -> dict[str, float]:
    """Return the entries that are numbers."""
    found = ((name, number(value)) for name, value in (values or {}).items())
    return {name: value for name, value in found if value is not None}


def _unit(currency: str | None) -> str:
    return currency.upper() if currency else "cents"


def _seconds(seconds: float) -> str:
    return f"{seconds:,.1f}".removesuffix(".0")


def _amount(cents: float | None, currency: str | None) -> str:
    """Return an amount in the currency, with parts of a cent if there are any, or in cents."""
    if cents is None:
        return "-"
    decimals = 4 if currency else 2
    text = f"{cents / 100 if currency else cents:,.{decimals}f}"
    whole, _, fraction = text.partition(".")
    fraction = fraction.rstrip("0")
    if currency:
        fraction = fraction.ljust(2, "0")
    return f"{whole}.{fraction}" if fraction else whole
