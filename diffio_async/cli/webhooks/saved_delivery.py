"""A delivery kept in files: its body as bytes, its headers as text or JSON."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from attrs import frozen

from diffio_async._storage.local_paths import local_path
from diffio_async._storage.system_errors import reason_of
from diffio_async.errors import ConfigurationError


@frozen
class SavedDelivery:
    """What `--payload` and `--headers` name."""

    payload: bytes
    headers: dict[str, object]


def load_delivery(payload: str, headers: list[str]) -> SavedDelivery:
    """Read a delivery.

    Args:
        payload: A file, or `-` for stdin.
        headers: Files, `-`, or `Name: value` as they stand.

    Raises:
        ConfigurationError: Something cannot be read, or holds no headers.
    """
    if [payload, *headers].count("-") > 1:
        raise ConfigurationError("only one of --payload and --headers can be - (stdin)")
    found: dict[str, object] = {}
    for each in headers:
        if not _is_file(each):
            local_path(each, "--headers")
        name, colon, value = each.partition(":")
        # A file is a file whatever its name: `C:\\headers.txt` too.
        if (
            colon
            and name.strip().replace("-", "").replace("_", "").isalnum()
            and not _is_file(each)
        ):
            found[name.strip()] = value.strip()
        else:
            found |= parse_headers(_bytes(each), each)
    return SavedDelivery(_bytes(payload), found)


def parse_headers(content: bytes, name: str) -> dict[str, object]:
    """The headers in a file: `Name: value` lines (curl's `<` and `>` before them), or JSON.

    Raises:
        ConfigurationError: There are none.
    """
    text = content.decode("utf-8-sig", "replace")
    try:
        found = _of_json(json.loads(text))
    except (ValueError, RecursionError):
        found = _of_lines(text)
    if not found:
        raise ConfigurationError(
            f"{name} has no headers: lines of 'Name: value' are due, or a JSON object of them"
        )
    return found


def _of_json(value: Any) -> dict[str, object]:
    if isinstance(value, dict):
        # A whole request, as gateways write them down.
        inner = value.get("headers") or value.get("multiValueHeaders")
        return _of_json(inner) if isinstance(inner, (dict, list)) else value
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


def _of_lines(text: str) -> dict[str, object]:
    pairs: dict[str, object] = {}
    for line in text.splitlines():
        name, colon, value = line.lstrip("<> \t").partition(":")
        if colon and name.strip() and " " not in name.strip():
            pairs[name.strip()] = value.strip()
    return pairs


def _is_file(name: str) -> bool:
    return os.path.exists(name)  # noqa: PTH110 - any text, also longer than a name can be


def _bytes(name: str) -> bytes:
    local_path(name, "--payload or --headers")
    try:
        return sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{name} cannot be read: {reason_of(error)}") from None
