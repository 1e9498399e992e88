"""`samples/aiohttp_service.py` as a server, with events that the sandbox delivers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.samples.programs import commands, free_port, listening, running

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.samples.conftest import Journey

pytestmark = pytest.mark.slow


async def test_a_recording_is_restored_and_served(
    diffio_environment: Mapping[str, str], journey: Journey, tmp_path: Path
) -> None:
    """The result is available after the event, and SIGTERM ends the server well."""
    port = free_port()
    (command,) = commands("aiohttp_service.py", **{"8000": port})
    results, inbox = str(tmp_path / "results"), str(tmp_path / "inbox.db")
    async with running(
        command, tmp_path / "output", RESULTS=results, DIFFIO_INBOX=inbox
    ) as service:
        started = await journey(await listening(port))
        assert await service.stop() == 0
    assert [path.name for path in (tmp_path / "results").iterdir()] == [
        f"{started['generation_id']}.mp3"
    ]
    assert "Traceback" not in service.output.read_text()
