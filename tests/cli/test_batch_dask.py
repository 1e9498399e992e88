"""`diffio-async batch --dask` on a terminal: progress, Ctrl-C and limits."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import signal
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define, field

from diffio_async.sandbox import Delay, Fault, Sandbox
from tests.batch.scenes import below, generations, recordings
from tests.cli.conftest import COMMAND, PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from tests.cli.conftest import Run

pytestmark = pytest.mark.slow
FILES = 6
#: Module that prints more than a pipe holds, in the event loop of a worker.
PRINTER = """
import asyncio

async def dask_setup(worker):
    print_more(asyncio.get_running_loop())

def print_more(loop):
    print("x" * 500_000)
    loop.call_later(0.2, print_more, loop)
"""


@define(eq=False)
class OnTerminal:
    """A command whose terminal shows its errors; its process group gets Ctrl-C, as from a shell."""

    process: asyncio.subprocess.Process
    shown: str = ""
    reader: asyncio.Task[None] = field(init=False)

    async def until(self, text: str) -> None:
        """Wait until a text is shown."""
        async with asyncio.timeout(PATIENCE):
            while text not in self.shown:
                assert self.process.returncode is None, self.shown
                await asyncio.sleep(0.02)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)

    async def ended(self) -> int:
        """Wait for the end; return the exit code, as a shell shows it."""
        async with asyncio.timeout(PATIENCE):
            code = await self.process.wait()
            await self.reader
        return code if code >= 0 else 128 - code

    async def read(self, terminal: int) -> None:
        """Read what is shown until the process and all that it has started have ended."""
        try:
            while block := await asyncio.to_thread(os.read, terminal, 65_536):
                self.shown += block.decode(errors="replace")
        except OSError:
            pass  # the last process has closed it
        finally:
            os.close(terminal)


async def on_terminal(
    sandbox: Sandbox, folder: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> OnTerminal:
    """Start a batch of the recordings in `in`, on workers of this machine.

    As the installed command, it does not import modules of the current folder.
    """
    own, terminal = pty.openpty()
    variables = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", COMMAND, "batch", "in", "-o", "out", "--dask", "local:2"),
        *("--salt", "s", *arguments),
        cwd=folder,
        env={**variables, **sandbox.environment, "TERM": "xterm", "COLUMNS": "120", **(env or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    command = OnTerminal(process)
    command.reader = asyncio.create_task(command.read(own))
    return command


@pytest.fixture
async def slow_uploads(tmp_path: Path) -> AsyncIterator[Sandbox]:
    """A sandbox that takes seconds for an upload, and recordings for it."""
    recordings(tmp_path / "in", *(f"{number}.wav" for number in range(FILES)))
    slow = Fault(origin="edge", method="PUT", times=None, action=Delay(5.0))
    async with Sandbox(engine="echo", faults=[slow]) as sandbox:
        yield sandbox


@pytest.mark.parametrize("times", [1, 2])
async def test_an_interrupted_batch_prints_one_line_and_resumes(
    times: int, slow_uploads: Sandbox, run: Run, tmp_path: Path
) -> None:
    """Ctrl-C also reaches the workers, which print nothing; nothing is left in the folder."""
    command = await on_terminal(slow_uploads, tmp_path)
    await command.until(f"{FILES} up")
    for _ in range(times):
        command.interrupt()
        await asyncio.sleep(0.1)
    assert await command.ended() == 130
    assert "interrupted; nothing is lost" in command.shown
    assert "Traceback" not in command.shown
    assert below(tmp_path / "out") == []
    slow_uploads.faults.clear()
    again = await run("batch", "retry", "out", env=slow_uploads.environment)
    assert (again.returncode, len(below(tmp_path / "out"))) == (0, FILES), again.stderr
    assert generations(slow_uploads) == FILES


async def test_an_interruption_while_workers_start_prints_one_line(
    slow_uploads: Sandbox, tmp_path: Path
) -> None:
    """Ctrl-C does not reach workers that are importing; all end with the command."""
    command = await on_terminal(slow_uploads, tmp_path)
    process = import_module("psutil").Process(command.process.pid)
    started: list[Any] = []
    async with asyncio.timeout(PATIENCE):
        while len(started) < 4:  # a cluster, its workers and a helper of multiprocessing
            assert command.process.returncode is None, command.shown
            started = process.children(recursive=True)
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    command.interrupt()
    assert await command.ended() == 130
    assert "interrupted; nothing is lost" in command.shown
    assert not re.search("Traceback|Exception|Warning", command.shown), command.shown
    # A zombie has ended, and waits for the first process of a container.
    assert not [each for each in started if each.is_running() and each.status() != "zombie"]


async def test_workers_that_cannot_start_stop_the_batch(slow_uploads: Sandbox, run: Run) -> None:
    """The message has the exception of the worker, and what to do next."""
    settings = {"DASK_DISTRIBUTED__WORKER__PRELOAD": "['a_module_that_is_missing']"}
    stopped = await run(
        *("batch", "in", "-o", "out", "--dask", "local:2", "--salt", "s"),
        env={**slow_uploads.environment, **settings},
    )
    assert stopped.returncode == 1
    shown = " ".join(stopped.stderr.split())
    assert "2 workers could not be started on this machine (ModuleNotFoundError: " in shown
    assert "No module named 'a_module_that_is_missing'): remove the cause, " in shown
    assert not slow_uploads.state.projects


async def test_modules_in_the_current_folder_are_not_imported(
    slow_uploads: Sandbox, tmp_path: Path
) -> None:
    """Neither the scheduler nor the workers execute a file that has the name of a module."""
    slow_uploads.faults.clear()
    for name in ("json", "distributed", "multiprocessing", "tornado"):
        (tmp_path / f"{name}.py").write_text(f"open({name + '-was-executed'!r}, 'w').close()")
    command = await on_terminal(slow_uploads, tmp_path)
    assert await command.ended() == 0, command.shown
    assert not [*tmp_path.glob("*-was-executed")]


@pytest.fixture
def printing(tmp_path: Path) -> dict[str, str]:
    """Variables with which each process prints when it starts, and each worker all the time."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "sitecustomize.py").write_text("print('started', end='')")
    (modules / "printer.py").write_text(PRINTER)
    return {"PYTHONPATH": str(modules), "DASK_DISTRIBUTED__WORKER__PRELOAD": "['printer']"}


