"""Displays for notebooks: recordings to see and hear, and progress that is updated in place.

`Restoration` and `FileOutcome` display themselves with these, and
lists of them do so after `%load_ext diffio_async.notebook`. Recordings need the extra `report`.
"""

from __future__ import annotations

import html
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffio_async._notebook_output import UpdatedOutput
from diffio_async._polling.wait_display import format_duration
from diffio_async.models.batches import BatchProgress, FileOutcome
from diffio_async.models.generations import Restoration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffio_async._store_url import StoreUrl
    from diffio_async.report.listing import Recording, State

__all__ = ["BatchTable", "load_ipython_extension", "recordings_html"]

#: Recordings in one display. Their sound becomes a part of the notebook.
MAX_RECORDINGS = 24
#: Pixels: one recording, and a list of several beside one.
_HEIGHT, _LIST_HEIGHT = 780, 860
#: Seconds between two updates.
_UPDATE_SECONDS = 0.3
_STATES: dict[str, State] = {"done": "restored", "failed": "failed", "skipped": "skipped"}

Item = Restoration | FileOutcome


def recordings_html(items: Sequence[Item]) -> str | None:
    """Return the report of some recordings as HTML: players, pictures, levels and errors.

    It measures each recording, which takes about half a second, and blocks meanwhile. The first
    24 recordings are shown.

    Returns:
        An `iframe` with the page, or None if there is nothing to see or hear, or the extra
        `report` is not installed.
    """
    if any(find_spec(name) is None for name in ("av", "numpy")):
        return None
    from diffio_async.report.listing import Listing, key_of
    from diffio_async.report.maker import make_page

    with tempfile.TemporaryDirectory(prefix="diffio-notebook-") as folder:
        recordings = [
            recording
            for number, item in enumerate(items[:MAX_RECORDINGS])
            if (recording := _recording(item, Path(folder), number)) is not None
        ]
        if not recordings:
            return None
        rest = len(items) - MAX_RECORDINGS
        note = f"{rest} more are not shown here: make a page with diffio-async report"
        listing = Listing(
            kind="pair",
            title=f"{len(items)} recordings",
            key=key_of(*(f"{each.source}\0{each.after}" for each in recordings)),
            recordings=tuple(recordings),
            notes=(note,) if rest > 0 else (),
        )
        page = make_page(listing, Path(folder) / "page.html").page.read_text(encoding="utf-8")
    height = _HEIGHT if len(recordings) == 1 else _LIST_HEIGHT
    return (
        f'<iframe title="Restored recordings" width="100%" height="{height}" '
        'style="border: 1px solid #8884; border-radius: 8px" '
        f'sandbox="allow-scripts allow-downloads" srcdoc="{html.escape(page)}"></iframe>'
    )


def _recording(item: Item, folder: Path, number: int) -> Recording | None:
    """Return the recording of a restoration or outcome; None if it has no sound."""
    from diffio_async.report.listing import Problem, Recording

    if isinstance(item, FileOutcome):
        problem = None
        if item.error is not None:
            cost = "retry_failed=True, which is billed" if item.retry_is_billed else "nothing else"
            problem = Problem(message=item.error, next=f"run the batch again, with {cost}")
        return Recording(
            name=item.source.name,
            source=str(item.source),
            before=_existing(item.source),
            after=item.paths.get("video") or item.paths.get("audio"),
            transcript=item.paths.get("transcript"),
            state=_STATES[item.state],
            problem=problem,
        )
    if item.download.download_type == "transcript" or item.url is not None:
        # A result in a store is not downloaded again.
        return None
    after = item.path
    if after is None:
        after = folder / f"{number}{Path(item.download.file_name or 'result.mp3').suffix}"
        after.write_bytes(item.content or b"")
    source = item.source
    return Recording(
        name=after.name if source is None else source.name,
        source=str(after if source is None else source),
        before=_existing(source),
        after=after,
        model=item.generation.model_key,
    )


def _existing(source: Path | StoreUrl | None) -> Path | None:
    return source if isinstance(source, Path) and source.is_file() else None


class BatchTable:
    """Progress of a batch in a notebook: `restore_many(…, on_progress=BatchTable())`."""

    def __init__(self) -> None:
        self._output = UpdatedOutput()
        self._shown_at = 0.0

    def __call__(self, progress: BatchProgress) -> None:
        """Show the progress in place of the earlier one."""
        now, is_last = time.monotonic(), progress.done + progress.failed == progress.files
        if is_last or now - self._shown_at >= _UPDATE_SECONDS:
            self._shown_at = now
            self._output.show(*_batch_table(progress))


def _batch_table(progress: BatchProgress) -> tuple[str, str]:
    """Return the progress as text and as HTML."""
    cells = {
        "done": f"{progress.done:,} of {progress.files:,}",
        "failed": f"{progress.failed:,}",
        "uploading": f"{progress.uploading:,}",
        "generating": f"{progress.generating:,}",
        "downloading": f"{progress.downloading:,}",
        "a minute": f"{progress.files_per_minute:.0f}",
        "left": "" if progress.eta_seconds is None else format_duration(progress.eta_seconds),
        "for": format_duration(progress.seconds),
    }
    text = ", ".join(f"{name} {value}" for name, value in cells.items() if value)
    pause = f"<p>{html.escape(progress.pause_reason)}</p>" if progress.pause_reason else ""
    heads = "".join(f"<th>{name}</th>" for name in cells)
    values = "".join(f"<td>{value}</td>" for value in cells.values())
    ended = progress.done + progress.failed
    return text, (
        f'<progress max="{max(1, progress.files)}" value="{ended}" style="width: 100%"></progress>'
        f"<table><tr>{heads}</tr><tr>{values}</tr></table>{pause}"
    )


def load_ipython_extension(shell: Any) -> None:
    """Display lists of restorations or outcomes like single ones: `%load_ext`."""
    formatter = shell.display_formatter.formatters["text/html"]
    for kind in (list, tuple):
        formatter.for_type(kind, _list_html)


def _list_html(items: Sequence[object]) -> str | None:
    found = [item for item in items if isinstance(item, Restoration | FileOutcome)]
    return recordings_html(found) if found and len(found) == len(items) else None
