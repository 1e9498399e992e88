"""Windows: the real twin for it, run on this system, over files and loops that behave as there.

Nothing here proves what Windows does; it proves what the package does where open files cannot be
moved, event loops have no signal handlers and readers, and there are no users and forks.
"""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import os
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import ConfigurationError, InvalidTarget, _system
from diffio_async._storage.append_log import AlreadyInUse, AppendLog
from diffio_async.batch.leases import is_alive
from diffio_async.cli.command import _run
from tests.batch.scenes import below, content, recordings, restored, states
from tests.downloads.scenes import Job, entries, finished, media
from tests.downloads.test_partial_files import download_half

if TYPE_CHECKING:
    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the other tests prove it there")

CONTENT = os.urandom(900_000)


class FakeMsvcrt(ModuleType):
    """`msvcrt.locking` over the locks of this system: for a descriptor, in one process."""

    LK_NBLCK = 2

    def locking(self, descriptor: int, mode: int, count: int) -> None:
        """Lock, or raise the error of Windows."""
        assert (mode, count) == (self.LK_NBLCK, 1)
        from diffio_async._system import posix

        try:
            posix.lock(descriptor)
        except BlockingIOError:
            raise PermissionError(errno.EACCES, "Permission denied") from None


def windows_twin() -> ModuleType:
    """Load the twin for Windows, the real one, on this system."""
    path = Path(_system.__file__).with_name("windows.py")
    spec = importlib.util.spec_from_file_location("windows_twin", path)
    assert spec is not None
    assert spec.loader is not None
    twin = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as loading:
        loading.setattr(sys, "platform", "win32")
        loading.setitem(sys.modules, "msvcrt", FakeMsvcrt("msvcrt"))
        spec.loader.exec_module(twin)
    return twin


def open_files() -> set[str]:
    """Return the paths of the files that this process has open."""
    found = set()
    for each in Path("/proc/self/fd").iterdir():
        try:
            found.add(str(each.readlink()))
        except OSError:
            continue
    return found


def forbid_moving_open_files(patch: pytest.MonkeyPatch) -> None:
    """Let renaming and removing an open file fail, as on Windows."""

    def checked(name: str) -> None:
        real = getattr(Path, name)

        def call(self: Path, *arguments: Any, **options: Any) -> Any:
            others = arguments if name == "replace" else ()
            if open_files() & {str(each) for each in (self.absolute(), *others)}:
                raise PermissionError(errno.EACCES, "it is being used by another process")
            return real(self, *arguments, **options)

        patch.setattr(Path, name, call)

    for name in ("replace", "rename", "unlink"):
        checked(name)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A system like Windows: its twin, no open file moves, the loop has no signals and readers."""
    twin = windows_twin()
    for name in _system.__all__:
        monkeypatch.setattr(_system, name, getattr(twin, name))
    forbid_moving_open_files(monkeypatch)

    def missing(*_: object) -> None:
        raise NotImplementedError

    for name in ("add_signal_handler", "remove_signal_handler", "add_reader", "remove_reader"):
        monkeypatch.setattr(asyncio.SelectorEventLoop, name, missing)
    return twin


async def test_a_result_is_downloaded_and_replaces_an_older_one(
    windows: ModuleType, client: AsyncDiffio, tmp_path: Path
) -> None:
    """The part file is closed before it is renamed, and nothing else is left in the folder."""
    job, target = await finished(client, CONTENT), tmp_path / "voice.mp3"
    await job.download(target)
    assert target.read_bytes() == CONTENT
    target.write_bytes(b"older")
    await job.download(target, on_conflict="overwrite")
    assert target.read_bytes() == CONTENT
    assert entries(tmp_path) == ["voice.mp3"]


async def test_an_interrupted_download_is_resumed(
    windows: ModuleType, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The log is closed before it is removed."""
    job, target = await finished(client, CONTENT), tmp_path / "voice.mp3"
    await download_half(job, sandbox, target)
    await job.download(target, resume=True)
    assert media(sandbox)[-1].headers["range"] == f"bytes={len(CONTENT) // 2}-"
    assert target.read_bytes() == CONTENT
    assert entries(tmp_path) == ["voice.mp3"]


