"""A job that waits alone: its end is detected soon, whatever its progress seems to predict."""

from __future__ import annotations

import asyncio
import statistics
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waits.lone import COURSES, delays, taught, waited

from diffio_async import AsyncDiffio, WaitPolicy
from diffio_async._polling.job_timeline import (
    JobTimeline,
    ProgressSample,
    with_failure,
    with_sample,
)
from diffio_async._polling.next_poll import next_poll_delay
from diffio_async._polling.poll_model import PollModel
from diffio_async.sandbox import Sandbox
from tests.polling.scenes import LISTING, begun, place
from tests.scripts import PROGRESS, requests_to

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from diffio_async import Generation

POLICY = WaitPolicy()

readings = st.tuples(
    st.floats(0, 500),
    st.sampled_from(["", "running", "listed", "pre_processing", "inference", "inference, over"]),
    st.one_of(st.none(), st.integers(0, 100), st.floats(0, 100)),
    st.one_of(st.none(), st.integers(-1, 10_000)),
)
lives = st.lists(st.tuples(st.lists(readings, max_size=4), st.booleans()), max_size=12)


def polled(
    learned: PollModel,
    responses: list[tuple[float, str, float | None, int | None]],
    *,
    fresh: bool = True,
    watched: float | None = None,
) -> JobTimeline:
    """The timeline of a job that was created at the instant 0, and polled."""
    course = JobTimeline(started_at=0.0, start_known=fresh, watch_started_at=watched)
    for each in sorted(responses, key=lambda each: each[0]):
        later = with_sample(course, ProgressSample(*each))
        learned.observe_sample(course, later)
        course = later
    return course


@given(
    responses=st.lists(readings, max_size=12),
    earlier=lives,
    fresh=st.booleans(),
    watched=st.one_of(st.none(), st.floats(0, 500)),
    failures=st.integers(0, 1),
    jitter=st.floats(0, 1),
    later=st.floats(0, 1e5),
    rate_gap=st.floats(0, 30),
)
def test_no_forecast_makes_a_gap_longer_than_a_second_or_a_quarter_of_the_time_waited(
    responses: list[tuple[float, str, float | None, int | None]],
    earlier: list[tuple[list[tuple[float, str, float | None, int | None]], bool]],
    fresh: bool,
    watched: float | None,
    failures: int,
    jitter: float,
    later: float,
    rate_gap: float,
) -> None:
    """As long as the rate limit is not reached; the time waited is of this wait, not of the job."""
    learned = PollModel()
    for life, complete in earlier:
        course = polled(learned, life)
        learned.observe_end(course, (course.last_polled_at or 0.0) + 1.0, complete=complete)
    course = polled(learned, responses, fresh=fresh, watched=watched)
    for _ in range(failures):
        course = with_failure(course)
    now = max(course.last_polled_at or 0.0, watched or 0.0) + later
    allowed = max(1.0, (now - (watched or 0.0)) / 4)
    # Jobs that are polled so far apart reach the rate limit if they are more.
    gap = next_poll_delay(POLICY, course, learned, now, jitter, rate_gap=min(rate_gap, allowed))
    assert gap <= allowed + 1e-9
    if course.last_polled_at is not None or failures:
        assert gap >= 0.2 * POLICY.min_interval


@pytest.mark.parametrize("course", COURSES)
@pytest.mark.parametrize(
    "earlier", [None, ("even", 60.0), ("no progress at all", 5.0), ("rests at 100 %", 20.0)]
)
def test_the_end_is_detected_soon_whatever_the_course(
    course: str, earlier: tuple[str, float] | None
) -> None:
    """On average within 0.3 s and a tenth of the duration, at worst within 1 s and 30 % of it."""
    learned = None if earlier is None else taught(*earlier)
    for duration in (0.05, 0.3, 1.0, 2.0, 5.0, 7.0, 20.0, 60.0, 1800.0):
        late = delays(course, duration, jobs=8 if duration < 60 else 3, learned=learned)
        assert statistics.fmean(late) <= 0.3 + 0.1 * duration, duration
        assert max(late) <= 1 + 0.3 * 0.8 * duration, duration


@pytest.mark.parametrize("course", COURSES)
def test_a_wait_that_begins_late_counts_from_its_own_beginning(course: str) -> None:
    """A job may be half an hour old: a wait that starts now detects its end soon."""
    for left in (0.3, 5.0, 60.0):
        late = [
            waited(course, 1800.0 + left, fresh=fresh, age=1800.0, seed=seed).late
            for fresh in (True, False)
            for seed in range(3)
        ]
        assert max(late) <= 1 + 0.3 * left


