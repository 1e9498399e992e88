"""`-` in the place of a path: a recording on standard input, a result on standard output."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from attrs import frozen

from diffio_async._protocol.containers import HEAD, ending_by_content
from diffio_async._storage.threads import DedicatedThread
from diffio_async._uploads.open_source import open_source
from diffio_async._uploads.source import Source
from diffio_async.cli.console import console
from diffio_async.errors import ConfigurationError, InvalidSource, InvalidTarget
from diffio_async.options import MIB, ClientOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


DASH = "-"
#: What standard input is called where the user gives it no name.
STDIN = "stdin"
#: Seconds that a write is waited for when the command ends: its reader may take nothing more.
_GRACE = 0.2


@frozen
class Piped:
    """A recording that was read from standard input, and the name it is uploaded under."""

    source: Source
    name: str


def check_stdin() -> None:
    """Find out whether a recording can come from standard input.

    Raises:
        ConfigurationError: It is closed, or a terminal.
    """
    if sys.stdin is None:
        raise ConfigurationError("standard input is closed: pipe a recording into the command")
    if sys.stdin.isatty():
        raise ConfigurationError(
            "standard input is a terminal: pipe a recording into the command (cat talk.wav | …), "
            "or name a file"
        )


def check_stdout(*, as_json: bool) -> None:
    """Find out whether a result can go to standard output.

    Raises:
        ConfigurationError: It is closed, a terminal, or taken by `--json`.
    """
    if as_json:
        raise ConfigurationError(
            "-o - and --json both write to standard output: leave out one of them"
        )
    if sys.stdout is None:
        raise ConfigurationError("standard output is closed: name a file or a folder with -o")
    if console.out.isatty():
        raise ConfigurationError(
            "the result is not written to a terminal: redirect it (-o - > FILE), pipe it into "
            "another program, or name a folder with -o"
        )


@contextlib.asynccontextmanager
async def piped(name: str | None) -> AsyncIterator[Piped]:
    """Read standard input to its end, into an unnamed temporary file where it is a pipe.

    Args:
        name: Its file name; without one, its ending is chosen by its first bytes.

    Raises:
        InvalidSource: It is empty, too large, or cannot be read.
    """
    async with open_source(sys.stdin.buffer, max_bytes=ClientOptions().max_upload_bytes) as source:
        if source.size == 0:
            raise InvalidSource("standard input is empty: there is nothing to restore")
        head = await source.read(0, min(HEAD, source.size))
        yield Piped(source, name or STDIN + (ending_by_content(head) or ""))


@contextlib.contextmanager
def spare_file() -> Iterator[Path]:
    """The path of a file to be, which is removed at the end: what is written out is complete."""
    with tempfile.TemporaryDirectory(prefix="diffio-") as folder:
        yield Path(folder) / "result"


async def write_out(file: Path) -> None:
    """Copy a file to standard output.

    Raises:
        InvalidTarget: Its reader closed it, or its disk is full.
    """
    aside = DedicatedThread()
    try:
        with file.open("rb") as content:
            while block := await aside.run(content.read, MIB):
                await aside.run(_write, sys.stdout.fileno(), block)
    except BrokenPipeError as failure:
        raise InvalidTarget(
            "standard output was closed before the whole result was written"
        ) from failure
    except OSError as failure:
        raise InvalidTarget(
            f"the result could not be written to standard output: {failure.strerror or failure}"
        ) from failure
    finally:
        await aside.end(_GRACE)


def _write(descriptor: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            # A pipe that does not block, and is full.
            select.select([], [descriptor], [], 1.0)
