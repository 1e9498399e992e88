"""Private files (journal, inbox, resume file, part file): those of other users are refused."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from diffio_async import DatabaseError, InvalidTarget, ResumeFileError, _system
from diffio_async._downloads.part_file import PartFile
from diffio_async._storage.append_log import AppendLog, encode_entries
from diffio_async._storage.files import UnexpectedFile, open_private
from diffio_async._storage.sqlite_thread import SqliteThread
from diffio_async._uploads.resume_file import HEADER
from diffio_async.batch.dry_run import plan_batch
from diffio_async.batch.journal import Journal
from diffio_async.batch.request import RunOptions
from diffio_async.batch.schema import DEFAULT_JOURNAL, SCHEMA
from diffio_async.cli.batch.run import make_request
from diffio_async.errors import DiffioError
from diffio_async.sandbox import Fault, Sandbox, SandboxError
from diffio_async.sandbox.faults import RespondWith
from diffio_async.webhooks.inbox import WebhookInbox
from tests.batch.scenes import content, recordings, restored
from tests.disks import in_another_users_process
from tests.downloads.scenes import finished
from tests.uploads.scenes import PART, scene, sound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from diffio_async import AsyncDiffio

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="owners and modes are POSIX"),
]
AS_ROOT = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give files away"
)
STRANGER = 65534


async def open_journal(path: Path) -> None:
    """Open a journal, like a batch."""
    await (await Journal.open(path)).close()


async def open_inbox(path: Path) -> None:
    """Open an inbox, like a receiver of webhooks."""
    inbox = WebhookInbox(path)
    try:
        await inbox.entries()
    finally:
        await inbox.aclose()


async def open_resume_file(path: Path) -> None:
    """Open a resume file, like an upload."""
    async with scene() as on:
        await on.client.projects.create(b"x", resume=path)


def foreign(path: Path) -> None:
    """Give the file to another user."""
    if os.geteuid() != 0:
        pytest.skip("only root can give files away")
    os.chown(path, STRANGER, STRANGER)


def symbolic(path: Path) -> None:
    """Replace the file by a symbolic link."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def second_name(path: Path) -> None:
    """Add a hard link to the file."""
    path.with_name("elsewhere").hardlink_to(path)


def writable(path: Path) -> None:
    """Make the file writable for everybody."""
    path.chmod(0o666)


@pytest.mark.parametrize("trap", [foreign, symbolic, second_name, writable])
@pytest.mark.parametrize("use", [open_journal, open_inbox, open_resume_file])
async def test_a_file_that_another_user_may_have_written_is_refused(
    use: Callable[[Path], Awaitable[None]], trap: Callable[[Path], None], tmp_path: Path
) -> None:
    """Journal, inbox and resume file alike, and it is left as it was."""
    path = tmp_path / "kept"
    if use is open_resume_file:
        path.write_bytes(encode_entries(HEADER))
        path.chmod(0o600)
    else:
        await use(path)
    trap(path)
    before = path.read_bytes()
    with pytest.raises((DatabaseError, ResumeFileError)) as caught:
        await use(path)
    assert str(path) in str(caught.value)
    assert "name another file" in str(caught.value) or trap in {symbolic, writable}
    assert path.read_bytes() == before


@pytest.mark.parametrize("ending", ["-wal", "-shm", "-journal"])
@pytest.mark.parametrize("trap", [foreign, symbolic, writable])
async def test_files_beside_a_database_are_checked_too(
    trap: Callable[[Path], None], ending: str, tmp_path: Path
) -> None:
    """SQLite merges the content of such files into the database."""
    path = tmp_path / "journal.sqlite"
    beside = tmp_path / f"journal.sqlite{ending}"
    beside.write_bytes(b"")
    beside.chmod(0o600)
    trap(beside)
    with pytest.raises(DatabaseError, match=beside.name):
        await open_journal(path)


