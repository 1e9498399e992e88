"""Failures of displays, callbacks, observers and log handlers do not end billed work."""

from __future__ import annotations

import asyncio
import io
import logging
import pickle
import sys
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import (
    AsyncDiffio,
    BatchFailed,
    ClientOptions,
    ConfigurationError,
    GenerationFailed,
)
from diffio_async._console import Console
from diffio_async._text import (
    ProgressCounts,
    cells,
    csv_cell,
    fit_line,
    printable,
    shell_line,
    shorten,
)
from tests.scripts import forever, progress_body, uploaded

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from diffio_async.sandbox import Sandbox


class Broken(io.StringIO):
    """A stream whose methods raise a given error."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, _: str) -> int:
        """Fail."""
        raise self.error

    def isatty(self) -> bool:
        """Fail."""
        raise self.error


class LostTerminal(Broken):
    """A terminal that is closed after it was checked."""

    def isatty(self) -> bool:
        """Return True."""
        return True


def closed() -> io.StringIO:
    """Return a closed stream."""
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS: dict[str, Any] = {
    "none": None,
    "closed": closed(),
    "not a stream": object(),
    "broken pipe": Broken(BrokenPipeError(32, "Broken pipe")),
    "full": Broken(OSError(28, "No space left on device")),
    "would block": Broken(BlockingIOError(11, "try again")),
    "a programming error": Broken(ZeroDivisionError()),
    "a lost terminal": LostTerminal(OSError(5, "Input/output error")),
    "ascii": io.TextIOWrapper(io.BytesIO(), encoding="ascii"),
}


@pytest.mark.parametrize("case", STREAMS)
async def test_a_failing_display_does_not_end_a_wait(
    client: AsyncDiffio, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `show_progress=True`, waits for one and for many generations succeed."""
    generation = await client.generations.create(api_project_id=await uploaded(client))
    monkeypatch.setattr(sys, "stderr", STREAMS[case])
    progress = await client.generations.wait_for_complete(
        generation_id=generation.generation_id,
        api_project_id=generation.api_project_id,
        show_progress=True,
    )
    outcomes = await client.generations.wait_many([generation], show_progress=True)
    monkeypatch.undo()
    assert progress.complete
    assert outcomes[0].ok


class _Raising(logging.Handler):
    """A log handler that raises."""

    def emit(self, record: logging.LogRecord) -> None:
        """Fail."""
        raise RuntimeError("the disk of the log is full")


@pytest.fixture
def raising_log() -> Iterator[None]:
    """Add a log handler that raises for every record of the package."""
    logger, handler = logging.getLogger("diffio_async"), _Raising()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield
    logger.removeHandler(handler)
    logger.setLevel(level)


@pytest.mark.usefixtures("raising_log")
async def test_a_raising_log_handler_does_not_end_a_restoration(
    client: AsyncDiffio, tmp_path: Path, sample: Path
) -> None:
    """It also receives the record about a callback that raised."""

    def fail(_: object) -> None:
        raise ValueError("a bug in the callback")

    restored = await client.restore(sample, tmp_path / "x.mp3", on_progress=fail)
    assert restored.path is not None
    assert restored.path.stat().st_size


async def test_a_cancelled_error_in_a_callback_or_observer_does_not_end_a_restoration(
    sandbox: Sandbox, tmp_path: Path, sample: Path
) -> None:
    """It comes from a future that they used; the restoration was not cancelled."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()

    async def callback(_: object) -> None:
        await future

    async with AsyncDiffio(
        sandbox.api_key,
        base_url=sandbox.base_url,
        options=ClientOptions(observers=(lambda _: future.result(),)),
    ) as client:
        restored = await client.restore(sample, tmp_path / "x.mp3", on_progress=callback)
    assert restored.path is not None
    assert restored.path.stat().st_size


async def test_a_wait_can_be_cancelled_during_a_callback(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """Cancelling the wait while its callback runs cancels the wait."""
    sandbox.faults.add(forever(progress_body("processing")))
    called = asyncio.Event()

    async def callback(_: object) -> None:
        called.set()
        await asyncio.sleep(60)

    wait = asyncio.create_task(
        client.generations.wait_for_complete(generation_id="gen_1", on_progress=callback)
    )
    await called.wait()
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait


async def test_log_records_cannot_contain_forged_lines(
    client: AsyncDiffio, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Text from the server is escaped in log records and error messages."""
    reason = "no\x1b]0;owned\x07\r\nERROR forged\u202e"
    sandbox.faults.add(forever(progress_body("failed", error=reason)))
    with caplog.at_level(logging.DEBUG), pytest.raises(GenerationFailed) as caught:
        await client.generations.wait_for_complete(generation_id="gen_1")
    assert str(caught.value).isprintable()
    assert r"\r\nERROR forged\u202e" in str(caught.value)
    assert all(record.getMessage().isprintable() for record in caplog.records)


