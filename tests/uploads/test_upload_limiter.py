"""Limit of the parts in flight: it grows with throughput, and shrinks when throttled."""

from __future__ import annotations

import asyncio
import math
import sys
from typing import TYPE_CHECKING

import pytest

from diffio_async import RetryPolicy, UploadFailed
from diffio_async._http.bodies import InFlightPart
from diffio_async._uploads.parts import UploadLimiter
from diffio_async.errors import ApiError, ResponseTimeout
from diffio_async.sandbox import Delay, Fault, RespondWith
from tests.uploads.scenes import PART, max_concurrency, scene, sound

if TYPE_CHECKING:
    from diffio_async.errors import DiffioError

pytestmark = pytest.mark.usefixtures("_no_task_left")

CONTENT = sound(32 * PART)
SLOW = Fault(method="PUT", times=None, action=Delay(0.02))


def policy_with_short_delays(attempts: int = 5) -> RetryPolicy:
    """Return a retry policy with short delays."""
    return RetryPolicy(attempts=attempts, initial_delay=0.01, max_delay=0.05)


@pytest.mark.parametrize(
    ("seconds", "limit"), [(0.001, 2), (0.03, 4), (30.0, 2)], ids=["short", "long", "overloaded"]
)
async def test_more_parts_are_sent_at_first_on_a_long_link(seconds: float, limit: int) -> None:
    limiter, flight = UploadLimiter(8), InFlightPart()
    limiter.on_round_trip(seconds)
    assert limiter.limit == limit
    async with limiter.slot("upload", flight):
        limiter.on_round_trip(0.03)
        flight.written = 1
    limiter.on_round_trip(0.03)
    assert limiter.limit == limit  # determined by the throughput from now on


@pytest.mark.slow
async def test_the_first_request_to_the_host_shows_that_the_link_is_long() -> None:
    slow_start = Fault(path="*/uploads/start", action=Delay(0.05))
    async with scene(faults=[slow_start, SLOW], max_concurrent_parts=8) as on:
        assert on.uploaded_bytes(await on.client.projects.create(CONTENT)) == CONTENT
        assert max_concurrency(on.parts()[:6]) == 4


