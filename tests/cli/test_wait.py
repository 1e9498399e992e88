"""`diffio-async wait`: waits for generations that were started earlier."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shlex
import signal
from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async import AsyncDiffio, Generation
from diffio_async.sandbox import Fault, RespondWith, Sandbox
from tests.cli.conftest import PATIENCE
from tests.cli.test_interrupts import interrupted

if TYPE_CHECKING:
    from tests.cli.conftest import Run, Start

PROGRESS = "*/get_generation_progress"


async def start_generations(sandbox: Sandbox, *per_project: int) -> list[Generation]:
    """Start this many generations in each of several projects."""
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client:
        projects = [
            await client.projects.create(b"speech " * 100, file_name="speech.wav")
            for _ in per_project
        ]
        return [
            await client.generations.create(api_project_id=project.api_project_id)
            for project, many in zip(projects, per_project, strict=True)
            for _ in range(many)
        ]


def failed(generation: Generation) -> Fault:
    """Return a fault that reports the generation as failed."""
    response = {
        "generationId": generation.generation_id,
        "apiProjectId": generation.api_project_id,
        "status": "failed",
        "error": "no speech in it",
    }
    return Fault(path=PROGRESS, times=None, action=RespondWith(200, json=response))


@pytest.mark.slow
async def test_handles_are_waited_for(run: Run) -> None:
    """One line per generation on stdout, the totals on stderr; code 0."""
    async with Sandbox(engine="echo", duration=0.5) as sandbox:
        made = await start_generations(sandbox, 2, 1)
        handles = [generation.handle for generation in made]
        done = await run("wait", *handles, handles[0], env=sandbox.environment)
    assert done.returncode == 0, done.stderr
    lines = sorted(f"{generation.generation_id}: complete" for generation in made)
    assert sorted(done.stdout.splitlines()) == lines
    assert done.stderr.startswith("3 of 3 ended: 3 complete")


@pytest.mark.slow
async def test_running_generations_of_projects_are_waited_for(run: Run) -> None:
    """Without ids, `--project` selects its running generations; JSON has an object for each."""
    async with Sandbox(engine="echo", duration=12.0) as sandbox:
        made = await start_generations(sandbox, 2, 1)
        projects = list({generation.api_project_id: None for generation in made})
        named = [word for project in projects for word in ("--project", project)]
        done = await run("wait", *named, "--json", env=sandbox.environment)
        again = await run("wait", *named, env=sandbox.environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert {fact["event"] for fact in printed} == {"complete"}
    assert {fact["handle"] for fact in printed} == {generation.handle for generation in made}
    assert again.returncode == 0
    assert again.stdout == ""
    assert again.stderr == "".join(f"{project}: no generation is running\n" for project in projects)


@pytest.mark.slow
async def test_a_failure_or_timeout_is_code_1(run: Run, echo: Sandbox) -> None:
    """The reason is reported, and for a running generation the command that waits again."""
    bad, lost = await start_generations(echo, 1, 1)
    echo.faults.add(failed(bad))
    done = await run("wait", bad.handle, env=echo.environment)
    assert done.returncode == 1
    assert "no speech in it" in done.stderr
    echo.faults.clear()
    queued = {
        "generationId": lost.generation_id,
        "apiProjectId": lost.api_project_id,
        "status": "queued",
    }
    echo.faults.add(Fault(path=PROGRESS, times=None, action=RespondWith(200, json=queued)))
    named = [lost.generation_id, "--project", lost.api_project_id]
    done = await run("wait", *named, "--timeout", "3", "--json", env=echo.environment)
    assert done.returncode == 1
    (fact,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (fact["event"], fact["error"], fact["status"]) == ("failed", "WaitTimeout", "queued")
    assert shlex.split(fact["rerun_command"]) == ["diffio-async", "wait", *named]


async def test_an_unknown_project_does_not_stop_the_others(run: Run, echo: Sandbox) -> None:
    """It is reported with code 1."""
    (made,) = await start_generations(echo, 1)
    named = ["--project", "proj_none", "--project", made.api_project_id]
    done = await run("wait", *named, env=echo.environment)
    assert done.returncode == 1
    assert "proj_none: list_project_generations returned 404" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "name generations, by id or handle, or a --project"),
        (["--project", ""], "the id given with --project is empty"),
        (["gen_1", "--project", "a", "--project", "b"], "at most one --project"),
        (["dgh1.broken"], "is not a generation's handle"),
    ],
)
async def test_wrong_usage_is_refused(
    run: Run, echo: Sandbox, arguments: list[str], reason: str
) -> None:
    """Wrong usage ends with code 2 before anything is sent."""
    before = len(echo.requests)
    done = await run("wait", *arguments, env=echo.environment)
    assert done.returncode == 2
    assert reason in done.stderr
    assert len(echo.requests) == before


@pytest.mark.slow
@pytest.mark.parametrize("as_json", [False, True])
async def test_an_interrupted_wait_prints_how_to_wait_again(start: Start, as_json: bool) -> None:
    """The generations continue: code 130, and the command that waits for the rest."""
    async with Sandbox(engine="echo", duration=600.0) as sandbox:
        made = await start_generations(sandbox, 1, 1)
        handles = [generation.handle for generation in made]
        arguments: list[object] = ["wait", *handles, *(["--json"] if as_json else [])]
        code, printed, stderr = await interrupted(
            start, sandbox, arguments, "/get_generation_progress", signal.SIGINT
        )
    assert code == 130
    if as_json:
        (fact,) = [json.loads(line) for line in printed.splitlines()]
        again = fact["rerun_command"]
        assert fact["event"] == "interrupted"
        assert fact["generation_ids"] == [generation.generation_id for generation in made]
    else:
        assert "interrupted; 2 generations continue" in stderr
        again = stderr.partition("wait again: ")[2].splitlines()[0]
    assert shlex.split(again) == ["diffio-async", "wait", *handles]


@pytest.mark.slow
async def test_a_terminal_shows_one_table(start: Start) -> None:
    """It has the counts by state, and a line for each result above it."""
    ours, its = pty.openpty()
    async with Sandbox(engine="echo", duration=2.0) as sandbox:
        (made,) = await start_generations(sandbox, 1)
        env = {**sandbox.environment, "TERM": "xterm", "COLUMNS": "120"}
        process = await start("wait", made.handle, env=env, stdout=its, stderr=its)
        os.close(its)
        with anyio.fail_after(PATIENCE):
            shown = await anyio.to_thread.run_sync(read, ours)
            assert await process.wait() == 0
    assert "generations ended" in shown
    assert "running" in shown
    assert f"{made.generation_id}: complete" in shown
    assert "1 of 1 ended: 1 complete" in shown


def read(terminal: int) -> str:
    """Read from a terminal until its other end is closed."""
    pieces = []
    with contextlib.suppress(OSError), os.fdopen(terminal, "rb", buffering=0) as stream:
        while piece := stream.read(65536):
            pieces.append(piece)
    return b"".join(pieces).decode()
