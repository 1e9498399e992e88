"""What generations cost: by the second of processing, a minute at least."""

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from diffio_async.sandbox.records import Generation, iso
from diffio_async.sandbox.responses import HttpError
from diffio_async.sandbox.state import State

MIN_BILLED_SECONDS = 60.0


def cents_per_second(model: str) -> float:
    """Price of a second; the sandbox's own invention."""
    return 0.1 if model.endswith("-pro") else 0.05


def seconds_of(generation: Generation) -> float:
    """Seconds that are billed for a generation; nothing for one that failed."""
    if generation.status == "failed":
        return 0.0
    if generation.started_at is None or generation.finished_at is None:
        return MIN_BILLED_SECONDS
    return max(MIN_BILLED_SECONDS, generation.finished_at - generation.started_at)


def cents_of(generation: Generation) -> float:
    """Cents that are billed, or reserved while it runs."""
    return seconds_of(generation) * cents_per_second(generation.model_key)


def refuse_unpaid(world: State) -> None:
    """Let a new generation be made if its minute is paid for.

    Raises:
        Refusal: 402 on a billing hold (`billing_status` "paymentFailed"), or when the spend
            limit of a billing policy (`{"type": "spendLimit", "limitCents": …}`) is reached.
    """
    account = world.account
    if account.billing_status == "paymentFailed":
        raise HttpError(402, "the last payment failed; update billing", code="paymentFailed")
    limit = account.billing_policy.get("limitCents")
    if account.billing_policy.get("type") == "spendLimit" and isinstance(limit, int | float):
        spent = sum(cents_of(generation) for generation in world.generations.values())
        if spent >= limit:
            raise HttpError(
                402, f"the spend limit of {limit} cents is reached", code="spendLimitExceeded"
            )


def periods(generations: Iterable[Generation]) -> list[dict[str, Any]]:
    """Sum up usage month by month, oldest first."""
    months: dict[str, list[Generation]] = defaultdict(list)
    for generation in generations:
        months[f"{datetime.fromtimestamp(generation.created_at, UTC):%Y-%m}"].append(generation)
    return [_period(month, months[month]) for month in sorted(months)]


def _period(month: str, generations: list[Generation]) -> dict[str, Any]:
    reserved = finalized = 0.0
    seconds: dict[str, float] = defaultdict(float)
    cents: dict[str, float] = defaultdict(float)
    for generation in generations:
        cost = cents_of(generation)
        if generation.ended:
            finalized += cost
            seconds[generation.model_key] += seconds_of(generation)
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
