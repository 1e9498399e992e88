"""`samples/celery_worker.py` with a queue of files, and a process that is killed in its task."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.samples.programs import RECORDING, commands, running, succeed, until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from diffio_async.sandbox import Sandbox

pytest.importorskip("celery")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the processes are found in /proc"),
]


@pytest.mark.diffio(duration=1.0)
async def test_the_task_of_a_killed_process_is_repeated_and_billed_once(
    diffio_environment: Mapping[str, str], diffio_sandbox: Sandbox, tmp_path: Path
) -> None:
    """A process is killed while its task waits for the generation; both results arrive."""
    work, send = commands("celery_worker.py")
    for name in ("one", "two"):
        shutil.copy(RECORDING, tmp_path / f"{name}.wav")
    queue, results = str(tmp_path / "queue"), str(tmp_path / "results")
    recordings = [str(tmp_path / "one.wav"), str(tmp_path / "two.wav")]
    await succeed([*send[:2], *recordings], QUEUE=queue, RESULTS=results)
    restored = [tmp_path / "results" / f"{name}.restored.mp3" for name in ("one", "two")]
    log = tmp_path / "worker"
    # By default, ten seconds pass before a task is repeated.
    quick = ["--loglevel", "INFO", "--without-mingle", "--without-gossip", "--"]
    quick += ["worker.lost_wait=0.1"]
    async with running([*work, *quick], log, QUEUE=queue, RESULTS=results) as worker:
        await until(lambda: len(diffio_sandbox.state.generations) == 2)
        children = Path(f"/proc/{worker.process.pid}/task/{worker.process.pid}/children")
        os.kill(int(children.read_text().split()[0]), signal.SIGKILL)
        await until(lambda: all(result.exists() for result in restored))
        assert "WorkerLostError" in log.read_text()
    for result in restored:
        assert result.read_bytes() == RECORDING.read_bytes()
    created = [each for each in diffio_sandbox.requests if each.path.endswith("-generation")]
    assert (len(created), len(diffio_sandbox.state.generations)) == (3, 2)


async def test_nothing_is_queued_if_a_recording_is_missing(
    diffio_environment: Mapping[str, str], tmp_path: Path
) -> None:
    _, send = commands("celery_worker.py")
    queue, results = str(tmp_path / "queue"), str(tmp_path / "results")
    async with running(
        [*send[:2], str(RECORDING), "absent.wav"], tmp_path / "log", QUEUE=queue, RESULTS=results
    ) as program:
        assert await program.process.wait() == 1
    assert "no such file: absent.wav" in (tmp_path / "log").read_text()
    assert list((tmp_path / "queue").iterdir()) == []
