"""`diffio-async sandbox`: a local Diffio until it is stopped."""

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffio_async.cli.console import console, log_to_console
from diffio_async.cli.exit_codes import OK, STOPPED, USAGE
from diffio_async.cli.interrupts import run
from diffio_async.cli.usage_error import print_error

if TYPE_CHECKING:
    from diffio_async.sandbox import Sandbox


def sandbox(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Where the API listens; 0 takes a free port.")
    ] = 8490,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Let HOST be reached from other machines.")
    ] = False,
    api_key: Annotated[
        str,
        typer.Option(
            metavar="KEY", envvar="DIFFIO_SANDBOX_API_KEY", help="The API key that it accepts."
        ),
    ] = "diffio_sandbox_key",
    public_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Where clients reach it; as each request says if not given."
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A name to accept in Host headers; may be repeated."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep projects here; a temporary folder if not given."),
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the environment there too, as NAME=value lines."),
    ] = None,
    faults: Annotated[
        Path | None, typer.Option(metavar="PLAN.json", help="Misfortunes to play on clients.")
    ] = None,
    legacy_models: Annotated[
        bool,
        typer.Option("--legacy-models", help="Serve retired models instead of answering 410."),
    ] = False,
    allow_remote_webhooks: Annotated[
        bool,
        typer.Option("--allow-remote-webhooks", help="Deliver events beyond this machine too."),
    ] = False,
    max_recording_seconds: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Longer recordings fail.")
    ] = 6 * 3600.0,
    max_decoded_bytes: Annotated[
        int, typer.Option(min=1, metavar="BYTES", help="Recordings that decode to more fail.")
    ] = 6 * 1024**3,
    max_processing_seconds: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Restorations that take longer fail.")
    ] = 4 * 3600.0,
    webhook_pace: Annotated[
        float,
        typer.Option(min=0, metavar="FACTOR", help="Below 1 hurries deliveries that are retried."),
    ] = 1.0,
    webhook_duplicates: Annotated[
        float,
        typer.Option(min=0, max=1, metavar="SHARE", help="Of all events, delivered twice."),
    ] = 0.0,
    webhook_shuffle: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="By which events may be late, out of order."),
    ] = 0.0,
) -> None:
    """Run a local Diffio until Ctrl-C, and print the environment that points a client at it."""
    from diffio_async._storage.local_paths import local_paths
    from diffio_async.sandbox import PlanError, Sandbox, SandboxError, read_plan

    try:
        for path, option in ((data, "--data"), (env_file, "--env-file"), (faults, "--faults")):
            local_paths(path, option)
        served = Sandbox(
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
        code = run(lambda: _serve(served, env_file), serves=True)
    except (OSError, PlanError, SandboxError, ValueError) as error:
        print_error(error)
        code = USAGE
    # Ctrl-C is how a server is asked to stop: that went well.
    raise typer.Exit(OK if code in STOPPED else code)


async def _serve(served: "Sandbox", env_file: Path | None) -> int:
    """Serve until cancelled; the environment goes to stdout, the log to stderr."""
    from diffio_async.sandbox.command import announce

    log_to_console(logging.INFO)
    async with served:
        announce(served, env_file=env_file)
        console.note("The sandbox runs until Ctrl-C.")
        await asyncio.Event().wait()
    return OK
