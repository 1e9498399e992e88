"""Measured recordings on a terminal: numbers before and after, and small waveforms."""

from __future__ import annotations

import asyncio
import base64
import shutil
import threading
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from diffio_async._storage.threads import TrackedExecutor
from diffio_async.cli.command import console
from diffio_async.report.numbers import Numbers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from diffio_async.report.maker import Row

T = TypeVar("T")

#: Blocks of a waveform, for the level of each column: 6 dB from one to the next.
_BLOCKS = "▁▂▃▄▅▆▇█"
_STEP_DB = 6.0
_MAX_COLUMNS = 64
#: Columns before and after a waveform.
_INDENT = 10


class _Stopped(Exception):
    """The command was interrupted."""


async def run_stoppable(work: Callable[..., T]) -> T:
    """Run blocking work in a thread. If cancelled, stop it and wait until it has cleaned up.

    Args:
        work: Called with `check`, a function to be called often, which raises to stop the work.
    """
    stopped = threading.Event()

    def check() -> None:
        if stopped.is_set():
            raise _Stopped

    executor = TrackedExecutor()
    try:
        return await executor.run(partial(work, check=check))
    except asyncio.CancelledError:
        stopped.set()
        await executor.drain()
        raise


def can_measure() -> bool:
    """Return whether the extra `report` is installed."""
    return find_spec("av") is not None and find_spec("numpy") is not None


async def measure_pair(before: str, after: Path) -> list[str]:
    """Return the lines that a terminal shows of a recording and its result."""
    from diffio_async.report import list_pairs, make_rows

    listing = list_pairs([(before, after)])
    (row,) = await run_stoppable(partial(make_rows, listing))
    return [*number_lines(row), *waveform_lines(row), *warning_lines(row)]


def warning_lines(row: Row) -> list[str]:
    """Return a line for each warning."""
    return [f"warning: {warning}" for warning in row["warnings"]]


def number_lines(row: Row) -> list[str]:
    """Return the numbers before and after a restoration, as far as they are known."""
    before, after = _numbers(row["before"]), _numbers(row["after"])
    if before is None or after is None:
        return [
            f"{name}: {_joined(_values(numbers, None))}"
            for name, numbers in (("before", before), ("after", after))
            if numbers is not None
        ]
    values = _values(before, after)
    return [_joined(values[start : start + 2]) for start in range(0, len(values), 2)]


def _numbers(side: dict[str, Any] | None) -> Numbers | None:
    return None if side is None else Numbers(**side["numbers"])


def _joined(parts: list[str]) -> str:
    return "; ".join(parts)


def _values(before: Numbers, after: Numbers | None) -> list[str]:
    shown = [numbers for numbers in (before, after) if numbers is not None]
    percent = [None if n.clipped is None else 100 * n.clipped for n in shown]
    return [
        _value("speech over noise", [n.speech_to_noise for n in shown], "dB", with_change=True),
        _value("noise floor", [n.noise_floor for n in shown], "dBFS"),
        _value("speech", [n.speech_level for n in shown], "dBFS"),
        _value("loudness", [n.lufs for n in shown], "LUFS"),
        _value("true peak", [n.true_peak for n in shown], "dBTP"),
        _value("clipped", percent, "%", decimals=2),
    ]


def _value(
    name: str,
    values: list[float | None],
    unit: str,
    *,
    decimals: int = 1,
    with_change: bool = False,
) -> str:
    texts = ["unknown" if value is None else f"{value:.{decimals}f}" for value in values]
    text = f"{name} {' -> '.join(texts)} {unit}"
    match values:
        case [float() as before, float() as after] if with_change:
            return f"{text} ({after - before:+.1f})"
    return text


def waveform_lines(row: Row) -> list[str]:
    """Return a small waveform of each side for a terminal that can show it."""
    if not (console.out.isatty() and console.out.encoding.lower().startswith("utf")):
        return []
    return [
        f"{side:<6} {_waveform(row[side]['peaks'])}"
        for side in ("before", "after")
        if row[side] is not None
    ]


def _waveform(peaks: str) -> str:
    levels = base64.b64decode(peaks)
    width = max(1, min(_MAX_COLUMNS, shutil.get_terminal_size().columns - _INDENT, len(levels)))
    edges = [n * len(levels) // width for n in range(width + 1)]
    columns = [max(levels[first:last]) for first, last in pairwise(edges)]
    return "".join(_block(level) for level in columns)


def _block(level: int) -> str:
    from diffio_async.report.scales import DB_MIN

    decibels = (1 - level / 255) * DB_MIN
    return _BLOCKS[max(0, len(_BLOCKS) - 1 + int(decibels / _STEP_DB))]
