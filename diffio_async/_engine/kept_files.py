"""A temporary file that outlives a failure, so that a later download goes on from it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from typing import TYPE_CHECKING

from diffio_async._engine.journals import Journal
from diffio_async._engine.placing import beside
from diffio_async._engine.private_files import NotOurs, SecondName, opened_private
from diffio_async._engine.syncing import sync
from diffio_async._engine.temporaries import Temporary
from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from diffio_async._wire.ranges import Version

#: Bytes, and seconds, after which what was written is made safe and noted in the journal.
_SAVE_BYTES, _SAVE_SECONDS = 32 * MIB, 1.0


class KeptFile(Temporary):
    """A temporary file of a name that is known again, with a journal of what can be trusted."""

    def __init__(self, target: Path, result: tuple[str, ...]) -> None:
        """Name it.

        Args:
            target: The file it is to become.
            result: What names the result: another result's bytes are never gone on with.
        """
        names = json.dumps([os.fsdecode(target.name), *result]).encode()
        key = hashlib.sha256(names).hexdigest()[:16]
        super().__init__(beside(target, f"{key}.part"))
        self._journal = Journal(beside(target, f"{key}.kept"))
        self._version: Version | None = None
        self._unsaved, self._saved_at = 0, 0.0

    @property
    def opened(self) -> bool:
        """Whether the file, or its journal at least, is open."""
        return super().opened or self._journal.mine

    def found(self) -> Version | None:
        """Open what an earlier download left, for this process alone; its version.

        Raises:
            OSError: It cannot be opened; `InUse`: another process goes on with it.
        """
        if not self._journal.there:
            return None
        self.open()
        known = self._journal.read()
        if known is None:
            return None
        version, safe = known
        # One byte at least is asked for: only the host knows whether this is still the version.
        most = min(os.fstat(self._descriptor).st_size, (version.total or 0) - 1)
        self.there, self._version = safe.before(most), version
        self._count_on(version)
        self._saved_at = time.monotonic()
        return version if self.there else None

    def open(self) -> None:
        """Open the file and its journal, for this process alone.

        Raises:
            OSError: They cannot be; `InUse`: another process has them.
        """
        self._journal.open()
        try:
            self._descriptor = self._opened()
        except BaseException:
            self._journal.close()
            raise

    def _opened(self) -> int:
        while True:
            try:
                return opened_private(self.path, mode=0o666)
            except SecondName:
                # Of a finished file, left by a process that was killed that moment.
                self.path.unlink(missing_ok=True)
            except NotOurs as failure:
                raise NotOurs(f"{self.path.name!r} is in the way: remove it ({failure})") from None

    def keep(self, version: Version, content: bytes) -> None:
        """Keep the first bytes of a version, where its etag tells it from others."""
        if version.etag is None or not content:
            return
        with contextlib.suppress(OSError):
            self.begin(version)
            self.put(0, [content])

    def begin(self, version: Version) -> None:
        """Empty the file and the journal: what comes now is of this version."""
        if not self.opened:
            self.open()
        self._version = None
        os.ftruncate(self._descriptor, 0)
        super().begin(version)
        self._version = version
        self._unsaved, self._saved_at = 0, time.monotonic()
        self._journal.begin(version)

    def put(self, offset: int, pieces: Sequence[bytes | memoryview]) -> None:
        """Write, and note now and then what is safe."""
        super().put(offset, pieces)
        self._unsaved += sum(map(len, pieces))
        if self._unsaved >= _SAVE_BYTES or time.monotonic() - self._saved_at >= _SAVE_SECONDS:
            self._save()

    def _save(self) -> None:
        # Another version's bytes could not be told from these without its etag.
        if self._version is not None and self._version.etag is not None and self._unsaved:
            sync(self._descriptor)
            self._journal.mark(self.there)
        self._unsaved, self._saved_at = 0, time.monotonic()

    @property
    def kept(self) -> int:
        """How many bytes a later download need not fetch again."""
        version = None if self.over else self._version
        return 0 if version is None or version.etag is None else self.there.size

    def leave(self) -> None:
        """Close the file; it stays where a later download can go on from it."""
        if self._descriptor >= 0 and self.kept:
            with contextlib.suppress(OSError):
                self._save()
            self._close()
            self._journal.close()
        elif self._journal.mine:
            if self._descriptor >= 0 or self.over:
                super().leave()
            self._journal.remove()
