"""Numbers in words and bars for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffio_async.models.batches import BatchProgress

_STEP = 1000.0
_MINUTE, _HOUR = 60, 3600
#: Columns of the longest and of the shortest bar.
_BAR, _SHORTEST_BAR = 40, 6


def size(count: float) -> str:
    """Bytes: "3.4 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < _STEP:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _STEP
    return f"{count:.1f} TB"


def clock(seconds: float) -> str:
    """Seconds: "2:05:09", or "5:09"."""
    whole = int(seconds)
    minutes = f"{whole % _HOUR // _MINUTE}:{whole % _MINUTE:02}"
    return minutes if whole < _HOUR else f"{whole // _HOUR}:{minutes:0>5}"


def bar(percent: float, room: int) -> str:
    """A bar with a blank before it, as wide as there is room for; none in too small a room."""
    width = min(room - 1, _BAR)
    if width < _SHORTEST_BAR:
        return ""
    done = int(width * min(max(percent, 0.0), 100.0) / 100)
    return f" {'━' * done}{'─' * (width - done)}"


def progress_parts(progress: BatchProgress) -> list[str]:
    """How far it is, what matters most first.

    The count, failures, the time left, why nothing is begun, jobs by stage, bytes and the rate.
    """
    return [
        f"{progress.done + progress.failed}/{progress.files}",
        f"{progress.failed} failed" if progress.failed else "",
        "" if progress.seconds_left is None else f"{clock(progress.seconds_left)} left",
        "" if progress.pausing is None else f"pausing: {progress.pausing}",
        f"{progress.uploading} up, {progress.generating} restoring, {progress.downloading} down",
        f"{size(progress.sent_bytes)} sent, {size(progress.received_bytes)} received",
        f"{progress.files_per_minute:.3g} files/min" if progress.files_per_minute else "",
    ]
