"""Top-level commands and their options. A command's module is imported when it runs."""

import asyncio
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffio_async._version import __version__
from diffio_async.cli import OK, account
from diffio_async.cli.batch import app as batch_app
from diffio_async.cli.command import (
    CALL_EXIT_CODES,
    DOWNLOAD_TYPES,
    EXIT_CODES,
    CacertOption,
    JsonOption,
    ModelOption,
    NetworkOptions,
    OverwriteOption,
    ProxyOption,
    TimeoutOption,
    TypeOption,
    console,
    log_to_console,
    network_options,
    run_and_exit,
)
from diffio_async.cli.report import EPILOG, report
from diffio_async.cli.webhooks import app as webhooks_app
from diffio_async.models.generations import DEFAULT_MODEL

if TYPE_CHECKING:
    from diffio_async.sandbox import Sandbox

app = typer.Typer(
    name="diffio-async",
    help="Restore speech with Diffio, or locally with its sandbox.",
    no_args_is_help=True,
    # Variables in a traceback would show keys and signed URLs.
    pretty_exceptions_enable=False,
    pretty_exceptions_show_locals=False,
)

for group in (batch_app, webhooks_app, *account.groups):
    app.add_typer(group)
app.command(epilog=EPILOG)(report)
app.command(epilog=CALL_EXIT_CODES)(account.usage)


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(f"diffio-async {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[  # noqa: ARG001 - its callback does the work
        bool,
        typer.Option(
            "--version", help="Print the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
    allow_insecure_http: Annotated[
        bool,
        typer.Option(
            "--allow-insecure-http",
            help="Allow an unencrypted http:// base URL of another machine.",
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
        list[str],
        typer.Argument(
            metavar="FILE",
            help="Audio or video recordings, or URLs (s3://bucket/key); - is standard input.",
        ),
    ],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|DIR|URL|-",
            help="File for the result of one recording, or existing folder for the results, or "
            "the URL of either (s3://bucket/folder/); - is standard output. Default: beside each "
            "recording.",
        ),
    ] = None,
    download_type: TypeOption = "audio",
    model: ModelOption = DEFAULT_MODEL,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Restore locally, without an API key or network.")
    ] = False,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
    timeout: TimeoutOption = None,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs", "-j", min=1, metavar="NUMBER", help="Number of files restored concurrently."
        ),
    ] = 3,
    stdin_name: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="File name of standard input; its suffix sets the type. Default: stdin, with a "
            "suffix that fits the content.",
        ),
    ] = None,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Restore recordings: upload them, wait, and download the results.

    The result of talk.wav is talk.restored.mp3. The API key is read from DIFFIO_API_KEY.
    """
    network_options.set(NetworkOptions(proxy, cacert))
    from diffio_async.cli.reporting import Reporter
    from diffio_async.cli.restore import RestoreRequest, restore_files

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
    reporter = Reporter(as_json=as_json, to_stdout=request.to_stdout)
    run_and_exit(lambda: restore_files(request, reporter), as_json=as_json)


@app.command(epilog=EXIT_CODES)
def download(
    generation: Annotated[str, typer.Argument(metavar="GENERATION", help="Id of the generation.")],
    project: Annotated[str, typer.Option(metavar="ID", help="Id of its project.")],
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|DIR|URL|-",
            help="File or existing folder for the result, or the URL of either "
            "(s3://bucket/folder/); - is standard output. Default: the current folder.",
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
            help="Resume an interrupted download from its hidden partial file.",
        ),
    ] = True,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Wait for a generation that was started earlier, and download its result.

    An interrupted `restore` prints this command. Nothing is billed again.
    """
    network_options.set(NetworkOptions(proxy, cacert))
    from diffio_async.cli.download import DownloadRequest
    from diffio_async.cli.download import download as work
    from diffio_async.cli.reporting import Reporter

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
    reporter = Reporter(as_json=as_json, to_stdout=request.to_stdout)
    run_and_exit(lambda: work(request, reporter), as_json=as_json)


