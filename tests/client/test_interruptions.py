"""Ctrl-C in a blocking client names what goes on at the service, as a cancellation does."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async.sandbox import Fault, Sandbox, Stall
from tests.scripts import GENERATION, PROGRESS, asked, forever, told, uploaded

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async import AsyncDiffio

#: The calls that start a generation themselves.
STARTING = {"restore", "isolate", "create", "create_and_wait", "compat_isolate"}
DOWNLOAD = "/v1/get_generation_download"
#: Runs one call, and prints what the interruption of it says.
PROGRAM = """
import json, os, signal, sys
from diffio_async.compat import DiffioClient
from diffio_async.sync import Diffio

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
folder, project, generation = sys.argv[2:]
key, url = os.environ["DIFFIO_API_KEY"], os.environ["DIFFIO_API_BASE_URL"]
source = folder + "/talk.wav"
client = Diffio(key, base_url=url)
compat = DiffioClient(apiKey=key, baseUrl=url)
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
try:
    calls[sys.argv[1]]()
except KeyboardInterrupt as error:
    seen = {name: value for name, value in vars(error).items() if name != "__notes__"}
    print(json.dumps({"notes": error.__notes__, "seen": seen, "bare": error.args == ()}))
"""


async def interrupted(
    sandbox: Sandbox, call: str, path: str, folder: Path, *ids: str
) -> dict[str, Any]:
    """What Ctrl-C in a call says, once the server has been asked for `path`."""
    (folder / "talk.wav").write_bytes(b"speech " * 100)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, call, str(folder), *ids),
        env={"DIFFIO_API_KEY": sandbox.api_key, "DIFFIO_API_BASE_URL": sandbox.base_url},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        while not asked(sandbox, path) and process.returncode is None:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    # What was started is logged as well, in one line.
    starts = call in STARTING
    assert len(errors.decode().splitlines()) == starts, errors.decode()
    assert ("may" in errors.decode() and "run and be billed" in errors.decode()) is starts
    found: dict[str, Any] = json.loads(out)
    return found


@pytest.mark.parametrize(
    ("call", "path"),
    [
        ("restore", PROGRESS),
        ("create_and_wait", PROGRESS),
        ("get_progress", PROGRESS),
        ("wait_for_complete", PROGRESS),
        ("watch", PROGRESS),
        ("wait_many", PROGRESS),
        ("as_completed", PROGRESS),
        ("download", DOWNLOAD),
        ("get_download", DOWNLOAD),
        ("restore_many", PROGRESS),
        ("compat_restore", PROGRESS),
        ("compat_wait", PROGRESS),
        ("compat_create_and_wait", PROGRESS),
        ("compat_download", DOWNLOAD),
    ],
)
async def test_ctrl_c_names_the_generation_that_goes_on(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, call: str, path: str
) -> None:
    """Whatever blocks: the project's and the generation's ids are in the notes."""
    project = await uploaded(client)
    known = await client.generations.create(api_project_id=project)
    sandbox.faults.add(
        Fault(path=path, times=None, action=Stall(seconds=60))
        if path == DOWNLOAD or call == "get_progress"
        else forever(told("processing"))
    )
    found = await interrupted(sandbox, call, path, tmp_path, project, known.generation_id)
    pairs = {
        (row.api_project_id, generation.generation_id)
        for row in await client.projects.list()
        for generation in await client.projects.list_generations(api_project_id=row.api_project_id)
    }
    notes = "\n".join(found["notes"])
    assert any(both[0] in notes and both[1] in notes for both in pairs), notes
    compat = call.startswith("compat")
    assert (f"{'generationId' if compat else 'generation_id'}=") in notes
    assert ("generation_id" in notes) is not compat
    if call not in {"wait_many", "as_completed", "restore_many"}:
        name = "generationId" if compat else "generation_id"
        assert f"{name}={found['seen'][name]}" in found["notes"]


@pytest.mark.parametrize("call", ["create", "isolate", "compat_isolate"])
async def test_ctrl_c_while_a_generation_is_asked_for_names_its_key(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, call: str
) -> None:
    """Nobody knows its id yet; the project and the key lead to it."""
    project = await uploaded(client)
    sandbox.faults.add(Fault(path=GENERATION, times=None, action=Stall(seconds=60)))
    found = await interrupted(sandbox, call, "*-generation", tmp_path, project, "-")
    projects = [row.api_project_id for row in await client.projects.list()]
    notes = "\n".join(found["notes"])
    assert any(each in notes for each in projects)
    assert ("idempotencyKey=" if call.startswith("compat") else "idempotency_key=") in notes


@pytest.mark.parametrize("grouped", ["gather", "task_group"])
async def test_generations_of_cancelled_siblings_are_logged(
    client: AsyncDiffio, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, grouped: str
) -> None:
    """A group drops the notes of cancelled children; the log keeps each generation, once."""
    sandbox.faults.add(forever(told("processing")))

    async def fail() -> None:
        while len({seen.json["generationId"] for seen in asked(sandbox, PROGRESS)}) < 2:
            await asyncio.sleep(0.01)
        raise ZeroDivisionError

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(2):
                tasks.create_task(client.restore(b"speech"))
            tasks.create_task(fail())

    if grouped == "gather":
        running = asyncio.gather(client.restore(b"speech"), client.restore(b"speech"))
        with pytest.raises(ZeroDivisionError):
            await fail()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    else:
        with pytest.raises(ExceptionGroup):
            await group()
    lines = [row.getMessage() for row in caplog.records if row.levelname == "WARNING"]
    assert sorted(lines) == sorted(
        f"interrupted; generation {made.id} of project {made.project_id} may still run "
        "and be billed"
        for made in sandbox.state.generations.values()
    )
    assert len(lines) == 2
    assert {row.name for row in caplog.records if row.levelname == "WARNING"} == {"diffio_async"}


async def test_many_generations_are_named_up_to_a_hundred(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """A cancelled wait for many names them, and says how many more there are."""
    sandbox.faults.add(forever(told("processing")))
    waiting = asyncio.create_task(
        client.generations.wait_many([f"gen_{n}" for n in range(120)], api_project_id=None)
    )
    while not asked(sandbox, PROGRESS):
        await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await waiting
    assert caught.value.__notes__[0] == "generation_id=gen_0"
    assert sum(note.startswith("generation_id=") for note in caught.value.__notes__) == 100
    assert caught.value.__notes__[-1] == "and 20 more generations"
