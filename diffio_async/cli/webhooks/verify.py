"""`diffio-async webhooks verify`: loads a saved delivery and reports whether it is genuine."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import frozen

from diffio_async._storage.local_paths import local_path
from diffio_async._storage.system_errors import reason_of
from diffio_async.cli.console import FAILED, OK, console, exit_code_after_output
from diffio_async.errors import ConfigurationError
from diffio_async.webhooks.diagnose import diagnose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffio_async.webhooks.diagnose import Explanation


@frozen
class SavedDelivery:
    """Contents of `--payload` and `--headers`."""

    payload: bytes
    headers: dict[str, object]


def load_delivery(payload: str, headers: list[str]) -> SavedDelivery:
    """Read a delivery.

    Args:
        payload: A file, or `-` for stdin.
        headers: Files, `-`, or literal `Name: value` headers.

    Raises:
        ConfigurationError: A file cannot be read, or contains no headers.
    """
    if [payload, *headers].count("-") > 1:
        raise ConfigurationError("only one of --payload and --headers can be - (stdin)")
    found: dict[str, object] = {}
    for each in headers:
        if not _is_file(each):
            local_path(each, "--headers")
        name, colon, value = each.partition(":")
        # An existing file is read even if its name looks like a header: `C:\\headers.txt`.
        if (
            colon
            and name.strip().replace("-", "").replace("_", "").isalnum()
            and not _is_file(each)
        ):
            found[name.strip()] = value.strip()
        else:
            found |= parse_headers(_read(each), each)
    return SavedDelivery(_read(payload), found)


def parse_headers(content: bytes, name: str) -> dict[str, object]:
    """Parse headers: `Name: value` lines (also with curl's `<` or `>` in front), or JSON.

    Raises:
        ConfigurationError: The file `name` contains no headers.
    """
    text = content.decode("utf-8-sig", "replace")
    try:
        found = _headers_from_json(json.loads(text))
    except (ValueError, RecursionError):
        found = _headers_from_lines(text)
    if not found:
        raise ConfigurationError(
            f"{name} has no headers: expected lines of 'Name: value', or a JSON object of them"
        )
    return found


def _headers_from_json(value: Any) -> dict[str, object]:
    if isinstance(value, dict):
        # Gateways log a complete request as one object.
        inner = value.get("headers") or value.get("multiValueHeaders")
        return _headers_from_json(inner) if isinstance(inner, (dict, list)) else value
    pairs: dict[str, object] = {}
    for each in value if isinstance(value, list) else []:
        match each:
            case [str() as name, text]:
                pairs[name] = text
            case {"name": str() as name, "value": text}:
                pairs[name] = text
            case _:
                pass
    return pairs


def _headers_from_lines(text: str) -> dict[str, object]:
    pairs: dict[str, object] = {}
    for line in text.splitlines():
        name, colon, value = line.lstrip("<> \t").partition(":")
        if colon and name.strip() and " " not in name.strip():
            pairs[name.strip()] = value.strip()
    return pairs


def _is_file(name: str) -> bool:
    return os.path.exists(name)  # noqa: PTH110 - any text, also longer than a name can be


def _read(name: str) -> bytes:
    local_path(name, "--payload or --headers")
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{name} cannot be read: {reason_of(error)}") from None


def verify(
    delivery: SavedDelivery, secrets: Sequence[str], *, tolerance: float, as_json: bool
) -> int:
    """Print whether a delivery is genuine, and if not, why. Return the exit code.

    Args:
        delivery: The delivery.
        secrets: Signing secrets, any of which may match.
        tolerance: Maximum age of the delivery, in seconds.
        as_json: Whether to print JSON.
    """
    explanation = diagnose(
        delivery.payload, delivery.headers, secrets, now=time.time(), tolerance=tolerance
    )
    code = FAILED if explanation.event is None else OK
    if as_json:
        console.json(_to_json(explanation, code))
    else:
        console.result(*_lines(explanation))
    return exit_code_after_output(code)


def _to_json(explanation: Explanation, code: int) -> dict[str, object]:
    event = explanation.event
    findings = [
        attrs.asdict(finding, filter=lambda _, value: value is not None)
        for finding in explanation.findings
    ]
    if event is None:
        fields: dict[str, object] = {"event": "rejected", "reason": explanation.reason}
    else:
        fields = {
            "event": "verified",
            "message_id": event.message_id,
            "event_type": event.event_type,
            "generation_id": event.generation_id,
        }
    return {**fields, "findings": findings, "exit_code": code}


def _lines(explanation: Explanation) -> list[str]:
    event = explanation.event
    if event is None:
        head = f"rejected ({explanation.reason})"
    else:
        of = f" of {event.generation_id}" if event.generation_id else ""
        head = f"genuine: {event.event_type or 'an event without a type'}{of} ({event.message_id})"
    return [head, *(f"  {finding.message}" for finding in explanation.findings)]
