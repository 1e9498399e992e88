"""Time limits of calls that share one timer, and cancellations that are not limits."""

import asyncio

import pytest

from diffio_async import AsyncDiffio, RequestOptions
from diffio_async._http.sessions import SessionEntry
from diffio_async.errors import ResponseTimeout
from tests.http.peers import once, peer, responds, sends

SILENT = sends(then=30)


@pytest.mark.slow
async def test_each_of_several_calls_ends_at_its_own_limit() -> None:
    """The order in which they began does not matter."""
    ended: list[float] = []
    async with peer(SILENT) as host, once(host.url()) as client:

        async def call(seconds: float) -> None:
            with pytest.raises(ResponseTimeout, match=rf"within {seconds:g} s"):
                await client.projects.list(options=RequestOptions(timeout=seconds))
            ended.append(seconds)

        await asyncio.gather(*(call(seconds) for seconds in (0.9, 0.5, 0.7)))
    assert ended == [0.5, 0.7, 0.9]


@pytest.mark.slow
async def test_a_limit_applies_after_calls_that_ended_before_theirs() -> None:
    script = responds(200, b'{"projects": []}')
    async with peer(script, script, SILENT, keep=True) as host, once(host.url()) as client:
        for seconds in (1.0, 10.0):
            await client.projects.list(options=RequestOptions(timeout=seconds))
        with pytest.raises(ResponseTimeout):
            await client.projects.list(options=RequestOptions(timeout=1.2))


async def test_a_time_limit_of_the_caller_is_not_one_of_the_call() -> None:
    async with peer(SILENT) as host, once(host.url()) as client:
        with pytest.raises(TimeoutError) as caught:
            async with asyncio.timeout(0.1):
                await client.projects.list(options=RequestOptions(timeout=20))
        assert type(caught.value) is TimeoutError
        with pytest.raises(ResponseTimeout):
            async with asyncio.timeout(20):
                await client.projects.list(options=RequestOptions(timeout=0.3))


def kept_of(client: AsyncDiffio) -> list[SessionEntry]:
    """Return what a client keeps for each event loop."""
    return list(client._sender.sessions._kept.values())


async def test_a_call_that_is_cancelled_when_its_time_is_over_is_cancelled() -> None:
    """Both happen in one iteration of the event loop, in either order."""
    async with peer(SILENT) as host, once(host.url()) as client:
        for limit_first in (True, False):
            options = RequestOptions(timeout=20)
            calling = asyncio.create_task(client.projects.list(options=options))
            while not any(each.limit_timer._limits for each in kept_of(client)):
                await asyncio.sleep(0.01)
            (kept,) = kept_of(client)
            (limit,) = kept.limit_timer._limits
            for end in (limit.end, calling.cancel) if limit_first else (calling.cancel, limit.end):
                end()
            with pytest.raises(asyncio.CancelledError):
                await calling
