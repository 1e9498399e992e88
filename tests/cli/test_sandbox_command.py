"""`diffio-async sandbox`: a local Diffio for any client, until it is stopped."""

from __future__ import annotations

import shlex
import signal
import stat
from typing import TYPE_CHECKING

import anyio
import pytest
from aiohttp import web
from anyio.streams.text import TextReceiveStream

from diffio_async.sandbox.command import PORT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run, Start

#: Most tests start processes.
pytestmark = pytest.mark.slow


async def lines_to_copy(
    start: Start, *arguments: object
) -> tuple[anyio.abc.Process, dict[str, str]]:
    """Start the sandbox and read the lines it prints."""
    process = await start("sandbox", "--port", "0", *arguments)
    assert process.stdout is not None
    printed = ""
    with anyio.fail_after(120):
        async for piece in TextReceiveStream(process.stdout):
            printed += piece
            if printed.count("\n") == 4:
                break
    exports = [shlex.split(line) for line in printed.splitlines()]
    assert [words[0] for words in exports] == ["export"] * 4
    return process, dict(words[1].split("=", 1) for words in exports)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_printed_environment_configures_a_client(
    start: Start, run: Run, talk: Path, tmp_path: Path, number: signal.Signals
) -> None:
    """With the printed environment a recording is restored; a signal stops it with code 0."""
    process, environment = await lines_to_copy(start, "--data", "kept")
    done = await run("restore", talk, env=environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "talk.restored.mp3").is_file()
    process.send_signal(number)
    with anyio.fail_after(120):
        assert await process.wait() == 0
    assert (tmp_path / "kept").is_dir()


async def test_faults_are_injected(start: Start, run: Run, talk: Path, tmp_path: Path) -> None:
    """The faults of a plan affect the clients of the sandbox."""
    (tmp_path / "plan.json").write_text(
        '{"faults": [{"path": "*/create_project", "action": {"respond_with": {"status": 402}}}]}'
    )
    _process, environment = await lines_to_copy(start, "--faults", "plan.json")
    done = await run("restore", talk, env=environment)
    assert done.returncode == 1
    assert "billing" in done.stderr


async def test_deliveries_are_accelerated_and_duplicated(start: Start, run: Run) -> None:
    """The options retry a refused delivery immediately, and repeat an accepted one."""
    accepted: list[str] = []

    async def take(request: web.BaseRequest) -> web.Response:
        accepted.append(request.headers["svix-id"])
        return web.Response(status=503 if len(accepted) == 1 else 204)

    options = ("--webhook-pace", "0.01", "--webhook-duplicates", "1", "--webhook-shuffle", "0.01")
    _process, environment = await lines_to_copy(start, *options)
    runner = web.ServerRunner(web.Server(take))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        await run("webhooks", "configure", "--url", url, env=environment)
        done = await run("webhooks", "test", env=environment)
        with anyio.fail_after(60):
            while len(accepted) < 3:
                await anyio.sleep(0.02)
    finally:
        await runner.cleanup()
    assert set(accepted) == {done.stdout.split()[4]}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--faults", "plan.json"], "faults[0].action"),
        (["--faults", "missing.json"], "missing.json: No such file"),
        (["--host", "0.0.0.0"], "--allow-remote"),
        (["--data", "plan.json"], "plan.json"),
    ],
)
async def test_a_failed_start_is_explained(
    run: Run, tmp_path: Path, arguments: list[str], words: str
) -> None:
    """An invalid plan or folder, or a public address, is one line and code 2."""
    (tmp_path / "plan.json").write_text('{"faults": [{"action": "explode"}]}')
    done = await run("sandbox", "--port", "0", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) <= 2


async def test_the_port_is_the_one_of_the_sandbox_run_alone(run: Run) -> None:
    """`diffio-async sandbox` and `python -m diffio_async.sandbox` listen on the same port."""
    done = await run("sandbox", "--help")
    assert str(PORT) in done.stdout


async def test_the_environment_is_written_to_a_file(start: Start, run: Run, tmp_path: Path) -> None:
    """`--env-file` contains the printed environment, readable only by the owner."""
    process, environment = await lines_to_copy(start, "--env-file", "sandbox.env")
    lines = (tmp_path / "sandbox.env").read_text().splitlines()
    assert dict(line.split("=", 1) for line in lines) == environment
    assert stat.S_IMODE((tmp_path / "sandbox.env").stat().st_mode) == 0o600
    assert environment["DIFFIO_WEBHOOK_SECRET"].startswith("whsec_")
    assert environment["DIFFIO_API_KEY_ID"] == "key_sandbox"
    process.terminate()
    with anyio.fail_after(120):
        assert await process.wait() == 0


async def test_a_retired_model_is_served_with_the_switch_alone(
    start: Start, run: Run, talk: Path
) -> None:
    """Without `--legacy-models` the response lists the served models."""
    for options, code in (((), 1), (("--legacy-models",), 0)):
        process, environment = await lines_to_copy(start, *options)
        done = await run("restore", "--model", "diffio-3.5", talk, env=environment)
        assert done.returncode == code, done.stderr
        assert ("diffio-4.6-pro" in done.stderr) is bool(code)
        process.terminate()
        await process.wait()
