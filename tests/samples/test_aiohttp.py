"""`samples/aiohttp_service.py` as a server, with events that the sandbox delivers."""

from __future__ import annotations

import json
import shlex
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.ports import free_port
from tests.samples.programs import (
    ENDED,
    RECORDING,
    commands,
    listening,
    requests,
    running,
    succeed,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.samples.conftest import Journey

pytestmark = pytest.mark.slow


async def test_a_recording_is_restored_and_served(
    diffio_environment: Mapping[str, str], journey: Journey, tmp_path: Path
) -> None:
    """The result is available after the event, and SIGTERM ends the server well."""
    port = str(free_port())
    (command,) = commands("aiohttp_service.py", **{"8000": port})
    results, inbox = str(tmp_path / "results"), str(tmp_path / "inbox.db")
    async with running(
        command, tmp_path / "output", RESULTS=results, DIFFIO_INBOX=inbox
    ) as service:
        started = await journey(await listening(port))
        assert await service.stop() in ENDED
    assert [path.name for path in (tmp_path / "results").iterdir()] == [
        f"{started['generation_id']}.mp3"
    ]
    assert "Traceback" not in service.output.read_text()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_commands_of_the_readme_restore_the_sample(
    diffio_environment: Mapping[str, str], tmp_path: Path
) -> None:
    """They configure the endpoint, send the recording, and get its result by the id."""
    port = str(free_port())
    (command,) = commands("aiohttp_service.py", **{"8000": port})
    results, inbox = tmp_path / "results", str(tmp_path / "inbox.db")
    configure, send, get = [
        shlex.split(
            line.replace(":8000", f":{port}").replace("restored.mp3", str(tmp_path / "got"))
        )
        for line in requests()
    ]
    async with running(command, tmp_path / "output", RESULTS=str(results), DIFFIO_INBOX=inbox):
        await listening(port)
        await succeed(configure)
        started = json.loads(await succeed(send))
        await until(lambda: any(results.glob("*.mp3")))
        await succeed([each.replace("gen_…", started["generation_id"]) for each in get])
    assert (tmp_path / "got").read_bytes() == RECORDING.read_bytes()
