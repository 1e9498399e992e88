"""Checks of addresses, API keys and headers, of the user and of the server."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from diffio_async._protocol.redaction import public_url
from diffio_async._validators import displayed
from diffio_async.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

# Half of a surrogate pair cannot be encoded.
_BLANK = re.compile(r"[\x00-\x20\x7f\ud800-\udfff]")
_PRINTABLE = re.compile(r"[!-~]+")
_MAX_IPV4 = 64
# Another value than that of the body would let a proxy read one request as two.
_FRAMING = frozenset({"content-length", "transfer-encoding"})


@lru_cache(maxsize=64)
def is_local(host: str) -> bool:
    """Return whether a host name always refers to this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_internal(host: str) -> bool:
    """Return whether a host is this machine or its link, in any spelling that resolvers accept."""
    host = host.rstrip(".").partition("%")[0]
    if is_local(host):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        try:
            address = ip_address(_legacy(host))
        except ValueError:
            return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_loopback or address.is_unspecified or address.is_link_local


def _legacy(host: str) -> int:
    """Return an IPv4 address that is written as `127.1`, `0x7f.1` or `2130706433`.

    Raises:
        ValueError: It is a host name.
    """
    *first, last = (
        int(part, 16 if part[:2] == "0x" else 8 if part[:1] == "0" else 10)
        for part in host[:_MAX_IPV4].split(".")
    )
    return sum(part << 8 * (3 - place) for place, part in enumerate(first)) + last


def _split_http_url(url: str) -> SplitResult | None:
    """Return the parts of an HTTP URL; None if it is not one."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None


def is_http_url(url: str) -> bool:
    """Return whether a text is an HTTP URL with a host, which a request can be sent to."""
    return not _BLANK.search(url) and _split_http_url(url) is not None


def require_secure_url(url: str, what: str, *, allow_insecure_http: bool = False) -> str:
    """Return a URL of the user, after a check that requests to it are encrypted or local.

    Raises:
        ConfigurationError: It is not `https://`, nor `http://` to this machine, or has no host.
            With `allow_insecure_http`, `http://` is accepted for any host.
    """
    parts = _checked(url, what)
    if parts.scheme == "http" and not (allow_insecure_http or is_local(parts.hostname or "")):
        raise ConfigurationError(
            f"{what} would send credentials or recordings unencrypted to "
            f"{parts.hostname}: use https:// (http:// is accepted for this machine only; on a "
            "network that you trust: allow_insecure_http=True or DIFFIO_ALLOW_INSECURE_HTTP=1)"
        )
    return url


def server_url(url: str, what: str, *, base_url: str) -> str:
    """Return a URL that the server sent, after a check that a client of `base_url` may use it.

    Permissions that the user gives for the base URL do not hold for other hosts: `http://` is
    accepted for the host of the base URL only, and this machine only if the base URL is on it.

    Raises:
        ConfigurationError: It is not secure, or leads to this machine from another one's API.
    """
    parts, base = _checked(url, what), urlsplit(base_url)
    host = parts.hostname or ""
    ours = is_local(base.hostname or "")
    if _is_internal(host) and not ours and host != base.hostname:
        raise ConfigurationError(
            f"{what} leads to {host}, this machine, and the API at {base.hostname} is not on it"
        )
    plain = base.scheme == "http" and (host == base.hostname or (ours and is_local(host)))
    if parts.scheme == "http" and not plain:
        raise ConfigurationError(
            f"{what} would send credentials or recordings unencrypted to {host}: the server must "
            "use https://"
        )
    return url


def is_insecure(url: str) -> bool:
    """Return whether requests to a URL cross a network unencrypted."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_local(parts.hostname or "")


def allows_insecure_http(environment: Mapping[str, str]) -> bool:
    """Return whether `DIFFIO_ALLOW_INSECURE_HTTP` is on: 1, true, yes or on, in any case."""
    value = environment.get("DIFFIO_ALLOW_INSECURE_HTTP", "")
    return value.strip().lower() in {"1", "true", "yes", "on"}


def _flaw_of(url: str) -> str:
    """Return what is wrong with a text that is not an HTTP URL, and may contain a password."""
    if not url.lower().startswith(("https://", "http://")):
        return "does not begin with https:// or http://"
    return "contains white space" if _BLANK.search(url) else "has no valid host or port"


def _checked(url: str, what: str) -> SplitResult:
    given: object = url
    if not isinstance(given, str):
        raise ConfigurationError(f"{what} must be a string, not {displayed(given)}")
    parts = _split_http_url(url)
    if parts is None or _BLANK.search(url):
        raise ConfigurationError(
            f"{what} is not an address: a URL like https://host/path is needed, and this one "
            f"{_flaw_of(url)}"
        )
    if not parts.netloc.isascii() or "\\" in parts.netloc:
        raise ConfigurationError(
            f"{what} has a host that cannot be requested as it is: write an international name in "
            "its xn-- form"
        )
    return parts


def api_base_url(url: str, *, allow_insecure_http: bool = False) -> str:
    """Return the API's base URL, with `/v1` appended if it is missing.

    Raises:
        ConfigurationError: As `require_secure_url`, or the URL has a user, a query or a fragment.
    """
    mistake = copying_mistake(url.strip(), international=True) if url.strip() else None
    if mistake is not None:
        raise ConfigurationError(f"the base URL {mistake}")
    url = require_secure_url(
        url.strip(), "the base URL", allow_insecure_http=allow_insecure_http
    ).rstrip("/")
    parts = urlsplit(url)
    # Also an empty query: text that is appended to it would not be a path.
    if any(mark in url for mark in "?#") or "@" in parts.netloc:
        raise ConfigurationError(
            f"the base URL must have no user, query or fragment: {public_url(url)} is enough"
        )
    return url if parts.path.endswith("/v1") else f"{url}/v1"


