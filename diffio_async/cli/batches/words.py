"""Numbers of a batch in words for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from diffio_async.models.batches import BatchProgress

_STEP = 1000.0
_MINUTE, _HOUR = 60, 3600


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


def progress_line(progress: BatchProgress) -> str:
    """How far it is: jobs by stage, bytes both ways, the rate, and the time left."""
    parts = [
        f"{progress.uploading} up, {progress.generating} restoring, {progress.downloading} down",
        f"{size(progress.sent_bytes)} sent, {size(progress.received_bytes)} received",
    ]
    if progress.failed:
        parts.append(f"{progress.failed} failed")
    if progress.files_per_minute:
        parts.append(f"{progress.files_per_minute:.3g} files/min")
    if progress.seconds_left is not None:
        parts.append(f"{clock(progress.seconds_left)} left")
    if progress.pausing is not None:
        parts.append(f"pausing: {progress.pausing}")
    return "; ".join(parts)
