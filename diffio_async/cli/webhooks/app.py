"""The commands under `webhooks` and their options; each one's work is a module of its own."""

from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Literal, NoReturn

import typer

from diffio_async.cli.exit_codes import OK, STOPPED
from diffio_async.cli.interrupts import run
from diffio_async.cli.network import use_network
from diffio_async.cli.parameters import CacertOption, JsonOption, ProxyOption
from diffio_async.cli.usage_error import exit_with_usage_error

app = typer.Typer(
    name="webhooks",
    help="Have events delivered, receive them, and find out why a signature fails.",
    no_args_is_help=True,
)
inbox_app = typer.Typer(
    name="inbox", help="Look at an inbox, and have events handled anew.", no_args_is_help=True
)
app.add_typer(inbox_app)

EVENTS = ("generation.completed", "generation.failed")
EXIT_CODES = "Exit codes: 0 done; 1 it failed; 2 wrong usage or configuration, nothing was sent."

Mode = Literal["test", "live"]
State = Literal["waiting", "taken", "handled", "dead"]
ModeOption = Annotated[Mode, typer.Option(help="Which of the key's two endpoints.")]
ApiKeyIdOption = Annotated[
    str | None,
    typer.Option(
        metavar="ID",
        envvar="DIFFIO_API_KEY_ID",
        show_envvar=False,
        help="The key whose endpoint it is; if not given, DIFFIO_API_KEY_ID or the calling one.",
    ),
]
InboxOption = Annotated[str, typer.Option(metavar="FILE", help="The inbox.")]


@app.command(epilog=EXIT_CODES)
def configure(
    url: Annotated[str, typer.Option(help="Where events are delivered: an https:// URL.")],
    mode: ModeOption = "live",
    events: Annotated[
        list[str] | None,
        typer.Option(
            "--event",
            metavar="TYPE",
            help=f"Repeat it for several; if not given: {' and '.join(EVENTS)}.",
        ),
    ] = None,
    api_key_id: ApiKeyIdOption = None,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Say where events are delivered. Each API key and mode has an endpoint of its own.

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
        str, typer.Option(metavar="TYPE", help="The type of the event.")
    ] = "generation.completed",
    mode: ModeOption = "live",
    api_key_id: ApiKeyIdOption = None,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Have a made-up event delivered to the endpoint, signed like a real one.

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


@app.command(epilog="Exit codes: 0 genuine; 1 not, and why; 2 wrong usage or configuration.")
def verify(
    payload: Annotated[
        str, typer.Option(metavar="FILE|-", help="The raw body, as it came; - reads stdin.")
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
        typer.Option(min=0, metavar="SECONDS", help="How old it may be; inf for a kept delivery."),
    ] = 300.0,
    as_json: JsonOption = False,
) -> None:
    """Is a delivery genuine? And if its signature fails: why?

    Looks for missing and renamed headers, secrets of a wrong form, the clock's skew, a body that
    was changed on the way, signatures of another version. The secrets are read from
    DIFFIO_WEBHOOK_SECRET, several separated by spaces, and never shown.
    """
    from diffio_async.cli.webhooks.saved_delivery import load_delivery
    from diffio_async.cli.webhooks.secrets import secrets
    from diffio_async.cli.webhooks.verify import verify as work
    from diffio_async.errors import ConfigurationError

    try:
        delivery = load_delivery(payload, headers)
        tried = secrets()
    except ConfigurationError as error:
        raise typer.Exit(exit_with_usage_error(error, as_json=as_json)) from None
    raise typer.Exit(work(delivery, tried, tolerance=tolerance, as_json=as_json))


@app.command(epilog="Exit codes: 0 stopped by Ctrl-C or SIGTERM; 2 it could not start.")
def listen(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port; 0 takes a free one.")
    ] = 8491,
    path: Annotated[str, typer.Option(help="The one path that receives.")] = "/webhooks/diffio",
    inbox: Annotated[
        str | None, typer.Option(metavar="FILE", help="Keep events here before answering 2xx.")
    ] = None,
    forward: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Pass them on: the raw body under its signature."),
    ] = None,
    as_json: JsonOption = False,
    proxy: ProxyOption = None,
    cacert: CacertOption = None,
) -> None:
    """Receive events and print each as it comes, until Ctrl-C.

    The secrets are read from DIFFIO_WEBHOOK_SECRET, several separated by spaces. With --inbox, an
    event is acknowledged once it is on the disk, and passed on from there until that succeeds;
    without, it is acknowledged once it was passed on, and else delivered again by the sender.
    """
    use_network(proxy=proxy, cacert=cacert)
    from diffio_async.cli.webhooks.event_printer import EventPrinter
    from diffio_async.cli.webhooks.listen import ListenRequest
    from diffio_async.cli.webhooks.listen import listen as work
    from diffio_async.cli.webhooks.secrets import secrets
    from diffio_async.errors import ConfigurationError, DatabaseError

    try:
        order = ListenRequest(
            host=host, port=port, path=path, inbox=inbox, forward=forward, secrets=secrets()
        )
        code = run(lambda: work(order, EventPrinter(as_json=as_json)), serves=True)
    except (ConfigurationError, DatabaseError, OSError) as error:
        code = exit_with_usage_error(error, as_json=as_json)
    # Ctrl-C is how a server is asked to stop: that went well.
    raise typer.Exit(OK if code in STOPPED else code)


@inbox_app.command("list", epilog=EXIT_CODES)
def inbox_list(
    inbox: InboxOption,
    state: Annotated[
        State | None, typer.Option(help="Only what is in this state; any if not given.")
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many at most; 0 lists all.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List the events of an inbox, the newest first."""
    from diffio_async.cli.webhooks.inbox import list_entries

    _on_inbox(
        lambda: list_entries(inbox, state=state, limit=limit, as_json=as_json), as_json=as_json
    )


@inbox_app.command("retry", epilog=EXIT_CODES)
def inbox_retry(
    inbox: InboxOption,
    message_id: Annotated[
        str | None, typer.Argument(metavar="[MESSAGE]", help="Its id; every dead one if not given.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Have an event handled anew, dead or handled; without its id, every dead one."""
    from diffio_async.cli.webhooks.inbox import retry

    _on_inbox(lambda: retry(inbox, message_id, as_json=as_json), as_json=as_json)


def _on_inbox(work: Callable[[], Coroutine[Any, Any, int]], *, as_json: bool) -> NoReturn:
    from diffio_async.errors import ConfigurationError, DatabaseError

    try:
        code = run(work, as_json=as_json)
    except (ConfigurationError, DatabaseError) as error:
        code = exit_with_usage_error(error, as_json=as_json)
    raise typer.Exit(code)
