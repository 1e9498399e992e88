"""`-` in place of a path: a recording from standard input, a result to standard output."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._protocol.media_types import HEAD, ending_by_content
from diffio_async._storage.threads import DedicatedThread
from diffio_async._uploads.open_source import open_source
from diffio_async._uploads.source import Source
from diffio_async.cli.console import console
from diffio_async.errors import ConfigurationError, InvalidSource, InvalidTarget
from diffio_async.options import MIB, ClientOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


DASH = "-"
#: Name of standard input if the user does not give one.
STDIN_NAME = "stdin"
#: Seconds to wait for a pending write when the command ends: its reader may not be reading.
_GRACE_SECONDS = 0.2


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


def check_stdout(*, as_json: bool) -> None:
    """Check that a result can be written to standard output.

    Raises:
        ConfigurationError: Standard output is closed, a terminal, or used by `--json`.
    """
    if as_json:
        raise ConfigurationError(
            "-o - and --json both write to standard output: leave out one of them"
        )
    if sys.stdout is None:
        raise ConfigurationError("standard output is closed: name a file or a folder with -o")
    if console.out.isatty():
        raise ConfigurationError(
            "standard output is a terminal: redirect the result (-o - > FILE), pipe it into "
            "another program, or name a folder with -o"
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
            select.select([], [descriptor], [], 1.0)
