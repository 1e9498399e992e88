"""Settings of a batch, idempotency keys, and the identity that its journal is bound to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from attrs import asdict, evolve, fields, frozen

from diffio_async._protocol.endpoints import create_generation
from diffio_async._protocol.urls import api_base_url
from diffio_async.batch.leases import count_live_runs
from diffio_async.errors import ConfigurationError, DiffioError
from diffio_async.models.batches import DEFAULT_IN_FLIGHT
from diffio_async.options import RetryPolicy, Timeouts

if TYPE_CHECKING:
    import sqlite3

    from diffio_async.options import RequestOptions
    from diffio_async.resources.account import AsyncAccounts


def canonical(value: Mapping[str, object] | None) -> str:
    """Return the canonical JSON of an object; None and `{}` are equal."""
    return json.dumps(value or {}, sort_keys=True, separators=(",", ":"), allow_nan=False)


@frozen
class JobSettings:
    """Model and settings of a job, in the canonical form that the journal compares."""

    model: str
    sampling: str = "{}"
    params: str = "{}"

    @classmethod
    def validated(
        cls,
        model: str,
        sampling: Mapping[str, object] | None,
        params: Mapping[str, object] | None,
    ) -> JobSettings:
        """Validate and canonicalize the settings.

        Raises:
            ConfigurationError: The model is invalid, or the settings are not JSON.
        """
        create_generation(
            api_project_id="not yet known", model=model, key="-", sampling=sampling, params=params
        )
        return cls(model, canonical(sampling), canonical(params))

    @property
    def text(self) -> str:
        """Sampling and params, as the journal stores them."""
        return f'{{"params":{self.params},"sampling":{self.sampling}}}'


def load_settings(text: str) -> tuple[dict[str, object], dict[str, object]]:
    """Return sampling and params from their text in the journal."""
    found = json.loads(text)
    return found["sampling"], found["params"]


def idempotency_key_for(salt: str, digest: str, model: str, settings: str, attempt: int) -> str:
    """Return the idempotency key, which is equal for equal content, settings and salt."""
    text = json.dumps([salt, digest, model, settings, attempt])
    return f"batch-{hashlib.sha256(text.encode()).hexdigest()}"


@frozen(kw_only=True)
class RunOptions:
    """Options of a run that later commands of the same journal reuse.

    Options that may contain a secret (headers, a key) are not stored.
    """

    on_conflict: str = "error"
    on_error: str = "continue"
    max_in_flight: int = DEFAULT_IN_FLIGHT
    max_spend_seconds: float | None = None
    timeout: float | None = None
    project_params: Mapping[str, object] | None = None

    @property
    def text(self) -> str:
        """The options, as the journal stores them."""
        return json.dumps(asdict(self, recurse=False))

    @classmethod
    def read(cls, text: str) -> RunOptions:
        """Return the options from their text in the journal, without unknown ones."""
        found = json.loads(text)
        return cls(**{each.name: found[each.name] for each in fields(cls) if each.name in found})


@frozen(kw_only=True)
class JournalIdentity:
    """Settings that all runs of a journal share; `to` is the absolute folder of the results."""

    model: str
    sampling: str
    params: str
    to: str
    name: str

    def check(self, recorded: JournalIdentity, journal: str) -> None:
        """Compare with the identity recorded in a journal.

        Raises:
            ConfigurationError: They differ; the message has the differences.
        """
        differences = [
            f"{each.name} is {getattr(self, each.name)!r} here and "
            f"{getattr(recorded, each.name)!r} there"
            for each in fields(JournalIdentity)
            if getattr(self, each.name) != getattr(recorded, each.name)
        ]
        if differences:
            raise ConfigurationError(
                f"the journal {journal!r} belongs to another batch: {'; '.join(differences)}. "
                "Use the same settings to resume it, or another journal for another batch"
            )


#: The service of a sandbox whose data is beside the journal; its port changes.
SANDBOX = "sandbox"
#: Names of the same host.
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_PORTS = {"http": 80, "https": 443}
#: The lookup of the account must not delay a batch.
_ACCOUNT_RETRY = RetryPolicy(attempts=2, total_timeout=10.0)
_ACCOUNT_TIMEOUTS = Timeouts(connect=5.0, read=5.0, total=10.0)


def service_of(base_url: str, *, allow_insecure_http: bool = False) -> str:
    """Return the normalized base URL of a service.

    Raises:
        ConfigurationError: `base_url` is not a valid base URL, or is `http://` to another machine
            without `allow_insecure_http`.
    """
    parts = urlsplit(api_base_url(base_url, allow_insecure_http=allow_insecure_http))
    host = (parts.hostname or "").removesuffix(".")
    host = "localhost" if host in _LOOPBACK else host
    shown = f"[{host}]" if ":" in host else host
    port = "" if parts.port in {None, _PORTS[parts.scheme]} else f":{parts.port}"
    return f"{parts.scheme}://{shown}{port}{parts.path}"


def check_service(connection: sqlite3.Connection, path: str, service: str) -> bool:
    """Check the service of a journal; return whether the journal is bound to one.

    Raises:
        ConfigurationError: The journal is bound to another service.
    """
    bound = _is_bound(connection)
    recorded = recorded_service(connection)
    if bound and recorded is not None and recorded != service:
        raise ConfigurationError(
            f"the journal {path!r} belongs to another service: {describe_service(service)} here "
            f"and {describe_service(recorded)} there. Nothing was sent. To resume that batch, use "
            f"its service{' (--sandbox)' if recorded == SANDBOX else ''}; to restore the files "
            f"with {describe_service(service)}, choose another folder (-o) or journal (--journal), "
            "or remove the journal and the results"
        )
    return bound


def _is_bound(connection: sqlite3.Connection, *, except_for: int | None = None) -> bool:
    """Return whether the service may know anything of the batch, now or soon.

    A live run may be about to send something; `except_for` is the caller's own run.
    """
    sent = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM job WHERE project IS NOT NULL OR generation IS NOT NULL"
        " OR upload IS NOT NULL OR create_pending)"
    ).fetchone()[0]
    return bool(sent) or count_live_runs(connection, except_for=except_for) > 0


def bind_service(connection: sqlite3.Connection, path: str, service: str) -> None:
    """Bind the journal to a service.

    Raises:
        ConfigurationError: The journal is bound to another service.
    """
    if not check_service(connection, path, service):
        connection.execute("DELETE FROM batch WHERE name = 'account'")
    _record(connection, "service", service)


def describe_service(service: str) -> str:
    """Return the name of a service for messages."""
    return "the sandbox beside the journal" if service == SANDBOX else service


async def account_of(accounts: AsyncAccounts, options: RequestOptions) -> str | None:
    """Return the id of the account that a run is billed to, None if it cannot be read.

    The timeout is short: later requests report a service that cannot be reached.
    """
    brief = evolve(
        options,
        timeout=_ACCOUNT_TIMEOUTS if options.timeout is None else options.timeout,
        retry=_ACCOUNT_RETRY,
    )
    try:
        settings = await accounts.get_settings(options=brief)
    except ConfigurationError:
        raise
    except DiffioError:
        return None
    return settings.account.user_id


def bind_account(connection: sqlite3.Connection, path: str, account: str, run_id: int) -> None:
    """Bind the journal to an account.

    Raises:
        ConfigurationError: The journal is bound to another account.
    """
    recorded = _recorded(connection, "account")
    if recorded is not None and recorded != account and _is_bound(connection, except_for=run_id):
        raise ConfigurationError(
            f"the journal {path!r} belongs to another account: {account!r} here and {recorded!r} "
            "there. Nothing was uploaded. To resume that batch, use a key of its account; to "
            "restore the recordings with this one, choose another folder (-o) or journal "
            "(--journal)"
        )
    _record(connection, "account", account)


def recorded_service(connection: sqlite3.Connection) -> str | None:
    """Return the service that the journal is bound to, None if there is none."""
    return _recorded(connection, "service")


def _recorded(connection: sqlite3.Connection, name: str) -> str | None:
    row = connection.execute("SELECT value FROM batch WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def _record(connection: sqlite3.Connection, name: str, value: str) -> None:
    connection.execute("INSERT OR REPLACE INTO batch (name, value) VALUES (?, ?)", (name, value))
