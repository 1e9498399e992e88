"""Which service and account a journal belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import evolve

from diffio_async._protocol.urls import api_base_url
from diffio_async.batch.leases import count_live_runs
from diffio_async.errors import ConfigurationError, DiffioError
from diffio_async.options import RetryPolicy, Timeouts

if TYPE_CHECKING:
    import sqlite3

    from diffio_async.options import RequestOptions
    from diffio_async.resources.account import AsyncAccounts

#: The sandbox that keeps its data beside the journal, whatever port it has today.
SANDBOX = "sandbox"
#: One machine under several names.
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_PORTS = {"http": 80, "https": 443}
#: Whose account it is must not hold up a batch.
_BRIEFLY = RetryPolicy(attempts=2, total_timeout=10.0)
_TIMEOUTS = Timeouts(connect=5.0, read=5.0, total=10.0)


def service_of(base_url: str, *, allow_insecure_http: bool = False) -> str:
    """One spelling for each service, however its base URL is written.

    Raises:
        ConfigurationError: It is no base URL, or `http://` to another machine without
            `allow_insecure_http`.
    """
    parts = urlsplit(api_base_url(base_url, allow_insecure_http=allow_insecure_http))
    host = (parts.hostname or "").removesuffix(".")
    host = "localhost" if host in _LOOPBACK else host
    shown = f"[{host}]" if ":" in host else host
    port = "" if parts.port in {None, _PORTS[parts.scheme]} else f":{parts.port}"
    return f"{parts.scheme}://{shown}{port}{parts.path}"


def check_service(connection: sqlite3.Connection, path: str, service: str) -> bool:
    """Find out whether the journal is of this service; whether it is bound to any.

    Raises:
        ConfigurationError: It is bound to another one.
    """
    bound = _is_bound(connection)
    recorded = service_in(connection)
    if bound and recorded is not None and recorded != service:
        raise ConfigurationError(
            f"the journal {path!r} is of another service: {named(service)} here and "
            f"{named(recorded)} there. Nothing was sent. To go on with that batch, use its "
            f"service{' (--sandbox)' if recorded == SANDBOX else ''}; to restore the recordings "
            f"with {named(service)}, name another folder (-o) or journal (--journal), or remove "
            "the journal and the results"
        )
    return bound


def _is_bound(connection: sqlite3.Connection, *, apart_from: int | None = None) -> bool:
    """Return whether the service may know anything of the batch, now or in a moment.

    A run that is under way may be about to send something; `apart_from` is the caller's own.
    """
    sent = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM work WHERE project IS NOT NULL OR generation IS NOT NULL"
        " OR upload IS NOT NULL OR asked)"
    ).fetchone()[0]
    return bool(sent) or count_live_runs(connection, apart_from=apart_from) > 0


def bind_service(connection: sqlite3.Connection, path: str, service: str) -> None:
    """Bind the journal to a service, or find it bound to this one.

    Raises:
        ConfigurationError: It is bound to another one.
    """
    if not check_service(connection, path, service):
        connection.execute("DELETE FROM batch WHERE name = 'account'")
    _set(connection, "service", service)


def named(service: str) -> str:
    """The service in words."""
    return "the sandbox beside the journal" if service == SANDBOX else service


async def account_of(accounts: AsyncAccounts, options: RequestOptions) -> str | None:
    """The id of the account that a run is billed to; None where the key may not read it.

    Nothing waits long for it: a service that is out of reach is met again by what follows.
    """
    brief = evolve(
        options,
        timeout=_TIMEOUTS if options.timeout is None else options.timeout,
        retry=_BRIEFLY,
    )
    try:
        settings = await accounts.get_settings(options=brief)
    except ConfigurationError:
        raise
    except DiffioError:
        return None
    return settings.account.user_id


def bind_account(connection: sqlite3.Connection, path: str, account: str, runner: int) -> None:
    """Bind the journal to an account, or find it bound to this one.

    Raises:
        ConfigurationError: It is bound to another one.
    """
    recorded = _value(connection, "account")
    if recorded is not None and recorded != account and _is_bound(connection, apart_from=runner):
        raise ConfigurationError(
            f"the journal {path!r} is of another account: {account!r} here and {recorded!r} "
            "there. Nothing was uploaded. To go on with that batch, use a key of its account; to "
            "restore the recordings with this one, name another folder (-o) or journal (--journal)"
        )
    _set(connection, "account", account)


def service_in(connection: sqlite3.Connection) -> str | None:
    """The service that the journal is bound to, None where it is bound to none."""
    return _value(connection, "service")


def _value(connection: sqlite3.Connection, name: str) -> str | None:
    row = connection.execute("SELECT value FROM batch WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def _set(connection: sqlite3.Connection, name: str, value: str) -> None:
    connection.execute("INSERT OR REPLACE INTO batch (name, value) VALUES (?, ?)", (name, value))