async def test_a_download_waits_for_a_program_that_closes_the_target(
    windows: ModuleType, client: AsyncDiffio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virus scanner has the old result open for a moment."""
    job, target = await finished(client, CONTENT), tmp_path / "voice.mp3"
    target.write_bytes(b"older")
    with target.open("rb") as scanned:
        monkeypatch.setattr(windows.time, "sleep", lambda _: scanned.close())
        await job.download(target, on_conflict="overwrite")
    assert target.read_bytes() == CONTENT


async def test_a_target_that_stays_open_is_an_error_and_is_kept(
    windows: ModuleType, client: AsyncDiffio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message has the reason of the system; the part file is removed."""
    monkeypatch.setattr(windows, "_SHARING_TIMEOUT", 0)
    job, target = await finished(client, CONTENT), tmp_path / "voice.mp3"
    target.write_bytes(b"older")
    with target.open("rb"), pytest.raises(InvalidTarget, match="used by another process"):
        await job.download(target, on_conflict="overwrite")
    assert target.read_bytes() == b"older"
    assert entries(tmp_path) == ["voice.mp3"]


@pytest.mark.parametrize("buffering", [-1, 0])
async def test_files_and_pipes_are_uploaded(
    windows: ModuleType, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, buffering: int
) -> None:
    """A pipe is read in a thread, since the event loop cannot watch it."""
    recording = tmp_path / "a.wav"
    recording.write_bytes(CONTENT)
    reading, writing = os.pipe()

    def feed() -> None:
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(CONTENT)

    feeder = threading.Thread(target=feed)
    feeder.start()
    with os.fdopen(reading, "rb", buffering) as pipe:
        of_pipe = await client.projects.create(pipe, file_name="b.wav")
    feeder.join()
    of_file = await client.projects.create(recording)
    for project_id in (of_pipe.api_project_id, of_file.api_project_id):
        generation = await client.generations.create(api_project_id=project_id)
        await client.generations.wait_for_complete(
            generation_id=generation.generation_id, api_project_id=project_id, poll_interval=0.01
        )
        job = Job(client, generation.generation_id, project_id)
        await job.download(tmp_path / "result", on_conflict="overwrite")
        assert (tmp_path / "result").read_bytes() == CONTENT


async def test_a_batch_restores_a_folder_once(
    windows: ModuleType, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Sub-folders too; the second run sends nothing."""
    source = recordings(tmp_path / "in", "a.wav", "deep/b.flac")
    outcomes = await restored(client, source, tmp_path / "out")
    assert states(outcomes) == {"a.wav": "done", "b.flac": "done"}
    assert below(tmp_path / "out") == ["a.restored.mp3", "deep/b.restored.mp3"]
    assert outcomes["b.flac"].paths["audio"].read_bytes() == content("deep/b.flac")
    before = len(sandbox.requests)
    await restored(client, source, tmp_path / "out")
    assert len(sandbox.requests) == before


@pytest.mark.parametrize("template", ["aux.{stem}{ext}", "{stem}/NUL{ext}", "a:{stem}{ext}"])
async def test_names_of_devices_are_refused(
    windows: ModuleType, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, template: str
) -> None:
    """Before anything is sent."""
    source = recordings(tmp_path / "in", "a.wav")
    with pytest.raises(ConfigurationError, match="no file can have the name"):
        await restored(client, source, tmp_path / "out", name=template)
    assert sandbox.requests == []


@pytest.mark.parametrize(
    ("name", "reserved"),
    [
        *((name, True) for name in ("CON", "nul.txt", "com1", "LPT³.wav", "aux .mp3", "CONIN$")),
        *((name, True) for name in ("a:b", "a?", "line\n", "end.", "end ", "nul:x")),
        *((name, False) for name in ("conference.wav", "com10", "com", "a.con", ".hidden", "ä ö")),
        *((name, False) for name in ("", ".", "..")),
    ],
)
def test_reserved_names_are_those_of_windows(
    windows: ModuleType, name: str, reserved: bool
) -> None:
    """Devices with any suffix, characters that are not allowed, and an end that is removed."""
    assert windows.is_reserved(name) is reserved


def test_one_log_is_opened_once(windows: ModuleType, tmp_path: Path) -> None:
    """The lock is far past the content, which therefore can be read and written."""
    first, second = AppendLog(tmp_path / "log"), AppendLog(tmp_path / "log")
    first.open()
    first.append({"number": 1}, sync=True)
    with pytest.raises(AlreadyInUse):
        second.open()
    assert list(first.read(b'{"number"')) == [{"number": 1}]
    first.remove()
    assert entries(tmp_path) == []


@pytest.mark.parametrize("lease_valid", [True, False])
def test_the_lease_decides_where_processes_cannot_be_checked(
    windows: ModuleType, lease_valid: bool
) -> None:
    """`os.kill(pid, 0)` would end the process on Windows."""
    assert is_alive("a token", True, os.getpid() + 1, "", lease_valid) is lease_valid


def test_a_command_runs_without_signal_handlers(windows: ModuleType) -> None:
    """Its exit code is that of its work."""

    async def work() -> int:
        return 3

    assert _run(work, as_json=False, is_server=False) == 3


def test_bytes_are_written_and_read_at_offsets(windows: ModuleType, tmp_path: Path) -> None:
    """Without the calls of POSIX that do both at once."""
    with (tmp_path / "file").open("w+b", 0) as file:
        assert windows.write_at(file.fileno(), [b"56", b"not written"], 5) == 2
        windows.write_at(file.fileno(), [b"01234"], 0)
        assert windows.read_at(file.fileno(), 3, 4) == b"456"
