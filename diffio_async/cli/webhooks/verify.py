"""The work of `diffio-async webhooks verify`: is a kept delivery genuine, and why not?"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from diffio_async.cli.console import after_output, console
from diffio_async.cli.exit_codes import FAILED, OK
from diffio_async.webhooks.diagnose import diagnose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffio_async.cli.webhooks.saved_delivery import SavedDelivery
    from diffio_async.webhooks.diagnose import Explanation


def verify(
    delivery: SavedDelivery, secrets: Sequence[str], *, tolerance: float, as_json: bool
) -> int:
    """Say it on stdout; 0 where the delivery is genuine, 1 where not."""
    explanation = diagnose(
        delivery.payload, delivery.headers, secrets, now=time.time(), tolerance=tolerance
    )
    code = FAILED if explanation.event is None else OK
    if as_json:
        console.json(_fact(explanation, code))
    else:
        console.result(*_lines(explanation))
    return after_output(code)


def _fact(explanation: Explanation, code: int) -> dict[str, object]:
    event = explanation.event
    findings = [
        attrs.asdict(finding, filter=lambda _, value: value is not None)
        for finding in explanation.findings
    ]
    if event is None:
        fact: dict[str, object] = {"event": "rejected", "reason": explanation.reason}
    else:
        fact = {
            "event": "verified",
            "message_id": event.message_id,
            "event_type": event.event_type,
            "generation_id": event.generation_id,
        }
    return {**fact, "findings": findings, "exit_code": code}


def _lines(explanation: Explanation) -> list[str]:
    event = explanation.event
    if event is None:
        head = f"rejected ({explanation.reason})"
    else:
        of = f" of {event.generation_id}" if event.generation_id else ""
        head = f"genuine: {event.event_type or 'an event of no type'}{of} ({event.message_id})"
    return [head, *(f"  {finding.message}" for finding in explanation.findings)]