def test_errors_are_one_printable_line() -> None:
    """Escape sequences, line breaks and lone surrogates are escaped in `str`, not in `args`."""
    error = ConfigurationError("a\nb\x1b[2J\ud83d")
    assert str(error) == r"a\nb\x1b[2J\ud83d"
    assert error.args == ("a\nb\x1b[2J\ud83d",)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert str(BatchFailed("two\nof", [error])) == r"two\nof (1 sub-exception)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("talk.wav", "talk.wav"),
        ("интервью 面试 👩‍👩‍👧.wav", "интервью 面试 👩‍👩‍👧.wav"),
        ("Recording 3.45\u202fPM.wav", "Recording 3.45\u202fPM.wav"),
        ("\x1b]0;t\x07", r"\x1b]0;t\x07"),
        ("\x9b31m\x85", r"\x9b31m\x85"),
        ("a\rb\nc\td", r"a\rb\nc\td"),
        ("\u202e\u2066\u200f\u2028\ufeff\u200b", r"\u202e\u2066\u200f\u2028\ufeff\u200b"),
        ("\ud83d\udc80"[:1], r"\ud83d"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_control_characters_are_escaped_for_terminals(text: str, expected: str) -> None:
    """Letters, spaces and joiners in names are unchanged."""
    assert printable(text) == expected


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r+", " =", "＝"])  # noqa: RUF001
def test_csv_cells_cannot_be_formulas(start: str) -> None:
    """Text that looks like a formula gets a leading quote; numbers are unchanged."""
    cell = csv_cell(f"{start}cmd|' /C calc'!A0")
    assert isinstance(cell, str)
    assert cell.startswith("'")
    assert cell.isprintable()
    assert csv_cell(-1.5) == -1.5
    assert csv_cell("a-b") == "a-b"


def test_shell_lines_are_quoted() -> None:
    """Words are quoted as usual, and by `$'…'` if they are not printable."""
    assert shell_line(["rm", "a b", "c"]) == "rm 'a b' c"
    assert shell_line(["a'\n\\é"]) == r"$'a\x27\x0a\x5c\xc3\xa9'"


@pytest.mark.parametrize("width", range(1, 45))
def test_progress_lines_fit_the_width(width: int) -> None:
    """A line never exceeds the width, and has all numbers from twenty columns on."""
    line = fit_line(ProgressCounts(123, 4567, 12, 8_000), ["5 up, 8 restoring", "x" * 50], width)
    assert cells(line) <= width
    assert width < 20 or ("123/4567" in line and "12" in line and "2:13:20" in line)
    assert width < 34 or line.startswith("123/4567; 12 failed; 2:13:20")


@pytest.mark.parametrize("width", range(20))
def test_names_are_shortened_by_columns(width: int) -> None:
    """Wide characters count twice, and a name keeps its beginning and its end."""
    name = shorten("一二三四五六七八九十.wav", width)
    assert cells(name) <= width
    assert width < 8 or name.endswith("wav")


def test_streams_are_looked_up_when_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replaced `sys.stderr` receives everything written from then on."""
    console = Console()
    first, second = io.StringIO(), io.StringIO()
    for stream in (first, second):
        monkeypatch.setattr(sys, "stderr", stream)
        console.note("a\x1bb", "c")
    assert first.getvalue() == second.getvalue() == "a\\x1bb\nc\n"
