"""The `batch` commands and their options. A command's module is imported when it runs."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

from diffio_async.cli.console import exit_with_usage_error
from diffio_async.cli.interrupts import run
from diffio_async.cli.parameters import (
    DOWNLOAD_TYPES,
    EXIT_CODES,
    CacertOption,
    JsonOption,
    ProxyOption,
    TimeoutOption,
    use_network,
)
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

JournalArgument = Annotated[
    str, typer.Argument(metavar="JOURNAL", help="The journal, or the folder that contains it.")
]
_EPILOG = f"See also: batch status, batch retry, batch report JOURNAL. {EXIT_CODES}"
_CONFLICT_HELP = "What to do if a result exists already."
_STOP_HELP = "Start nothing new after a failure."
_JOBS_HELP = "Number of files uploaded or restored concurrently."
_MAX_SPEND_HELP = "Maximum seconds to be billed, at 60 per generation."


def _check_types(value: str) -> str:
    for name in value.split(","):
        if name not in DOWNLOAD_TYPES:
            raise typer.BadParameter(f"choose from audio, video and transcript, not {name!r}.")
    return value


@app.command("run", epilog=_EPILOG)
def start(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Recordings, folders, globs, manifests."),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="DIR", help="Folder of the results.")
    ],
    journal: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="The journal; default: in the folder of the results."),
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive/--flat", help="Whether to read subfolders.")
    ] = True,
    model: Annotated[str, typer.Option(help="Model to restore with.")] = DEFAULT_MODEL,
    types: Annotated[
        str,
        typer.Option(
            metavar="TYPE,...",
            callback=_check_types,
            help="What to download: audio, video, transcript.",
        ),
    ] = "audio",
    name: Annotated[
        str,
        typer.Option(
            metavar="TEMPLATE",
            help="Names of results, from {stem}, {name}, {type}, {ext}, {parent}.",
        ),
    ] = "{stem}.restored{ext}",
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help=_JOBS_HELP)] = DEFAULT_IN_FLIGHT,
    on_conflict: Annotated[BatchConflict, typer.Option(help=_CONFLICT_HELP)] = "error",
    stop_on_error: Annotated[bool, typer.Option("--stop-on-error", help=_STOP_HELP)] = False,
    max_spend: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help=_MAX_SPEND_HELP)
    ] = None,
    timeout: TimeoutOption = None,
    salt: Annotated[
        str | None,
        typer.Option(help="Batches with the same salt are billed once for the same content."),
    ] = None,
    sandbox: Annotated[
        bool,
        typer.Option(
            "--sandbox",
            help="Restore locally, without key or network. Its data is beside the journal.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done; send nothing.")
    ] = False,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Restore recordings, each once. Run the same command again to resume.

    The key is read from DIFFIO_API_KEY.
    """
    use_network(proxy=proxy, cacert=cacert)
    from diffio_async.cli.batch.report import print_plan
    from diffio_async.cli.batch.run import BatchOptions, restore

    options = BatchOptions(
        paths=tuple(paths),
        output=output,
        journal=journal,
        recursive=recursive,
        model=model,
        download_types=tuple(DOWNLOAD_TYPES[each] for each in dict.fromkeys(types.split(","))),
        name=name,
        jobs=jobs,
        on_conflict=on_conflict,
        stop_on_error=stop_on_error,
        max_spend=max_spend,
        timeout=timeout,
        salt=salt,
        sandbox=sandbox,
    )
    work = print_plan if dry_run else restore
    _run_and_exit(lambda: work(options, as_json=as_json), as_json=as_json)


@app.command(epilog="Exit codes: 0 nothing failed; 1 a file failed; 2 it is not a journal.")
def status(journal: JournalArgument, as_json: JsonOption = False) -> None:
    """Print the progress of a batch, in numbers."""
    from diffio_async.cli.batch.report import print_status

    _run_and_exit(lambda: print_status(journal, as_json=as_json), as_json=as_json)


@app.command(
    epilog="The default of each option is its value in the previous run, except for --proxy and "
    f"--cacert, which are not stored. {EXIT_CODES}"
)
def retry(
    journal: JournalArgument,
    jobs: Annotated[int | None, typer.Option("--jobs", "-j", min=1, help=_JOBS_HELP)] = None,
    on_conflict: Annotated[BatchConflict | None, typer.Option(help=_CONFLICT_HELP)] = None,
    stop_on_error: Annotated[
        bool | None, typer.Option("--stop-on-error/--continue-on-error", help=_STOP_HELP)
    ] = None,
    max_spend: Annotated[
        float | None, typer.Option(min=0, metavar="SECONDS", help=_MAX_SPEND_HELP)
    ] = None,
    timeout: TimeoutOption = None,
    sandbox: Annotated[
        bool,
        typer.Option("--sandbox", help="Restore locally; default: as recorded in the journal."),
    ] = False,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Resume a batch, and restart its failed generations, which are billed again."""
    use_network(proxy=proxy, cacert=cacert)
    from diffio_async.cli.batch.run import RetryOptions
    from diffio_async.cli.batch.run import retry as work

    overrides = RetryOptions(
        jobs=jobs,
        on_conflict=on_conflict,
        stop_on_error=stop_on_error,
        max_spend=max_spend,
        timeout=timeout,
        sandbox=sandbox,
    )
    _run_and_exit(lambda: work(journal, overrides, as_json=as_json), as_json=as_json)


@app.command(epilog="Exit codes: 0 printed; 2 it is not a journal.")
def report(
    journal: JournalArgument,
    as_csv: Annotated[bool, typer.Option("--csv", help="All columns, as CSV.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the result of each file, the names left out and orphaned projects."""
    from diffio_async.cli.batch.report import print_report

    _run_and_exit(lambda: print_report(journal, as_csv=as_csv, as_json=as_json), as_json=as_json)


def _run_and_exit(work: Callable[[], Coroutine[Any, Any, int]], *, as_json: bool) -> NoReturn:
    from diffio_async.errors import ConfigurationError, DatabaseError
    from diffio_async.sandbox import SandboxError

    try:
        code = run(work, as_json=as_json)
    except (ConfigurationError, DatabaseError, SandboxError) as error:
        code = exit_with_usage_error(error, as_json=as_json)
    raise typer.Exit(code)
