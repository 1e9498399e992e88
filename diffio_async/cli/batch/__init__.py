"""The `batch` commands and their options. A command's module is imported when it runs."""

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from diffio_async.cli.command import (
    DOWNLOAD_TYPES,
    EXIT_CODES,
    CacertOption,
    JsonOption,
    ModelOption,
    NetworkOptions,
    ProxyOption,
    TimeoutOption,
    network_options,
    run_and_exit,
)
from diffio_async.cli.report import LinkOption, OverwriteOption, ReportRequest
from diffio_async.errors import ConfigurationError
from diffio_async.models.batches import DEFAULT_IN_FLIGHT
from diffio_async.models.generations import DEFAULT_MODEL
from diffio_async.types import BatchConflict


class _BatchGroup(TyperGroup):
    """Command group that reads `batch PATH…` as `batch run PATH…`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # ctx has a type of Typer's own
        """Insert `run` if the first argument is not a command."""
        if not args or args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="batch",
    cls=_BatchGroup,
    help="Restore many recordings, each once, and resume after an interruption.",
)


def _check_types(value: str) -> str:
    for name in value.split(","):
        if name not in DOWNLOAD_TYPES:
            raise typer.BadParameter(f"choose from audio, video and transcript, not {name!r}.")
    return value


def _check_marks(values: list[str] | None) -> list[str] | None:
    from diffio_async.batch.restart import MARKS

    for value in values or ():
        if value not in MARKS:
            raise typer.BadParameter(f"choose from {', '.join(MARKS)}, not {value!r}.")
    return values


JournalArgument = Annotated[
    str, typer.Argument(metavar="JOURNAL", help="The journal, or the folder that contains it.")
]
_JOBS = typer.Option(
    "--jobs", "-j", min=1, metavar="NUMBER", help="Number of files in progress concurrently."
)
_ON_CONFLICT = typer.Option(help="What to do if a result exists already.")
_STOP_HELP = "Start no further file after a failure."
MaxSpendOption = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="SECONDS",
        help="Start nothing new if all generations of the journal would bill more than this, in "
        "seconds; each bills at least 60. Default: no limit.",
    ),
]


DaskOption = Annotated[
    str | None,
    typer.Option(
        metavar="CLUSTER",
        help="Read, upload and store the files on the workers of a Dask cluster: the address of "
        "its scheduler, such as tls://host:8786, or local:4 for four processes here. Needs --salt.",
    ),
]


@app.command(
    "run", epilog=f"See also: batch status, batch retry, batch report JOURNAL. {EXIT_CODES}"
)
def start(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="Recordings, folders, glob patterns or manifests (CSV, JSON Lines), or URLs "
            "(s3://bucket/folder/).",
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="DIR|URL", help="Folder for the results, or its URL."
        ),
    ],
    journal: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="File that records the progress. Default: .diffio-batch.sqlite in the folder "
            "for the results; needed if that is a URL.",
        ),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive/--flat", help="Whether to include subfolders.")
    ] = True,
    all_files: Annotated[
        bool,
        typer.Option(
            "--all", help="Take every file of a folder, not only those with a recording's suffix."
        ),
    ] = False,
    model: ModelOption = DEFAULT_MODEL,
    types: Annotated[
        str,
        typer.Option(
            metavar="TYPE,...",
            callback=_check_types,
            help="What to download: audio, video, transcript, separated by commas.",
        ),
    ] = "audio",
    name: Annotated[
        str,
        typer.Option(
            metavar="TEMPLATE",
            help="File names of results, from {stem}, {name}, {type}, {ext} and {parent}.",
        ),
    ] = "{stem}.restored{ext}",
    jobs: Annotated[int, _JOBS] = DEFAULT_IN_FLIGHT,
    on_conflict: Annotated[BatchConflict, _ON_CONFLICT] = "error",
    stop_on_error: Annotated[bool, typer.Option("--stop-on-error", help=_STOP_HELP)] = False,
    max_spend: MaxSpendOption = None,
    timeout: TimeoutOption = None,
    salt: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Equal contents are billed once among batches with the same salt. Default: a "
            "random one for each journal.",
        ),
    ] = None,
    sandbox: Annotated[
        bool,
        typer.Option(
            "--sandbox",
            help="Restore locally, without an API key or network; the data is kept beside the "
            "journal.",
        ),
    ] = False,
    dask: DaskOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and send nothing.")
    ] = False,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Restore recordings, each once. Run the same command again to resume.

    The API key is read from DIFFIO_API_KEY.
    """
    network_options.set(NetworkOptions(proxy, cacert))
    from diffio_async.batch.request import RunOptions
    from diffio_async.batch.sources import RECORDINGS
    from diffio_async.cli.batch.report import print_plan
    from diffio_async.cli.batch.run import executor_of, make_request, restore

    async def work() -> int:
        request = make_request(
            paths,
            output,
            journal=journal,
            sandbox=sandbox,
            dry_run=dry_run,
            recursive=recursive,
            suffixes=None if all_files else RECORDINGS,
            model=model,
            download_types=types.split(","),
            name=name,
            salt=salt,
            executor=executor_of(dask),
            run=RunOptions(
                on_conflict=on_conflict,
                on_error="stop" if stop_on_error else "continue",
                max_in_flight=jobs,
                max_spend_seconds=max_spend,
                timeout=timeout,
            ),
        )
        return await (print_plan if dry_run else restore)(request, as_json=as_json)

    run_and_exit(work, as_json=as_json)


