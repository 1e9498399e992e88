"""How a fleet of generations stands: counts by state, ends a minute, an estimate of the end."""

from __future__ import annotations

from collections import Counter, deque

from attrs import define, field

from diffio_async._text import Numbers

#: Seconds over which ends are counted for the rate.
_WINDOW = 60.0
#: Ends from which on there is a rate, and percent per job before that tells the end.
_MIN_ENDS, _STARTED = 3, 5.0
_ALL = 100.0
#: States in the order they are shown; `waiting`: nothing was told yet, `late`: timed out.
STATES = ("waiting", "queued", "running", "complete", "failed", "late")
_AT_WORK = ("running", "queued", "waiting")
ENDED = frozenset({"complete", "failed", "late"})


@define
class WaitStats:
    """What is known of all generations that are waited for; instants are of any steady clock.

    Attributes:
        started_at: When the wait began.
        counts: How many are in each of `STATES`.
    """

    started_at: float
    counts: Counter[str] = field(factory=Counter)
    _jobs: dict[str, tuple[str, float | None]] = field(factory=dict)
    _finished: float = 0.0
    _missing: float = 0.0
    _ends: deque[float] = field(factory=deque)

    def record(self, generation_id: str, state: str, percent: float | None, now: float) -> bool:
        """Take a generation's state; whether it is another than before. Ends are for good."""
        before, done = self._jobs.get(generation_id, ("", None))
        if before in ENDED:
            return False
        if before:
            self.counts[before] -= 1
        self.counts[state] += 1
        if state in ENDED:
            self._ends.append(now)
            self._missing -= 0.0 if done is None else _ALL - done
            percent = _ALL
        elif percent is not None:
            # What was done before the wait tells nothing of the speed.
            self._finished += 0.0 if done is None else percent - done
            self._missing += _ALL - percent if done is None else done - percent
        self._jobs[generation_id] = state, done if percent is None else percent
        return state != before

    @property
    def total(self) -> int:
        """All that were taken so far."""
        return len(self._jobs)

    @property
    def ended(self) -> int:
        """How many have ended, one way or the other."""
        return sum(self.counts[state] for state in ENDED)

    def rate(self, now: float) -> float | None:
        """Ends a minute, of late; None before there are some."""
        while self._ends and self._ends[0] < now - _WINDOW:
            self._ends.popleft()
        if len(self._ends) < _MIN_ENDS:
            return None
        return 60 * len(self._ends) / max(1.0, min(_WINDOW, now - self.started_at))

    def eta(self, now: float) -> float | None:
        """Seconds until the last of them ends, at the pace so far; None: too early to tell."""
        remaining = self.total - self.ended
        if not remaining:
            return 0.0
        rate = self.rate(now)
        if rate is not None:
            return 60 * remaining / rate
        if self._finished < _STARTED * self.total:
            return None
        return (now - self.started_at) * self._missing / self._finished

    def summary(self, now: float) -> str:
        """All of it in a line."""
        said = [f"{self.counts[state]} {state}" for state in STATES if self.counts[state]]
        rate, left = self.rate(now), self.eta(now)
        if rate is not None:
            said.append(f"{rate:.0f} a minute")
        if left:
            said.append(f"about {format_duration(left)} left")
        return f"{self.ended} of {self.total} ended: " + ", ".join(said)

    def parts(self, now: float) -> tuple[Numbers, list[str]]:
        """The numbers, and what else fits into a narrow line."""
        failed = self.counts["failed"] + self.counts["late"]
        at_work = [f"{self.counts[state]} {state}" for state in _AT_WORK if self.counts[state]]
        return Numbers(self.ended, self.total, failed, self.eta(now) or None), at_work


def format_duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 90:  # noqa: PLR2004 - seconds
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 90:  # noqa: PLR2004 - minutes
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