@app.command(epilog=EXIT_CODES)
def wait(
    generations: Annotated[
        list[str] | None,
        typer.Argument(metavar="GENERATION", help="Ids or handles of generations."),
    ] = None,
    project: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="Id of the project of the generations. Without generations: wait for all that "
            "are running in it; may be repeated.",
        ),
    ] = None,
    as_json: JsonOption = False,
    timeout: TimeoutOption = None,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Wait until generations that were started earlier have ended.

    A terminal shows a table of their states.
    """
    network_options.set(NetworkOptions(proxy, cacert))
    from diffio_async.cli.wait import WaitRequest
    from diffio_async.cli.wait import wait as work

    request = WaitRequest(
        generations=tuple(generations or ()), projects=tuple(project or ()), timeout=timeout
    )
    run_and_exit(lambda: work(request, as_json=as_json), as_json=as_json)


@app.command(
    epilog="Exit codes: 0 no failure; 1 at least one check failed; 2 wrong usage; 130 interrupted."
)
def doctor(
    output: Annotated[
        str,
        typer.Option("--output", "-o", metavar="DIR", help="Folder for results, to be checked."),
    ] = ".",
    upload: Annotated[
        bool | None,
        typer.Option(
            "--upload/--no-upload",
            help="Also try an upload; it is not billed, but leaves a project. Default: a prompt "
            "on a terminal, else no.",
        ),
    ] = None,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Check this environment and the way to the service, with what to do about each fault.

    The output contains no secret.
    """
    network_options.set(NetworkOptions(proxy, cacert))
    from diffio_async.cli.doctor import DoctorRequest, confirm_upload, examine

    request = DoctorRequest(output, confirm_upload() if upload is None else upload)
    run_and_exit(lambda: examine(request, as_json=as_json), as_json=as_json)


@app.command()
def sandbox(
    port: Annotated[
        int,
        typer.Option(
            min=0, max=65535, metavar="PORT", help="Port of the API; 0 selects a free one."
        ),
    ] = 8490,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on.")
    ] = "127.0.0.1",
    allow_remote: Annotated[
        bool,
        typer.Option("--allow-remote", help="Allow a --host that other machines can reach."),
    ] = False,
    api_key: Annotated[
        str,
        typer.Option(
            metavar="KEY", envvar="DIFFIO_SANDBOX_API_KEY", help="API key that clients must send."
        ),
    ] = "diffio_sandbox_key",
    public_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Base URL for clients. Default: the host of each request."
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME", help="Additional host name to accept in requests; may be repeated."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for its data. Default: a temporary folder."),
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Also write the printed environment to this file, as NAME=value."
        ),
    ] = None,
    faults: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON file of faults to inject into responses."),
    ] = None,
    legacy_models: Annotated[
        bool,
        typer.Option("--legacy-models", help="Serve retired models instead of responding 410."),
    ] = False,
    allow_remote_webhooks: Annotated[
        bool,
        typer.Option("--allow-remote-webhooks", help="Also deliver events to other machines."),
    ] = False,
    max_recording_seconds: Annotated[
        float,
        typer.Option(min=1, metavar="SECONDS", help="Maximum duration of a recording, in seconds."),
    ] = 6 * 3600.0,
    max_decoded_bytes: Annotated[
        int,
        typer.Option(min=1, metavar="BYTES", help="Maximum size of a decoded recording, in bytes."),
    ] = 6 * 1024**3,
    max_processing_seconds: Annotated[
        float,
        typer.Option(
            min=1, metavar="SECONDS", help="Maximum duration of one restoration, in seconds."
        ),
    ] = 4 * 3600.0,
    webhook_pace: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="FACTOR",
            help="Factor on the delays between delivery attempts; 0.01 is a hundred times faster.",
        ),
    ] = 1.0,
    webhook_duplicates: Annotated[
        float,
        typer.Option(
            min=0, max=1, metavar="FRACTION", help="Fraction of events delivered twice, 0 to 1."
        ),
    ] = 0.0,
    webhook_shuffle: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Maximum random delay of each event, in seconds, to change their order.",
        ),
    ] = 0.0,
) -> None:
    """Serve a local Diffio until Ctrl-C, and print the environment for its clients."""
    from diffio_async._validators import optional_local_path
    from diffio_async.errors import ConfigurationError
    from diffio_async.sandbox import Sandbox, read_plan

    async def serve() -> int:
        for path, option in ((data, "--data"), (env_file, "--env-file"), (faults, "--faults")):
            optional_local_path(path, option)
        try:
            server = Sandbox(
                data,
                host=host,
                port=port,
                api_key=api_key,
                public_url=public_url,
                allow_hosts=allow_host or (),
                faults=read_plan(faults) if faults is not None else (),
                allow_remote=allow_remote,
                legacy_models=legacy_models,
                allow_remote_webhooks=allow_remote_webhooks,
                max_recording_seconds=max_recording_seconds,
                max_decoded_bytes=max_decoded_bytes,
                max_processing_seconds=max_processing_seconds,
                webhook_pace=webhook_pace,
                webhook_duplicates=webhook_duplicates,
                webhook_shuffle=webhook_shuffle,
            )
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        return await _serve(server, env_file)

    run_and_exit(serve, is_server=True)


async def _serve(server: "Sandbox", env_file: Path | None) -> int:
    """Serve until cancelled. Print the environment on stdout and the log on stderr."""
    from diffio_async.sandbox.command import announce

    log_to_console(logging.INFO)
    async with server:
        announce(server, env_file=env_file)
        console.note(f"The sandbox runs until Ctrl-C. Its page: {server.page_url}")
        await asyncio.Event().wait()
    return OK
