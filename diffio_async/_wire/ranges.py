"""What an answer says of the bytes it carries: how many in all, from where, of which version."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

_STRONG = re.compile(r'"[^"]*"')
# Python itself refuses to read numbers of thousands of digits.
_SIZE = re.compile(r"[0-9]{1,18}")
_CONTENT_RANGE = re.compile(r"bytes +([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)


@frozen
class Extent:
    """The answer's bytes begin at `start` of a result of `total` bytes (None where not told).

    `bounded` says that the end of the answer can be told from a connection that broke.
    """

    start: int
    total: int | None
    bounded: bool


def extent(status: int, headers: Mapping[str, str]) -> Extent | None:
    """The extent of a 200 or 206; None where a 206 does not say which bytes it carries."""
    chunked = "chunked" in headers.get("transfer-encoding", "").lower()
    length = "" if chunked else headers.get("content-length", "")
    if status == 206:  # noqa: PLR2004 - Partial Content
        found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
        if found is None:
            return None
        start, end = int(found[1]), int(found[2])
        total = None if found[3] == "*" else int(found[3])
        if end < start or (total is not None and end >= total):
            return None
        # A part of a whole of unknown length ends nobody knows where.
        return Extent(start=start, total=total, bounded=total is not None)
    size = int(length) if _SIZE.fullmatch(length) else None
    return Extent(start=0, total=size, bounded=chunked or size is not None)


def strong_etag(headers: Mapping[str, str]) -> str | None:
    """The ETag, where it promises the same bytes: weak ones do not, and cannot resume."""
    etag = headers.get("etag", "").strip()
    return etag if _STRONG.fullmatch(etag) else None


def resuming(offset: int, etag: str) -> dict[str, str]:
    """Headers that ask for the rest of the same version, or else for all of the new one."""
    return {"Range": f"bytes={offset}-", "If-Range": etag}


def another_version(headers: Mapping[str, str], etag: str | None) -> bool:
    """Whether an answer says that its bytes are not of version `etag`; a part may say nothing."""
    return headers.get("etag", etag) != etag
