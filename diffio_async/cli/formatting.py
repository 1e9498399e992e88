"""Numbers in words and bars for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffio_async._text import Numbers

if TYPE_CHECKING:
    from diffio_async.models.batches import BatchProgress

_STEP = 1000.0
#: Columns of the longest and of the shortest bar.
_BAR, _SHORTEST_BAR = 40, 6


def size(count: float) -> str:
    """Bytes: "3.4 MB"."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < _STEP:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _STEP
    return f"{count:.1f} TB"


def bar(percent: float, room: int) -> str:
    """A bar with a blank before it, as wide as there is room for; none in too small a room."""
    width = min(room - 1, _BAR)
    if width < _SHORTEST_BAR:
        return ""
    done = int(width * min(max(percent, 0.0), 100.0) / 100)
    return f" {'━' * done}{'─' * (width - done)}"


def numbers_of(progress: BatchProgress) -> Numbers:
    """How far a batch is."""
    return Numbers(
        ended=progress.done + progress.failed,
        total=progress.files,
        failed=progress.failed,
        eta_seconds=progress.eta_seconds,
    )


def details_of(progress: BatchProgress) -> list[str]:
    """Why nothing is begun, jobs by stage, bytes both ways and the rate."""
    return [
        "" if progress.pause_reason is None else f"pausing: {progress.pause_reason}",
        f"{progress.uploading} up, {progress.generating} restoring, {progress.downloading} down",
        f"{size(progress.sent_bytes)} sent, {size(progress.received_bytes)} received",
        f"{progress.files_per_minute:.3g} files/min" if progress.files_per_minute else "",
    ]
