"""Mapping of aiohttp's exceptions to the package's errors, without their texts, which hold URLs."""

from __future__ import annotations

import errno
import os
import socket
from urllib.parse import urlsplit

import aiohttp
from aiohttp import http_exceptions

from diffio_async._http.sessions import MAX_HEADER
from diffio_async._http.shutdown import CLOSED
from diffio_async._storage.system_errors import (
    PortShortage,
    ThreadShortage,
    is_thread_shortage,
    shortage_of,
)
from diffio_async.errors import (
    ClientClosed,
    ConfigurationError,
    ConnectionFailed,
    DiffioError,
    ResponseLost,
    ResponseTimeout,
)

_TIMED_OUT = "timed out"
# Statuses of a proxy that another attempt does not change.
_REFUSED_BY_PROXY = frozenset({401, 403, 405, 407})


def map_exception(
    raw: Exception,
    *,
    established: bool,
    payload_failure: DiffioError | None,
    closed: bool,
    url: str,
    repeatable: bool = False,
) -> DiffioError:
    """Return the error for an exception of aiohttp or asyncio.

    Args:
        raw: The exception.
        established: Whether there was a connection; without one, nothing can have been accepted.
        payload_failure: The failure of the request's body, if that ended the attempt.
        closed: Whether the client was closed.
        url: The URL, without secrets.
        repeatable: Whether the request changes nothing (a GET).
    """
    doubt = "" if repeatable else " The request may have been accepted."
    if isinstance(raw, DiffioError):
        return raw
    if payload_failure is not None:
        return payload_failure
    if closed:
        return ClientClosed(CLOSED)
    if not established or isinstance(raw, aiohttp.ClientConnectorError):
        # A certificate error is a ValueError, too.
        if isinstance(raw, ValueError) and not isinstance(raw, OSError):
            return ConfigurationError(f"{url} cannot be requested: {type(raw).__name__}")
        return _because_of(raw, _connection_failed(raw, url))
    if isinstance(raw, TimeoutError):
        return ResponseTimeout(
            f"{url} stopped responding: nothing arrived within the read time-out.{doubt}"
        )
    if isinstance(raw, (aiohttp.ClientError, OSError)):
        return ResponseLost(
            f"the connection to {url} broke before the whole response arrived "
            f"({_describe(raw)}).{doubt}"
        )
    # A bug of aiohttp or of this package: report its class, without its text.
    lost = ResponseLost(f"the attempt at {url} failed: {_describe(raw)}")
    return _because_of(raw, lost)


def _because_of(raw: Exception, failure: DiffioError) -> DiffioError:
    """Set a resource shortage of the process as the cause, without the texts of `raw`."""
    if isinstance(raw, MemoryError):
        failure.__cause__ = MemoryError()
    elif is_thread_shortage(raw):
        failure.__cause__ = ThreadShortage(errno.EAGAIN, os.strerror(errno.EAGAIN))
    elif isinstance(raw, OSError) and raw.errno == errno.EADDRNOTAVAIL:
        failure.__cause__ = PortShortage(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    elif isinstance(raw, OSError) and shortage_of(raw) is not None and raw.errno is not None:
        failure.__cause__ = OSError(raw.errno, os.strerror(raw.errno))
    return failure


def total_timeout_error(url: str, total: float, *, established: bool) -> DiffioError:
    """Return the error of an attempt that took longer than `total` seconds."""
    if established:
        return ResponseTimeout(
            f"{url} did not send its whole response within {total:.3g} s. The request may "
            "have been accepted."
        )
    return ConnectionFailed(
        f"{url} could not be connected to within {total:.3g} s", cause=_TIMED_OUT
    )


def _connection_failed(raw: Exception, url: str) -> ConnectionFailed:
    if isinstance(raw, aiohttp.ClientConnectorCertificateError):
        return ConnectionFailed(
            f"the certificate of {url} does not verify ({_describe(raw)}): for a private authority "
            "pass ClientOptions(ssl=ssl.create_default_context(cafile=…))",
            permanent=True,
            cause="certificate does not verify",
        )
    if isinstance(raw, aiohttp.ClientHttpProxyError):
        return ConnectionFailed(
            f"the proxy did not let the request to {url} through: it returned {raw.status}",
            permanent=raw.status in _REFUSED_BY_PROXY,
            cause=f"the proxy returned {raw.status}",
        )
    if isinstance(raw, aiohttp.ClientProxyConnectionError) or _is_of_proxy(raw, url):
        return ConnectionFailed(
            f"the proxy for {url} could not be reached ({_describe(raw)})",
            cause=f"the proxy: {_short(raw)}",
        )
    if isinstance(raw, TimeoutError):
        return ConnectionFailed(f"{url} could not be connected to in time", cause=_TIMED_OUT)
    return ConnectionFailed(f"{url} could not be reached ({_describe(raw)})", cause=_short(raw))


def _is_of_proxy(raw: Exception, url: str) -> bool:
    """Return whether another host than that of the URL failed; a name fails with one class."""
    host = urlsplit(url).hostname  # in lower case
    return isinstance(raw, aiohttp.ClientConnectorError) and raw.host.lower() != host


def _not_read(raw: BaseException) -> str:
    """Return what is wrong with an invalid response; aiohttp's texts quote it."""
    why: BaseException | None = raw
    while why is not None:
        if isinstance(why, http_exceptions.LineTooLong):
            return f"a header of the response is longer than {MAX_HEADER // 1024} KiB"
        if isinstance(why, http_exceptions.BadHttpMessage) and "oo many headers" in why.message:
            return "the response has too many headers"
        why = why.__cause__ or why.__context__
    return "the response is not HTTP"


def _describe(raw: Exception) -> str:
    """Return a description of the cause that cannot hold a URL, a header or a password."""
    if isinstance(raw, aiohttp.ClientConnectorCertificateError):
        reason = getattr(raw.certificate_error, "verify_message", "") or "not trusted"
        return str(reason)
    if isinstance(raw, aiohttp.ClientConnectorError) and isinstance(raw.os_error, socket.gaierror):
        return "its name cannot be resolved"
    if isinstance(raw, aiohttp.ClientResponseError):
        return _not_read(raw)
    if isinstance(raw, aiohttp.ServerDisconnectedError):
        return "the connection was closed without a response"
    shortage = shortage_of(raw)
    if shortage is not None:
        return shortage.text
    number = getattr(raw, "errno", None)
    if isinstance(number, int) and number > 0:
        return os.strerror(number)
    return type(raw).__name__


def _short(raw: Exception) -> str:
    """Return the cause in a few words."""
    if isinstance(raw, aiohttp.ClientConnectorError):
        if isinstance(raw.os_error, socket.gaierror):
            return "name not found"
        if isinstance(raw.os_error, ConnectionRefusedError):
            return "refused"
        if isinstance(raw, aiohttp.ClientConnectorSSLError):
            return "TLS failed"
    return _describe(raw).lower()