@pytest.mark.slow
async def test_the_limit_grows_while_throughput_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part takes the same time, so four in flight are twice as fast as two."""
    monkeypatch.setattr("diffio_async._uploads.parts.LONG_ROUND_TRIP", math.inf)
    async with scene(faults=[SLOW], max_concurrent_parts=4) as on:
        assert on.uploaded_bytes(await on.client.projects.create(CONTENT)) == CONTENT
        assert max_concurrency(on.parts()[:4]) == 2
        assert max_concurrency(on.parts()) == 4


@pytest.mark.slow
async def test_a_larger_limit_without_gain_is_given_up() -> None:
    """The host serves one part at a time, so two in flight are as fast as eight."""
    turns = asyncio.Lock()
    limiter = UploadLimiter(4)

    async def part(bytes_: int) -> None:
        flight = InFlightPart()
        async with limiter.slot("upload", flight):
            for _ in range(20):
                async with turns:
                    await asyncio.sleep(0.002)
                flight.written += bytes_ // 20

    async def worker() -> None:
        end = asyncio.get_running_loop().time() + 3
        while asyncio.get_running_loop().time() < end:
            await part(200_000)
            limits.append(limiter.limit)

    limits: list[int] = []
    async with asyncio.TaskGroup() as workers:
        for _ in range(4):
            workers.create_task(worker())
    assert max(limits) == 4
    # At the end; on a busy machine, another attempt may just have begun.
    assert 2 in limits[limits.index(4) :]


@pytest.mark.slow
async def test_all_uploads_share_one_limit_in_turn() -> None:
    """A small upload does not wait for the end of an earlier large one."""
    async with scene(faults=[SLOW], max_concurrent_parts=2) as on:
        large = asyncio.create_task(on.client.projects.create(CONTENT))
        while len(on.parts()) < 2:
            await asyncio.sleep(0.005)
        await on.client.projects.create(b"small")
        assert not large.done()
        assert len(on.parts()) < 12
        await large
        assert max_concurrency(on.parts()) == 2


@pytest.mark.slow
async def test_a_host_that_throttles_gets_fewer_parts_at_once() -> None:
    """Many 429 and 503 responses halve the limit, and the upload succeeds."""
    faults_in_turn = [
        Fault(method="PUT", times=5, action=RespondWith(429, {"Retry-After": "0.05"})),
        Fault(method="PUT", times=5, action=RespondWith(503)),
    ]
    slow = Fault(method="PUT", times=20, action=Delay(0.05))
    async with scene(
        faults=[slow], max_concurrent_parts=8, retry=policy_with_short_delays(50)
    ) as on:
        uploading = asyncio.create_task(on.client.projects.create(CONTENT))
        while max_concurrency(on.parts()) < 4:
            await asyncio.sleep(0.005)
        on.fail(*faults_in_turn)
        assert on.uploaded_bytes(await uploading) == CONTENT
        refused = [seen for seen in on.parts() if seen.status in {429, 503}]
        assert len(refused) == 10
        after = [seen for seen in on.parts() if seen.at > refused[-1].at]
        assert max_concurrency(after) <= 2


@pytest.mark.slow
async def test_a_part_that_waits_for_its_next_attempt_holds_no_slot() -> None:
    """One is refused for a while; the others are sent in its place."""
    late = Fault(path="*/parts/1", action=RespondWith(500, {"Retry-After": "3"}))
    async with scene(faults=[late, SLOW], max_concurrent_parts=3) as on:
        assert on.uploaded_bytes(await on.client.projects.create(sound(12 * PART))) == sound(
            12 * PART
        )
        first, again = (seen for seen in on.parts() if seen.path.endswith("/parts/1"))
        meanwhile = [seen for seen in on.parts() if first.at < seen.at < again.at]
        assert max_concurrency(meanwhile) == 2
        assert len(meanwhile) >= 10


class UnrelatedError(Exception):
    """An exception that does not concern throttling."""


@pytest.mark.parametrize(
    ("failure", "halved"),
    [
        (ApiError("", status=429), True),
        (ApiError("", status=503), True),
        (ApiError("", status=504), True),
        (ResponseTimeout(""), True),
        (ApiError("", status=500), False),
        (ApiError("", status=403), False),
        (UnrelatedError(), False),
    ],
)
async def test_which_errors_throttle_and_which_do_not(
    failure: DiffioError | UnrelatedError, halved: bool
) -> None:
    limiter = UploadLimiter(8)
    with pytest.raises(type(failure)):
        async with limiter.slot("one", InFlightPart()):
            raise failure
    assert limiter.limit == (1 if halved else 2)


async def test_slots_are_granted_in_turn_among_uploads() -> None:
    limiter, order = UploadLimiter(1), list[str]()

    async def part(upload: str) -> None:
        async with limiter.slot(upload, InFlightPart()):
            order.append(upload)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        for upload in "aaaabbc":
            tasks.create_task(part(upload))
    # The first one does not wait; after it, uploads alternate.
    assert "".join(order) == "aabcaba"


async def test_a_cancelled_waiter_leaves_its_slot_to_others() -> None:
    """Before a slot is granted, and in the same iteration as the grant."""
    limiter = UploadLimiter(1)

    async def part(seconds: float = 0.0) -> None:
        async with limiter.slot("upload", InFlightPart()):
            await asyncio.sleep(seconds)

    holding = asyncio.create_task(part(0.02))
    await asyncio.sleep(0)
    early, late, last = (asyncio.create_task(part()) for _ in range(3))
    await asyncio.sleep(0)
    early.cancel()
    holding.cancel()
    await asyncio.sleep(0)
    late.cancel()
    await asyncio.wait_for(last, 20)
    await asyncio.gather(holding, early, late, return_exceptions=True)
    async with asyncio.timeout(20), limiter.slot("another", InFlightPart()):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
async def test_bytes_in_the_socket_buffer_are_not_acknowledged() -> None:
    """A host that does not read: a part is written at once, but few bytes are acknowledged."""
    flights: list[InFlightPart] = []
    original = InFlightPart.reset

    def begin(flight: InFlightPart) -> None:
        flights.append(flight)
        original(flight)

    never = Fault(method="PUT", times=None, action=Delay(60))
    size = 16 * 1024 * 1024
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(InFlightPart, "reset", begin)
        async with scene(uploads=("signed",), faults=[never]) as on:
            uploading = asyncio.create_task(on.client.projects.create(bytes(size)))
            async with asyncio.timeout(60):
                while not flights or not 0 < flights[0].acked_bytes() < flights[0].written:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.2)
            (flight,) = flights
            handed, through = flight.written, flight.acked_bytes()
            uploading.cancel()
            await asyncio.gather(uploading, return_exceptions=True)
    assert 0 < through < handed < size


async def test_an_upload_that_fails_frees_its_slots() -> None:
    refused = Fault(path="*/parts/2", action=RespondWith(403))
    async with scene(faults=[refused, SLOW], max_concurrent_parts=2) as on:
        with pytest.raises(UploadFailed):
            await on.client.projects.create(CONTENT)
        project = await on.client.projects.create(sound(4 * PART))
        assert on.uploaded_bytes(project) == sound(4 * PART)
