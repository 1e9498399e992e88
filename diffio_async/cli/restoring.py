"""The work of `diffio-async restore`: several files through one client, each on its own."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
from attrs import frozen

from diffio_async._engine.opening import opened
from diffio_async._wire.addresses import generation_path
from diffio_async.cli.exit_codes import FAILED, OK
from diffio_async.cli.outcomes import Outcome
from diffio_async.client import AsyncDiffio
from diffio_async.errors import ConfigurationError, DiffioError, TargetUnusable
from diffio_async.models.generations import DownloadType
from diffio_async.options import ClientOptions

if TYPE_CHECKING:
    from diffio_async.cli.reports import Reporter

#: The endings that are known beforehand; a video's is the recording's own, or the server's choice.
_SUFFIXES = {"audio": ".mp3", "transcript": ".json"}


@frozen(kw_only=True)
class Order:
    """What the user asked for; `timeout` in seconds, `jobs` is files at once."""

    files: tuple[Path, ...]
    folder: Path | None
    download_type: DownloadType
    model: str
    sandbox: bool
    overwrite: bool
    timeout: float | None
    jobs: int

    def check(self) -> None:
        """Find what is wrong with the order as a whole.

        Raises:
            ConfigurationError: Nothing can be sent as things are.
        """
        generation_path(self.model)
        if self.folder is not None and not self.folder.is_dir():
            raise ConfigurationError(f"there is no folder {self.folder}: make it first")
        results = Counter(self._result(file) for file in self.files)
        twice = next((result for result, count in results.items() if count > 1), None)
        if twice is not None:
            sources = ", ".join(str(file) for file in self.files if self._result(file) == twice)
            raise ConfigurationError(
                f"{sources} would all become {twice}: restore them one by one, or into "
                "different folders"
            )
        if not self.sandbox and not os.environ.get("DIFFIO_API_KEY"):
            raise ConfigurationError(
                "there is no API key: get one from the Diffio dashboard and set DIFFIO_API_KEY,\n"
                "or add --sandbox to restore on this machine, without a key"
            )

    async def check_file(self, file: Path) -> None:
        """Find what is wrong with one file, before any is sent: hours may pass until its turn.

        Raises:
            SourceUnusable: It cannot be read.
            TargetUnusable: Its result exists, and may not be replaced.
        """
        async with opened(file, max_bytes=ClientOptions().max_upload_bytes):
            pass
        suffix = _SUFFIXES.get(self.download_type)
        result = anyio.Path(f"{self._result(file)}{suffix}")
        if suffix and not self.overwrite and await result.exists():
            raise TargetUnusable(f"{result} exists: --overwrite replaces it")

    def _result(self, file: Path) -> Path:
        """Where the result goes, but for its ending."""
        return (self.folder or file.parent) / f"{file.stem}.restored"


async def restore_files(order: Order, reporter: Reporter) -> int:
    """Restore each file, a few at a time; one that fails does not stop the others.

    What can be known to be wrong is reported before the first byte is sent.

    Raises:
        ConfigurationError: Nothing can be sent as things are, and nothing was.
    """
    order.check()
    restored: list[bool] = []
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(await _client(order, stack))
        turns = anyio.CapacityLimiter(order.jobs)

        async def restore(file: Path) -> None:
            async with turns:
                outcome = await _restored(client, file, order, reporter)
            restored.append(outcome.restoration is not None)
            reporter.ended(outcome)

        stack.enter_context(reporter)
        usable = []
        for file in order.files:
            try:
                await order.check_file(file)
            except DiffioError as error:
                reporter.ended(Outcome(file=file, seconds=0.0, error=error))
            else:
                usable.append(file)
        async with anyio.create_task_group() as group:
            for file in usable:
                group.start_soon(restore, file)
    return OK if len(usable) == len(order.files) and all(restored) else FAILED


async def _client(order: Order, stack: AsyncExitStack) -> AsyncDiffio:
    if not order.sandbox:
        return AsyncDiffio()
    from diffio_async.sandbox import Sandbox

    sandbox = await stack.enter_async_context(Sandbox())
    return AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url)


async def _restored(client: AsyncDiffio, file: Path, order: Order, reporter: Reporter) -> Outcome:
    begun = time.monotonic()
    try:
        restoration = await client.restore(
            file,
            order.folder or file.parent,
            model=order.model,
            download_type=order.download_type,
            on_conflict="overwrite" if order.overwrite else "error",
            timeout=order.timeout,
            on_progress=lambda fact: reporter.progressed(file, fact),
        )
    except DiffioError as error:
        return Outcome(file=file, seconds=time.monotonic() - begun, error=error)
    return Outcome(file=file, seconds=time.monotonic() - begun, restoration=restoration)
