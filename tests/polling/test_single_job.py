"""A wait for one job detects its end soon, whatever the progress seems to predict."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import statistics
import time
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waits.single_job import PATTERNS, delays, simulate_wait, trained_model

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
from tests.polling.sandbox_fleet import LISTING, generate, sandbox_client
from tests.scripts import PROGRESS, requests_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from diffio_async import Generation

POLICY = WaitPolicy()

samples = st.tuples(
    st.floats(0, 500),
    st.sampled_from(["", "running", "listed", "pre_processing", "inference", "inference, over"]),
    st.one_of(st.none(), st.integers(0, 100), st.floats(0, 100)),
    st.one_of(st.none(), st.integers(-1, 10_000)),
)
earlier_jobs = st.lists(st.tuples(st.lists(samples, max_size=4), st.booleans()), max_size=12)


def timeline_of(
    model: PollModel,
    responses: list[tuple[float, str, float | None, int | None]],
    *,
    start_known: bool = True,
    watch_started_at: float | None = None,
) -> JobTimeline:
    """Return the timeline of a job that was created at the instant 0, and polled."""
    timeline = JobTimeline(
        started_at=0.0, start_known=start_known, watch_started_at=watch_started_at
    )
    for each in sorted(responses, key=lambda each: each[0]):
        later = with_sample(timeline, ProgressSample(*each))
        model.observe_sample(timeline, later)
        timeline = later
    return timeline


@pytest.mark.slow
@given(
    responses=st.lists(samples, max_size=12),
    earlier=earlier_jobs,
    start_known=st.booleans(),
    watch_started_at=st.one_of(st.none(), st.floats(0, 500)),
    failures=st.integers(0, 1),
    jitter=st.floats(0, 1),
    later=st.floats(0, 1e5),
    rate_gap=st.floats(0, 30),
)
def test_no_estimate_makes_a_gap_longer_than_a_second_or_a_quarter_of_the_time_waited(
    responses: list[tuple[float, str, float | None, int | None]],
    earlier: list[tuple[list[tuple[float, str, float | None, int | None]], bool]],
    start_known: bool,
    watch_started_at: float | None,
    failures: int,
    jitter: float,
    later: float,
    rate_gap: float,
) -> None:
    """As long as the rate limit is not reached. The time waited is that of this wait."""
    model = PollModel()
    for responses_of_one, complete in earlier:
        timeline = timeline_of(model, responses_of_one)
        model.observe_end(timeline, (timeline.last_polled_at or 0.0) + 1.0, complete=complete)
    timeline = timeline_of(
        model, responses, start_known=start_known, watch_started_at=watch_started_at
    )
    for _ in range(failures):
        timeline = with_failure(timeline)
    now = max(timeline.last_polled_at or 0.0, watch_started_at or 0.0) + later
    allowed = max(1.0, (now - (watch_started_at or 0.0)) / 4)
    # More jobs with such gaps would reach the rate limit.
    gap = next_poll_delay(POLICY, timeline, model, now, jitter, rate_gap=min(rate_gap, allowed))
    assert gap <= allowed + 1e-9
    if timeline.last_polled_at is not None or failures:
        assert gap >= 0.2 * POLICY.min_interval


#: Pattern and duration of the jobs from which the model was learned, if any.
PRIORS = [None, ("even", 60.0), ("no progress at all", 5.0), ("rests at 100 %", 20.0)]
model_of = functools.cache(trained_model)


@pytest.mark.parametrize(
    ("pattern", "prior", "jobs"),
    [
        # The fast lane has each pattern with one model and a few jobs.
        *((pattern, PRIORS[n % len(PRIORS)], 4) for n, pattern in enumerate(PATTERNS)),
        *(
            pytest.param(pattern, prior, 8, marks=pytest.mark.slow)
            for prior, pattern in itertools.product(PRIORS, PATTERNS)
        ),
    ],
)
def test_the_end_is_detected_soon_for_any_pattern_of_progress(
    pattern: str, prior: tuple[str, float] | None, jobs: int
) -> None:
    """On average within 0.3 s and a tenth of the duration, at worst within 1 s and 30 % of it."""
    model = None if prior is None else model_of(*prior)
    for duration in (0.05, 0.3, 1.0, 2.0, 5.0, 7.0, 20.0, 60.0, 1800.0):
        late = delays(pattern, duration, jobs=jobs, model=model)
        assert statistics.fmean(late) <= 0.3 + 0.1 * duration, duration
        assert max(late) <= 1 + 0.3 * 0.8 * duration, duration


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_wait_for_an_old_job_detects_its_end_soon(pattern: str) -> None:
    """Intervals depend on the time waited, not on the age of the job (here half an hour)."""
    for remaining in (0.3, 5.0, 60.0):
        late = [
            simulate_wait(
                pattern, 1800.0 + remaining, start_known=start_known, age=1800.0, seed=seed
            ).delay
            for start_known in (True, False)
            for seed in range(4)
        ]
        assert max(late) <= 1 + 0.3 * remaining


def test_a_job_of_half_an_hour_takes_fewer_than_250_polls() -> None:
    """Without progress it takes some 220 polls, and no gap exceeds `max_interval`."""
    gaps = simulate_wait("no progress at all", 1800.0).gaps
    assert len(gaps) < 250
    assert max(gap for _, gap in gaps) <= POLICY.max_interval


def test_an_unchanged_percentage_does_not_show_the_step() -> None:
    """A job that stays at 50 % does not show how fine percentages are, however often polled."""
    model = PollModel()
    timeline_of(model, [(at / 4, "inference", 50, None) for at in range(1, 40)])
    assert model.step("inference") == 1.0


def test_speeds_are_not_compared_before_the_step_of_percentages_is_known() -> None:
    """Percentages in steps of ten would seem uneven if steps of one were assumed."""
    model = PollModel()
    timeline_of(model, [(at / 5, "inference", 10 * (at // 5), None) for at in range(30)])
    before = PollModel().speed_error
    assert model.speed_error == before


# The same over loopback: gaps from the request log.

#: The default policy with a tenth of the seconds.
TENTHS = WaitPolicy(min_interval=0.1, max_interval=1.5, max_polls_per_second=100, burst=50)
#: What the machine may add to a gap, in seconds.
NOISE = 0.15


def polls_of(sandbox: Sandbox, generation_id: str) -> list[float]:
    """Return when a generation was polled by itself."""
    return [
        seen.at
        for seen in requests_to(sandbox, PROGRESS)
        if seen.json["generationId"] == generation_id
    ]


@contextlib.asynccontextmanager
async def measured_noise() -> AsyncIterator[list[float]]:
    """Yield seconds that the machine may add: `NOISE`, and more if the event loop runs late."""
    noise = [NOISE]

    async def measure() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            # A request takes several turns of the loop.
            noise[0] = max(noise[0], NOISE + 5 * (time.monotonic() - before - 0.01))

    measuring = asyncio.create_task(measure())
    try:
        yield noise
    finally:
        measuring.cancel()
        await asyncio.gather(measuring, return_exceptions=True)


def assert_gaps(times: list[float], first: float, noise: float) -> None:
    """Assert that each gap is at most `first`, or a quarter of the time waited until then."""
    for earlier, later in pairwise(times):
        assert later - earlier <= max(first, (earlier - times[0]) / 4) + noise


async def by_wait_for_complete(client: AsyncDiffio, generations: list[Generation]) -> None:
    """Wait for each in a call of its own."""
    await asyncio.gather(
        *(
            client.generations.wait_for_complete(generation_id=each.handle, timeout=2)
            for each in generations
        ),
        return_exceptions=True,
    )


async def by_watch(client: AsyncDiffio, generations: list[Generation]) -> None:
    """Iterate over the changes of each."""

    async def watch(handle: str) -> None:
        async for _ in client.generations.watch(handle, timeout=2):
            pass

    await asyncio.gather(*(watch(each.handle) for each in generations), return_exceptions=True)


async def by_wait_many(client: AsyncDiffio, generations: list[Generation]) -> None:
    """Wait for all in one call."""
    await client.generations.wait_many(generations, timeout=2)


async def by_as_completed(client: AsyncDiffio, generations: list[Generation]) -> None:
    """Wait for all in one loop."""
    async for _ in client.generations.as_completed(generations, timeout=2):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("projects", [1, 3])
@pytest.mark.parametrize("way", [by_wait_for_complete, by_watch, by_wait_many, by_as_completed])
async def test_every_way_to_wait_for_a_few_polls_soon_enough(
    way: Callable[[AsyncDiffio, list[Generation]], Awaitable[None]], projects: int
) -> None:
    """All percentages predict an end in an hour; generations of one project are listed."""
    async with (
        sandbox_client(duration=3600.0, wait=TENTHS) as (client, sandbox),
        measured_noise() as noise,
    ):
        generations = await generate(client, projects, 3 // projects)
        await way(client, generations)
        if projects == 1:
            polls = [[seen.at for seen in requests_to(sandbox, LISTING)]]
        else:
            polls = [polls_of(sandbox, each.generation_id) for each in generations]
        for times in polls:
            assert len(times) >= 2 / (0.2 + noise[0])
            assert_gaps(times, TENTHS.min_interval, noise[0])


@pytest.mark.slow
async def test_a_real_restoration_is_detected_soon(sample: Path) -> None:
    """Its percentages stop at 59 and leap to the end, which a poll detects soon."""
    late, allowed = [], []
    async with (
        Sandbox() as sandbox,
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client,
        measured_noise() as noise,
    ):
        for _ in range(3):
            project = (await client.projects.create(sample)).api_project_id
            started_at = time.time()
            generation = (await client.generations.create(api_project_id=project)).generation_id
            await client.generations.wait_for_complete(
                generation_id=generation, api_project_id=project
            )
            returned = time.time()
            assert_gaps(polls_of(sandbox, generation), 1.0, noise[0])
            (row,) = await client.projects.list_generations(api_project_id=project)
            assert row.updated_at is not None
            ended = row.updated_at.timestamp()
            late.append(returned - ended)
            allowed.append((ended - started_at) / 10)
    assert statistics.fmean(late) <= 0.3 + statistics.fmean(allowed) + noise[0]
