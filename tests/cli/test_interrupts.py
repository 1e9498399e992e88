"""Ctrl-C and SIGTERM, on a real process: nothing half-written, nothing left open, 130 and 143."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async.sandbox import Delay, Fault, Sandbox, Stall

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Start

pytestmark = pytest.mark.slow

#: A generation that has not ended when the test has.
LONG = 60.0


async def until_seen(sandbox: Sandbox, fragment: str) -> None:
    """Wait until a request whose path has `fragment` has arrived."""
    with anyio.fail_after(20):
        while not any(fragment in seen.path for seen in sandbox.requests):
            await anyio.sleep(0.02)


async def interrupted(
    start: Start, sandbox: Sandbox, talk: Path, at: str, number: signal.Signals
) -> int:
    """Restore a file, send a signal once a request to `at` is there; the exit code."""
    process = await start("restore", talk, env=sandbox.environment)
    await until_seen(sandbox, at)
    await anyio.sleep(0.1)
    process.send_signal(number)
    with anyio.fail_after(10):
        code = await process.wait()
    assert process.stderr is not None
    assert b"".join([piece async for piece in process.stderr]) == b""
    return code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_interrupted_upload_is_aborted(
    start: Start, talk: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """A signal in the middle of an upload aborts it at the edge and leaves no file."""
    slow = Fault(origin="edge", method="PUT", times=None, action=Delay(LONG))
    async with Sandbox(engine="echo", faults=[slow]) as sandbox:
        assert await interrupted(start, sandbox, talk, "/uploads/parts/", number) == code
        await until_seen(sandbox, "/uploads/abort")
    assert [path.name for path in tmp_path.iterdir()] == [talk.name]


async def test_a_second_interrupt_does_not_wait_for_the_cleaning_up(
    start: Start, talk: Path, tmp_path: Path
) -> None:
    """Where even the abort hangs, a second Ctrl-C ends the command at once, still with 130."""
    slow = Fault(origin="edge", method="PUT", times=None, action=Delay(LONG))
    hung = Fault(origin="edge", path="*/uploads/abort", times=None, action=Delay(LONG))
    async with Sandbox(engine="echo", faults=[slow, hung]) as sandbox:
        process = await start("restore", talk, env=sandbox.environment)
        await until_seen(sandbox, "/uploads/parts/")
        process.send_signal(signal.SIGINT)
        await until_seen(sandbox, "/uploads/abort")
        process.send_signal(signal.SIGINT)
        with anyio.fail_after(4):
            assert await process.wait() == 130
    assert [path.name for path in tmp_path.iterdir()] == [talk.name]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_an_interrupted_wait_ends(
    start: Start, talk: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    """A signal while a generation runs ends the command, and leaves no file."""
    async with Sandbox(engine="echo", duration=LONG) as sandbox:
        assert await interrupted(start, sandbox, talk, "/get_generation_progress", number) == code
    assert [path.name for path in tmp_path.iterdir()] == [talk.name]


async def test_an_interrupted_download_leaves_nothing(
    start: Start, talk: Path, tmp_path: Path
) -> None:
    """A signal in the middle of a download leaves neither a result nor a part of one."""
    half = Fault(origin="media", method="GET", action=Stall(after=50_000, seconds=LONG))
    async with Sandbox(engine="echo", faults=[half]) as sandbox:

        async def partly() -> None:
            with anyio.fail_after(20):
                while len(list(tmp_path.iterdir())) == 1:
                    await anyio.sleep(0.02)

        process = await start("restore", talk, env=sandbox.environment)
        await partly()
        process.send_signal(signal.SIGINT)
        with anyio.fail_after(10):
            assert await process.wait() == 130
    assert [path.name for path in tmp_path.iterdir()] == [talk.name]


async def test_an_interrupted_embedded_sandbox_leaves_nothing(
    start: Start, long_talk: Path, tmp_path: Path
) -> None:
    """Ctrl-C with `--sandbox` ends its workers too, and shows no traceback."""
    process = await start("restore", "--sandbox", "--json", long_talk)
    assert process.stdout is not None
    with anyio.fail_after(20):
        async for piece in process.stdout:
            if b'"progress"' in piece:
                break
    process.send_signal(signal.SIGINT)
    with anyio.fail_after(15):
        assert await process.wait() == 130
        # The pipe ends when the last process that holds it does: the workers inherit it.
        assert process.stderr is not None
        said = b"".join([piece async for piece in process.stderr])
    assert said == b""
    assert [path.name for path in tmp_path.iterdir()] == [long_talk.name]
