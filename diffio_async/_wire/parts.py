"""The plan of a multipart upload: which bytes make which part."""

from __future__ import annotations

from attrs import frozen

from diffio_async.errors import ResponseInvalid

#: Ten times what storage takes; a plan must not fill the memory because of one bad number.
MOST_PARTS = 100_000


@frozen
class Part:
    """Bytes `offset` to `offset + size` of the source are part `number`, counted from 1."""

    number: int
    offset: int
    size: int


def planned(size: int, part_size: int) -> list[Part]:
    """Every part but the last has exactly `part_size` bytes; an empty file is one empty part.

    Raises:
        ResponseInvalid: The server set a part size that is none, or far too small.
    """
    if part_size < 1:
        raise ResponseInvalid(f"the upload offer sets a part size of {part_size} bytes")
    count = max(1, -(-size // part_size))
    if count > MOST_PARTS:
        raise ResponseInvalid(
            f"the upload offer sets a part size of {part_size:,} bytes: {size:,} bytes would be "
            f"more than {MOST_PARTS:,} parts"
        )
    return [
        Part(number=n + 1, offset=n * part_size, size=min(part_size, size - n * part_size))
        for n in range(count)
    ]
