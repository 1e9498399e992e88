"""Model of the jobs of a client, learned from earlier responses: durations, stages, percentages.

Pure: instants are arguments.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from operator import itemgetter
from typing import TYPE_CHECKING

from attrs import define, field

from diffio_async._polling.job_timeline import (
    ROUNDING,
    STAGE_DONE,
    TWO_ROUNDINGS,
    completed_stage,
    may_be_first,
    precedes,
    stage_eta,
)

if TYPE_CHECKING:
    from diffio_async._polling.job_timeline import JobTimeline

_ALL = 100.0
#: Edges of the age bins in seconds: they grow by a constant ratio, since errors are relative.
_RATIO = 1.06
_EDGES = tuple(0.25 * _RATIO**n for n in range(230))
#: Ends before durations are known.
_MIN_ENDS = 4
#: Ends after which all observations are halved, so that newer ones weigh more.
_HALVED_AT = 2000
#: Prior: ends per job while its age doubles or so, with the weight of so many ends.
_PRIOR_RATE, _PRIOR_ENDS = 0.5, 0.002
#: Moments are computed again when the observations have grown by this factor.
_REFRESH_FACTOR = 1.1
#: Jobs from which on the fraction of a stage is known.
_MIN_JOBS = 3
#: Prior variance of fractions, and the number of jobs that it counts for.
_SHARE_SPREAD, _SHARE_COUNT = 0.05, 2.0
_SHARE_MEMORY = 100.0
#: The time after 100 % is long if less than this fraction of the duration has passed by then.
_LONG_REST = 0.9
#: Share of jobs that must be observed at 100 %, and the number of jobs that is remembered.
_MIN_AT_FULL, _AT_FULL_MEMORY = 0.1, 50.0
#: Fraction of the duration before the last stage, and its standard error, while unknown.
_UNKNOWN_START = 0.2, 0.2
#: Prior variance of the speed, and the number of samples that it counts for.
_UNEVEN, _UNEVEN_COUNT = 0.02**2, 2.0
_UNEVEN_MEMORY = 200.0
#: Expected steps of percentages from which on two samples show the variance of the speed.
_MIN_STEPS = 4.0
#: Largest error of an estimate, relative to the time left, that shows the variance of the speed.
_MAX_SPEED_ERROR = 0.3
#: Different percentages before their step is known.
_STEPS_SEEN = 8
#: Standard deviation of a uniform distribution over one second.
_UNIFORM_ERROR = 0.29
#: Share of a duration in which a wait may start for the duration to count as observed.
_MAX_LATE_START = 0.1
#: Largest error of the entry into a stage, relative to the age, that the model is updated by.
_MAX_ENTRY_ERROR = 0.2


@define
class DurationModel:
    """Lognormal distribution of durations, from complete and censored observations.

    Running jobs count for as long as they were observed to run. Without them the first jobs to end
    would make all others look late.
    """

    count: float = 0.0
    _ends: list[float] = field(factory=lambda: [0.0] * len(_EDGES))
    #: Jobs that were observed in each bin; a part of a bin counts as a part of a job.
    _exposure: list[float] = field(factory=lambda: [0.0] * len(_EDGES))
    _total: float = 0.0
    _moments: tuple[float, float] | None = None
    _refresh_at: tuple[float, float] = (0.0, 0.0)

    def observe_running(self, since: float, until: float) -> None:
        """Record that a job was running at the ages `since` to `until`, in seconds."""
        index = bisect_left(_EDGES, since)
        while since < until and index < len(_EDGES):
            edge = _EDGES[index]
            part = (min(edge, until) - since) / (edge - (_EDGES[index - 1] if index else 0.0))
            self._exposure[index] += part
            self._total += part
            since, index = edge, index + 1

    def observe_end(self, age: float) -> None:
        """Record that a job ended at about this age; call `observe_running` up to it before."""
        self._ends[min(bisect_left(_EDGES, age), len(_EDGES) - 1)] += 1
        self.count += 1
        if self.count > _HALVED_AT:
            self.count, self._total, self._refresh_at = self.count / 2, self._total / 2, (0.0, 0.0)
            self._ends = [each / 2 for each in self._ends]
            self._exposure = [each / 2 for each in self._exposure]

    @property
    def log_moments(self) -> tuple[float, float] | None:
        """Mean and standard deviation of the logarithm of the duration; None if too few ended."""
        if self.count < _MIN_ENDS:
            return None
        if (
            self._moments is None
            or self.count > self._refresh_at[0]
            or self._total > self._refresh_at[1]
        ):
            self._refresh_at = _REFRESH_FACTOR * self.count, _REFRESH_FACTOR * self._total
            self._moments = self._compute_moments()
        return self._moments

    def _compute_moments(self) -> tuple[float, float]:
        """Return the moments of the survival function that the hazard of each bin gives."""
        alive, weight, mean, square = 1.0, 0.0, 0.0, 0.0
        prior = _PRIOR_ENDS / (_PRIOR_RATE * math.log(_RATIO))
        for ends, exposure, edge in zip(self._ends, self._exposure, _EDGES, strict=True):
            # As in a life table: a job that ends in a bin is exposed for half of it.
            ending = alive * min(1.0, (ends + _PRIOR_ENDS) / (exposure + ends / 2 + prior))
            middle = math.log(edge) - math.log(_RATIO) / 2
            alive -= ending
            weight += ending
            mean += ending * middle
            square += ending * middle * middle
        mean /= weight
        return mean, math.sqrt(max(1e-4, square / weight - mean * mean))


@define
class StageFraction:
    """Fraction of the duration that has passed when a job enters a stage: a mean of logarithms.

    Each job is weighted by the precision of its entry and end; `spread` is the variance between
    jobs without these errors.
    """

    count: int = 0
    mean: float = 0.0
    spread: float = _SHARE_SPREAD
    _weight: float = 0.0

    def add(self, fraction: float, error: float) -> None:
        """Add the fraction of one job; `error` is its relative standard error."""
        delta = math.log(fraction) - self.mean
        if self.count:
            variance = delta * delta - error * error - 1 / self._weight
            self.spread += (max(-0.01, min(4.0, variance)) - self.spread) / min(
                self.count + _SHARE_COUNT, _SHARE_MEMORY
            )
        weight = 1 / (error * error + max(1e-5, self.spread))
        self._weight = min(self._weight, _SHARE_MEMORY * weight) + weight
        self.mean += weight / self._weight * delta
        self.count += 1

    @property
    def fraction(self) -> float:
        """The mean, 0 to 1."""
        return math.exp(self.mean)

    @property
    def error(self) -> float:
        """Relative standard error for one more job."""
        return math.sqrt(max(0.0, self.spread) + 1 / self._weight)


@define
class ProgressGranularity:
    """Step of the percentages of a stage: the common divisor of those observed, in tenths."""

    count: int = 0
    _tenths: int = 0

    def add(self, percent: float) -> None:
        """Add a percentage between 0 and 100."""
        self.count += 1
        self._tenths = math.gcd(self._tenths, max(1, round(10 * percent)))

    @property
    def known(self) -> bool:
        """Whether enough percentages were observed to know the step."""
        return self.count >= _STEPS_SEEN

    @property
    def step(self) -> float:
        """The step; at most 1 until more is known."""
        return self._tenths / 10 if self.known else min(1.0, self._tenths / 10 or 1.0)


@define
class PollModel:
    """Everything learned of the jobs of a client; ages are seconds since a job left the queue."""

    durations: DurationModel = field(factory=DurationModel)
    #: By stage: the fraction of the duration that has passed when it starts.
    shares: dict[str, StageFraction] = field(factory=dict)
    #: The stage that was last observed after another.
    next_stage: dict[str, str] = field(factory=dict)
    #: By stage: the share of recent jobs that were observed at its 100 %, 0 to 1.
    seen_at_full: dict[str, float] = field(factory=dict)
    #: By stage: the step of its percentages.
    steps: dict[str, ProgressGranularity] = field(factory=dict)
    #: Relative variance of the speed of percentages from one sample to the next.
    speed_variance: float = _UNEVEN
    _speeds: float = _UNEVEN_COUNT

    @property
    def speed_error(self) -> float:
        """Relative standard error of the speed of percentages."""
        return math.sqrt(max(0.0, self.speed_variance))

    @property
    def has_progress(self) -> bool:
        """Whether percentages between 0 and 100 were observed."""
        return any(steps.known for steps in self.steps.values())

    def after(self, stage: str) -> str | None:
        """Return the next stage; for the last stage, the time after its 100 % if that is long."""
        following = self.next_stage.get(stage, stage + STAGE_DONE)
        if completed_stage(following) is None:
            return following
        rest, often = self.share(following), self.seen_at_full.get(stage, 0.0) >= _MIN_AT_FULL
        long = rest is not None and rest.fraction < _LONG_REST
        return following if often and long else None

    def share(self, stage: str | None) -> StageFraction | None:
        """Return the fraction of the duration before a stage, None if too few jobs showed it."""
        share = self.shares.get(stage or "")
        return None if share is None or share.count < _MIN_JOBS else share

    def step(self, stage: str) -> float:
        """Return the step of the percentages of a stage."""
        steps = self.steps.get(stage)
        return 1.0 if steps is None else steps.step

    def estimate_end(self, timeline: JobTimeline) -> tuple[float, float] | None:
        """Return the estimated end of a job and its standard error in seconds, None if unknown.

        It follows from the speed of percentages, or else from the stages that were entered.
        """
        if timeline.last is None or timeline.dequeued is None or not timeline.entries:
            return None
        started_at = timeline.dequeued.middle
        stage = timeline.entries[-1].stage
        eta = stage_eta(timeline, self.step(stage))
        if eta is None:
            return self._end_by_entry(timeline)
        end, error = eta.at, eta.error
        following = self.after(stage)
        if following is not None:
            share = self.share(following)
            if share is None:
                return None
            duration = (end - started_at) / share.fraction
            error = math.hypot(error / share.fraction, duration * share.error)
            end = started_at + duration
        elif timeline.first is timeline.last and not may_be_first(stage):
            end, error = min((end, error), self._end_by_one_sample(timeline), key=itemgetter(1))
        left = max(0.0, end - timeline.last.at)
        return end, math.hypot(error, self.speed_error * left)

    def _end_by_one_sample(self, timeline: JobTimeline) -> tuple[float, float]:
        """Estimate the end by one percentage of the last stage and the usual start of the stage."""
        last, started = timeline.last, timeline.dequeued
        if last is None or last.percent is None or started is None or not timeline.start_known:
            return math.inf, math.inf
        share, step = self.share(last.stage), self.step(last.stage)
        start, error = _UNKNOWN_START
        if share is not None:
            start, error = share.fraction, share.fraction * share.error
        done = min(0.99, (last.percent + step / 2) / _ALL)
        passed = start + done * (1 - start)
        duration = (last.at - started.middle) / passed
        error = math.hypot(error * (1 - done), ROUNDING * step / _ALL * (1 - start))
        return started.middle + duration, duration / passed * error

    def _end_by_entry(self, timeline: JobTimeline) -> tuple[float, float] | None:
        """Estimate the end by the start of the present stage, without percentages."""
        stage, started = timeline.entries[-1], timeline.dequeued
        share = self.share(stage.stage)
        if share is None or started is None:
            return None
        passed = stage.middle - started.middle
        if passed <= 0:
            return None
        duration = passed / share.fraction
        relative = math.hypot(share.error, math.hypot(stage.error, started.error) / passed)
        return started.middle + duration, duration * relative

    def observe_sample(self, before: JobTimeline, timeline: JobTimeline) -> None:
        """Learn from a response: the job of the timeline `before` is still running."""
        if timeline.dequeued is None or timeline.last is None or not timeline.entries:
            return
        stage, percent = timeline.entries[-1].stage, timeline.last.percent
        if percent is not None and 0 < percent < _ALL:
            steps = self.steps.setdefault(stage, ProgressGranularity())
            # A percentage that has not changed does not show the step.
            if timeline.last_change_at == timeline.last.at:
                steps.add(percent)
            if steps.known:
                self._observe_speed(before, timeline, steps.step)
        if timeline.start_known and timeline.last_polled_at is not None:
            started_at = timeline.dequeued.middle
            first = before.last_polled_at is None or before.dequeued is None
            since = started_at if first else before.last_polled_at or 0.0
            self.durations.observe_running(
                max(0.0, since - started_at), timeline.last_polled_at - started_at
            )

    def _observe_speed(self, before: JobTimeline, timeline: JobTimeline, step: float) -> None:
        """Record by how much the speed since the last sample differs from that before.

        The rounding of percentages is subtracted.
        """
        earlier, last = before.last, timeline.last
        if earlier is None or last is None or not earlier.percent or last.percent is None:
            return
        if before.entries[-1:] != timeline.entries[-1:] or last.percent < earlier.percent:
            return
        eta = stage_eta(before, step)
        if eta is None:
            return
        expected = (last.at - earlier.at) / eta.per_percent
        left = max(0.01, eta.at - earlier.at)
        if expected < _MIN_STEPS * step or earlier.percent + expected > _ALL - step:
            return
        if eta.error > _MAX_SPEED_ERROR * left:
            return
        deviation = (last.percent - earlier.percent) / expected - 1
        rounding = TWO_ROUNDINGS * step / expected
        square = deviation * deviation - rounding**2 - (eta.error / left) ** 2
        self._speeds = min(self._speeds + 1, _UNEVEN_MEMORY)
        self.speed_variance += (min(1.0, square) - self.speed_variance) / self._speeds

    def observe_end(
        self, timeline: JobTimeline, ended: float, *, complete: bool, exact: bool = False
    ) -> None:
        """Learn from a job that ended between its last response and `ended`.

        Args:
            timeline: The timeline of the job.
            ended: The instant at which the end was observed.
            complete: Whether the job is complete, not failed.
            exact: Whether the job ended just then.
        """
        last_seen_at = timeline.last_polled_at
        if not timeline.start_known or (timeline.dequeued is None and last_seen_at is not None):
            return
        started_at = timeline.started_at if timeline.dequeued is None else timeline.dequeued.middle
        if last_seen_at is None:
            # There was no response before the end: the duration counts if the wait was long enough.
            late = (timeline.watch_started_at or started_at) - started_at
            if not exact and late > _MAX_LATE_START * (ended - started_at):
                return
            last_seen_at = started_at
        at, error = (last_seen_at + ended) / 2, _UNIFORM_ERROR * (ended - last_seen_at)
        estimate = self.estimate_end(timeline)
        if exact:
            at, error = ended, 0.0
        elif estimate is not None:
            at, error = estimate[0], min(error, estimate[1])
        age = min(max(at, last_seen_at), ended) - started_at
        self.durations.observe_running(max(0.0, last_seen_at - started_at), age)
        self.durations.observe_end(max(0.0, age))
        if not complete or age <= 0:
            return
        for entry in timeline.entries[1:]:
            passed = entry.middle - started_at
            if 0 < passed < age and entry.error < _MAX_ENTRY_ERROR * min(passed, age - passed):
                share = self.shares.setdefault(entry.stage, StageFraction())
                share.add(passed / age, math.hypot(entry.error / passed, error / age))
        self._observe_order([entry.stage for entry in timeline.entries])

    def _observe_order(self, stages: list[str]) -> None:
        """Record the stages, in order, in which a job was observed that is complete now."""
        entered = [stage for stage in stages if completed_stage(stage) is None]
        for stage in entered:
            share = self.seen_at_full.get(stage, 0.0)
            seen = stage + STAGE_DONE in stages
            self.seen_at_full[stage] = share + (seen - share) / _AT_FULL_MEMORY
        for stage, following in itertools.pairwise(entered):
            # A job that was restarted is not evidence of the order of stages.
            if precedes(stage, following):
                self.next_stage[stage] = following
