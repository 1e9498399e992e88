"""What the environment says of the service, checked in the command's own words."""

from __future__ import annotations

import os

from diffio_async._wire.addresses import allows_insecure_http, api_base_url, plausible_api_key
from diffio_async._wire.redaction import MASK, scrubbed
from diffio_async.errors import ConfigurationError
from diffio_async.events import Event, RequestSent


class Sent:
    """An observer: whether any request was sent, which an exit code must not deny."""

    def __init__(self) -> None:
        self.any = False

    def __call__(self, event: Event) -> None:
        """Take notice of a request."""
        self.any = self.any or isinstance(event, RequestSent)


_BASE_URL = "DIFFIO_API_BASE_URL"
_LONGEST_SHOWN = 80


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
    url = os.environ.get(_BASE_URL)
    if url:
        try:
            api_base_url(url, allow_insecure_http=allows_insecure_http(os.environ))
        except ConfigurationError as error:
            # What the library got is not shown by it as it is; here the variable's value is.
            reason = str(error).partition(", got ")[0]
            raise ConfigurationError(f"{_BASE_URL} is {_shown(url)!r}: {reason}") from None


def _shown(url: str) -> str:
    """The value without what may be a secret in it: a user, a password, a query, a key."""
    # A password may hold a question mark: what is before the host goes first.
    _before, at, text = url.rpartition("@")
    text = (MASK + at if at else "") + scrubbed(text.partition("?")[0].partition("#")[0])
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
