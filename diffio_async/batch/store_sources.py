"""Sources of a batch in object stores: folders and patterns are listed page by page."""

from __future__ import annotations

import glob
import os
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from diffio_async._protocol.media_types import (
    RECORDING_ENDINGS,
    SNIFFED,
    is_ambiguous,
    is_recording,
)
from diffio_async._store_url import Place, StoreUrl, has_query
from diffio_async._stores.connection import connect_blocking, obstore
from diffio_async._stores.failures import store_errors
from diffio_async._stores.reading import ObjectInfo, info_of
from diffio_async.batch.found_source import FoundSource
from diffio_async.batch.naming import has_default_name
from diffio_async.batch.selection import fits
from diffio_async.errors import ConfigurationError, InvalidSource
from diffio_async.models.batches import LeftOut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffio_async.models.batches import LeftOutReason

#: Objects of one page; a store sends at most 1,000 in one response.
_PAGE = 1000


def names_several(url: StoreUrl) -> bool:
    """Return whether an address is a folder or a pattern, not one object."""
    return not url.is_web and (url.is_folder or glob.has_magic(url.key))


@frozen
class StoreScan:
    """Options for listing a store; they are those of `Scan`."""

    root: Place
    recursive: bool
    suffixes: frozenset[str] | None

    def expand(self, url: StoreUrl) -> Iterator[FoundSource | LeftOut]:
        """Yield the recordings in a folder or that match a pattern, and what is left out; blocks.

        In a pattern, `*` and `?` match within one part of a key, and `**` any number of parts.

        Raises:
            ConfigurationError: The store is not configured, or refused or lost the request.
        """
        prefix = str(self.root)
        # Like a folder of a disk, that of the results is not entered from above.
        excludes = prefix.startswith(str(url)) and prefix != str(url)
        if excludes:
            yield LeftOut(path=self.root, reason="folder")
        base, pattern = _split(url)
        # Text, not paths, as there may be millions of keys.
        start = f"{url.scheme}://{url.bucket}/"
        for meta in _listed(url, base):
            key: str = meta["path"]
            path, below = start + key, key.removeprefix(base)
            if excludes and path.startswith(prefix):
                continue
            if pattern and not _matches(below.split("/"), pattern):
                continue
            if not meta["size"] and _suffix(key) not in RECORDING_ENDINGS:
                continue  # Consoles create one for a folder; obstore drops the slash at its end.
            reason = self._exclusion_reason(url, key, below, is_named=bool(pattern))
            if reason is not None:
                yield LeftOut(path=evolve(url, key=key), reason=reason)
            else:
                yield _found_source(path, below, info_of(meta))

    def _exclusion_reason(
        self, url: StoreUrl, key: str, below: str, *, is_named: bool
    ) -> LeftOutReason | None:
        """Return why an object is left out; one that a pattern names may be of any type."""
        name = below.rpartition("/")[2]
        if has_default_name(name):
            return "result"
        if is_named:
            return None
        if below.startswith(".") or "/." in below:
            return "hidden"
        if not self.recursive and "/" in below:
            return "folder"
        suffix = _suffix(name)
        if self.suffixes is not None and suffix not in self.suffixes:
            return "ending"
        # Suffixes that the user named are taken whatever the content.
        checks = is_ambiguous(suffix) and self.suffixes == RECORDING_ENDINGS
        if checks and not is_recording(suffix, _read_head(evolve(url, key=key))):
            return "ending"
        return None


def _suffix(key: str) -> str:
    return os.path.splitext(key)[1].lower()  # noqa: PTH122 - text, as there may be millions


def _found_source(path: str, below: str, info: ObjectInfo) -> FoundSource:
    problem = None if info.size else f"{path!r} is empty: there is nothing to restore"
    if has_query(below):
        problem = f"{path!r} has a part in its key that looks like a query: rename the object"
    return FoundSource(
        path=path,
        below=PurePosixPath(below),
        size=info.size,
        # The time changes with each write, also of the same content.
        mtime_ns=0 if info.version else info.modified_ns,
        version=info.version,
        problem=problem,
    )


def _listed(url: StoreUrl, base: str) -> Iterator[dict[str, Any]]:
    """Yield the descriptions of all objects below a folder, page by page."""
    store = connect_blocking(url)
    pages = obstore().list(store, base.rstrip("/") or None, chunk_size=_PAGE)
    page: list[dict[str, Any]] | None = []
    while page is not None:
        yield from page
        try:
            with store_errors(url, InvalidSource, "be listed"):
                page = next(pages, None)
        except InvalidSource as failure:
            raise ConfigurationError(str(failure)) from failure.__cause__


def _read_head(url: StoreUrl) -> bytes:
    with store_errors(url, InvalidSource, "be read"):
        head = obstore().get_range(connect_blocking(url), url.key, start=0, length=SNIFFED)
    return bytes(head)


def _split(url: StoreUrl) -> tuple[str, list[str]]:
    """Return the folder that a listing starts from ("" or with a slash), and the pattern."""
    if not glob.has_magic(url.key):
        return url.key, []
    parts = url.key.removesuffix("/").split("/")
    magic = next(number for number, part in enumerate(parts) if glob.has_magic(part))
    pattern = parts[magic:] + (["*"] if parts[-1] == "**" else [])
    return "".join(f"{part}/" for part in parts[:magic]), pattern


def _matches(parts: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[count:], pattern[1:]) for count in range(len(parts) + 1))
    return bool(parts) and fits(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])
