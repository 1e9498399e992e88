"""Checks of the way to the service: names, connections, TLS, clock, API key and scopes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import ssl
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import evolve

from diffio_async._http.proxies import Proxies
from diffio_async._protocol.redaction import MASK
from diffio_async._protocol.urls import (
    allows_insecure_http,
    api_base_url,
    is_local,
    plausible_api_key,
)
from diffio_async._storage.system_errors import reason_of
from diffio_async.cli.client import client_options
from diffio_async.cli.doctor import Check, Status
from diffio_async.client import AsyncDiffio
from diffio_async.errors import (
    ApiError,
    AuthenticationFailed,
    ConfigurationError,
    ConnectionFailed,
    DiffioError,
    NotFound,
    PermissionDenied,
)
from diffio_async.options import DEFAULT_BASE_URL, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from diffio_async.options import ClientOptions

#: Seconds for a step, and attempts of a request.
_TIMEOUT, _ATTEMPTS = 10.0, 2
#: Seconds between the clocks: beyond the first, a warning; svix rejects webhooks beyond the second.
_CLOCK_WARNING, _CLOCK_FAILURE = 30.0, 300.0
_HTTP_ERROR = 400
_FAMILIES = {socket.AF_INET: "IPv4", socket.AF_INET6: "IPv6"}


async def checks(*, upload: bool) -> AsyncIterator[Check]:
    """Yield the checks in the order of a request; the first failure ends those that need it."""
    url = os.environ.get("DIFFIO_API_BASE_URL") or DEFAULT_BASE_URL
    try:
        api_base_url(url, allow_insecure_http=allows_insecure_http(os.environ))
        options = client_options()
        proxy = Proxies(options.proxy, trust_env=options.trust_env).address_for(url)
    except ConfigurationError:
        return  # The checks of the environment have reported it.
    if proxy is None:
        async for check in _connection_checks(url, options):
            yield check
            if check.status == "failure":
                return
    else:
        parts = urlsplit(proxy)
        host = (MASK + "@" if parts.username else "") + parts.netloc.rpartition("@")[2]
        yield Check("proxy", "ok", f"{parts.scheme}://{host} is used for {_host(url)}")
    try:
        plausible_api_key(os.environ.get("DIFFIO_API_KEY"))
    except ConfigurationError:
        return  # Reported, too.
    options = evolve(options, retry=RetryPolicy(attempts=_ATTEMPTS, total_timeout=3 * _TIMEOUT))
    async for check in _api_checks(options, upload=upload):
        yield check


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


async def _connection_checks(url: str, options: ClientOptions) -> AsyncIterator[Check]:
    parts = urlsplit(url)
    host, port = _host(url), parts.port or (443 if parts.scheme == "https" else 80)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(_TIMEOUT):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError) as error:
        reason = "no response of the name server" if _is_timeout(error) else reason_of(error)
        yield Check(
            "name",
            "failure",
            f"{host} cannot be resolved: {reason}",
            "check the base URL, the network and /etc/resolv.conf; behind a proxy set HTTPS_PROXY",
        )
        return
    addresses = {family: address for family, _, _, _, (address, *_) in reversed(found)}
    named = [f"{_FAMILIES.get(f, 'other')} {address}" for f, address in addresses.items()]
    yield Check("name", "ok", f"{host} resolves to {', '.join(map(str, named))}")
    failures = {
        family: failure
        for family, address in addresses.items()
        if (failure := await _connection_failure(str(address), port)) is not None
    }
    for family, reason in failures.items():
        is_fatal = len(failures) == len(addresses)
        yield Check(
            f"connection ({_FAMILIES.get(family, 'other')})",
            "failure" if is_fatal else "warning",
            f"{host} port {port} cannot be reached: {reason}",
            _unreachable_hint(host)
            if is_fatal
            else "requests use the other protocol after a short delay; repair or disable this one",
        )
    if len(failures) == len(addresses):
        return
    if parts.scheme == "https":
        yield await _tls_check(host, port, options)
    else:
        yield Check("TLS", "ok", "not used: the base URL is http://")


def _unreachable_hint(host: str) -> str:
    if is_local(host):  # never through a proxy
        return "start the server (a sandbox: diffio-async sandbox), or correct the port of the URL"
    return "check the firewall; behind a proxy set HTTPS_PROXY"


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, TimeoutError)


async def _connection_failure(address: str, port: int) -> str | None:
    try:
        async with asyncio.timeout(_TIMEOUT):
            _, writer = await asyncio.open_connection(address, port)
    except (OSError, TimeoutError) as error:
        if _is_timeout(error):
            return f"no response in {_TIMEOUT:.0f} s"
        return os.strerror(error.errno) if error.errno else reason_of(error)
    await _abort(writer)
    return None


async def _abort(writer: asyncio.StreamWriter) -> None:
    """Close a connection without waiting for the other side."""
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _tls_check(host: str, port: int, options: ClientOptions) -> Check:
    context = options.ssl if isinstance(options.ssl, ssl.SSLContext) else None
    try:
        issuer, protocol = await _handshake(host, port, context or ssl.create_default_context())
    except ssl.SSLCertVerificationError as error:
        unverified = ssl.create_default_context()
        unverified.check_hostname = False
        unverified.verify_mode = ssl.CERT_NONE
        try:
            # Only to name the issuer: nothing is sent over this connection.
            issuer, _ = await _handshake(host, port, unverified)
        except (OSError, TimeoutError):
            issuer = "unknown"
        return Check(
            "TLS",
            "failure",
            f"the certificate of {host}, issued by {issuer}, does not verify: "
            f"{error.verify_message}",
            _certificate_hint(error.verify_code, issuer),
        )
    except (OSError, TimeoutError) as error:
        if isinstance(error, ssl.SSLError) and error.reason in _NOT_TLS:
            return Check(
                "TLS",
                "failure",
                f"the handshake with {host} failed: port {port} responds without TLS",
                "correct the port of the base URL; the URL of a sandbox begins with http://",
            )
        reason = "no response" if _is_timeout(error) else reason_of(error)
        return Check(
            "TLS",
            "failure",
            f"the handshake with {host} failed: {reason}",
            "check that the base URL is that of the API, and that no firewall ends TLS",
        )
    return Check("TLS", "ok", f"{protocol}, certificate issued by {issuer}")


#: Reasons of OpenSSL for a response that is not TLS.
_NOT_TLS = frozenset({"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE"})
#: OpenSSL's codes for a certificate that is not valid now, or not for this host.
_NOT_YET_VALID, _EXPIRED, _OTHER_HOST, _OTHER_ADDRESS = 9, 10, 62, 64


def _certificate_hint(code: int, issuer: str) -> str:
    """Return what to do about a certificate that does not verify for the reason `code`."""
    if code in (_NOT_YET_VALID, _EXPIRED):
        now = datetime.fromtimestamp(time.time(), UTC)
        return (
            f"check the clock of this machine, which is at {now:%Y-%m-%d %H:%M} UTC, and "
            "synchronize it (timedatectl set-ntp true); if it is right, the server needs a new "
            "certificate"
        )
    if code in (_OTHER_HOST, _OTHER_ADDRESS):
        return "another server responds: check the base URL, /etc/hosts, the name server and VPNs"
    return (
        f"if {issuer} is your company's proxy or your own authority, name its certificate: "
        "--cacert FILE or SSL_CERT_FILE; otherwise somebody is between you and the service"
    )


async def _handshake(host: str, port: int, context: ssl.SSLContext) -> tuple[str, str]:
    """Return the issuer of the server's certificate, and the protocol.

    Raises:
        OSError: The connection or the handshake failed, or the certificate does not verify.
        TimeoutError: There was no response.
    """
    try:
        async with asyncio.timeout(_TIMEOUT):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, TimeoutError):
        await asyncio.sleep(0.01)  # asyncio closes the connection in its next iterations
        raise
    connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
    issuer = issuer_name(connection.getpeercert(binary_form=True) or b"")
    await _abort(writer)
    return issuer, connection.version() or "TLS"


#: In DER: the attribute types O and CN, each followed by a string (type, length, text).
_NAME = re.compile(rb"\x06\x03\x55\x04(?P<kind>[\x03\x0a])[\x0c\x13\x14](?P<length>.)", re.DOTALL)
#: The validity follows the issuer: its first date, as UTCTime or GeneralizedTime.
_VALIDITY = re.compile(rb"\x17\x0d|\x18\x0f")


def issuer_name(certificate: bytes) -> str:
    """Return organization and name of the issuer of a certificate in DER; "unknown" if none.

    Python decodes only certificates that verify, and the issuer of one that does not is needed.
    """
    validity = _VALIDITY.search(certificate)
    names = []
    for found in _NAME.finditer(certificate, 0, validity.start() if validity else 0):
        text = certificate[found.end() : found.end() + found["length"][0]]
        names.append(text.decode("utf-8", "replace"))
    return ", ".join(dict.fromkeys(names)) or "unknown"


async def _api_checks(options: ClientOptions, *, upload: bool) -> AsyncIterator[Check]:
    async with AsyncDiffio(options=options) as client:
        try:
            await client.projects.list()
        except PermissionDenied:
            pass  # The key is known: its scopes are checked below.
        except DiffioError as error:
            yield _api_failure(error)
            return
        yield _clock_check(client)
        yield Check("authentication", "ok", "the service responds, and knows the API key")
        yield await _scopes_check(client)
        if upload:
            yield await _upload_check(client)


def _api_failure(error: DiffioError) -> Check:
    if isinstance(error, AuthenticationFailed):
        return Check(
            "authentication",
            "failure",
            f"the service rejects the API key: {error}",
            "check that the key belongs to this service and was not revoked or rotated",
        )
    if isinstance(error, ConnectionFailed):
        hint = "check the proxy (HTTPS_PROXY, --proxy), its password and the firewall"
        return Check("API", "failure", str(error), hint)
    hint = "check that DIFFIO_API_BASE_URL is the address of the API, and try again later"
    return Check("API", "failure", f"{type(error).__name__}: {error}", hint)


def _clock_check(client: AsyncDiffio) -> Check:
    server = client._sender.server_clock.estimate()  # noqa: SLF001 - not public
    if server is None:
        return Check("clock", "ok", "not compared: the service sends no Date")
    skew = (datetime.fromtimestamp(time.time(), UTC) - server).total_seconds()
    if abs(skew) <= _CLOCK_WARNING:
        return Check("clock", "ok", f"within {_CLOCK_WARNING:.0f} s of the service's")
    text = f"it is {abs(skew):,.0f} s {'ahead of' if skew > 0 else 'behind'} that of the service"
    is_failure = abs(skew) >= _CLOCK_FAILURE
    return Check(
        "clock",
        "failure" if is_failure else "warning",
        text + (": the signatures of webhooks are rejected" if is_failure else ""),
        "synchronize it: timedatectl set-ntp true",
    )


async def _scopes_check(client: AsyncDiffio) -> Check:
    """Check the scopes by reads that change nothing and are not billed."""
    generations, ids = client.generations, ("gen_doctor", "proj_doctor")
    reads: dict[str, Awaitable[object]] = {
        "projects:read": client.projects.list(),
        "generations:read": generations.get_progress(generation_id=ids[0], api_project_id=ids[1]),
        "artifacts:read": generations.get_download(generation_id=ids[0], api_project_id=ids[1]),
        "account:read": client.account.get_settings(),
        "usage:read": client.usage.summary(),
        "keys:read": client.api_keys.list(),
    }
    results = await asyncio.gather(*reads.values(), return_exceptions=True)
    missing, doubtful = [], []
    for scope, result in zip(reads, results, strict=True):
        if isinstance(result, PermissionDenied):
            missing.append(scope)
        elif isinstance(result, ApiError) and not isinstance(result, NotFound):
            doubtful.append(f"{scope} (status {result.status})")
        elif isinstance(result, BaseException) and not isinstance(result, DiffioError):
            raise result
    needed = [scope for scope in missing if scope.startswith(("projects", "generations"))]
    text = "it may read " + (", ".join(scope for scope in reads if scope not in missing) or "-")
    if missing:
        text += f"; not {', '.join(missing)}"
    if doubtful:
        text += f"; unclear: {', '.join(doubtful)}"
    hint = "create a key with the scopes projects:*, generations:* and artifacts:read"
    status: Status = "failure" if needed else "warning" if missing or doubtful else "ok"
    return Check("scopes", status, text, hint if status != "ok" else None)


async def _upload_check(client: AsyncDiffio) -> Check:
    """Upload a few bytes: the upload host is another one than the API's."""
    try:
        project = await client.projects.create(
            b"diffio-async doctor", file_name="doctor.wav", content_type="audio/wav"
        )
    except DiffioError as error:
        hint = "allow the upload host in the firewall or proxy; its name is in the message"
        return Check("upload", "failure", str(error), hint)
    return Check("upload", "ok", f"19 bytes were accepted, in project {project.api_project_id}")
