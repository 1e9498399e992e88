"""The client of a command: its options, its environment, and reports of unreachable hosts."""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from attrs import define, evolve, field

from diffio_async._http.proxies import Proxies
from diffio_async._polling.wait_display import format_duration
from diffio_async._protocol.redaction import MASK, redact
from diffio_async._protocol.urls import allows_insecure_http, api_base_url, plausible_api_key
from diffio_async._validators import local_path
from diffio_async.cli.command import (
    KEY_ID_VARIABLE,
    command_line,
    console,
    network_options,
    print_event,
)
from diffio_async.client import AsyncDiffio
from diffio_async.errors import (
    ApiError,
    ConfigurationError,
    ConnectionFailed,
    DiffioError,
    NotFound,
)
from diffio_async.events import Event, RequestFailed, RequestSent, ResponseReceived
from diffio_async.options import DEFAULT_BASE_URL, ClientOptions, RequestOptions, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from diffio_async.models.generations import GenerationProgress
    from diffio_async.options import Observer

T = TypeVar("T")

_BASE_URL = "DIFFIO_API_BASE_URL"
#: Variables that name a file of certificates, in order: curl's, OpenSSL's, requests'.
_CA_VARIABLES = ("CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_MAX_URL_CHARS = 80
#: Attempts of any call.
_ATTEMPTS = 8
#: Seconds, and attempts, of the first request of `download` and `wait`.
_FIRST_REQUEST_TIMEOUT, _FIRST_REQUEST_ATTEMPTS = 60.0, 1000
#: Seconds of failures, and of silence, before a host is reported.
_REPORT_AFTER, _SILENCE = 3.0, 6.0
#: Seconds between two reports of a host: as long as it has been unreachable, within these limits.
_MIN_REPORT_INTERVAL, _MAX_REPORT_INTERVAL = 7.0, 60.0
_CHECK_SECONDS = 0.5
_TOO_MANY_REQUESTS, _SERVER_ERROR = 429, 500


class RequestWatch:
    """Observer that records whether any request was sent; exit code 2 means that nothing was."""

    def __init__(self) -> None:
        self.any_sent = False

    def __call__(self, event: Event) -> None:
        """Receive an event of the client."""
        self.any_sent = self.any_sent or isinstance(event, RequestSent)


@asynccontextmanager
async def open_client(
    api_key: str | None = None, base_url: str | None = None, *, observer: Observer | None = None
) -> AsyncIterator[AsyncDiffio]:
    """Open a client for the service of the environment, or for a sandbox.

    Unreachable hosts are reported on standard error while it is open.
    """
    reachability = Reachability()
    observers = (reachability.observe, *(() if observer is None else (observer,)))
    # More attempts than the library's default: the user sees the reports and can press Ctrl-C.
    options = evolve(client_options(*observers), retry=RetryPolicy(attempts=_ATTEMPTS))
    async with (
        AsyncDiffio(api_key, base_url=base_url, options=options) as client,
        reachability.reporting(),
    ):
        yield client


async def call_service(
    call: Callable[[AsyncDiffio], Awaitable[T]],
    *,
    as_json: bool,
    advice: Mapping[type[DiffioError], str] | None = None,
) -> T | None:
    """Return the response of a call. Print its failure and return None.

    Args:
        call: The call, for a client of the environment.
        as_json: Whether to print a failure as JSON.
        advice: What to do about some errors, in place of the library's general advice.
    """
    check_environment()
    async with open_client() as client:
        try:
            return await call(client)
        except ConfigurationError:
            raise
        except DiffioError as error:
            message = _with_advice(error, advice or {})
            failure = {"event": "failed", "error": type(error).__name__, "message": message}
            print_event(failure, f"diffio-async: {message}", as_json=as_json, to_stderr=True)
            return None


def advice_for_key_id(api_key_id: str | None) -> dict[type[DiffioError], str]:
    """Return what to do if the service does not know a key by its id, given or inherited."""
    listing = command_line("keys", "list")
    if api_key_id and api_key_id == os.environ.get(KEY_ID_VARIABLE):
        advice = (
            f"The id is that in {KEY_ID_VARIABLE}: unset it for the calling key, or set it to an "
            f"id listed by: {listing}"
        )
    else:
        advice = f"The ids are listed by: {listing}"
    return {NotFound: advice}


def _with_advice(error: DiffioError, advice: Mapping[type[DiffioError], str]) -> str:
    text = str(error).replace("api_keys.list", "diffio-async keys list")
    own = next((each for kind, each in advice.items() if isinstance(error, kind)), None)
    if own is None:
        return text
    if not isinstance(error, ApiError):
        return f"{text.rstrip('.')}. {own}"
    # More specific advice of the library stays: about the base URL, or a key that is not active.
    is_general = error.hint == type(error).hint or error.hint.startswith("Check the id")
    return text.replace(error.hint, own) if is_general and error.hint else text


def client_options(*observers: Observer) -> ClientOptions:
    """Return the options for a client of the running command.

    An empty `--proxy` means no proxy, regardless of the environment.
    """
    network = network_options.get()
    options = ClientOptions(
        observers=observers,
        proxy=network.proxy or None,
        trust_env=network.proxy is None,
        ssl=_ssl_context(network.cacert),
    )
    try:
        # The client checks a proxy of the environment only when the first request is sent.
        proxies = Proxies(options.proxy, trust_env=options.trust_env)
        proxies.address_for(os.environ.get(_BASE_URL) or DEFAULT_BASE_URL)
    except ConfigurationError as error:
        source = "--proxy" if network.proxy else "HTTPS_PROXY or ALL_PROXY in the environment"
        raise ConfigurationError(f"{source}: {error}") from None
    except ValueError:
        pass  # The base URL is invalid; check_environment reports that.
    return options


def certificate_file(cacert: str | None) -> tuple[str, str] | None:
    """Return the option or variable that names a file of certificates, and the file."""
    candidates = [("--cacert", cacert), *((name, os.environ.get(name)) for name in _CA_VARIABLES)]
    return next(((option, path) for option, path in candidates if path), None)


def _ssl_context(cacert: str | None) -> ssl.SSLContext | None:
    """Return a context that trusts only the named file; None for the system's certificates."""
    if cacert == "":
        raise ConfigurationError("the path given with --cacert is empty: name a PEM file")
    named = certificate_file(cacert)
    if named is None:
        return None
    option, path = named
    try:
        return ssl.create_default_context(cafile=local_path(path, option))
    except ssl.SSLError:
        raise ConfigurationError(
            f"{option}: {path} contains no certificate: name a PEM file"
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{option}: {path} cannot be read: {error.strerror}") from None


async def check_generation(
    client: AsyncDiffio, *, generation_id: str, api_project_id: str | None, timeout: float | None
) -> GenerationProgress | None:
    """Request a generation's progress before waiting: a wait would retry a dead host for an hour.

    Returns:
        The progress; None after another error, which the wait then classifies.

    Raises:
        ConnectionFailed: The service was unreachable for a minute, or for `timeout` seconds.
    """
    if timeout == 0:
        return None

    def retry_connection_failures(failure: DiffioError) -> bool | None:
        return None if isinstance(failure, ConnectionFailed) else False

    retry = RetryPolicy(
        attempts=_FIRST_REQUEST_ATTEMPTS,
        total_timeout=min(_FIRST_REQUEST_TIMEOUT, timeout or _FIRST_REQUEST_TIMEOUT),
        max_delay=5.0,
        on=retry_connection_failures,
    )
    try:
        return await client.generations.get_progress(
            generation_id=generation_id,
            api_project_id=api_project_id,
            options=RequestOptions(retry=retry),
        )
    except ConnectionFailed:
        raise
    except DiffioError:
        return None


def check_environment(*, alternative: str = "") -> None:
    """Check that the environment configures a client.

    Args:
        alternative: What the user can do without a key, for the message.

    Raises:
        ConfigurationError: A variable is missing or invalid; the message names it.
    """
    if not os.environ.get("DIFFIO_API_KEY"):
        raise ConfigurationError(
            "there is no API key: get one from the Diffio dashboard and set DIFFIO_API_KEY"
            + (f", {alternative}" if alternative else "")
        )
    try:
        plausible_api_key(os.environ["DIFFIO_API_KEY"])
    except ConfigurationError as error:
        raise ConfigurationError(
            str(error).replace("API key", "API key in DIFFIO_API_KEY", 1)
        ) from None
    client_options()
    url = os.environ.get(_BASE_URL)
    if url:
        try:
            api_base_url(url, allow_insecure_http=allows_insecure_http(os.environ))
        except ConfigurationError as error:
            # The library's message ends with the value it got; the variable's value replaces it.
            reason = str(error).partition(", got ")[0]
            raise ConfigurationError(f"{_BASE_URL} is {_redacted_url(url)!r}: {reason}") from None


def _redacted_url(url: str) -> str:
    """Return a URL without its user, password, query and keys."""
    # A password may contain a "?", so the part before the host is cut first.
    _before, at, text = url.rpartition("@")
    text = (MASK + at if at else "") + redact(text.partition("?")[0].partition("#")[0])
    return text if len(text) <= _MAX_URL_CHARS else f"{text[:_MAX_URL_CHARS]}…"


_Request = tuple[str, str, str, int]


@define
class _Host:
    """Requests to one host and their failures. Times are of the monotonic clock."""

    name: str
    #: Requests without a response, and when they were sent; the oldest first.
    pending: list[tuple[_Request, float]] = field(factory=list)
    #: Start and reason of the current outage, if any.
    down_since: float | None = None
    reason: str = ""
    #: Time of the next report; None before the first report of an outage.
    next_report: float | None = None

    def on_done(self, request: _Request) -> None:
        """Record that a request got a response or failed."""
        for index, (each, _) in enumerate(self.pending):
            if each == request:
                del self.pending[index]
                break

    def on_failure(self, reason: str, seconds: float) -> None:
        """Record a failure that took `seconds`."""
        if self.down_since is None:
            self.down_since = time.monotonic() - seconds
        self.reason = reason

    def on_success(self) -> None:
        """End the outage, and report that if the outage was reported."""
        if self.down_since is not None and self.next_report is not None:
            console.note(f"{self.name} responds again, after {_time_since(self.down_since)}")
        self.down_since = self.next_report = None

    def report(self) -> None:
        """Report the outage if its next report is due."""
        now = time.monotonic()
        oldest = self.pending[0][1] if self.pending else now
        if self.down_since is None and now - oldest >= _SILENCE:
            self.on_failure("no response", now - oldest)
        if self.down_since is None or now - self.down_since < _REPORT_AFTER:
            return
        if self.next_report is None or now >= self.next_report:
            interval = max(now - self.down_since, _MIN_REPORT_INTERVAL)
            self.next_report = now + min(interval, _MAX_REPORT_INTERVAL)
            console.note(
                f"cannot reach {self.name} for {_time_since(self.down_since)} "
                f"({self.reason}), retrying"
            )


def _time_since(start: float) -> str:
    return format_duration(time.monotonic() - start)


class Reachability:
    """Client observer that reports unreachable hosts on standard error."""

    def __init__(self) -> None:
        self._hosts: dict[str, _Host] = {}

    def observe(self, event: Event) -> None:
        """Receive an event of the client."""
        if not isinstance(event, (RequestSent, ResponseReceived, RequestFailed)):
            return
        name = urlsplit(event.url).netloc
        host = self._hosts.setdefault(name, _Host(name))
        request = (event.call, event.method, event.url, event.attempt)
        if isinstance(event, RequestSent):
            # An uploaded part may take long; a stalled one fails by itself.
            if event.method != "PUT":
                host.pending.append((request, time.monotonic()))
            return
        host.on_done(request)
        if isinstance(event, RequestFailed):
            if event.reason != "cancelled":
                host.on_failure(event.reason, event.seconds)
        elif event.status == _TOO_MANY_REQUESTS or event.status >= _SERVER_ERROR:
            host.on_failure(f"responded {event.status}", event.seconds)
        else:
            host.on_success()

    @asynccontextmanager
    async def reporting(self) -> AsyncIterator[None]:
        """Report unreachable hosts during the body."""
        task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            for host in list(self._hosts.values()):
                host.report()
