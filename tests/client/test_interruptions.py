"""Ctrl-C in a blocking client names the generations that continue, as a cancellation does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async.sandbox import Fault, Sandbox, Stall
from tests.scripts import GENERATION, PROGRESS, forever, progress_body, requests_to, uploaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from diffio_async import AsyncDiffio

#: The calls that start a generation themselves.
STARTING = {"restore", "isolate", "create", "create_and_wait", "compat_isolate"}
DOWNLOAD = "/v1/get_generation_download"
#: Runs the calls named on standard input, and prints the interruption of each and its log.
PROGRAM = """
import io, json, os, signal, sys
from diffio_async.compat import DiffioClient
from diffio_async.sync import Diffio

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
key, url = os.environ["DIFFIO_API_KEY"], os.environ["DIFFIO_API_BASE_URL"]
source = sys.argv[1] + "/talk.wav"
client = Diffio(key, base_url=url)
compat = DiffioClient(apiKey=key, baseUrl=url)
for line in sys.stdin:
    call, project, generation = line.split()
    folder = sys.argv[1] + "/" + call
    os.mkdir(folder)
    ids = {"generation_id": generation, "api_project_id": project}
    guide = {"generationId": generation, "apiProjectId": project}
    calls = {
        "restore": lambda: client.restore(source),
        "isolate": lambda: client.audio_isolation.isolate(source),
        "create": lambda: client.generations.create(api_project_id=project),
        "create_and_wait": lambda: client.generations.create_and_wait(api_project_id=project),
        "get_progress": lambda: client.generations.get_progress(**ids),
        "wait_for_complete": lambda: client.generations.wait_for_complete(**ids),
        "watch": lambda: list(client.generations.watch(generation, api_project_id=project)),
        "wait_many": lambda: client.generations.wait_many([generation], api_project_id=project),
        "as_completed": lambda: list(
            client.generations.as_completed([generation], api_project_id=project)
        ),
        "download": lambda: client.generations.download(**ids),
        "get_download": lambda: client.generations.get_download(**ids),
        "restore_many": lambda: list(client.restore_many([source], folder + "/out")),
        "compat_restore": lambda: compat.restore_audio(filePath=source),
        "compat_isolate": lambda: compat.audio_isolation.isolate(filePath=source),
        "compat_wait": lambda: compat.generations.wait_for_complete(**guide),
        "compat_create_and_wait": lambda: compat.generations.create_and_wait(apiProjectId=project),
        "compat_download": lambda: compat.generations.download(
            **guide, downloadFilePath=folder + "/a.mp3"
        ),
    }
    sys.stderr = io.StringIO()
    try:
        calls[call]()
    except KeyboardInterrupt as error:
        seen = {name: value for name, value in vars(error).items() if name != "__notes__"}
        found = {"notes": error.__notes__, "seen": seen, "log": sys.stderr.getvalue()}
    sys.stderr = sys.__stderr__
    print(json.dumps(found), flush=True)
