"""The commands and their options; each command's work is a module of its own, loaded when run."""

import os
from typing import Annotated

import typer

from diffio_async._version import __version__
from diffio_async.cli.batch.app import app as batches
from diffio_async.cli.interrupts import run
from diffio_async.cli.network import use_network
from diffio_async.cli.parameters import (
    EXIT_CODES,
    KINDS,
    CacertOption,
    JsonOption,
    KindOption,
    OverwriteOption,
    ProxyOption,
    TimeoutOption,
)
from diffio_async.cli.sandbox import sandbox
from diffio_async.cli.usage_error import exit_with_usage_error
from diffio_async.cli.webhooks.app import app as webhooks
from diffio_async.models.generations import DEFAULT_MODEL

app = typer.Typer(
    name="diffio-async",
    help="Restore speech with Diffio, or on this machine with its sandbox.",
    no_args_is_help=True,
    # A traceback must never show variables: keys and signed links are among them.
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)

app.add_typer(batches)
app.add_typer(webhooks)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"diffio-async {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool,
        typer.Option("--version", help="Show the version.", callback=_version, is_eager=True),
    ] = False,
    allow_insecure_http: Annotated[
        bool,
        typer.Option(
            "--allow-insecure-http",
            help="Accept an http:// address of another machine: nothing is encrypted on the way.",
        ),
    ] = False,
) -> None:
    """Restore speech with Diffio, or on this machine with its sandbox."""
    if allow_insecure_http:
        # Whatever else a command needs to know of the service is in the environment, too.
        os.environ["DIFFIO_ALLOW_INSECURE_HTTP"] = "1"


@app.command(epilog=EXIT_CODES)
def restore(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Recordings, audio or video; - is stdin.")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output", "-o", metavar="DIR|-", help="Where results go, if not beside; - is stdout."
        ),
    ] = None,
    kind: KindOption = "audio",
    model: Annotated[str, typer.Option(help="The model that restores.")] = DEFAULT_MODEL,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Restore on this machine: no key, no network.")
    ] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    timeout: TimeoutOption = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Files at once.")] = 3,
    stdin_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="The file name of -, and so its type; else by its first bytes."
        ),
    ] = None,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Restore recordings: upload, generate, wait, download.

    talk.wav becomes talk.restored.mp3, beside it. The key is read from DIFFIO_API_KEY.
    """
    use_network(proxy=proxy, cacert=cacert)
    from diffio_async.cli.progress import make_reporter
    from diffio_async.cli.restore import restore_files
    from diffio_async.cli.restore_request import RestoreRequest
    from diffio_async.errors import ConfigurationError, InvalidSource
    from diffio_async.sandbox import SandboxError

    try:
        order = RestoreRequest(
            files=tuple(files),
            output=output,
            download_type=KINDS[kind],
            model=model,
            sandbox=sandbox,
            overwrite=overwrite,
            timeout=timeout,
            jobs=jobs,
            stdin_name=stdin_name,
            as_json=as_json,
        )
        shown = make_reporter(as_json=as_json, to_stdout=order.to_stdout)
        code = run(lambda: restore_files(order, shown), as_json=as_json)
    except (ConfigurationError, SandboxError, InvalidSource) as error:
        code = exit_with_usage_error(error, as_json=as_json)
    raise typer.Exit(code)


@app.command(epilog=EXIT_CODES)
def download(
    generation: Annotated[str, typer.Argument(metavar="GENERATION", help="Its id.")],
    project: Annotated[str, typer.Option(help="The id of its project.")],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|DIR|-",
            help="Where the result goes, if not here; - is stdout.",
        ),
    ] = None,
    kind: KindOption = "audio",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    timeout: TimeoutOption = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--no-resume",
            help="Go on from what an earlier try left in a hidden file, and leave that again.",
        ),
    ] = True,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Fetch the result of a generation that was started before, once it is complete.

    Where `restore` ends too early, it prints the line to run. Nothing is billed again.
    """
    use_network(proxy=proxy, cacert=cacert)
    from diffio_async.cli.download import DownloadRequest
    from diffio_async.cli.download import download as fetch
    from diffio_async.cli.progress import make_reporter
    from diffio_async.errors import ConfigurationError

    try:
        order = DownloadRequest(
            generation_id=generation,
            api_project_id=project,
            output=output,
            download_type=KINDS[kind],
            overwrite=overwrite,
            timeout=timeout,
            resume=resume,
            as_json=as_json,
        )
        shown = make_reporter(as_json=as_json, to_stdout=order.to_stdout)
        code = run(lambda: fetch(order, shown), as_json=as_json)
    except ConfigurationError as error:
        code = exit_with_usage_error(error, as_json=as_json)
    raise typer.Exit(code)


@app.command(epilog=EXIT_CODES)
def wait(
    generations: Annotated[
        list[str] | None, typer.Argument(metavar="[GENERATION...]", help="Their ids or handles.")
    ] = None,
    project: Annotated[
        list[str] | None,
        typer.Option(help="Of these ids; or, without ids, wait for all that runs in it."),
    ] = None,
    as_json: JsonOption = False,
    timeout: TimeoutOption = None,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Wait for generations that were started, however many, until each has ended.

    On a terminal one table shows how they stand.
    """
    use_network(proxy=proxy, cacert=cacert)
    from diffio_async.cli.wait import WaitRequest
    from diffio_async.cli.wait import wait as follow
    from diffio_async.errors import ConfigurationError

    wanted = WaitRequest(
        generations=tuple(generations or ()), projects=tuple(project or ()), timeout=timeout
    )
    try:
        code = run(lambda: follow(wanted, as_json=as_json), as_json=as_json)
    except ConfigurationError as error:
        code = exit_with_usage_error(error, as_json=as_json)
    raise typer.Exit(code)


app.command()(sandbox)
