"""Top-level commands and their options. A command's module is imported when it runs."""

import os
from typing import Annotated

import typer

from diffio_async._version import __version__
from diffio_async.cli.batch.app import app as batch_app
from diffio_async.cli.console import exit_with_usage_error
from diffio_async.cli.interrupts import run
from diffio_async.cli.parameters import (
    DOWNLOAD_TYPES,
    EXIT_CODES,
    CacertOption,
    JsonOption,
    OverwriteOption,
    ProxyOption,
    TimeoutOption,
    TypeOption,
    use_network,
)
from diffio_async.cli.sandbox import sandbox
from diffio_async.cli.webhooks.app import app as webhooks_app
from diffio_async.models.generations import DEFAULT_MODEL

app = typer.Typer(
    name="diffio-async",
    help="Restore speech with Diffio, or locally with its sandbox.",
    no_args_is_help=True,
    # Variables in a traceback would show keys and signed URLs.
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)

app.add_typer(batch_app)
app.add_typer(webhooks_app)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"diffio-async {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
    allow_insecure_http: Annotated[
        bool,
        typer.Option(
            "--allow-insecure-http",
            help="Accept an unencrypted http:// URL of another machine.",
        ),
    ] = False,
) -> None:
    """Restore speech with Diffio, or locally with its sandbox."""
    if allow_insecure_http:
        # Commands read all settings of the service from the environment.
        os.environ["DIFFIO_ALLOW_INSECURE_HTTP"] = "1"


@app.command(epilog=EXIT_CODES)
def restore(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="Recordings, audio or video; - is stdin.")
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR|-",
            help="Folder of the results; default: beside each file; - is stdout.",
        ),
    ] = None,
    download_type: TypeOption = "audio",
    model: Annotated[str, typer.Option(help="Model to restore with.")] = DEFAULT_MODEL,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Restore locally, without key or network.")
    ] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    timeout: TimeoutOption = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Number of concurrent files.")
    ] = 3,
    stdin_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="File name of -, which sets its type; default: by content."
        ),
    ] = None,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Restore recordings: upload, generate, wait, download.

    The result of talk.wav is talk.restored.mp3, beside it. The key is read from DIFFIO_API_KEY.
    """
    use_network(proxy=proxy, cacert=cacert)
    from diffio_async.cli.progress import make_reporter
    from diffio_async.cli.restore import RestoreRequest, restore_files
    from diffio_async.errors import ConfigurationError, InvalidSource
    from diffio_async.sandbox import SandboxError

    try:
        request = RestoreRequest(
            files=tuple(files),
            output=output,
            download_type=DOWNLOAD_TYPES[download_type],
            model=model,
            sandbox=sandbox,
            overwrite=overwrite,
            timeout=timeout,
            jobs=jobs,
            stdin_name=stdin_name,
            as_json=as_json,
        )
        reporter = make_reporter(as_json=as_json, to_stdout=request.to_stdout)
        code = run(lambda: restore_files(request, reporter), as_json=as_json)
    except (ConfigurationError, SandboxError, InvalidSource) as error:
        code = exit_with_usage_error(error, as_json=as_json)
    raise typer.Exit(code)


@app.command(epilog=EXIT_CODES)
def download(
    generation: Annotated[str, typer.Argument(metavar="GENERATION", help="Generation id.")],
    project: Annotated[str, typer.Option(help="Id of its project.")],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|DIR|-",
            help="Target; default: the current folder; - is stdout.",
        ),
    ] = None,
    download_type: TypeOption = "audio",
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    timeout: TimeoutOption = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--no-resume",
            help="Resume from the hidden partial file, and keep it if interrupted.",
        ),
    ] = True,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Wait for a generation that was started earlier, and download its result.

    An interrupted `restore` prints this command. Nothing is billed again.
    """
    use_network(proxy=proxy, cacert=cacert)
    from diffio_async.cli.download import DownloadRequest
    from diffio_async.cli.download import download as work
    from diffio_async.cli.progress import make_reporter
    from diffio_async.errors import ConfigurationError

    try:
        request = DownloadRequest(
            generation_id=generation,
            api_project_id=project,
            output=output,
            download_type=DOWNLOAD_TYPES[download_type],
            overwrite=overwrite,
            timeout=timeout,
            resume=resume,
            as_json=as_json,
        )
        reporter = make_reporter(as_json=as_json, to_stdout=request.to_stdout)
        code = run(lambda: work(request, reporter), as_json=as_json)
    except ConfigurationError as error:
        code = exit_with_usage_error(error, as_json=as_json)
    raise typer.Exit(code)


@app.command(epilog=EXIT_CODES)
def wait(
    generations: Annotated[
        list[str] | None, typer.Argument(metavar="[GENERATION...]", help="Ids or handles.")
    ] = None,
    project: Annotated[
        list[str] | None,
        typer.Option(help="Project of the ids; without ids: all running generations in it."),
    ] = None,
    as_json: JsonOption = False,
    timeout: TimeoutOption = None,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Wait until generations that were started earlier have ended.

    A terminal shows a table of their states.
    """
    use_network(proxy=proxy, cacert=cacert)
    from diffio_async.cli.wait import WaitRequest
    from diffio_async.cli.wait import wait as work
    from diffio_async.errors import ConfigurationError

    request = WaitRequest(
        generations=tuple(generations or ()), projects=tuple(project or ()), timeout=timeout
    )
    try:
        code = run(lambda: work(request, as_json=as_json), as_json=as_json)
    except ConfigurationError as error:
        code = exit_with_usage_error(error, as_json=as_json)
    raise typer.Exit(code)


app.command()(sandbox)
