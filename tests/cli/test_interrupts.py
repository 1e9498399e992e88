"""Ctrl-C and SIGTERM on a real process: no partial files, no open uploads, 130 and 143."""

from __future__ import annotations

import json
import shlex
import signal
from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async.sandbox import Delay, Fault, Sandbox, Stall
from tests.cli.conftest import PATIENCE

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async.sandbox.request_log import RecordedRequest
    from tests.cli.conftest import Run, Start

pytestmark = pytest.mark.slow

#: A generation that has not ended when the test has.
LONG = 600.0


async def until_seen(sandbox: Sandbox, fragment: str) -> None:
    """Wait until a request whose path has `fragment` has arrived."""
    with anyio.fail_after(PATIENCE):
        while not any(fragment in seen.path for seen in sandbox.requests):
            await anyio.sleep(0.02)


async def until_polled_twice(sandbox: Sandbox) -> None:
    """Wait until each generation was polled twice: the command has received the first response."""
    with anyio.fail_after(PATIENCE):
        while any(
            sum((seen.json or {}).get("generationId") == each for seen in polls(sandbox)) < 2
            for each in sandbox.state.generations
        ):
            await anyio.sleep(0.02)


async def interrupted(
    start: Start, sandbox: Sandbox, arguments: list[object], at: str, number: signal.Signals
) -> tuple[int, str, str]:
    """Run a command, signal it after a request to `at`; return its code, stdout, stderr."""
    process = await start(*arguments, env=sandbox.environment)
    await until_seen(sandbox, at)
    if at == "/get_generation_progress":
        await until_polled_twice(sandbox)
    else:
        await anyio.sleep(0.1)
    process.send_signal(number)
    with anyio.fail_after(PATIENCE):
        code = await process.wait()
    assert process.stdout is not None
    assert process.stderr is not None
    printed = b"".join([piece async for piece in process.stdout]).decode()
    stderr = b"".join([piece async for piece in process.stderr]).decode()
    return code, printed, stderr


