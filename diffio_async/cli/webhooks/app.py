"""The `webhooks` commands and their options. A command's module is imported when it runs."""

import os
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, NoReturn

import typer

from diffio_async.cli.console import OK, STOPPED, exit_with_usage_error
from diffio_async.cli.interrupts import run
from diffio_async.cli.parameters import CacertOption, JsonOption, ProxyOption, use_network
from diffio_async.models.webhooks import InboxState, WebhookMode

app = typer.Typer(
    name="webhooks",
    help="Configure and receive events, and find out why a signature fails.",
    no_args_is_help=True,
)
inbox_app = typer.Typer(
    name="inbox", help="List the events of an inbox, and requeue them.", no_args_is_help=True
)
app.add_typer(inbox_app)

EVENTS = ("generation.completed", "generation.failed")
EXIT_CODES = "Exit codes: 0 done; 1 it failed; 2 wrong usage or configuration, nothing was sent."
SECRET_VARIABLE = "DIFFIO_WEBHOOK_SECRET"  # noqa: S105 - the name of a variable

ModeOption = Annotated[WebhookMode, typer.Option(help="Which of the key's two endpoints.")]
ApiKeyIdOption = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        envvar="DIFFIO_API_KEY_ID",
        show_envvar=False,
        help="Key of the endpoint; default: DIFFIO_API_KEY_ID, or the calling key.",
    ),
]
InboxOption = Annotated[str, typer.Option(metavar="FILE", help="The inbox.")]


def signing_secrets() -> list[str]:
    """Return the signing secrets of the environment: other users can see arguments.

    Raises:
        ConfigurationError: There is none.
    """
    from diffio_async.errors import ConfigurationError

    secrets = os.environ.get(SECRET_VARIABLE, "").split()
    if not secrets:
        raise ConfigurationError(
            f"there is no signing secret: copy the endpoint's (whsec_…) from the Diffio dashboard "
            f"and set {SECRET_VARIABLE}, several separated by spaces"
        )
    return secrets


@app.command(epilog=EXIT_CODES)
def configure(
    url: Annotated[str, typer.Option(help="The https:// URL to deliver events to.")],
    mode: ModeOption = "live",
    events: Annotated[
        list[str] | None,
        typer.Option(
            "--event",
            metavar="TYPE",
            help=f"Type of event, may be repeated; default: {' and '.join(EVENTS)}.",
        ),
    ] = None,
    api_key_id: ApiKeyIdOption = None,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Set where events are delivered. Each API key and mode has its own endpoint.

    The key is read from DIFFIO_API_KEY.
    """
    use_network(proxy=proxy, cacert=cacert)
    from diffio_async.cli.webhooks.configure import configure as work
    from diffio_async.errors import ConfigurationError

    try:
        code = run(
            lambda: work(
                mode=mode,
                url=url,
                event_types=events or EVENTS,
                api_key_id=api_key_id,
                as_json=as_json,
            ),
            as_json=as_json,
        )
    except ConfigurationError as error:
        code = exit_with_usage_error(error, as_json=as_json)
    raise typer.Exit(code)


@app.command("test", epilog=EXIT_CODES)
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

    The key is read from DIFFIO_API_KEY.
    """
    use_network(proxy=proxy, cacert=cacert)
    from diffio_async.cli.webhooks.configure import send_test_event as work
    from diffio_async.errors import ConfigurationError

    try:
        code = run(
            lambda: work(mode=mode, event_type=event, api_key_id=api_key_id, as_json=as_json),
            as_json=as_json,
        )
    except ConfigurationError as error:
        code = exit_with_usage_error(error, as_json=as_json)
    raise typer.Exit(code)


@app.command(epilog="Exit codes: 0 genuine; 1 rejected; 2 wrong usage or configuration.")
def verify(
    payload: Annotated[
        str, typer.Option(metavar="FILE|-", help="The raw body as received; - reads stdin.")
    ],
    headers: Annotated[
        list[str],
        typer.Option(
            metavar="FILE|-|'NAME: VALUE'",
            help="The request's headers: lines, JSON, or one header; may be repeated.",
        ),
    ],
    tolerance: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Maximum age; inf for a saved delivery."),
    ] = 300.0,
    as_json: JsonOption = False,
) -> None:
    """Check whether a delivery is genuine, and if its signature fails, why.

    Detects missing and renamed headers, malformed secrets, clock skew, a modified body and
    signatures of another version. The secrets are read from DIFFIO_WEBHOOK_SECRET, several
    separated by spaces, and never shown.
    """
    from diffio_async.cli.webhooks.verify import load_delivery
    from diffio_async.cli.webhooks.verify import verify as work
    from diffio_async.errors import ConfigurationError

    try:
        delivery = load_delivery(payload, headers)
        secrets = signing_secrets()
    except ConfigurationError as error:
        raise typer.Exit(exit_with_usage_error(error, as_json=as_json)) from None
    raise typer.Exit(work(delivery, secrets, tolerance=tolerance, as_json=as_json))


@app.command(epilog="Exit codes: 0 stopped by Ctrl-C or SIGTERM; 2 it could not start.")
def listen(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 selects a free one.")] = 8491,
    path: Annotated[str, typer.Option(help="Path that receives events.")] = "/webhooks/diffio",
    inbox: Annotated[
        str | None, typer.Option(metavar="FILE", help="Store events here before responding 2xx.")
    ] = None,
    forward: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Forward events: the raw body with its signature."),
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
    use_network(proxy=proxy, cacert=cacert)
    from diffio_async.cli.webhooks.listen import EventPrinter, ListenRequest
    from diffio_async.cli.webhooks.listen import listen as work
    from diffio_async.errors import ConfigurationError, DatabaseError

    try:
        request = ListenRequest(
            host=host,
            port=port,
            path=path,
            inbox=inbox,
            forward=forward,
            secrets=signing_secrets(),
        )
        code = run(lambda: work(request, EventPrinter(as_json=as_json)), is_server=True)
    except (ConfigurationError, DatabaseError, OSError) as error:
        code = exit_with_usage_error(error, as_json=as_json)
    # Ctrl-C is the regular way to stop a server.
    raise typer.Exit(OK if code in STOPPED else code)


@inbox_app.command("list", epilog=EXIT_CODES)
def inbox_list(
    inbox: InboxOption,
    state: Annotated[InboxState | None, typer.Option(help="Only events in this state.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="Maximum number; 0 lists all.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List the events of an inbox, the newest first."""
    from diffio_async.cli.webhooks.inbox import list_entries

    _run_and_exit(
        lambda: list_entries(inbox, state=state, limit=limit, as_json=as_json), as_json=as_json
    )


@inbox_app.command("retry", epilog=EXIT_CODES)
def inbox_retry(
    inbox: InboxOption,
    message_id: Annotated[
        str | None, typer.Argument(metavar="[MESSAGE]", help="Id; default: every dead event.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Requeue a dead or handled event; without an id, every dead one."""
    from diffio_async.cli.webhooks.inbox import retry

    _run_and_exit(lambda: retry(inbox, message_id, as_json=as_json), as_json=as_json)


def _run_and_exit(work: Callable[[], Coroutine[Any, Any, int]], *, as_json: bool) -> NoReturn:
    from diffio_async.errors import ConfigurationError, DatabaseError

    try:
        code = run(work, as_json=as_json)
    except (ConfigurationError, DatabaseError) as error:
        code = exit_with_usage_error(error, as_json=as_json)
    raise typer.Exit(code)
