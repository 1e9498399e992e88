"""`diffio-async report` and `batch report --html`: measure recordings, and write a page."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from attrs import define, field, frozen

from diffio_async._text import ProgressCounts, cells, fit_line, format_clock, progress_bar
from diffio_async.cli import FAILED, OK
from diffio_async.cli.command import (
    JsonOption,
    console,
    exit_code_after_output,
    print_error,
    print_event,
    run_and_exit,
)
from diffio_async.errors import ConfigurationError, InvalidTarget

if TYPE_CHECKING:
    from diffio_async.report import Listing
    from diffio_async.report.maker import Row

#: Seconds between lines of progress where there is no terminal.
_LINE_SECONDS = 10.0
#: States of recordings that could not be compared.
_UNUSABLE = {"missing", "damaged"}

EPILOG = (
    "Exit codes: 0 done; 1 a recording could not be measured, or the page not be written; 2 wrong "
    "usage or configuration."
)
LinkOption = Annotated[
    bool,
    typer.Option(
        "--link",
        help="Put pictures into a folder beside the page, and play recordings where they are. "
        "Default: the page contains everything.",
    ),
]
OverwriteOption = Annotated[bool, typer.Option("--overwrite", help="Replace an existing page.")]


def report(
    before: Annotated[
        str,
        typer.Argument(
            metavar="PATH",
            help="A recording; a folder with recordings and results; the journal of a batch, or "
            "its folder.",
        ),
    ],
    after: Annotated[
        str | None,
        typer.Argument(
            metavar="RESULT", help="The result of the recording, or the folder of the results."
        ),
    ] = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="The page to write (HTML).")
    ] = None,
    text: Annotated[
        bool, typer.Option("--text", help="Print the numbers of each recording.")
    ] = False,
    link: LinkOption = False,
    overwrite: OverwriteOption = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            metavar="NUMBER",
            help="Number of recordings measured concurrently. Default: one for each core, "
            "at most 8.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare recordings before and after: a page to see and hear them, or numbers.

    Nothing is sent. Needs the extra `report`.
    """
    request = ReportRequest(
        before=before,
        after=after,
        output=output,
        text=text,
        link=link,
        overwrite=overwrite,
        jobs=jobs,
        as_json=as_json,
    )
    run_and_exit(request.run, as_json=as_json)


@frozen(kw_only=True)
class ReportRequest:
    """Arguments of a report; without `output`, only the numbers are printed."""

    before: str
    after: str | None = None
    output: str | None
    text: bool = False
    link: bool = False
    overwrite: bool = False
    jobs: int | None = None
    as_json: bool = False

    async def run(self) -> int:
        """Make the report, and return the exit code."""
        from diffio_async.report import find_recordings

        if self.output is None and not self.text:
            raise ConfigurationError("name the page to write with -o FILE, or add --text")
        listing = find_recordings(self.before, self.after)
        for note in listing.notes:
            console.note(note)
        try:
            return await self._make(listing)
        except InvalidTarget as failure:
            message = str(failure).replace("on_conflict='overwrite'", "--overwrite")
            print_error(message)
            return FAILED
        except ConfigurationError as failure:
            raise ConfigurationError(str(failure).replace("link=True", "--link")) from failure

    async def _make(self, listing: Listing) -> int:
        from diffio_async.cli.measured import run_stoppable, warning_lines
        from diffio_async.report.maker import make_page, make_rows

        progress = _Progress(len(listing.recordings), as_json=self.as_json)
        options: dict[str, Any] = {"jobs": self.jobs, "on_row": progress.on_row}
        page = None
        with nullcontext() if self.as_json else console.live(progress.lines):
            if self.output is None:
                rows = await run_stoppable(partial(make_rows, listing, **options))
            else:
                options |= {
                    "link": self.link,
                    "on_conflict": "overwrite" if self.overwrite else "error",
                }
                made = await run_stoppable(partial(make_page, listing, self.output, **options))
                rows, page = [*made.rows], str(made.page)
        for row in rows:
            if self.text:
                print_event(_event(row), *_lines(row), as_json=self.as_json)
                console.out.wait()
            elif row["state"] in _UNUSABLE and not self.as_json:
                for line in [*_reason(row), *warning_lines(row)]:
                    console.note(f"{row['name']}: {line}")
        states = Counter(row["state"] for row in rows)
        counts = ", ".join(f"{count} {state}" for state, count in states.items())
        event = {"event": "report", "page": page, "recordings": len(rows), "states": states}
        if page is not None or self.as_json:
            print_event(event, f"{page}: {counts}", as_json=self.as_json)
        return exit_code_after_output(FAILED if _UNUSABLE & {*states} else OK)


def _lines(row: Row) -> list[str]:
    """Return the lines of a recording: its state, numbers, waveforms, error and warnings."""
    from diffio_async.cli.measured import number_lines, warning_lines, waveform_lines

    seconds = row["seconds"]
    length = "" if seconds is None else f", {format_clock(seconds)}"
    lines = [*number_lines(row), *waveform_lines(row), *_reason(row), *warning_lines(row)]
    return [f"{row['name']}: {row['state']}{length}", *(f"  {line}" for line in lines)]


def _reason(row: Row) -> list[str]:
    """Return why a recording was not restored, and what to do next."""
    error = row["error"]
    return [] if error is None else [error["message"], *filter(None, [error["next"]])]


def _event(row: Row) -> dict[str, object]:
    """Return a `recording` event: the row without its pictures."""
    sides = {
        side: None
        if row[side] is None
        else {name: row[side][name] for name in ("path", "duration", "numbers")}
        for side in ("before", "after")
    }
    names = (
        *("name", "path", "file_id", "generation", "state", "seconds", "billed", "model", "gain"),
        *("error", "warnings"),
    )
    return {"event": "recording", **{name: row[name] for name in names}, **sides}


@define
class _Progress:
    """Progress of a report, as a bar on a terminal, or else as a line every ten seconds."""

    total: int
    as_json: bool
    done: int = 0
    failed: int = 0
    started_at: float = field(factory=time.monotonic)
    printed_at: float = field(factory=time.monotonic)

    def on_row(self, row: Row) -> None:
        """Count a recording."""
        self.done += 1
        self.failed += row["state"] in _UNUSABLE
        now = time.monotonic()
        if not (self.as_json or console.err.isatty()) and now - self.printed_at > _LINE_SECONDS:
            self.printed_at = now
            console.note(f"measured {self._counts(120)}")

    def lines(self, width: int) -> list[str]:
        """Return a bar, with the counts."""
        text = f"measuring {self._counts(width - 10)}"
        percent = 100 * self.done / self.total
        return [text + progress_bar(percent, width - cells(text))]

    def _counts(self, width: int) -> str:
        seconds = time.monotonic() - self.started_at
        eta = seconds / self.done * (self.total - self.done) if self.done else None
        return fit_line(ProgressCounts(self.done, self.total, self.failed, eta), [], width)
