"""The `webhooks` commands and their options. A command's module is imported when it runs."""

import os
from typing import Annotated

import typer

from diffio_async.cli.command import (
    CALL_EXIT_CODES,
    ApiKeyIdOption,
    CacertOption,
    JsonOption,
    NetworkOptions,
    ProxyOption,
    exit_if_refused,
    network_options,
    run_and_exit,
)
from diffio_async.models.webhooks import InboxState, WebhookMode

app = typer.Typer(
    name="webhooks",
    help="Configure and receive events, and find out why a signature is rejected.",
    no_args_is_help=True,
)
inbox_app = typer.Typer(
    name="inbox", help="List the events of an inbox, and requeue them.", no_args_is_help=True
)
app.add_typer(inbox_app)

EVENTS = ("generation.completed", "generation.failed")
SECRET_VARIABLE = "DIFFIO_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable

ModeOption = Annotated[WebhookMode, typer.Option(help="Which of the two endpoints of the API key.")]
InboxOption = Annotated[str, typer.Option(metavar="FILE", help="The inbox.")]


def signing_secrets() -> list[str]:
    """Return the signing secrets of the environment: other users can see arguments.

    Raises:
        ConfigurationError: The variable is missing or empty.
    """
    from diffio_async.errors import ConfigurationError

    secrets = os.environ.get(SECRET_VARIABLE, "").split()
    if not secrets:
        raise ConfigurationError(
            f"there is no signing secret: copy the endpoint's (whsec_…) from the Diffio dashboard "
            f"and set {SECRET_VARIABLE}, several separated by spaces"
        )
    return secrets


@app.command(epilog=CALL_EXIT_CODES)
def configure(
    url: Annotated[str, typer.Option(metavar="URL", help="The https:// URL to deliver events to.")],
    mode: ModeOption = "live",
    events: Annotated[
        list[str] | None,
        typer.Option(
            "--event",
            metavar="TYPE",
            help=f"Type of event to deliver; may be repeated. Default: {' and '.join(EVENTS)}.",
        ),
    ] = None,
    api_key_id: ApiKeyIdOption = None,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Set the URL that events are delivered to. Each API key and mode has its own endpoint.

    The API key is read from DIFFIO_API_KEY.
    """
    network_options.set(NetworkOptions(proxy, cacert))
    from diffio_async.cli.webhooks.management import configure as work

    run_and_exit(
        lambda: work(
            mode=mode, url=url, event_types=events or EVENTS, api_key_id=api_key_id, as_json=as_json
        ),
        as_json=as_json,
    )


@app.command("test", epilog=CALL_EXIT_CODES)
def send_test(
    event: Annotated[
        str, typer.Option(metavar="TYPE", help="Type of the event.")
    ] = "generation.completed",
    mode: ModeOption = "live",
    api_key_id: ApiKeyIdOption = None,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Send a test event to the endpoint, signed like a real one.

    The API key is read from DIFFIO_API_KEY.
    """
    network_options.set(NetworkOptions(proxy, cacert))
    from diffio_async.cli.webhooks.management import send_test_event as work

    run_and_exit(
        lambda: work(mode=mode, event_type=event, api_key_id=api_key_id, as_json=as_json),
        as_json=as_json,
    )


@app.command(epilog="Exit codes: 0 genuine; 1 rejected; 2 wrong usage or configuration.")
def verify(
    payload: Annotated[
        str,
        typer.Option(metavar="FILE|-", help="The raw body as received; - is standard input."),
    ],
    headers: Annotated[
        list[str],
        typer.Option(
            metavar="FILE|-|'NAME: VALUE'",
            help="The headers of the request: a file of lines or JSON, or one header; may be "
            "repeated.",
        ),
    ],
    tolerance: Annotated[
        float,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Maximum age of the delivery, in seconds; inf for one that was saved.",
        ),
    ] = 300.0,
    as_json: JsonOption = False,
) -> None:
    """Check whether a delivery is genuine, and if not, print why.

    Detects missing and renamed headers, malformed secrets, clock skew, a modified body and
    signatures of another version. The secrets are read from DIFFIO_WEBHOOK_SECRET, several
    separated by spaces, and never shown.
    """
    from diffio_async.cli.webhooks.management import load_delivery
    from diffio_async.cli.webhooks.management import verify as work

    with exit_if_refused(as_json=as_json):
        body, found = load_delivery(payload, headers)
        code = work(body, found, signing_secrets(), tolerance=tolerance, as_json=as_json)
    raise typer.Exit(code)


@app.command("listen", epilog="Exit codes: 0 stopped by Ctrl-C or SIGTERM; 2 it could not start.")
def start_listener(
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Port; 0 selects a free one.")
    ] = 8491,
    path: Annotated[
        str, typer.Option(metavar="PATH", help="URL path that receives events.")
    ] = "/webhooks/diffio",
    inbox: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Inbox: store each event in this file before it is acknowledged."
        ),
    ] = None,
    forward: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Forward each event to this URL, with its body and signature."
        ),
    ] = None,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Receive events and print each one, until Ctrl-C.

    The secrets are read from DIFFIO_WEBHOOK_SECRET, several separated by spaces. With --inbox, an
    event is acknowledged when it is on disk, and forwarded from there until that succeeds. Without
    it, an event is acknowledged when it was forwarded; otherwise the sender delivers it again.
    """
    network_options.set(NetworkOptions(proxy, cacert))
    from diffio_async.cli.webhooks.listen import listen

    run_and_exit(
        lambda: listen(
            host,
            port,
            path,
            inbox_file=inbox,
            forward_url=forward,
            secrets=signing_secrets(),
            as_json=as_json,
        ),
        as_json=as_json,
        is_server=True,
    )


@inbox_app.command("list", epilog=CALL_EXIT_CODES)
def inbox_list(
    inbox: InboxOption,
    state: Annotated[InboxState | None, typer.Option(help="Only events in this state.")] = None,
    limit: Annotated[
        int, typer.Option(min=0, metavar="NUMBER", help="Maximum number of events; 0 lists all.")
    ] = 100,
    as_json: JsonOption = False,
) -> None:
    """List the events of an inbox, the newest first."""
    from diffio_async.cli.webhooks.management import list_entries

    run_and_exit(
        lambda: list_entries(inbox, state=state, limit=limit, as_json=as_json), as_json=as_json
    )


@inbox_app.command("retry", epilog=CALL_EXIT_CODES)
def inbox_retry(
    inbox: InboxOption,
    message_id: Annotated[
        str | None,
        typer.Argument(metavar="MESSAGE", help="Message id. Default: every dead event."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Requeue a dead or handled event; without an id, every dead one."""
    from diffio_async.cli.webhooks.management import retry

    run_and_exit(lambda: retry(inbox, message_id, as_json=as_json), as_json=as_json)