@AS_ROOT
async def test_a_journal_of_another_user_stops_a_batch(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """In a folder that others may write to, it could name any file for upload."""
    secret = tmp_path / "id_ed25519.wav"
    secret.write_bytes(content("secret"))
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o777)
    await restored(client, secret, shared)
    before = len(sandbox.requests)
    for path in shared.iterdir():
        os.chown(path, STRANGER, STRANGER)
    source = recordings(tmp_path / "in", "a.wav")
    with pytest.raises(DatabaseError, match="belongs to another user"):
        await restored(client, source, shared)
    request = make_request(
        [str(source)],
        str(shared),
        journal=None,
        sandbox=False,
        dry_run=True,
        model="diffio-4.6-flash",
        run=RunOptions(),
    )
    with pytest.raises(DatabaseError, match=f"{DEFAULT_JOURNAL}.*belongs to another user"):
        assert [planned async for planned in plan_batch(request)] == []
    assert len(sandbox.requests) == before


@AS_ROOT
@pytest.mark.slow
def test_files_of_another_user_are_refused_and_those_of_root_accepted() -> None:
    """Root can change every file in any case."""
    with tempfile.TemporaryDirectory() as folder:
        _check_as_another_user(Path(folder))


def _check_as_another_user(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    for number, owner in ((1, 12345), (2, 0)):
        path = tmp_path / f"{number}.sqlite"
        path.touch(mode=0o600)
        os.chown(path, owner, owner)
    done = in_another_users_process(
        "from diffio_async._storage.files import check_private\n"
        "for number in (1, 2):\n"
        f"    try: check_private({str(tmp_path)!r} + f'/{{number}}.sqlite'); print('taken')\n"
        "    except OSError as failure: print(failure)\n"
    )
    first, second = done.stdout.splitlines()
    assert "belongs to another user (12345)" in first
    assert second == "taken"


@pytest.mark.parametrize("mode", [0o644, 0o640])
async def test_a_file_that_others_may_only_read_becomes_private(mode: int, tmp_path: Path) -> None:
    """`touch` creates such a file; only its owner can have written to it."""
    path = tmp_path / "kept"
    path.touch()
    path.chmod(mode)
    os.close(open_private(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(mode)
    await open_inbox(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_a_file_system_without_owners_or_modes_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On exFAT or SMB, a new file looks the same as the one that is there."""
    path = tmp_path / "kept"
    path.touch()
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        status = list(real(descriptor))
        status[0], status[4] = stat.S_IFREG | 0o777, 4242
        return os.stat_result(status)

    monkeypatch.setattr(os, "fstat", fstat)
    os.close(open_private(path))


async def test_a_partial_download_with_a_journal_of_loose_mode_is_refused(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    """The log determines which bytes are resumed."""
    job = await finished(client, b"x" * 400_000)
    target = tmp_path / "voice.mp3"
    journal = PartFile(target, (job.api_project_id, job.generation_id, "audio"))._log
    assert journal is not None
    journal.path.touch()
    journal.path.chmod(0o666)
    with pytest.raises(InvalidTarget, match="others may write to it"):
        await job.download(target, resume=True)


@pytest.mark.parametrize("trap", [foreign, symbolic, second_name, writable])
async def test_the_data_of_a_sandbox_is_private(
    trap: Callable[[Path], None], tmp_path: Path
) -> None:
    """Its file holds keys and the secrets of webhooks."""
    async with Sandbox(tmp_path / "data", engine="echo"):
        pass
    trap(tmp_path / "data" / "sandbox.sqlite3")
    with pytest.raises(SandboxError, match=r"sandbox\.sqlite3"):
        async with Sandbox(tmp_path / "data", engine="echo"):
            pass


@pytest.mark.parametrize("failure", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
async def test_an_upload_is_resumed_where_there_are_no_locks(
    failure: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Downloads and uploads use the same lock, which some file systems do not have."""

    def no_locks(*_: object) -> None:
        raise OSError(failure, os.strerror(failure))

    monkeypatch.setattr("fcntl.flock", no_locks)
    recording = sound(3 * PART)
    async with scene(max_concurrent_parts=1) as on:
        on.fail(Fault(path="*/parts/2", action=RespondWith(403)))
        with pytest.raises(DiffioError):
            await on.client.projects.create(recording, resume=tmp_path / "kept")
        project = await on.client.projects.create(recording, resume=tmp_path / "kept")
        assert on.uploaded_bytes(project) == recording
    assert list(tmp_path.iterdir()) == []


async def test_an_open_log_is_closed_before_it_is_removed_where_required(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows cannot remove open files; elsewhere no other process may lock the file in between."""
    removed: list[bool] = []
    file = AppendLog(tmp_path / "kept")
    real = type(file.path).unlink

    def unlink(path: Path) -> None:
        removed.append(file.is_open)
        real(path)

    monkeypatch.setattr(type(file.path), "unlink", unlink)
    for while_open in (True, False):
        monkeypatch.setattr(_system, "MOVES_OPEN_FILES", while_open)
        file.open()
        file.remove()
    assert removed == [True, False]


#: Statements that damage a journal.
DAMAGES = [
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = CAST(x'43524541ff54' AS TEXT)",
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = 'CREATE nonsense'",
    "DROP VIEW report; DROP TABLE result",
    "UPDATE batch SET value = CAST(x'ff00fe' AS TEXT)",
    "UPDATE batch SET value = 1e999 WHERE name = 'salt'",
    "UPDATE file SET source = NULL",
    "UPDATE file SET source = 5",
    "UPDATE result SET path = 7, owned = 'x'",
    "UPDATE file SET settings = 'no json', state = 'listed', job_id = NULL",
    "UPDATE job SET project = CAST(x'ff' AS TEXT)",
    "UPDATE job SET settings = '[]', state = 'uploaded'",
]


@pytest.mark.slow
async def test_a_journal_with_invalid_content_is_explained(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    """A damaged journal causes an error of the package, or none; no other exception is raised."""
    source = recordings(tmp_path / "in", "a.wav", "b.wav")
    path = tmp_path / "out" / DEFAULT_JOURNAL
    await restored(client, source, path.parent)
    intact, forbidden = path.read_bytes(), 0
    for damage in DAMAGES:
        path.write_bytes(intact)
        with contextlib.closing(sqlite3.connect(path)) as journal:
            try:
                journal.executescript(damage)
            except sqlite3.IntegrityError:  # the schema forbids the statement
                forbidden += 1
                continue
        try:
            await restored(client, source, path.parent)
        except DiffioError:
            pass
        except Exception as failure:
            failure.add_note(damage)
            raise
    assert forbidden < len(DAMAGES) / 2


async def test_a_schema_that_is_not_text_is_reported_as_damage(tmp_path: Path) -> None:
    """No `UnicodeDecodeError` is raised."""
    path = tmp_path / "journal.sqlite"
    await open_journal(path)
    with sqlite3.connect(path) as journal:
        journal.execute("PRAGMA writable_schema = ON")
        journal.execute("UPDATE sqlite_master SET sql = CAST(x'43524541ff54' AS TEXT)")
    journal.close()
    with pytest.raises(DatabaseError, match=r"damaged.*move it away"):
        await open_journal(path)


async def test_a_database_without_its_tables_is_reported_as_damage(tmp_path: Path) -> None:
    """Only the application id and the version are correct."""
    path = tmp_path / "journal.sqlite"
    with sqlite3.connect(path) as journal:
        journal.execute(f"PRAGMA application_id = {SCHEMA.application_id}")
        journal.execute(f"PRAGMA user_version = {SCHEMA.version}")
    journal.close()
    path.chmod(0o600)
    database = await SqliteThread.open(path, SCHEMA)
    with pytest.raises(DatabaseError, match="no such table"):
        await database.read(lambda db: db.execute("SELECT * FROM file").fetchall())
    await database.close()


def test_the_message_has_no_errno(tmp_path: Path) -> None:
    """The message is text for users."""
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(UnexpectedFile, match=r"^it is a symbolic link"):
        open_private(tmp_path / "link")
