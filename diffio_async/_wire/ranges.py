"""What an answer says of the bytes it carries: how many in all, from where, of which version."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._wire.digests import Digest

if TYPE_CHECKING:
    from collections.abc import Mapping


# ASCII: what the header had beside it may have been lost, and could not be sent back.
_STRONG = re.compile(r'"[!#-~]*"')
# Python itself refuses to read numbers of thousands of digits.
_SIZE = re.compile(r"[0-9]{1,18}")
_CONTENT_RANGE = re.compile(r"bytes +([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.IGNORECASE)


@frozen
class Extent:
    """The answer has bytes `start` to before `end` of a result of `total` (None where not told).

    `bounded` says that the end of the answer can be told from a connection that broke.
    """

    start: int
    end: int | None
    total: int | None
    bounded: bool


@frozen
class Version:
    """What tells the bytes of one result from another's: those of one may be put together.

    `etag` is a strong one, and None where the host gave none; `total` is in bytes.
    """

    etag: str | None
    total: int | None
    digest: Digest | None = None


def extent(status: int, headers: Mapping[str, str]) -> Extent | None:
    """The extent of a 200 or 206; None where a 206 does not say which bytes it carries.

    Nor does one whose length is another than that of the bytes it names.
    """
    transfer = headers.get("transfer-encoding", "").lower().split(",")
    coded = [each.strip() for each in transfer if each.strip() not in {"", "identity"}]
    # Only a chunked body has an end of its own, and only where nothing was done to the chunks:
    # with `chunked, identity` the body ends where the connection does.
    chunked = coded == ["chunked"] and transfer[-1].strip() == "chunked"
    length = headers.get("content-length", "") if not coded else ""
    if status == 206:  # noqa: PLR2004 - Partial Content
        found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
        if found is None:
            return None
        start, end = int(found[1]), int(found[2])
        total = None if found[3] == "*" else int(found[3])
        if end < start or (total is not None and end >= total):
            return None
        if _SIZE.fullmatch(length) and int(length) != end + 1 - start:
            return None
        # A part of a whole of unknown length ends nobody knows where.
        return Extent(start=start, end=end + 1, total=total, bounded=total is not None)
    size = int(length) if _SIZE.fullmatch(length) else None
    return Extent(start=0, end=size, total=size, bounded=chunked or size is not None)


def strong_etag(headers: Mapping[str, str]) -> str | None:
    """The ETag, where it promises the same bytes: weak ones do not, and cannot resume."""
    etag = headers.get("etag", "").strip()
    return etag if _STRONG.fullmatch(etag) else None


def asking(start: int, end: int | None, etag: str) -> dict[str, str]:
    """Headers that ask for bytes of the same version, or else for all of the new one.

    Args:
        start: The first byte.
        end: Before which the bytes end; None for the end of the result.
        etag: Of the version whose other bytes are there.
    """
    last = "" if end is None else end - 1
    return {"Range": f"bytes={start}-{last}", "If-Range": etag}


def another_version(headers: Mapping[str, str], etag: str | None) -> bool:
    """Whether an answer says that its bytes are not of version `etag`; a part may say nothing."""
    return headers.get("etag", etag) != etag


def serves_ranges(headers: Mapping[str, str]) -> bool:
    """Whether an answer invites to ask for parts."""
    return "bytes" in headers.get("accept-ranges", "").lower()