"""


class Caller:
    """A process that runs one blocking call after the other, each until Ctrl-C."""

    def __init__(self, sandbox: Sandbox, process: asyncio.subprocess.Process) -> None:
        self.sandbox, self.process = sandbox, process

    async def interrupted(self, call: str, path: str, *ids: str) -> dict[str, Any]:
        """Interrupt a call after it requested `path`, and return what the interruption contains."""
        process, before = self.process, len(requests_to(self.sandbox, path))
        assert process.stdin is not None
        assert process.stdout is not None
        async with asyncio.timeout(120):
            process.stdin.write(f"{call} {' '.join(ids)}\n".encode())
            while len(requests_to(self.sandbox, path)) == before and process.returncode is None:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            process.send_signal(signal.SIGINT)
            line = await process.stdout.readline()
        interruption: dict[str, Any] = json.loads(line)
        # A generation that the call started is also logged, in one line.
        starts = call in STARTING
        assert len(interruption["log"].splitlines()) == starts, interruption["log"]
        assert (
            "may" in interruption["log"] and "run and be billed" in interruption["log"]
        ) is starts
        return interruption


@contextlib.asynccontextmanager
async def calling(sandbox: Sandbox, folder: Path) -> AsyncIterator[Caller]:
    """Start a `Caller`."""
    (folder / "talk.wav").write_bytes(b"speech " * 100)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, str(folder)),
        env={"DIFFIO_API_KEY": sandbox.api_key, "DIFFIO_API_BASE_URL": sandbox.base_url},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Caller(sandbox, process)
        async with asyncio.timeout(120):
            _, errors = await process.communicate(b"")
        assert (process.returncode, errors) == (0, b"")
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


CALLS = {
    "restore": PROGRESS,
    "create_and_wait": PROGRESS,
    "get_progress": PROGRESS,
    "wait_for_complete": PROGRESS,
    "watch": PROGRESS,
    "wait_many": PROGRESS,
    "as_completed": PROGRESS,
    "download": DOWNLOAD,
    "get_download": DOWNLOAD,
    "restore_many": PROGRESS,
    "compat_restore": PROGRESS,
    "compat_wait": PROGRESS,
    "compat_create_and_wait": PROGRESS,
    "compat_download": DOWNLOAD,
}


@pytest.mark.slow
async def test_ctrl_c_names_the_generation_that_continues(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The notes of an interrupted blocking call contain the ids of project and generation."""
    project = await uploaded(client)

    async def pairs() -> set[tuple[str, str]]:
        return {
            (row.api_project_id, created.generation_id)
            for row in await client.projects.list()
            for created in await client.projects.list_generations(api_project_id=row.api_project_id)
        }

    async with calling(sandbox, tmp_path) as caller:
        for call, path in CALLS.items():
            earlier = await pairs()
            existing = await client.generations.create(api_project_id=project)
            sandbox.faults.clear()
            sandbox.faults.add(
                Fault(path=path, times=None, action=Stall(seconds=60))
                if path == DOWNLOAD or call == "get_progress"
                else forever(progress_body("processing"))
            )
            interruption = await caller.interrupted(call, path, project, existing.generation_id)
            notes = "\n".join(interruption["notes"])
            named = [both for both in await pairs() - earlier if all(id_ in notes for id_ in both)]
            assert len(named) == 1, (call, notes)
            compat = call.startswith("compat")
            assert (f"{'generationId' if compat else 'generation_id'}=") in notes, call
            assert ("generation_id" in notes) is not compat, call
            if call not in {"wait_many", "as_completed", "restore_many"}:
                name = "generationId" if compat else "generation_id"
                assert f"{name}={interruption['seen'][name]}" in interruption["notes"], call


@pytest.mark.slow
async def test_ctrl_c_while_a_generation_is_requested_names_its_key(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Its id is not known yet; the project and the key identify it."""
    project = await uploaded(client)
    sandbox.faults.add(Fault(path=GENERATION, times=None, action=Stall(seconds=60)))
    async with calling(sandbox, tmp_path) as caller:
        for call in ("create", "isolate", "compat_isolate"):
            interruption = await caller.interrupted(call, "*-generation", project, "-")
            projects = [row.api_project_id for row in await client.projects.list()]
            notes = "\n".join(interruption["notes"])
            assert any(each in notes for each in projects)
            name = "idempotencyKey=" if call.startswith("compat") else "idempotency_key="
            assert name in notes


@pytest.mark.parametrize("grouped", ["gather", "task_group"])
async def test_generations_of_cancelled_siblings_are_logged(
    client: AsyncDiffio, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, grouped: str
) -> None:
    """A group drops the notes of cancelled children; the log keeps each generation, once."""
    sandbox.faults.add(forever(progress_body("processing")))

    async def fail() -> None:
        while len({seen.json["generationId"] for seen in requests_to(sandbox, PROGRESS)}) < 2:
            await asyncio.sleep(0.01)
        raise ZeroDivisionError

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(client.restore(b"speech"))
            tasks.create_task(fail())

    if grouped == "gather":
        children = [asyncio.create_task(client.restore(b"speech")) for _ in range(2)]
        running = asyncio.gather(*children)
        with pytest.raises(ZeroDivisionError):
            await fail()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running  # ends with the first child
        await asyncio.wait(children)
    else:
        with pytest.raises(ExceptionGroup):
            await group()
    lines = [row.getMessage() for row in caplog.records if row.levelname == "WARNING"]
    assert sorted(lines) == sorted(
        f"interrupted; generation {created.id} of project {created.project_id} may still run "
        "and be billed"
        for created in sandbox.state.generations.values()
    )
    assert len(lines) == 2
    assert {row.name for row in caplog.records if row.levelname == "WARNING"} == {"diffio_async"}


async def test_at_most_a_hundred_generations_are_listed(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """The notes of a cancelled wait list a hundred ids and the number of others."""
    sandbox.faults.add(forever(progress_body("processing")))
    waiting = asyncio.create_task(
        client.generations.wait_many([f"gen_{n}" for n in range(120)], api_project_id=None)
    )
    while not requests_to(sandbox, PROGRESS):
        await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await waiting
    assert caught.value.__notes__[0] == "generation_id=gen_0"
    assert sum(note.startswith("generation_id=") for note in caught.value.__notes__) == 100
    assert caught.value.__notes__[-1] == "and 20 more generations"
