"""Open journal of a batch: its run, and the settings, service, account and folder of the batch."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Self, TypeVar
from urllib.parse import urlsplit

from attrs import asdict, evolve

from diffio_async._protocol.urls import api_base_url
from diffio_async._storage.sqlite_thread import SqliteThread
from diffio_async._storage.threads import wait_uncancelled
from diffio_async._validators import local_path
from diffio_async.batch import leases
from diffio_async.batch.naming import fold_name
from diffio_async.batch.request import JournalIdentity, RunOptions
from diffio_async.batch.schema import DEFAULT_JOURNAL, SCHEMA, absolute, decode_path, encode_path
from diffio_async.errors import ConfigurationError, DiffioError
from diffio_async.options import RetryPolicy, Timeouts

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from diffio_async.batch.request import BatchRequest
    from diffio_async.options import RequestOptions
    from diffio_async.resources.account import AsyncAccounts

P = ParamSpec("P")
T = TypeVar("T")

#: Seconds during which transitions are collected into one commit; a file has six of them.
_BATCH_WINDOW = 0.01
#: Number of running steps from which on they are collected: fewer rarely have one in common.
_MIN_STEPS = 8
#: Seconds between attempts to acquire the listing lock.
_LOCK_RETRY_SECONDS = 0.1


class Journal:
    """A journal and the run registered in it; `run_id` is 0 before `register`."""

    def __init__(self, database: SqliteThread, path: str) -> None:
        self._database, self.path = database, path
        self.run_id = 0
        self._run: leases.RegisteredRun | None = None

    @classmethod
    async def open(
        cls,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        original: str | None = None,
    ) -> Self:
        """Open the journal; if it was moved with its folder, its paths are updated.

        Args:
            path: The file.
            create: Whether to create the file if it is missing.
            original: The journal of which the file is a copy; messages name it.

        Raises:
            DatabaseError: The file cannot be opened; the message has the reason.
        """
        location = local_path(path, "the journal")
        database = await SqliteThread.open(location, SCHEMA, create=create)
        journal = cls(database, location if original is None else original)
        try:
            located = absolute(journal.path)
            if await journal.read(_previous_folder, located) is not None:
                await journal.write(relocate, located)
        except BaseException:
            await wait_uncancelled(asyncio.ensure_future(journal.close()))
            raise
        return journal

    async def write(
        self,
        step: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `step` in a write transaction, which the next `transition` syncs to the disk."""
        return await self._database.run(
            lambda connection: step(connection, *args, **kwargs), sync=False
        )

    async def transition(
        self,
        step: Callable[Concatenate[sqlite3.Connection, int, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `step`, which gets the id of this run too, like `write`; it is durable on return.

        One precedes each effect outside: a request that creates something, a file, an outcome.
        """
        return await self._database.run(
            lambda connection: step(connection, self.run_id, *args, **kwargs)
        )

    def expect_transitions(self, steps: int) -> None:
        """Collect transitions into common commits while many steps run."""
        self._database.batch_window = _BATCH_WINDOW if steps >= _MIN_STEPS else 0.0

    async def read(
        self,
        query: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `query` in a read transaction and return its result."""
        return await self._database.read(lambda connection: query(connection, *args, **kwargs))

    async def register(self, request: BatchRequest) -> None:
        """Register a run; the first one sets the journal's identity, later ones must have the same.

        Without a service the journal is not bound to one.

        Raises:
            ConfigurationError: The journal has another identity, service or salt.
        """

        def step(connection: sqlite3.Connection) -> leases.RegisteredRun:
            _check_identity(connection, self.path, request)
            run = leases.register_run(connection)
            leases.reclaim_dead_runs(connection, except_for=run.id)
            return run

        self._run = await self.write(step)
        self.run_id = self._run.id

    async def heartbeat(self) -> bool:
        """Renew the run's lease and reclaim dead runs; return whether there were any."""
        return self._run is not None and await self.write(leases.heartbeat, self._run)

    async def acquire_listing_lock(self) -> None:
        """Wait until no other run lists. The lock ends with the listing, at the latest the run."""
        while not await self.write(_lock_listing, self.run_id):
            await asyncio.sleep(_LOCK_RETRY_SECONDS)
            await self.heartbeat()

    async def close(self) -> None:
        """Release all leases of the run, and close the file."""
        try:
            if self.run_id:
                await self.write(leases.release_run, self.run_id)
        finally:
            await self._database.close()


def journal_at(path: str) -> Path:
    """Return the path of a journal: the path itself, or the default name in a folder."""
    found = Path(local_path(path, "the journal"))
    # `os.path.isdir` accepts any text; opening the journal reports an invalid path.
    return found / DEFAULT_JOURNAL if os.path.isdir(found) else found  # noqa: PTH112


def identity_of(connection: sqlite3.Connection) -> JournalIdentity | None:
    """Return the identity of the batch, None before the first run."""
    values = dict(connection.execute("SELECT name, value FROM batch").fetchall())
    names = ("model", "sampling", "params", "to", "name")
    if "salt" not in values:
        return None
    return JournalIdentity(**{name: decode_path(values[name]) for name in names})


def salt_of(connection: sqlite3.Connection) -> str:
    """Return the salt of the batch's idempotency keys."""
    row = connection.execute("SELECT value FROM batch WHERE name = 'salt'").fetchone()
    return str(row[0])


def options_of(connection: sqlite3.Connection) -> RunOptions:
    """Return the options of the last run."""
    row = connection.execute("SELECT value FROM batch WHERE name = 'options'").fetchone()
    return RunOptions() if row is None else RunOptions.read(row[0])


def _check_identity(
    connection: sqlite3.Connection,
    path: str,
    request: BatchRequest,
) -> None:
    identity, salt = request.identity, request.salt
    recorded = identity_of(connection)
    # Without files, the identity may still change.
    bound = bool(connection.execute("SELECT EXISTS (SELECT 1 FROM file)").fetchone()[0])
    if request.service is not None:
        bind_service(connection, path, request.service)
    if recorded is not None and bound:
        identity.check(recorded, path)
        if salt is not None and salt != salt_of(connection):
            raise ConfigurationError(
                f"the journal {path!r} has another salt. With this one its generations would be "
                "billed again; use the same salt, or another journal"
            )
        facts: list[tuple[str, object]] = []
    else:
        facts = [
            ("salt", request.new_salt()),
            ("begun_at", time.time()),
            ("spent_seconds", 0),
            *{**asdict(identity), "to": encode_path(identity.to)}.items(),
            ("folder", encode_path(_own_folder(path, identity.to))),
        ]
    connection.executemany(
        "INSERT OR REPLACE INTO batch (name, value) VALUES (?, ?)",
        [*facts, ("options", request.plan.text)],
    )


def _own_folder(path: str, to: str) -> str:
    """Return the journal's folder if it contains the results, which move with it, else ""."""
    folder = absolute(path).parent
    return str(folder) if Path(to).is_relative_to(folder) else ""


def _lock_listing(connection: sqlite3.Connection, run_id: int) -> bool:
    row = connection.execute(
        "SELECT value FROM batch JOIN run ON run.id = value WHERE name = 'listing'"
    ).fetchone()
    if row is not None and row[0] != run_id:
        return False
    connection.execute(
        "INSERT OR REPLACE INTO batch (name, value) VALUES ('listing', ?)", (run_id,)
    )
    return True


def unlock_listing(connection: sqlite3.Connection) -> None:
    """Release the listing lock."""
    connection.execute("DELETE FROM batch WHERE name = 'listing'")


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
    return bool(sent) or leases.count_live_runs(connection, except_for=except_for) > 0


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


def bind_account(connection: sqlite3.Connection, run_id: int, path: str, account: str) -> None:
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
    """Return the service that the journal is bound to, None if absent."""
    return _recorded(connection, "service")


def _recorded(connection: sqlite3.Connection, name: str) -> str | None:
    row = connection.execute("SELECT value FROM batch WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def _record(connection: sqlite3.Connection, name: str, value: str) -> None:
    connection.execute("INSERT OR REPLACE INTO batch (name, value) VALUES (?, ?)", (name, value))


def _previous_folder(connection: sqlite3.Connection, journal: Path) -> str | None:
    """Return the folder that the journal was moved from, None if it was not moved.

    Only a journal whose results go to its own folder, or below it, records that folder.
    """
    row = connection.execute("SELECT value FROM batch WHERE name = 'folder'").fetchone()
    old = decode_path(row[0]) if row is not None else ""
    if old in {"", str(journal.parent)}:
        return None
    try:
        # The same folder under another name: nothing was moved.
        return None if Path(old, journal.name).samefile(journal) else old
    except (OSError, ValueError):
        return old


def relocate(connection: sqlite3.Connection, journal: Path) -> None:
    """Rewrite every path below the previous folder of a journal that was moved."""
    old, new = _previous_folder(connection, journal), str(journal.parent)
    if old is None:
        return

    def relocated(value: str | bytes) -> str | bytes:
        path = decode_path(value)
        for before, after in ((old, new), (fold_name(old), fold_name(new))):
            if path == before or path.startswith(os.path.join(before, "")):  # noqa: PTH118
                return encode_path(after + path[len(before) :])
        return value

    connection.create_function("relocated", 1, relocated)
    connection.execute("UPDATE batch SET value = relocated(value) WHERE name IN ('to', 'folder')")
    for change in (
        "file SET source = relocated(source)",
        "result SET path = relocated(path), path_key = relocated(path_key)",
        "left_out SET path = relocated(path)",
    ):
        connection.execute(f"UPDATE {change}")
