"""What a body says, and what of it an error may keep."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from diffio_async._wire.redaction import scrubbed, scrubbed_json

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Characters of a text that errors keep.
MAX_SHOWN = 2000


def parsed(body: bytes) -> object:
    """The JSON of a body, or its text where it is none."""
    # Some proxies put a byte order mark before the JSON.
    text = body.decode("utf-8-sig", "replace")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def kept(content: object, secrets: Iterable[str] = ()) -> object:
    """What `parsed` gave, fit to be kept in an error: without secrets, texts cut."""
    if isinstance(content, str):
        # Cut twice: a secret that straddles the end must still be seen whole.
        return scrubbed(content[: 4 * MAX_SHOWN], secrets)[:MAX_SHOWN]
    return scrubbed_json(content, secrets)
