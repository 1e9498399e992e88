"""The server: listening, start-up time, environment, and the command."""

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest
from raw_caller import calling, echoing

import diffio_async.sandbox
from diffio_async.sandbox import Fault, Sandbox, SandboxError, Stall
from diffio_async.sandbox.command import main
from diffio_async.sandbox.settings import DEFAULT_WEBHOOK_SECRET


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com", ""])
def test_a_sandbox_listens_on_loopback_only(host: str) -> None:
    with pytest.raises(SandboxError, match="allow_remote"):
        Sandbox(host=host)


async def test_beyond_loopback_links_name_the_host_the_client_used(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with calling(echoing(host="0.0.0.0", allow_remote=True)) as caller:
        url = caller.sandbox.base_url.replace("localhost", "127.0.0.1")
        headers = {"X-Api-Key": caller.sandbox.api_key}
        body = {"fileName": "a"}
        made = await caller.send("POST", f"{url}/create_project", json=body, headers=headers)
        assert made.json["uploadUrl"].startswith("http://127.0.0.1:")
        assert made.json["upload"]["edgeBaseUrl"].startswith("http://127.0.0.1:")
    assert "its API key is the public default" in caplog.text


async def test_a_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as received:
        port = received.getsockname()[1]
        with pytest.raises(SandboxError, match=f"cannot listen on 127.0.0.1:{port}") as refused:
            await echoing(port=port).start()
    assert ": Address already in use; stop the program" in str(refused.value)
    assert "--port 0" in str(refused.value)


@pytest.mark.parametrize(
    ("host", "port"), [("sandbox.invalid", 0), ("192.0.2.1", 0), ("127.0.0.1", 70_000)]
)
async def test_an_address_that_is_not_of_this_machine_is_refused(host: str, port: int) -> None:
    """An unknown host, the address of another, or no port; no program uses it."""
    with pytest.raises(SandboxError, match=r"cannot listen on .*; choose another address or port$"):
        await echoing(host=host, port=port, allow_remote=True).start()


@pytest.mark.parametrize("iterations", range(7))
async def test_a_connection_that_was_just_accepted_is_closed(iterations: int) -> None:
    """However many iterations of the event loop the connection is before the end."""
    sandbox = echoing()
    await sandbox.start()
    address = urlsplit(sandbox.base_url)
    with socket.create_connection((str(address.hostname), int(address.port or 0))):
        for _ in range(iterations):
            await asyncio.sleep(0)
        with warnings.catch_warnings(record=True) as unclosed:
            warnings.simplefilter("always", ResourceWarning)
            await sandbox.close()
            gc.collect()
    assert [str(each.message) for each in unclosed] == []


async def test_a_sandbox_starts_and_stops_fast() -> None:
    start, busy = time.monotonic(), time.process_time()
    async with echoing():
        pass
    assert time.process_time() - busy < 0.3
    assert time.monotonic() - start < 10  # on a busy machine


async def test_the_environment_configures_a_client() -> None:
    async with calling(echoing(api_key="a-key")) as caller:
        assert caller.sandbox.environment == {
            "DIFFIO_API_KEY": "a-key",
            "DIFFIO_API_BASE_URL": caller.sandbox.base_url,
        }
        assert caller.sandbox.base_url.endswith("/v1")


async def test_every_request_is_recorded() -> None:
    async with calling(echoing(keep_requests=2)) as caller:
        await caller.api("list_projects")
        await caller.api("create_project", fileName="a.wav")
        made = await caller.api("nothing")
        first, last = caller.sandbox.requests
        assert (first.origin, first.method, first.path) == ("api", "POST", "/v1/create_project")
        assert first.headers["authorization"] == f"Bearer {caller.sandbox.api_key}"
        assert first.json == {"fileName": "a.wav"}
        assert first.bytes_received == len('{"fileName": "a.wav"}')
        assert (first.status, last.status) == (200, 404)
        assert made.headers["x-request-id"] == last.request_id
        assert last.responded_at is not None
        assert first.at < last.at <= last.responded_at


async def test_many_connections_at_once() -> None:
    async with calling(echoing()) as caller:
        got = await asyncio.gather(*(caller.api("list_projects") for _ in range(200)))
        assert {one.status for one in got} == {200}


def test_importing_the_package_loads_neither_the_server_nor_the_audio_code() -> None:
    program = (
        "import sys, diffio_async.sandbox as s; s.Fault; s.read_plan; s.SandboxError;"
        "assert not {'aiohttp', 'av', 'numpy', 'sqlite3'} & set(sys.modules);"
        "s.Sandbox; assert not {'av', 'numpy', 'svix', 'cattrs'} & set(sys.modules);"
        "own = {m for m in sys.modules if m.startswith('diffio_async.')};"
        "own -= {'diffio_async._version'};"
        "assert all(m.startswith('diffio_async.sandbox') for m in own), own"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_public_names_are_sorted_and_exist() -> None:
    names = diffio_async.sandbox.__all__
    assert names == sorted(names) == sorted(dir(diffio_async.sandbox))
    assert all(getattr(diffio_async.sandbox, name) is not None for name in names)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = diffio_async.sandbox.nonsense


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
async def test_the_command_stops_cleanly_on_a_signal(
    number: signal.Signals, tmp_path: Path
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text(
        '{"faults": [{"path": "*list_projects", "action": {"respond_with": {"status": 503}}}]}'
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-m", "diffio_async.sandbox", "--port", "0"),
        *("--data", str(tmp_path / "data"), "--faults", str(plan)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    lines = [(await process.stdout.readline()).decode().strip() for _ in range(4)]
    assert lines[0] == "export DIFFIO_API_KEY=diffio_sandbox_key"
    base_url = lines[1].removeprefix("export DIFFIO_API_BASE_URL=")
    assert lines[2] == f"export DIFFIO_WEBHOOK_SECRET={DEFAULT_WEBHOOK_SECRET}"
    assert lines[3] == "export DIFFIO_API_KEY_ID=key_sandbox"
    headers = {"X-Api-Key": "diffio_sandbox_key"}
    async with aiohttp.ClientSession(headers=headers) as session:
        async with session.post(f"{base_url}/create_project", json={"fileName": "a"}) as response:
            assert response.status == 200
        async with session.post(f"{base_url}/list_projects", json={}) as response:
            assert response.status == 503
    process.send_signal(number)
    out, errors = await process.communicate()
    assert (process.returncode, out, errors) == (0, b"", b"")


def test_the_command_reports_an_invalid_plan_and_exits_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('{"faults": [{"action": "explode"}]}')
    assert main(["--faults", str(plan)]) == 2
    assert capsys.readouterr().err.startswith("faults[0].action: 'explode' is not one of")


async def test_a_client_that_goes_away_within_its_request_is_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No traceback: the sandbox is not at fault."""
    with caplog.at_level("INFO"):
        async with calling(echoing()) as caller:
            url = urlsplit(caller.sandbox.base_url)
            _, writer = await asyncio.open_connection(url.hostname, url.port)
            head = "POST /v1/list_projects HTTP/1.1\r\nHost: {}\r\nContent-Length: 99\r\n"
            head += f"Authorization: Bearer {caller.sandbox.api_key}\r\n"
            head += "Content-Type: application/json\r\n\r\n{"
            writer.write(head.replace("{}", url.netloc, 1).encode())
            async with asyncio.timeout(60):
                while not caller.sandbox.requests:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.05)
            writer.transport.abort()
            async with asyncio.timeout(60):
                while "went away" not in caplog.text:
                    await asyncio.sleep(0.01)
    lines = [row.getMessage() for row in caplog.records if row.levelname != "DEBUG"]
    assert [line for line in lines if "went away" in line] == [
        "POST /v1/list_projects: the client went away"
    ]
    assert "Traceback" not in caplog.text


async def test_a_client_that_goes_away_within_its_response_is_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """No traceback either, such as for a program that was killed during a download."""
    with caplog.at_level("INFO"):
        stall = Fault(origin="media", method="GET", action=Stall(seconds=0.1, after=2))
        async with calling(echoing(faults=[stall])) as caller:
            response = await caller.session.get(await caller.link(await caller.restored()))
            assert await response.content.readany() == b"so"
            response.close()
            async with asyncio.timeout(60):
                while "went away" not in caplog.text:
                    await asyncio.sleep(0.01)
    assert "Traceback" not in caplog.text
