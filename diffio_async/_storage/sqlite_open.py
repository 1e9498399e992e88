"""Open, check and migrate a SQLite file with a clock shared by processes; translate its errors."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from attrs import frozen

from diffio_async import _system
from diffio_async._storage.files import UnexpectedFile, check_private
from diffio_async._storage.system_errors import file_size_shortage, reason_of
from diffio_async.errors import DatabaseError, DiffioError

#: Returns approximate seconds since the epoch.
Clock = Callable[[], float]

#: Seconds to wait for another process; a transaction takes milliseconds.
BUSY_TIMEOUT = 30.0
#: Prevents one thread from opening a file that another is creating.
_creating = threading.Lock()
_system.register_at_fork(
    before=_creating.acquire, after_in_parent=_creating.release, after_in_child=_creating.release
)


@frozen(kw_only=True)
class Schema:
    """Schema of one type of database file.

    Attributes:
        label: Name of the file type in messages, such as "batch journal".
        application_id: Number in the file header that identifies the file type.
        migrations: Statements that lead from each version to the next, the first from an empty
            file. Never change a released one.
        oldest_version: Lowest version that can be migrated. Files of lower versions are refused.
        after_restart: Statements for the first process that opens the file after a restart of the
            machine: no earlier process is alive, and the clock may have changed.
    """

    label: str
    application_id: int
    migrations: tuple[tuple[str, ...], ...]
    oldest_version: int = 1
    after_restart: tuple[str, ...] = ()

    @property
    def version(self) -> int:
        """Schema version that this package writes."""
        return len(self.migrations)


#: Suffixes of the files that SQLite creates beside the database.
_COMPANIONS = ("-wal", "-shm", "-journal")
#: Bytes by which SQLite extends one of them at once: a region of the log's index.
_LARGEST_WRITE = 32768


def connect(
    path: str, schema: Schema, *, create: bool, clock: Clock | None = None
) -> sqlite3.Connection:
    """Connect to the file; create or migrate it as needed. Blocks.

    Commits of the connection are not synced, see `sync_commits`.

    Raises:
        DatabaseError: The file cannot be used; the message gives the reason.
    """
    try:
        _create_file(path, create=create)
    except FileNotFoundError as failure:
        missing = "there is no folder for it" if create else "there is no such file"
        raise database_error(path, schema, missing) from failure
    except OSError as failure:
        raise database_error(path, schema, reason_of(failure)) from failure
    except ValueError as failure:
        raise database_error(path, schema, "this cannot be the name of a file") from failure
    try:
        connection = sqlite3.connect(
            path, timeout=BUSY_TIMEOUT, isolation_level=None, cached_statements=256
        )
        try:
            is_empty = _check_file_type(connection, path, schema)
            configure(connection, is_empty=is_empty)
            if is_empty and _has_wal(connection):
                # Nothing is in the file yet: the first commit that waits for the disk syncs all.
                connection.execute("PRAGMA synchronous = OFF")
            _migrate(connection, path, schema, clock)
            sync_commits(connection, sync=False)
        except BaseException:
            connection.close()
            raise
    except DatabaseError:
        raise
    except (sqlite3.Error, MemoryError, *_CONTENT_ERRORS) as failure:
        error = translate_error(path, schema, failure)
        if error is failure:
            raise
        raise error from failure
    return connection


def _check_companion(path: str, ending: str) -> None:
    try:
        check_private(path + ending)
    except UnexpectedFile as failure:
        raise UnexpectedFile(f"{Path(path + ending).name!r} beside it: {failure}") from failure


def _create_file(path: str, *, create: bool) -> None:
    """Create the file if missing; otherwise check that it can be read and written."""
    # An existing file is not opened for the check: closing it would release the locks that other
    # connections of this process hold, and another process would consider the file unused.
    if create:
        with _creating, contextlib.suppress(FileExistsError):
            # It may contain tokens, so only the owner may read it. SQLite copies the mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    check_private(path)
    # SQLite merges the content of these files into the database.
    for ending in _COMPANIONS:
        with contextlib.suppress(FileNotFoundError):
            _check_companion(path, ending)
    if not os.access(path, os.R_OK | os.W_OK):
        raise PermissionError(errno.EACCES, "it may not be read and written", path)


def _check_file_type(connection: sqlite3.Connection, path: str, schema: Schema) -> bool:
    """Reject a file of another type before a byte of it is changed; return whether it is empty."""
    # Read one snapshot: another process may be creating the file between the queries.
    connection.execute("BEGIN")
    application, version, tables = _header(connection)
    connection.execute("COMMIT")
    if application != schema.application_id and (application or version or tables):
        raise database_error(path, schema, f"it is another program's file, not a {schema.label}")
    if version > schema.version:
        raise database_error(
            path,
            schema,
            f"it was written by a newer version of this package (its format is {version}, this "
            f"package knows up to {schema.version}): update diffio-async",
        )
    if 0 < version < schema.oldest_version:
        raise database_error(
            path,
            schema,
            f"its format ({version}) is older than the first that this package reads "
            f"({schema.oldest_version}): move it away, and a new file is created",
        )
    fault = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if fault != "ok":
        raise database_error(path, schema, _damage_message(fault))
    return not (application or version or tables)


def _header(connection: sqlite3.Connection) -> tuple[int, int, int]:
    application: int = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    tables: int = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    return application, version, tables


def configure(connection: sqlite3.Connection, *, is_empty: bool) -> None:
    """Set the modes of a connection; `is_empty` is whether the file is new."""
    # SQLite's busy timeout does not apply here if several processes open a new file at once.
    end = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            if is_empty:
                # A single page is written as a whole: the journal that protects it, which costs
                # three more syncs, is left out.
                connection.execute("PRAGMA journal_mode = OFF")
            if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
                # Not available on some network disks; the rollback journal is as safe.
                connection.execute("PRAGMA journal_mode = DELETE")
            break
        except sqlite3.OperationalError as failure:
            if failure.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            is_empty = False  # another process is creating it
            time.sleep(0.02)
    # On macOS, fsync leaves the bytes in the drive's cache; elsewhere this has no effect.
    connection.execute("PRAGMA fullfsync = ON")
    connection.execute("PRAGMA foreign_keys = ON")
    # A manipulated schema must not call functions with side effects.
    connection.execute("PRAGMA trusted_schema = OFF")


def sync_commits(connection: sqlite3.Connection, *, sync: bool) -> None:
    """Let each commit wait for the disk, or let the next one that waits sync the others too.

    A commit that does not wait is visible to other processes, and survives the end of this one.
    Without WAL all commits wait: a power cut during one could damage the file.
    """
    mode = "NORMAL" if not sync and _has_wal(connection) else "FULL"
    connection.execute(f"PRAGMA synchronous = {mode}")


def _has_wal(connection: sqlite3.Connection) -> bool:
    return bool(connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal")


def _migrate(
    connection: sqlite3.Connection, path: str, schema: Schema, clock: Clock | None
) -> None:
    connection.execute("BEGIN IMMEDIATE")  # fails if the file cannot be written
    try:
        _apply_migrations(connection, path, schema)
        if install_clock(connection, clock):
            for statement in schema.after_restart:
                connection.execute(statement)
    except BaseException:
        connection.rollback()
        raise
    connection.execute("COMMIT")


def _apply_migrations(connection: sqlite3.Connection, path: str, schema: Schema) -> None:
    # Another process may have migrated the file since, perhaps to a newer version.
    version = _header(connection)[1]
    if version > schema.version:
        raise database_error(path, schema, "a newer version of this package is using it")
    for number, statements in enumerate(schema.migrations[version:], version + 1):
        for statement in statements:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {number}")
    if version < schema.version:
        connection.execute(f"PRAGMA application_id = {schema.application_id}")


# Times of leases, retries and retention are stored in the file and read by other processes. The
# wall clock may be changed in between, so these times use the monotonic clock, which all processes
# of a running machine share. Its offset to the wall clock is stored in the file by the first
# process that opens the file after each boot.

#: Seconds by which the wall clock may be corrected during one boot, on systems without a boot id.
_SAME_BOOT_SECONDS = 300.0
_TABLE = "CREATE TABLE IF NOT EXISTS clock (boot TEXT NOT NULL, offset REAL NOT NULL)"
#: Seconds; a smaller drift from the wall clock is treated as 0.
_MIN_DRIFT_SECONDS = 2.0


def install_clock(connection: sqlite3.Connection, clock: Clock | None) -> bool:
    """Register the SQL functions `steady_now()` and `clock_drift()`; call it in a transaction.

    `clock_drift()` is added to a time of `steady_now()` for display, since the wall clock may have
    been changed. Return whether the machine was restarted since the file was last opened.

    Args:
        connection: Connection to the database.
        clock: Clock to use instead, for tests.
    """
    if clock is not None:
        connection.create_function("steady_now", 0, clock)
        connection.create_function("clock_drift", 0, lambda: 0.0)
        return False
    offset, restarted = _offset(connection)

    def steady() -> float:
        return time.monotonic() + offset

    connection.create_function("steady_now", 0, steady)
    connection.create_function("clock_drift", 0, lambda: _drift(steady))
    return restarted


def now(connection: sqlite3.Connection) -> float:
    """Return the time used for leases and retries."""
    seconds: float = connection.execute("SELECT steady_now()").fetchone()[0]
    return seconds


def _drift(steady: Clock) -> float:
    """Return the whole seconds to add to a time of `now` for display."""
    drift = time.time() - steady()
    # Two clocks always differ slightly; rounding displays a timestamp the same each time.
    return 0.0 if abs(drift) < _MIN_DRIFT_SECONDS else float(round(drift))


def _offset(connection: sqlite3.Connection) -> tuple[float, bool]:
    """Return the offset of the monotonic clock, and whether the machine was restarted."""
    connection.execute(_TABLE)
    stored = connection.execute("SELECT boot, offset FROM clock").fetchone()
    boot, offset = _boot(), time.time() - time.monotonic()
    if stored is not None and _same_boot(boot, offset, *stored):
        return stored[1], False
    connection.execute("DELETE FROM clock")
    connection.execute("INSERT INTO clock (boot, offset) VALUES (?, ?)", (boot, offset))
    return offset, stored is not None


def _same_boot(boot: str, offset: float, stored_boot: str, stored_offset: float) -> bool:
    if boot or stored_boot:
        return boot == stored_boot
    return abs(offset - stored_offset) < _SAME_BOOT_SECONDS


def _boot() -> str:
    """Return the id of this boot of the machine, or "" if the system has none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


