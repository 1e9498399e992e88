"""Results of a batch in an object store: conflicts with objects of others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffio_async._store_url import StoreUrl, parse_url
from diffio_async._stores.writing import check_writable, size_of
from diffio_async.batch.sources import check_videos_possible
from diffio_async.errors import InvalidTarget

if TYPE_CHECKING:
    from diffio_async.batch.executor import RecordingOrder, ResultOrder
    from diffio_async.batch.schema import ResultPath


async def keeps_all_objects(order: RecordingOrder, root: StoreUrl) -> bool:
    """Return whether all results of a recording exist and must not be replaced.

    Raises:
        InvalidSource: The recording cannot have a result of this type.
        InvalidTarget: A key is used by another object, or the store refuses writes.
    """
    check_videos_possible({each.download_type for each in order.results}, order.path)
    await check_writable(root)
    foreign = [each.path for each in order.results if await _foreign_size(each, root) is not None]
    if foreign and order.on_conflict == "error":
        raise InvalidTarget(
            f"{foreign[0]!r} exists and was not written by this batch. Choose another folder, or "
            "set on_conflict='overwrite' or 'skip' (--on-conflict)"
        )
    return bool(foreign) and order.on_conflict == "skip" and len(foreign) == len(order.results)


async def kept_object_size(order: ResultOrder, root: StoreUrl) -> int | None:
    """Return the size of an existing object that must be kept, None if none must be kept.

    Raises:
        InvalidTarget: The key leads out of the folder or is used by another object.
    """
    size = None if order.on_conflict == "overwrite" else await _foreign_size(order, root)
    if size is not None and order.on_conflict == "error":
        raise InvalidTarget(
            f"{order.path!r} exists and was not written by this batch. Move it away and run the "
            "batch again to download the result, which is already paid for"
        )
    return size


async def _foreign_size(result: ResultPath | ResultOrder, root: StoreUrl) -> int | None:
    """Return the size of an object that the batch did not write (or that has changed)."""
    url = parse_url(result.path, "the result")
    if not str(url).startswith(str(root)):
        raise InvalidTarget(
            f"{result.path!r} is not in the folder of the results, {str(root)!r}, and is not "
            "written. Check whether another program changed the journal"
        )
    size = await size_of(url)
    is_own = result.owned and (result.bytes is None or result.bytes == size)
    return None if is_own else size