async def test_what_workers_print_does_not_stop_the_batch(
    slow_uploads: Sandbox, printing: dict[str, str], tmp_path: Path
) -> None:
    """It is read all the time, and not shown."""
    slow_uploads.faults.clear()
    command = await on_terminal(slow_uploads, tmp_path, env=printing)
    assert await command.ended() == 0, command.shown
    assert generations(slow_uploads) == len(below(tmp_path / "out")) == FILES
    assert "xxx" not in command.shown


async def test_no_process_is_left_after_a_command_that_was_killed(
    slow_uploads: Sandbox, printing: dict[str, str], tmp_path: Path
) -> None:
    """Also where the workers print, which nobody reads any longer."""
    command = await on_terminal(slow_uploads, tmp_path, env=printing)
    await command.until(f"{FILES} up")
    started = import_module("psutil").Process(command.process.pid).children(recursive=True)
    assert len(started) >= 4
    command.process.kill()
    async with asyncio.timeout(PATIENCE):
        while any(each.is_running() and each.status() != "zombie" for each in started):
            await asyncio.sleep(0.02)
    await command.ended()


async def test_progress_shows_the_files_of_each_worker(
    slow_uploads: Sandbox, run: Run, tmp_path: Path
) -> None:
    """With a limit of what is billed, the batch stops there; a dry run needs no cluster."""
    dry = await run(
        *("batch", "in", "-o", "out", "--dask", "tcp://127.0.0.1:9", "--salt", "s", "--dry-run"),
        env=slow_uploads.environment,
    )
    assert dry.returncode == 0, dry.stderr
    assert f"{FILES} to restore" in dry.stdout + dry.stderr
    slow_uploads.faults.clear()
    limited = await on_terminal(slow_uploads, tmp_path, "--max-spend", "240")
    assert await limited.ended() == 1
    assert "max_spend_seconds=240" in limited.shown.replace("\r\n", " ")
    assert generations(slow_uploads) == len(below(tmp_path / "out")) == 4
    rest = await on_terminal(slow_uploads, tmp_path)
    assert await rest.ended() == 0
    assert "; by " in rest.shown
    assert generations(slow_uploads) == len(below(tmp_path / "out")) == FILES
    status = await run("batch", "status", "out", env=slow_uploads.environment)
    assert f"{FILES} done, 0 remaining" in status.stdout