def test_a_long_job_is_not_polled_for_ever_so_often() -> None:
    """Half an hour without progress costs some 150 polls, and no gap exceeds the policy's."""
    gaps = waited("no progress at all", 1800.0).gaps
    assert len(gaps) < 200
    assert max(gap for _, gap in gaps) <= POLICY.max_interval


def test_an_unchanged_percentage_is_no_evidence_of_the_step() -> None:
    """A job that stays at 50 % and is polled often does not show the step of percentages."""
    learned = PollModel()
    polled(learned, [(at / 4, "inference", 50, None) for at in range(1, 40)])
    assert learned.step("inference") == 1.0


def test_speeds_are_not_compared_before_it_is_known_how_fine_percentages_are() -> None:
    """Percentages in tens seem to run unevenly to one who takes them for whole numbers."""
    learned = PollModel()
    polled(learned, [(at / 5, "inference", 10 * (at // 5), None) for at in range(30)])
    before = PollModel().speed_error
    assert learned.speed_error == before


# The same over loopback: gaps from the request log.

#: Seconds of the policy are tenths.
TENTHS = WaitPolicy(min_interval=0.1, max_interval=1.5, max_polls_per_second=100, burst=50)
#: What the machine may add to a gap, in seconds.
NOISE = 0.15


def polls_of(sandbox: Sandbox, generation_id: str) -> list[float]:
    """When a generation was polled by itself."""
    return [
        seen.at
        for seen in requests_to(sandbox, PROGRESS)
        if seen.json["generationId"] == generation_id
    ]


def assert_gaps(times: list[float], first: float) -> None:
    """Each gap is at most the policy's `first`, or a quarter of the time waited until then."""
    for earlier, later in pairwise(times):
        assert later - earlier <= max(first, (earlier - times[0]) / 4) + NOISE


async def by_wait_for_complete(client: AsyncDiffio, generations: list[Generation]) -> None:
    """A wait for each."""
    await asyncio.gather(
        *(
            client.generations.wait_for_complete(generation_id=each.handle, timeout=2)
            for each in generations
        ),
        return_exceptions=True,
    )


async def by_watch(client: AsyncDiffio, generations: list[Generation]) -> None:
    """A loop over the changes of each."""

    async def watch(handle: str) -> None:
        async for _ in client.generations.watch(handle, timeout=2):
            pass

    await asyncio.gather(*(watch(each.handle) for each in generations), return_exceptions=True)


async def by_wait_many(client: AsyncDiffio, generations: list[Generation]) -> None:
    """One call for all."""
    await client.generations.wait_many(generations, timeout=2)


async def by_as_completed(client: AsyncDiffio, generations: list[Generation]) -> None:
    """One loop for all."""
    async for _ in client.generations.as_completed(generations, timeout=2):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("projects", [1, 3])
@pytest.mark.parametrize("way", [by_wait_for_complete, by_watch, by_wait_many, by_as_completed])
async def test_every_way_to_wait_for_a_few_polls_soon_enough(
    way: Callable[[AsyncDiffio, list[Generation]], Awaitable[None]], projects: int
) -> None:
    """Though all percentages say that the end is an hour away; one project is listed."""
    async with place(duration=3600.0, wait=TENTHS) as (client, sandbox):
        generations = await begun(client, projects, 3 // projects)
        await way(client, generations)
        if projects == 1:
            polls = [[seen.at for seen in requests_to(sandbox, LISTING)]]
        else:
            polls = [polls_of(sandbox, each.generation_id) for each in generations]
        for times in polls:
            assert len(times) >= 10
            assert_gaps(times, TENTHS.min_interval)


@pytest.mark.slow
async def test_a_real_restoration_is_detected_soon(sample: Path) -> None:
    """Its percentages stop at 59 and leap to the end; the poll that finds it is not far from it."""
    late, allowed = [], []
    async with (
        Sandbox() as sandbox,
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client,
    ):
        for _ in range(3):
            project = (await client.projects.create(sample)).api_project_id
            began = time.time()
            generation = (await client.generations.create(api_project_id=project)).generation_id
            await client.generations.wait_for_complete(
                generation_id=generation, api_project_id=project
            )
            returned = time.time()
            assert_gaps(polls_of(sandbox, generation), 1.0)
            (row,) = await client.projects.list_generations(api_project_id=project)
            assert row.updated_at is not None
            ended = row.updated_at.timestamp()
            late.append(returned - ended)
            allowed.append((ended - began) / 10)
    assert statistics.fmean(late) <= 0.3 + statistics.fmean(allowed) + NOISE
