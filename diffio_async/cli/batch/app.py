"""The commands under `batch` and their options; each one's work is a module of its own."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal, NoReturn

import typer
from typer.core import TyperGroup

from diffio_async.cli.interrupts import run
from diffio_async.cli.network import use_network
from diffio_async.cli.parameters import (
    EXIT_CODES,
    KINDS,
    CacertOption,
    JsonOption,
    ProxyOption,
    TimeoutOption,
)
from diffio_async.cli.usage_error import exit_with_usage_error
from diffio_async.models.batches import DEFAULT_IN_FLIGHT
from diffio_async.models.generations import DEFAULT_MODEL


class _Batch(TyperGroup):
    """`batch PATH…` is `batch run PATH…`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # the type is Typer's own
        """Put the word that was left out."""
        if not args or args[0] not in self.commands:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="batch",
    cls=_Batch,
    help="Restore many recordings, each once, and go on after whatever stopped it.",
)

JournalArgument = Annotated[
    str, typer.Argument(metavar="JOURNAL", help="The journal, or the folder it is in.")
]
Conflict = Literal["error", "overwrite", "skip"]
_EPILOG = f"See also: batch status, batch retry, batch report JOURNAL. {EXIT_CODES}"


def _kinds(value: str) -> str:
    for word in value.split(","):
        if word not in KINDS:
            raise typer.BadParameter(f"choose of audio, video and transcript, not {word!r}.")
    return value


@app.command("run", epilog=_EPILOG)
def start(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH...", help="Recordings, folders, globs, manifests."),
    ],
    output: Annotated[str, typer.Option("--output", "-o", metavar="DIR", help="Where results go.")],
    journal: Annotated[
        str | None, typer.Option(metavar="FILE", help="The journal, if not in the folder.")
    ] = None,
    recursive: Annotated[
        bool, typer.Option("--recursive/--flat", help="Whether folders in folders are read.")
    ] = True,
    model: Annotated[str, typer.Option(help="The model that restores.")] = DEFAULT_MODEL,
    types: Annotated[
        str,
        typer.Option(
            metavar="TYPE,...", callback=_kinds, help="What to fetch: audio, video, transcript."
        ),
    ] = "audio",
    name: Annotated[
        str,
        typer.Option(metavar="TEMPLATE", help="Names: {stem}, {name}, {type}, {ext}, {parent}."),
    ] = "{stem}.restored{ext}",
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Files uploaded or restored at once.")
    ] = DEFAULT_IN_FLIGHT,
    on_conflict: Annotated[
        Conflict, typer.Option(help="What to do where a result's name is taken.")
    ] = "error",
    stop_on_error: Annotated[
        bool, typer.Option("--stop-on-error", help="Begin nothing new after a failure.")
    ] = False,
    max_spend: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Most seconds to be billed, 60 for each."),
    ] = None,
    timeout: TimeoutOption = None,
    salt: Annotated[
        str | None,
        typer.Option(help="With the same one elsewhere, the same content is not billed again."),
    ] = None,
    sandbox: Annotated[
        bool,
        typer.Option(
            "--sandbox",
            help="Restore on this machine: no key, no network. Data beside the journal.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done; send nothing.")
    ] = False,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Restore recordings, each once. Run the same again, and it goes on where it stopped.

    The key is read from DIFFIO_API_KEY.
    """
    use_network(proxy=proxy, cacert=cacert)
    from diffio_async.cli.batch.dry_run import print_plan
    from diffio_async.cli.batch.options import BatchOptions
    from diffio_async.cli.batch.run import restore

    asked = BatchOptions(
        paths=tuple(paths),
        output=output,
        journal=journal,
        recursive=recursive,
        model=model,
        kinds=tuple(KINDS[word] for word in dict.fromkeys(types.split(","))),
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
    _finish(lambda: work(asked, as_json=as_json), as_json=as_json)


@app.command(epilog="Exit codes: 0 nothing failed; 1 something did; 2 it is no journal.")
def status(journal: JournalArgument, as_json: JsonOption = False) -> None:
    """Tell how far a batch is, in numbers."""
    from diffio_async.cli.batch.report import print_status

    _finish(lambda: print_status(journal, as_json=as_json), as_json=as_json)


@app.command(
    epilog="What is not given is as in the run before; --proxy and --cacert are not kept: give "
    f"them again. {EXIT_CODES}"
)
def retry(
    journal: JournalArgument,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, help="Files uploaded or restored at once.")
    ] = None,
    on_conflict: Annotated[
        Conflict | None, typer.Option(help="What to do where a result's name is taken.")
    ] = None,
    stop_on_error: Annotated[
        bool | None,
        typer.Option("--stop-on-error/--go-on", help="Begin nothing new after a failure."),
    ] = None,
    max_spend: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Most seconds to be billed, 60 for each."),
    ] = None,
    timeout: TimeoutOption = None,
    sandbox: Annotated[
        bool,
        typer.Option("--sandbox", help="The batch is one of --sandbox; known from its journal."),
    ] = False,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Go on with a batch, and start its failed generations anew, which bills them anew."""
    use_network(proxy=proxy, cacert=cacert)
    from diffio_async.cli.batch.options import Given
    from diffio_async.cli.batch.run import retry as work

    given = Given(
        jobs=jobs,
        on_conflict=on_conflict,
        stop_on_error=stop_on_error,
        max_spend=max_spend,
        timeout=timeout,
        sandbox=sandbox,
    )
    _finish(lambda: work(journal, given, as_json=as_json), as_json=as_json)


@app.command(epilog="Exit codes: 0 told; 2 it is no journal.")
def report(
    journal: JournalArgument,
    as_csv: Annotated[bool, typer.Option("--csv", help="All columns, as CSV.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Tell what became of each file, and of what no file has any use for."""
    from diffio_async.cli.batch.report import print_report

    _finish(lambda: print_report(journal, as_csv=as_csv, as_json=as_json), as_json=as_json)


def _finish(work: Callable[[], Coroutine[Any, Any, int]], *, as_json: bool) -> NoReturn:
    from diffio_async.errors import ConfigurationError, DatabaseError
    from diffio_async.sandbox import SandboxError

    try:
        code = run(work, as_json=as_json)
    except (ConfigurationError, DatabaseError, SandboxError) as error:
        code = exit_with_usage_error(error, as_json=as_json)
    raise typer.Exit(code)