def api_key(key: object) -> str:
    """Return the key, after a check that it can be sent in a header. Errors do not show it.

    Raises:
        ConfigurationError: The key is missing, or holds white space, control or non-ASCII
            characters.
    """
    if not key:
        raise ConfigurationError(
            "there is no API key: pass api_key=… or set DIFFIO_API_KEY (get a key in the Diffio "
            "dashboard; to try things without one, run the sandbox: diffio-async sandbox)"
        )
    if not isinstance(key, str):
        raise ConfigurationError(f"the API key is a string, not {type(key).__name__}")
    if not _PRINTABLE.fullmatch(key):
        raise ConfigurationError(f"the API key {copying_mistake(key)}")
    return key


def plausible_api_key(key: object) -> str:
    """Return the key, after checks for mistakes of copying. Errors do not show it.

    Raises:
        ConfigurationError: As `api_key`; or it is in quotes, includes other text such as
            `DIFFIO_API_KEY=`, or is another credential.
    """
    key = api_key(key)
    mistake = copying_mistake(key) or other_credential(key)
    if mistake is not None:
        raise ConfigurationError(f"the API key {mistake}")
    return key


def validate_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers, after a check that they can be sent. Errors do not show a value.

    Raises:
        ConfigurationError: A name is not a token or is reserved, or a value is not a string or has
            control characters.
    """
    given: list[tuple[object, object]] = list(headers.items())
    for name, value in given:
        if not isinstance(name, str) or not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ConfigurationError(f"{displayed(name)} cannot be the name of a header")
        if name.lower() in _FRAMING:
            raise ConfigurationError(f"the header {name!r} follows from the body: leave it out")
        if not isinstance(value, str):
            raise ConfigurationError(
                f"the header {name!r} has {type(value).__name__} for a value: it must be a string"
            )
        if any((c < " " and c != "\t") or c == "\x7f" for c in value):
            raise ConfigurationError(f"the header {name!r} holds a control character")
        if any("\ud800" <= c <= "\udfff" for c in value):
            raise ConfigurationError(f"the header {name!r} holds half of a surrogate pair")
    return headers


_QUOTES = "'\"`" + "\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb"
_INVISIBLE = "\ufeff\u200b\u200c\u200d\u2060\u00ad"
_ASSIGNED = re.compile(
    r"(?:export\s+|set\s+)\w+\s*=|DIFFIO_\w+\s*=|(?:export|set)\s", re.IGNORECASE
)
_HEADER = re.compile(r"(?:authorization|x-api-key|xi-api-key)\s*:", re.IGNORECASE)
_SCHEME = re.compile(r"(?:bearer|basic|token)\s", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\w+|\$\{[^}]*\}|\$\([^)]*\)|%\w+%|\{\{.*\}\}")
#: Prefixes of the keys of other services.
_OTHER_SERVICES = {
    "sk-ant-": "Anthropic",
    "sk-proj-": "OpenAI",
    "ghp_": "GitHub",
    "github_pat_": "GitHub",
    "xoxb-": "Slack",
    "AKIA": "AWS",
}


def copying_mistake(value: str, *, international: bool = False) -> str | None:
    """Return the mistake of copying in a value; None if it is one printable word.

    The text completes a sentence that begins with the name of the value, and does not show it.

    Args:
        value: The value.
        international: Whether characters beyond ASCII are allowed.
    """
    text = value.strip()
    if not text:
        return "is blank: nothing but white space"
    found = (
        (
            any(c in value for c in _INVISIBLE),
            "holds an invisible character: type it, or copy the plain text",
        ),
        (_ASSIGNED.match(text), "holds the assignment too: give only what follows the ="),
        (_HEADER.match(text), "holds the name of the header too: give only the value"),
        (
            text[0] in _QUOTES or text[-1] in _QUOTES,
            "is in quotes: remove them (docker --env-file "
            "and other readers of .env files keep quotes as part of the value)",
        ),
        (
            _SCHEME.match(text),
            "begins with the word of an Authorization header (Bearer): leave it "
            "out, it is added to each request",
        ),
        (
            _VARIABLE.fullmatch(text),
            "is a reference to a variable that was not expanded: give the value itself",
        ),
        (text[0] == "<" and text[-1] == ">", "is a placeholder: replace it, brackets included"),
        (
            not (international or value.isascii()),
            "holds a character that is not ASCII: a typographic quote, dash or "
            "space from a document, perhaps",
        ),
        (
            value != text and "\n" not in text,
            "has white space around it (a trailing newline from a file, perhaps): pass it stripped",
        ),
        (re.search(r"\s", text), "holds white space: a comment after it, or a second value?"),
        (not value.isprintable(), "holds a control character"),
    )
    return next((mistake for matches, mistake in found if matches), None)


def other_credential(key: str) -> str | None:
    """Return what a key is instead of an API key of Diffio; None if that is not certain."""
    if key.startswith(("https://", "http://")):
        return "is a URL: the address of the API belongs in DIFFIO_API_BASE_URL"
    if key.startswith("whsec_"):
        return "is a signing secret of webhooks: it belongs in DIFFIO_WEBHOOK_SECRET"
    service = next((name for start, name in _OTHER_SERVICES.items() if key.startswith(start)), None)
    return None if service is None else f"is a key of another service ({service})"
