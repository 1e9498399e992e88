"""`diffio-async sandbox`: serves a local Diffio until it is stopped."""

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffio_async.cli.console import OK, STOPPED, USAGE, console, log_to_console, print_error
from diffio_async.cli.interrupts import run

if TYPE_CHECKING:
    from diffio_async.sandbox import Sandbox


def sandbox(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the API; 0 selects a free one.")
    ] = 8490,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    allow_remote: Annotated[
        bool, typer.Option("--allow-remote", help="Allow a HOST that other machines can reach.")
    ] = False,
    api_key: Annotated[
        str,
        typer.Option(
            metavar="KEY", envvar="DIFFIO_SANDBOX_API_KEY", help="API key that it accepts."
        ),
    ] = "diffio_sandbox_key",
    public_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Base URL for clients; default: the host of each request."
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Name to accept in Host headers; may be repeated."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the projects; default: a temporary one."),
    ] = None,
    env_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write the environment here, as NAME=value lines."),
    ] = None,
    faults: Annotated[
        Path | None, typer.Option(metavar="PLAN.json", help="Faults to inject into responses.")
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
        typer.Option(
            min=0, metavar="FACTOR", help="Factor of the delays between delivery attempts."
        ),
    ] = 1.0,
    webhook_duplicates: Annotated[
        float,
        typer.Option(min=0, max=1, metavar="SHARE", help="Share of events delivered twice."),
    ] = 0.0,
    webhook_shuffle: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Maximum random delay, to reorder events."),
    ] = 0.0,
) -> None:
    """Serve a local Diffio until Ctrl-C, and print the environment for its clients."""
    from diffio_async._storage.local_paths import optional_local_path
    from diffio_async.sandbox import PlanError, Sandbox, SandboxError, read_plan

    try:
        for path, option in ((data, "--data"), (env_file, "--env-file"), (faults, "--faults")):
            optional_local_path(path, option)
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
        code = run(lambda: _serve(server, env_file), is_server=True)
    except (OSError, PlanError, SandboxError, ValueError) as error:
        print_error(error)
        code = USAGE
    # Ctrl-C is the regular way to stop a server.
    raise typer.Exit(OK if code in STOPPED else code)


async def _serve(server: "Sandbox", env_file: Path | None) -> int:
    """Serve until cancelled. Print the environment on stdout and the log on stderr."""
    from diffio_async.sandbox.command import announce

    log_to_console(logging.INFO)
    async with server:
        announce(server, env_file=env_file)
        console.note("The sandbox runs until Ctrl-C.")
        await asyncio.Event().wait()
    return OK