@app.command(epilog="Exit codes: 0 no file failed; 1 a file failed; 2 it is not a journal.")
def status(journal: JournalArgument, as_json: JsonOption = False) -> None:
    """Print the progress of a batch, in numbers."""
    from diffio_async.cli.batch.report import print_status

    run_and_exit(lambda: print_status(journal, as_json=as_json), as_json=as_json)


@app.command(
    epilog="The default of each option is its value in the previous run, except for --proxy and "
    f"--cacert, which are not recorded. {EXIT_CODES}"
)
def retry(
    journal: JournalArgument,
    marked: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Restore the marked recordings again, in place of failed generations: the CSV or "
            "JSON file that a report exported.",
        ),
    ] = None,
    mark: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MARK",
            help="Mark of the recordings to restore again: b (bad), g (good), or 1 to 5; may be "
            "repeated. Default: b, 1 and 2.",
            callback=_check_marks,
        ),
    ] = None,
    jobs: Annotated[int | None, _JOBS] = None,
    on_conflict: Annotated[BatchConflict | None, _ON_CONFLICT] = None,
    stop_on_error: Annotated[
        bool | None, typer.Option("--stop-on-error/--continue-on-error", help=_STOP_HELP)
    ] = None,
    max_spend: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", help="Start nothing that would bill more, in seconds."
        ),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0, metavar="SECONDS", help="Maximum wait for each generation, in seconds."
        ),
    ] = None,
    sandbox: Annotated[
        bool,
        typer.Option("--sandbox", help="Restore locally. Default: as recorded in the journal."),
    ] = False,
    dask: DaskOption = None,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Resume a batch, and restart its failed generations, which are billed again.

    With --from, restart the marked ones instead.
    """
    network_options.set(NetworkOptions(proxy, cacert))
    from diffio_async.batch.restart import DEFAULT_MARKS, read_marks
    from diffio_async.cli.batch.run import retry as work

    overrides = {
        "on_conflict": on_conflict,
        "on_error": {True: "stop", False: "continue", None: None}[stop_on_error],
        "max_in_flight": jobs,
        "max_spend_seconds": max_spend,
        "timeout": timeout,
    }

    async def resume() -> int:
        if mark and marked is None:
            raise ConfigurationError("--mark selects from a file of marks: name it with --from")
        marks = [] if marked is None else read_marks(marked, mark or DEFAULT_MARKS)
        return await work(
            journal, overrides, sandbox=sandbox, dask=dask, as_json=as_json, marks=marks
        )

    run_and_exit(resume, as_json=as_json)


@app.command("report", epilog="Exit codes: 0 printed; 2 it is not a journal.")
def show_report(
    journal: JournalArgument,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all columns as CSV.")] = False,
    html: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Write a page to see and hear the results, as `report` does."
        ),
    ] = None,
    link: LinkOption = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """List the result of each file, the names left out and the orphaned projects."""
    if html is not None:
        if as_csv:
            raise typer.BadParameter("choose --html or --csv.")
        request = ReportRequest(
            before=journal, output=html, link=link, overwrite=overwrite, as_json=as_json
        )
        run_and_exit(request.run, as_json=as_json)
    from diffio_async.cli.batch.report import print_report

    run_and_exit(lambda: print_report(journal, as_csv=as_csv, as_json=as_json), as_json=as_json)