def ids_in(sandbox: Sandbox) -> tuple[str, str]:
    """Return the ids of the only generation and its project."""
    (generation,) = sandbox.state.generations.values()
    return generation.id, generation.project_id


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_interrupted_upload_is_aborted(
    start: Start, talk: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """A signal during an upload aborts it at the edge and leaves no file."""
    slow = Fault(origin="edge", method="PUT", times=None, action=Delay(LONG))
    async with Sandbox(engine="echo", faults=[slow]) as sandbox:
        ended = await interrupted(start, sandbox, ["restore", talk], "/uploads/parts/", number)
        (project,) = sandbox.state.projects
        line = f"talk.wav: interrupted; the upload of {project} is being aborted\n"
        assert ended == (code, "", line)
        await until_seen(sandbox, "/uploads/abort")
    assert [path.name for path in tmp_path.iterdir()] == [talk.name]


async def test_a_second_interrupt_does_not_wait_for_the_cleanup(
    start: Start, talk: Path, tmp_path: Path
) -> None:
    """If the abort hangs, a second Ctrl-C ends the command immediately, with 130."""
    slow = Fault(origin="edge", method="PUT", times=None, action=Delay(LONG))
    hung = Fault(origin="edge", path="*/uploads/abort", times=None, action=Delay(LONG))
    async with Sandbox(engine="echo", faults=[slow, hung]) as sandbox:
        process = await start("restore", talk, env=sandbox.environment)
        await until_seen(sandbox, "/uploads/parts/")
        process.send_signal(signal.SIGINT)
        await until_seen(sandbox, "/uploads/abort")
        process.send_signal(signal.SIGINT)
        with anyio.fail_after(PATIENCE):
            assert await process.wait() == 130
        assert process.stderr is not None
        printed = b"".join([piece async for piece in process.stderr]).decode()
        assert "interrupted" in printed
    assert [path.name for path in tmp_path.iterdir()] == [talk.name]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_interrupted_request_for_a_generation_names_what_may_be_billed(
    run: Run, start: Start, talk: Path, number: signal.Signals, code: int
) -> None:
    """Without a response, the printed command waits for the generation by its project."""
    hung = Fault(path="*-generation", times=None, action=Stall(seconds=LONG))
    async with Sandbox(engine="echo", faults=[hung]) as sandbox:
        ended = await interrupted(start, sandbox, ["restore", talk], "-generation", number)
        (project,) = sandbox.state.projects
        assert ended[:2] == (code, "")
        assert ended[2].splitlines() == [
            f"talk.wav: interrupted while a generation of {project} was being started; "
            "it may run and be billed",
            f"  wait for it: diffio-async wait --project {project}",
        ]
        command = ended[2].partition("wait for it: diffio-async ")[2]
        waited = await run(*shlex.split(command), env=sandbox.environment)
        assert waited.returncode == 0, waited.stderr


async def test_json_has_an_event_for_every_interruption(start: Start, talk: Path) -> None:
    """With `--json` there is an `interrupted` event in every stage of the command."""
    for path in ("create_project", "/uploads/parts/", "-generation"):
        hung = [
            Fault(origin=origin, path=f"*{path}*", times=None, action=Stall(seconds=LONG))
            for origin in ("api", "edge")
        ]
        async with Sandbox(engine="echo", faults=hung) as sandbox:
            arguments: list[object] = ["restore", "--json", talk]
            code, printed, stderr = await interrupted(
                start, sandbox, arguments, path, signal.SIGINT
            )
            last = json.loads(printed.splitlines()[-1])
            projects = list(sandbox.state.projects)
        assert (code, stderr) == (130, "")
        assert (last["event"], last["file"]) == ("interrupted", "talk.wav")
        assert last["generation_id"] is None
        if path == "-generation":
            assert last["api_project_id"] == projects[0]
            assert last["idempotency_key"]
            assert last["resume_command"] == f"diffio-async wait --project {projects[0]}"
        else:
            assert last["idempotency_key"] is last["resume_command"] is None


async def test_an_interruption_is_reported_before_anything_is_known(start: Start) -> None:
    """A command that is interrupted before its work prints one line."""
    hung = Fault(path="*list_*", times=None, action=Stall(seconds=LONG))
    async with Sandbox(engine="echo", faults=[hung]) as sandbox:
        arguments: list[object] = ["wait", "--project", "proj_1"]
        ended = await interrupted(start, sandbox, arguments, "list_", signal.SIGINT)
    assert ended == (130, "", "interrupted\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_interrupted_wait_ends(
    start: Start, talk: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """A signal while a generation runs ends the command, and the generation is reported."""
    async with Sandbox(engine="echo", duration=LONG) as sandbox:
        ended = await interrupted(
            start, sandbox, ["restore", talk], "/get_generation_progress", number
        )
        generation, project = ids_in(sandbox)
    command = f"diffio-async download {generation} --project {project} -o talk.restored.mp3"
    assert ended[:2] == (code, "")
    assert ended[2].splitlines() == [
        f"talk.wav: interrupted; generation {generation} of {project} continues",
        f"  resume: {command}",
    ]
    assert [path.name for path in tmp_path.iterdir()] == [talk.name]


async def test_json_reports_generations_that_continue(start: Start, talk: Path) -> None:
    """With `--json`, the last line of an interrupted command has the ids; stderr stays empty."""
    async with Sandbox(engine="echo", duration=LONG) as sandbox:
        arguments: list[object] = ["restore", "--json", "--type", "transcript", talk]
        code, printed, stderr = await interrupted(
            start, sandbox, arguments, "/get_generation_progress", signal.SIGTERM
        )
        generation, project = ids_in(sandbox)
        (made,) = sandbox.state.generations.values()
    assert (code, stderr) == (143, "")
    last = json.loads(printed.splitlines()[-1])
    assert last.pop("resume_command").endswith(" --type transcript -o talk.restored.json")
    assert last == {
        "event": "interrupted",
        "file": "talk.wav",
        "generation_id": generation,
        "api_project_id": project,
        "idempotency_key": made.idempotency_key,
    }


async def test_each_generation_that_continues_is_reported(
    start: Start, talk: Path, tmp_path: Path
) -> None:
    """Of several files, only those with a running generation are reported."""
    for name in ("a.wav", "b.wav", "c.wav"):
        (tmp_path / name).write_bytes((tmp_path / talk).read_bytes())
    async with Sandbox(engine="echo", duration=LONG) as sandbox:
        process = await start(
            "restore", "a.wav", "b.wav", "c.wav", "-j", "2", env=sandbox.environment
        )
        with anyio.fail_after(PATIENCE):
            while len(sandbox.state.generations) < 2:
                await anyio.sleep(0.02)
            await until_polled_twice(sandbox)
        process.send_signal(signal.SIGINT)
        with anyio.fail_after(PATIENCE):
            assert await process.wait() == 130
        assert process.stderr is not None
        printed = b"".join([piece async for piece in process.stderr]).decode()
        assert [generation in printed for generation in sandbox.state.generations] == [True, True]
    assert {line.partition(":")[0] for line in printed.splitlines()[::2]} == {"a.wav", "b.wav"}


async def test_an_interrupted_download_prints_the_same_command(start: Start, talk: Path) -> None:
    """A signal while `download` waits prints the same command."""
    async with Sandbox(engine="echo", duration=LONG) as sandbox:
        first = await interrupted(
            start, sandbox, ["restore", talk], "/get_generation_progress", signal.SIGINT
        )
        command = first[2].partition("resume: diffio-async ")[2].strip()
        polls_before = len(polls(sandbox))
        process = await start(*shlex.split(command), env=sandbox.environment)
        with anyio.fail_after(PATIENCE):
            while len(polls(sandbox)) < polls_before + 2:  # it has received a response
                await anyio.sleep(0.02)
        await anyio.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        with anyio.fail_after(PATIENCE):
            assert await process.wait() == 143
        assert process.stderr is not None
        again = b"".join([piece async for piece in process.stderr]).decode()
    assert again.partition("resume: diffio-async ")[2].strip() == command


def polls(sandbox: Sandbox) -> list[RecordedRequest]:
    """Return the polls so far."""
    return [seen for seen in sandbox.requests if "/get_generation_progress" in seen.path]


async def test_an_interrupted_download_leaves_nothing(
    start: Start, talk: Path, tmp_path: Path
) -> None:
    """A signal during a download leaves neither a result nor a partial file."""
    # A small result is written only when it is complete.
    (tmp_path / talk).write_bytes((tmp_path / talk).read_bytes() + bytes(300_000))
    half = Fault(origin="media", method="GET", action=Stall(after=50_000, seconds=LONG))
    async with Sandbox(engine="echo", faults=[half]) as sandbox:

        async def partly() -> None:
            with anyio.fail_after(PATIENCE):
                while len(list(tmp_path.iterdir())) == 1:
                    await anyio.sleep(0.02)

        process = await start("restore", talk, env=sandbox.environment)
        await partly()
        process.send_signal(signal.SIGINT)
        with anyio.fail_after(PATIENCE):
            assert await process.wait() == 130
    assert [path.name for path in tmp_path.iterdir()] == [talk.name]


async def test_an_interrupted_embedded_sandbox_leaves_nothing(
    start: Start, long_talk: Path, tmp_path: Path
) -> None:
    """Ctrl-C with `--sandbox` also ends its workers, without a traceback."""
    process = await start("restore", "--sandbox", "--json", long_talk)
    assert process.stdout is not None
    with anyio.fail_after(PATIENCE):
        async for piece in process.stdout:
            if b'"progress"' in piece:
                break
    process.send_signal(signal.SIGINT)
    with anyio.fail_after(PATIENCE):
        assert await process.wait() == 130
        # The pipe ends when the last process that holds it does: the workers inherit it.
        assert process.stderr is not None
        printed = b"".join([piece async for piece in process.stderr])
    assert printed == b""
    assert [path.name for path in tmp_path.iterdir()] == [long_talk.name]


async def test_an_interruption_after_the_end_prints_nothing(start: Start) -> None:
    """Ctrl-C while the process waits for its threads ends it at once, without a traceback."""
    thread = (
        "import sys, threading, time\n"
        "def work():\n"
        "    while threading.main_thread().is_alive(): time.sleep(0.01)\n"
        "    sys.stdout.write('ended'); sys.stdout.flush(); time.sleep(60)\n"
        "threading.Thread(target=work).start()\n"
    )
    process = await start("batch", "status", "missing", before=thread)
    assert process.stdout is not None
    assert process.stderr is not None
    with anyio.fail_after(PATIENCE):
        assert await process.stdout.receive() == b"ended"
    await anyio.sleep(0.1)  # it exits with 2 when the thread ends
    process.send_signal(signal.SIGINT)
    with anyio.fail_after(PATIENCE):
        assert await process.wait() == -signal.SIGINT
    printed = b"".join([piece async for piece in process.stderr])
    assert printed.count(b"\n") == 1, printed
