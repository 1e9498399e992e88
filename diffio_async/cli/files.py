"""Files that `restore` and `download` read and write; `-` is standard input or output."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async import _system
from diffio_async._downloads.sinks import check_target
from diffio_async._protocol.media_types import HEAD, ending_by_content
from diffio_async._storage.system_errors import reason_of
from diffio_async._storage.threads import DedicatedThread, TrackedExecutor
from diffio_async._store_url import Place, StoreUrl, location_of
from diffio_async._stores.writing import check_object
from diffio_async._uploads.open_source import open_source
from diffio_async._uploads.source import Source
from diffio_async.cli.command import console
from diffio_async.errors import ConfigurationError, InvalidSource, InvalidTarget
from diffio_async.models.generations import DownloadType
from diffio_async.options import MIB, ClientOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from diffio_async.types import OnConflict

DASH = "-"
#: Name of standard input if the user does not give one.
STDIN_NAME = "stdin"
#: Seconds to wait for a pending write when the command ends: its reader may not be reading.
_GRACE_SECONDS = 0.2


@frozen(kw_only=True)
class ResultOptions:
    """Options that `restore` and `download` share; `timeout` in seconds."""

    output: str | None
    download_type: DownloadType
    overwrite: bool
    timeout: float | None
    as_json: bool = False

    @property
    def to_stdout(self) -> bool:
        """Whether the result goes to standard output."""
        return self.output == DASH

    @property
    def on_conflict(self) -> OnConflict:
        """What to do if the result exists."""
        return "overwrite" if self.overwrite else "error"

    @property
    def output_url(self) -> StoreUrl | None:
        """The URL that `-o` names, None if it names a local path or standard output."""
        found = self._location
        return found if isinstance(found, StoreUrl) else None

    @property
    def output_folder(self) -> Place:
        """The folder that `-o` names, the current one without `-o`."""
        found = self._location
        return found.as_folder if isinstance(found, StoreUrl) else Path(found)

    @property
    def _location(self) -> StoreUrl | str:
        return location_of(self.output or "", "-o")

    def named_file(self) -> Place | None:
        """Return the file that `-o` names, None if it names a folder or standard output."""
        output = self._location
        if isinstance(output, StoreUrl):
            return None if output.is_folder else output
        if not output or self.to_stdout or output.endswith(("/", os.sep)):
            return None
        if os.path.isdir(output):  # noqa: PTH112 - any text
            return None
        return Path(output)

    def check_output(self, output: str | None) -> None:
        """Check that results can be written to the folder `output`, or to standard output.

        Raises:
            ConfigurationError: It is not an existing folder; or standard output is closed, a
                terminal, or used by `--json`.
        """
        if not self.to_stdout:
            if output is not None and not isinstance(folder := location_of(output, "-o"), StoreUrl):
                _check_folder(folder)
        elif self.as_json:
            raise ConfigurationError(
                "-o - and --json both write to standard output: leave out one of them"
            )
        elif sys.stdout is None:
            raise ConfigurationError("standard output is closed: name a file or a folder with -o")
        elif console.out.isatty():
            raise ConfigurationError(
                "standard output is a terminal: redirect the result (-o - > FILE), pipe it into "
                "another program, or name a folder with -o"
            )

    async def check_result(self, path: Place) -> None:
        """Check that a result can be written.

        Raises:
            InvalidTarget: It exists and may not be replaced, or cannot be written.
        """
        if isinstance(path, StoreUrl):
            await check_object(path, self.on_conflict)
            return
        # `exists` is False for a path that cannot be read; `check_target` then reports the error.
        if not self.overwrite and await TrackedExecutor().run(os.path.exists, path):
            raise InvalidTarget(f"{path} exists: --overwrite replaces it")
        await check_target(path, self.on_conflict)


def _check_folder(output: str) -> None:
    if not output:
        raise ConfigurationError("the path given with -o is empty: name a folder")
    try:
        mode = os.stat(output).st_mode  # noqa: PTH116 - any text
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigurationError(f"there is no folder {output}: create it first") from None
    except (OSError, ValueError) as failure:
        raise ConfigurationError(f"-o {output} cannot be used: {reason_of(failure)}") from failure
    if not stat.S_ISDIR(mode):
        raise ConfigurationError(f"-o {output} is a file: name a folder for the results")


@frozen
class StdinRecording:
    """A recording that was read from standard input, and its name for the upload."""

    source: Source
    name: str


def check_stdin() -> None:
    """Check that a recording can be read from standard input.

    Raises:
        ConfigurationError: Standard input is closed, or a terminal.
    """
    if sys.stdin is None:
        raise ConfigurationError("standard input is closed: pipe a recording into the command")
    if sys.stdin.isatty():
        raise ConfigurationError(
            "standard input is a terminal: pipe a recording into the command (cat talk.wav | …), "
            "or name a file"
        )


@contextlib.asynccontextmanager
async def read_stdin(name: str | None) -> AsyncIterator[StdinRecording]:
    """Read standard input to its end; a pipe is copied into an unnamed temporary file.

    Args:
        name: File name of the recording; if None, the first bytes determine its suffix.

    Raises:
        InvalidSource: Standard input is empty, too large, or cannot be read.
    """
    async with open_source(sys.stdin.buffer, max_bytes=ClientOptions().max_upload_bytes) as source:
        if source.size == 0:
            raise InvalidSource("standard input is empty: pipe a recording into the command")
        head = await source.read(0, min(HEAD, source.size))
        yield StdinRecording(source, name or STDIN_NAME + (ending_by_content(head) or ""))


@contextlib.contextmanager
def temporary_result() -> Iterator[Path]:
    """Provide a temporary path for a result, so that only a complete one is written to stdout."""
    with tempfile.TemporaryDirectory(prefix="diffio-") as folder:
        yield Path(folder) / "result"


async def copy_to_stdout(file: Path) -> None:
    """Copy a file to standard output.

    Raises:
        InvalidTarget: The reader closed the pipe, or the disk is full.
    """
    thread = DedicatedThread()
    try:
        with file.open("rb") as content:
            while block := await thread.run(content.read, MIB):
                await thread.run(_write, sys.stdout.fileno(), block)
    except BrokenPipeError as failure:
        raise InvalidTarget(
            "standard output was closed before the complete result was written"
        ) from failure
    except OSError as failure:
        raise InvalidTarget(
            f"the result could not be written to standard output: {failure.strerror or failure}"
        ) from failure
    finally:
        await thread.stop(_GRACE_SECONDS)


def _write(descriptor: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            # A non-blocking pipe is full.
            _system.wait_writable(descriptor, 1.0)