#: What reading content raises that this package has not written: a table is missing, text is not
#: valid, a value is of another type. What our own statements and values do wrong is not included.
_CONTENT_ERRORS = (sqlite3.DatabaseError, TypeError, ValueError, LookupError, OverflowError)
_PROGRAMMING_ERRORS = (
    *(sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.InterfaceError),
    *(sqlite3.DataError, UnicodeEncodeError),
)
#: What SQLite's codes mean to the file's owner.
_REASONS = {
    sqlite3.SQLITE_BUSY: "another process keeps it busy",
    sqlite3.SQLITE_LOCKED: "another process keeps it busy",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened: is its folder there, and writable?",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk failed",
    sqlite3.SQLITE_NOTADB: "it is damaged, or no database at all: move it away to begin a new one",
    sqlite3.SQLITE_NOMEM: "there is not enough memory",
    sqlite3.SQLITE_PROTOCOL: "another process keeps it busy",
    sqlite3.SQLITE_NOLFS: "the disk takes no files as large as it is",
    sqlite3.SQLITE_PERM: "permission denied",
    sqlite3.SQLITE_READONLY: "it cannot be written",
}


def translate_error(path: str, schema: Schema, failure: Exception) -> Exception:
    """Return a `DatabaseError` for a failure of the file or the disk, or else the failure."""
    if isinstance(failure, DiffioError):
        return failure
    reason: str | None = None
    if isinstance(failure, MemoryError):
        reason = reason_of(failure)
    elif isinstance(failure, sqlite3.Error):
        # A code has its kind in the lowest byte; misuse from Python has none at all.
        code = getattr(failure, "sqlite_errorcode", 0) & 0xFF
        limit = _size_limit(path) if code == sqlite3.SQLITE_IOERR else None
        reason = _REASONS.get(code) if limit is None else limit
    if reason is None and isinstance(failure, _CONTENT_ERRORS) and not _is_own(failure):
        reason = _damage_message(failure)
    if reason is None:
        return failure
    error = database_error(path, schema, reason)
    error.__cause__ = failure
    return error


def _size_limit(path: str) -> str | None:
    """The limit on the size of files that a write meets, which SQLite takes for a broken disk."""
    for name in (path, *(path + ending for ending in _COMPANIONS)):
        try:
            size = os.path.getsize(name)  # noqa: PTH202 - any text
        except OSError:
            continue
        shortage = file_size_shortage(size + _LARGEST_WRITE)
        if shortage is not None:
            return shortage.text
    return None


def _is_own(failure: Exception) -> bool:
    """Return whether a statement or a value of ours is at fault, and not what the file contains."""
    # SQLite's own overflow has no class of its own: an integer that is read always fits.
    return isinstance(failure, _PROGRAMMING_ERRORS) or (
        isinstance(failure, OverflowError) and "SQLite" in str(failure)
    )


def _damage_message(what: object) -> str:
    text = "".join(c if c.isprintable() else " " for c in str(what))
    return (
        f"it is damaged ({' '.join(text.split())[:200]}): put back a copy of it, or move it away "
        "to begin a new one"
    )


def database_error(path: str, schema: Schema, reason: str) -> DatabaseError:
    """Return the error for a file that cannot be used because of `reason`."""
    return DatabaseError(f"the {schema.label} {path!r} cannot be used: {reason}")
