"""Objects of stores in a report: local copies, each as long as it is measured."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from diffio_async._store_url import StoreUrl, is_store_url, parse_url
from diffio_async._stores.reading import find_object, open_object
from diffio_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def local_file(place: str, folder: str | None) -> Iterator[Path]:
    """Yield the path of a file, or of a temporary copy of an object in `folder`.

    Raises:
        FileNotFoundError: There is no such object.
        InvalidSource: The store refused the request or did not respond.
        ConfigurationError: The store is not configured.
        OSError: The copy cannot be written.
    """
    if not is_store_url(place):
        yield Path(place)
        return
    url = parse_url(place, "the recording")
    # FFmpeg recognises some types by the suffix alone.
    descriptor, name = tempfile.mkstemp(suffix=url.suffix, dir=folder)
    try:
        asyncio.run(_copy(url, descriptor))
        yield Path(name)
    finally:
        Path(name).unlink()


async def _copy(url: StoreUrl, descriptor: int) -> None:
    with os.fdopen(descriptor, "wb") as file:
        if await find_object(url) is None:
            raise FileNotFoundError
        source = await open_object(url)
        async with contextlib.aclosing(source.blocks()) as blocks:
            async for block in blocks:
                file.write(block)


def check_readable(place: str) -> None:
    """Check that another process can read an object.

    Raises:
        ConfigurationError: It is in the memory of this one.
    """
    if is_store_url(place) and parse_url(place, "the recording").scheme == "memory":
        raise ConfigurationError(
            f"{place} is in the memory of one process, where a report cannot read it: use files, "
            "or objects of a store"
        )
