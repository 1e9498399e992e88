"""What the environment says of the service, checked in the command's own words."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from attrs import evolve

from diffio_async._protocol.redaction import MASK, redact
from diffio_async._protocol.urls import allows_insecure_http, api_base_url, plausible_api_key
from diffio_async.cli.network import client_options
from diffio_async.cli.reachability import Reachability
from diffio_async.client import AsyncDiffio
from diffio_async.errors import ConfigurationError, ConnectionFailed, DiffioError
from diffio_async.events import Event, RequestSent
from diffio_async.options import RequestOptions, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from diffio_async.models.generations import GenerationProgress
    from diffio_async.options import Observer

_BASE_URL = "DIFFIO_API_BASE_URL"
_LONGEST_SHOWN = 80
#: Seconds, and attempts, for a service that has never answered.
_PATIENCE = 60.0
_MANY = 1000
#: Attempts of any call.
_ATTEMPTS = 8


class Sent:
    """An observer: whether any request was sent, which an exit code must not deny."""

    def __init__(self) -> None:
        self.any = False

    def __call__(self, event: Event) -> None:
        """Take notice of a request."""
        self.any = self.any or isinstance(event, RequestSent)


@asynccontextmanager
async def connected(
    api_key: str | None = None, base_url: str | None = None, *, observer: Observer | None = None
) -> AsyncIterator[AsyncDiffio]:
    """A client for a command: the environment's, or that of a sandbox. Trouble is reported."""
    reachability = Reachability()
    observers = (reachability.observe, *(() if observer is None else (observer,)))
    # Longer than a library should: what is wrong is said meanwhile.
    options = evolve(client_options(*observers), retry=RetryPolicy(attempts=_ATTEMPTS))
    async with (
        AsyncDiffio(api_key, base_url=base_url, options=options) as client,
        reachability.reporting(),
    ):
        yield client


async def first_answer(
    client: AsyncDiffio, *, generation_id: str, api_project_id: str | None, timeout: float | None
) -> GenerationProgress | None:
    """Ask for a generation before it is waited for: a wait would try a dead address for an hour.

    Returns:
        How it stands; None where that was not said: the wait finds out what it means.

    Raises:
        ConnectionFailed: The service could not be reached for a minute, or for `timeout` seconds.
    """
    if timeout == 0:
        return None

    def only_unreached(failure: DiffioError) -> bool | None:
        return None if isinstance(failure, ConnectionFailed) else False

    budget = min(_PATIENCE, timeout or _PATIENCE)
    retry = RetryPolicy(attempts=_MANY, total_timeout=budget, max_delay=5.0, on=only_unreached)
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


def check_environment(*, without: str = "") -> None:
    """Find out whether a client can be made of the environment; `without`: a way to need no key.

    Raises:
        ConfigurationError: A variable is missing or cannot be right; it is named.
    """
    if not os.environ.get("DIFFIO_API_KEY"):
        raise ConfigurationError(
            "there is no API key: get one from the Diffio dashboard and set DIFFIO_API_KEY"
            + (f", {without}" if without else "")
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
            # What the library got is not shown by it as it is; here the variable's value is.
            reason = str(error).partition(", got ")[0]
            raise ConfigurationError(f"{_BASE_URL} is {_displayed(url)!r}: {reason}") from None


def _displayed(url: str) -> str:
    """The value without what may be a secret in it: a user, a password, a query, a key."""
    # A password may hold a question mark: what is before the host goes first.
    _before, at, text = url.rpartition("@")
    text = (MASK + at if at else "") + redact(text.partition("?")[0].partition("#")[0])
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
