"""Independence of the local clock, which may be wrong or be set at any time."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async import AsyncDiffio, ClientOptions, RateLimited, RetryPolicy
from diffio_async.events import UploadRestarted, UploadResumed
from diffio_async.sandbox import Delay, Fault, RespondWith, Sandbox
from tests.uploads.scenes import PART, scene, sound

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HOURS = 3600.0


@pytest.fixture
def server_ahead(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sandbox, float], None]:
    """Function that sets a server's clock some seconds ahead of the local clock."""

    def set_ahead(sandbox: Sandbox, seconds: float) -> None:
        def clock() -> float:
            return time.time() + seconds

        monkeypatch.setattr(sandbox.state, "now", clock)
        # The time in the `Date` header of the server.
        monkeypatch.setattr("aiohttp.helpers.time", SimpleNamespace(time=clock, gmtime=time.gmtime))

    return set_ahead


def http(at: datetime) -> str:
    """Format a time for a header."""
    return format_datetime(at, usegmt=True)


@pytest.mark.parametrize("ahead", [-HOURS, -2.0, 2.0, HOURS])
async def test_a_retry_after_date_is_measured_by_the_responses_own_date(
    sandbox: Sandbox, ahead: float
) -> None:
    """The delay that a server requests does not depend on the local clock."""
    server = datetime.now(UTC) + timedelta(seconds=ahead)
    headers = {"Date": http(server), "Retry-After": http(server + timedelta(seconds=1))}
    sandbox.faults.add(
        Fault(path="*/list_projects", times=1, action=RespondWith(429, headers=headers))
    )
    options = ClientOptions(retry=RetryPolicy(attempts=1))
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client:
        with pytest.raises(RateLimited) as caught:
            await client.projects.list()
    assert caught.value.retry_after == 1.0


async def test_a_retry_after_date_alone_is_measured_by_an_earlier_date(sandbox: Sandbox) -> None:
    """Without `Date`, the clock of an earlier response of the server is used."""
    server = datetime.now(UTC) + timedelta(hours=1)
    options = ClientOptions(retry=RetryPolicy(attempts=1))
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client:
        for headers in (
            {"Date": http(server)},
            {"Date": "at noon", "Retry-After": http(server + timedelta(seconds=20))},
        ):
            limited = RespondWith(429, headers=headers)
            sandbox.faults.add(Fault(path="*/list_projects", times=1, action=limited))
            with pytest.raises(RateLimited) as caught:
                await client.projects.list()
    assert caught.value.retry_after is not None
    assert 15 < caught.value.retry_after <= 20


@pytest.mark.parametrize("ahead", [-48 * HOURS, 48 * HOURS])
async def test_an_upload_is_resumed_although_the_clocks_differ(
    tmp_path: Path, server_ahead: Callable[[Sandbox, float], None], ahead: float
) -> None:
    """Expiry of an upload session is determined by the server's clock alone."""
    content, state = sound(3 * PART), tmp_path / "talk.resume"
    events: list[object] = []
    stuck = Fault(path="*/parts/3", times=None, action=Delay(60))
    async with scene(faults=[stuck], observers=(events.append,)) as on:
        server_ahead(on.sandbox, ahead)
        uploading = asyncio.create_task(on.client.projects.create(content, resume=state))
        with anyio.fail_after(60):
            while len([seen for seen in on.parts() if seen.status == 200]) < 2:
                await anyio.sleep(0.005)
        uploading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await uploading
        assert state.exists()
        on.sandbox.faults.clear()
        project = await on.client.projects.create(content, resume=state)
        assert on.uploaded_bytes(project) == content
    assert any(isinstance(event, UploadResumed) for event in events)
    assert not any(isinstance(event, UploadRestarted) for event in events)
