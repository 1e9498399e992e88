"""Sizes and versions of objects that are named one by one, in a manifest or a list of sources."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from attrs import evolve

from diffio_async._store_url import StoreUrl, place_of
from diffio_async._stores.failures import missing_object
from diffio_async._stores.reading import find_object
from diffio_async.batch.found_source import FoundSource
from diffio_async.errors import InvalidSource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diffio_async.models.batches import LeftOut

#: Objects that are looked up at once.
_LOOKUPS = 64


async def with_versions(
    found: Iterable[FoundSource | LeftOut],
) -> list[FoundSource | LeftOut]:
    """Return the sources, with the size and the version of each object that has none yet."""
    slots = asyncio.Semaphore(_LOOKUPS)

    async def looked_up(each: FoundSource | LeftOut) -> FoundSource | LeftOut:
        url = _unknown_object(each)
        if url is None or not isinstance(each, FoundSource):
            return each
        async with slots:
            return await _looked_up(each, url)

    return [*await asyncio.gather(*map(looked_up, found))]


def _unknown_object(each: FoundSource | LeftOut) -> StoreUrl | None:
    if not isinstance(each, FoundSource) or each.version is not None or each.problem is not None:
        return None
    url = place_of(each.path)
    # A web server may refuse every request but that for the content.
    return url if isinstance(url, StoreUrl) and not url.is_web else None


async def _looked_up(each: FoundSource, url: StoreUrl) -> FoundSource:
    try:
        info = await find_object(url)
    except InvalidSource as failure:
        # A store that does not respond is tried again before the upload.
        return each if failure.__cause__ is not None else evolve(each, problem=str(failure))
    if info is None:
        return evolve(each, problem=str(missing_object(url)))
    if not info.size:
        return evolve(each, problem=f"{each.path!r} is empty: there is nothing to restore")
    return evolve(each, size=info.size, version=info.version)
