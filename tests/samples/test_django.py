"""`samples/django_service` under uvicorn, and its command in processes, one of which is killed."""

from __future__ import annotations

import shutil
import signal
from typing import TYPE_CHECKING

import aiohttp
import anyio
import pytest

from diffio_async.sandbox import Fault, RespondWith
from tests.ports import free_port
from tests.samples.programs import (
    ENDED,
    RECORDING,
    SAMPLES,
    commands,
    listening,
    running,
    succeed,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from diffio_async.sandbox import Sandbox
    from tests.samples.conftest import Journey

pytest.importorskip("django")
pytestmark = pytest.mark.slow

PROJECT = SAMPLES / "django_service"


async def test_a_recording_is_restored_and_streamed(
    diffio_environment: Mapping[str, str], journey: Journey, tmp_path: Path
) -> None:
    """The result is streamed after its event, and SIGTERM ends the server well."""
    port, data = str(free_port()), str(tmp_path / "data")
    migrate, serve = commands("django_service/", **{"8000": port})
    await succeed(migrate, folder=PROJECT, DATA=data)
    async with running(serve, tmp_path / "output", folder=PROJECT, DATA=data) as service:
        await journey(await listening(port))
        assert await service.stop() in ENDED
    output = service.output.read_text()
    assert "Application shutdown complete" in output
    assert "Traceback" not in output
    assert "must consume" not in output  # Django's warning, if a response were not asynchronous


@pytest.mark.diffio(
    duration=3.0, faults=[Fault(path="/v1/*-generation", action=RespondWith(status=402))]
)
async def test_the_command_continues_what_failed_or_was_killed(
    diffio_environment: Mapping[str, str], diffio_sandbox: Sandbox, tmp_path: Path
) -> None:
    """An upload whose generation was refused is neither uploaded nor billed twice later."""
    port, data = str(free_port()), str(tmp_path / "data")
    migrate, serve = commands("django_service/", **{"8000": port})
    restore = [migrate[0], migrate[1], "restore_recordings"]
    await succeed(migrate, folder=PROJECT, DATA=data)
    async with running(serve, tmp_path / "output", folder=PROJECT, DATA=data):
        url = await listening(port)
        with RECORDING.open("rb") as file:
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"{url}/recordings", data={"recording": file}) as response,
            ):
                assert response.status == 502
                assert "402" not in (await response.json())["error"]
    assert "402" in (tmp_path / "output").read_text()
    async with running(restore, tmp_path / "killed", folder=PROJECT, DATA=data) as command:
        await until(lambda: bool(diffio_sandbox.state.generations))
        await command.stop(signal.SIGKILL)
    assert "restored/1.mp3" in await succeed(restore, folder=PROJECT, DATA=data)
    assert await succeed(restore, folder=PROJECT, DATA=data) == ""
    result = tmp_path / "data" / "media" / "restored" / "1.mp3"
    assert result.read_bytes() == RECORDING.read_bytes()
    assert len(diffio_sandbox.state.projects) == len(diffio_sandbox.state.generations) == 1


async def test_the_command_restores_a_folder(
    diffio_environment: Mapping[str, str], tmp_path: Path
) -> None:
    """The results are in the folder `restored`; a damaged key fails with the reason alone."""
    shutil.copy(RECORDING, tmp_path / "talk.wav")
    command = [*commands("django_service/")[0][:2], "restore_recordings", str(tmp_path)]
    data = str(tmp_path / "data")
    assert "talk.wav: done" in await succeed(command, folder=PROJECT, DATA=data)
    assert (tmp_path / "restored" / "talk.restored.mp3").exists()
    async with running(
        command, tmp_path / "refused", folder=PROJECT, DATA=data, DIFFIO_API_KEY="'quoted'"
    ) as refused:
        with anyio.fail_after(120):
            assert await refused.process.wait() == 1
    output = refused.output.read_text()
    assert "quotes" in output
    assert "Traceback" not in output


async def test_the_migrations_fit_the_models(tmp_path: Path) -> None:
    """`makemigrations --check` finds nothing to do."""
    command = [*commands("django_service/")[0][:2], "makemigrations", "--check"]
    assert "No changes" in await succeed(command, folder=PROJECT, DATA=str(tmp_path))
