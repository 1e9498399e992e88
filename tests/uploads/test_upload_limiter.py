"""Limit of the parts in flight: it grows where that helps, and shrinks when throttled."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from diffio_async import RetryPolicy, UploadFailed
from diffio_async._http.request_body import InFlightPart
from diffio_async._uploads.parts import UploadLimiter
from diffio_async.errors import ApiError, ResponseTimeout
from diffio_async.sandbox import Delay, Fault, RespondWith
from tests.uploads.scenes import PART, most_at_once, scene, sound

if TYPE_CHECKING:
    from diffio_async.errors import DiffioError

pytestmark = pytest.mark.usefixtures("_no_task_left")

CONTENT = sound(32 * PART)
SLOW = Fault(method="PUT", times=None, action=Delay(0.02))


def patient(attempts: int = 5) -> RetryPolicy:
    """A policy of short pauses."""
    return RetryPolicy(attempts=attempts, initial_delay=0.01, max_delay=0.05)


async def test_more_parts_are_in_flight_where_that_helps() -> None:
    """Each takes a twentieth of a second, however many there are: four carry twice what two do."""
    async with scene(faults=[SLOW], max_concurrent_parts=4) as on:
        assert on.landed(await on.client.projects.create(CONTENT)) == CONTENT
        assert most_at_once(on.parts()[:4]) == 2
        assert most_at_once(on.parts()) == 4


@pytest.mark.slow
async def test_a_larger_limit_without_gain_is_given_up() -> None:
    """The host takes its twentieth of a second for one at a time: two carry what eight do."""
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
    assert limits[-1] == 2


async def test_all_uploads_share_one_limit_in_turn() -> None:
    """A small upload does not wait until a large one that came before it is through."""
    async with scene(faults=[SLOW], max_concurrent_parts=2) as on:
        large = asyncio.create_task(on.client.projects.create(CONTENT))
        while len(on.parts()) < 2:
            await asyncio.sleep(0.005)
        await on.client.projects.create(b"small")
        assert not large.done()
        assert len(on.parts()) < 12
        await large
        assert most_at_once(on.parts()) == 2


async def test_a_host_with_too_much_to_do_gets_less_at_once() -> None:
    """A storm of 429 and 503 halves the number, is sat out, and the upload arrives whole."""
    storm = [
        Fault(method="PUT", times=5, action=RespondWith(429, {"Retry-After": "0.05"})),
        Fault(method="PUT", times=5, action=RespondWith(503)),
    ]
    slow = Fault(method="PUT", times=20, action=Delay(0.05))
    async with scene(faults=[slow], max_concurrent_parts=8, retry=patient(50)) as on:
        uploading = asyncio.create_task(on.client.projects.create(CONTENT))
        while most_at_once(on.parts()) < 4:
            await asyncio.sleep(0.005)
        on.fail(*storm)
        assert on.landed(await uploading) == CONTENT
        refused = [seen for seen in on.parts() if seen.status in {429, 503}]
        assert len(refused) == 10
        after = [seen for seen in on.parts() if seen.at > refused[-1].at]
        assert most_at_once(after) <= 2


async def test_a_part_that_waits_for_its_next_attempt_holds_no_slot() -> None:
    """One is refused for a while; the others are sent in its place."""
    late = Fault(path="*/parts/1", action=RespondWith(500, {"Retry-After": "0.4"}))
    async with scene(faults=[late, SLOW], max_concurrent_parts=3) as on:
        assert on.landed(await on.client.projects.create(sound(12 * PART))) == sound(12 * PART)
        first, again = (seen for seen in on.parts() if seen.path.endswith("/parts/1"))
        meanwhile = [seen for seen in on.parts() if first.at < seen.at < again.at]
        assert most_at_once(meanwhile) == 2
        assert len(meanwhile) >= 10


class Misfortune(Exception):
    """Some other end."""


@pytest.mark.parametrize(
    ("failure", "halved"),
    [
        (ApiError("", status=429), True),
        (ApiError("", status=503), True),
        (ApiError("", status=504), True),
        (ResponseTimeout(""), True),
        (ApiError("", status=500), False),
        (ApiError("", status=403), False),
        (Misfortune(), False),
    ],
)
async def test_which_errors_throttle_and_which_do_not(
    failure: DiffioError | Misfortune, halved: bool
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
    # The first came when nobody waited; then each in turn, and who has more goes on.
    assert "".join(order) == "aabcaba"


async def test_who_is_cancelled_while_it_waits_leaves_its_place_to_others() -> None:
    """Before the place was given, and in the very moment it is."""
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
    await asyncio.wait_for(last, 1)
    await asyncio.gather(holding, early, late, return_exceptions=True)
    async with asyncio.timeout(1), limiter.slot("another", InFlightPart()):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell")
async def test_bytes_in_the_sockets_buffer_are_not_through() -> None:
    """A host that does not read: a part is handed over in a moment, and hardly a byte is there."""
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
            await asyncio.sleep(0.2)
            (flight,) = flights
            handed, through = flight.written, flight.acked_bytes()
            uploading.cancel()
            await asyncio.gather(uploading, return_exceptions=True)
    assert 0 < through < handed < size


async def test_an_upload_that_fails_frees_its_places() -> None:
    refused = Fault(path="*/parts/2", action=RespondWith(403))
    async with scene(faults=[refused, SLOW], max_concurrent_parts=2) as on:
        with pytest.raises(UploadFailed):
            await on.client.projects.create(CONTENT)
        project = await on.client.projects.create(sound(4 * PART))
        assert on.landed(project) == sound(4 * PART)
