"""Measurement of one contender with one fleet: contender and service have their own processes."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

from attrs import asdict, field, frozen
from harness import MIB, Figures, process, quantile
from waits.fleets import Fleet
from waits.simulation import max_within, simulate_fixed

HERE = Path(__file__).parent
#: With fewer jobs, the memory of one job is lost in that of the process.
_MIN_JOBS_FOR_MEMORY = 1000
#: Fields of `WaitPolicy` in seconds, and per second.
_SECONDS, _RATES = (
    ("min_interval", "max_interval", "push_check_interval"),
    ("max_polls_per_second",),
)
DEFAULTS = {
    "min_interval": 1.0,
    "max_interval": 15.0,
    "push_check_interval": 60.0,
    "max_polls_per_second": 100.0,
    "burst": 10,
}


@frozen(kw_only=True)
class Row:
    """One row of the table.

    Attributes:
        title: Description of the fleet.
        who: `ours`, `naive` or `published`.
        fleet: Fleet in simulated seconds.
        policy: Values that differ from `DEFAULTS`, in simulated seconds.
        speed: Simulated seconds per real second; figures are in simulated seconds.
        stop_after: Real seconds after which the run is stopped; None: when all jobs have ended.
        sample_after: Real seconds after which memory is measured.
        threads: Number of threads of the published SDK.
        interval: Seconds between the polls of a loop with a fixed interval.
        alone: Whether each job is waited for by a client of its own.
    """

    title: str
    who: str
    fleet: Fleet
    policy: dict[str, float] = field(factory=dict)
    speed: float = 1.0
    stop_after: float | None = None
    sample_after: float = 4.0
    threads: int = 256
    interval: float = 2.0
    alone: bool = False

    def spec(self, url: str) -> dict[str, Any]:
        """Return the input of the contender."""
        policy: dict[str, float] = {**DEFAULTS, **self.policy}
        for name in _SECONDS:
            policy[name] /= self.speed
        for name in _RATES:
            policy[name] *= self.speed
        jobs = self.fleet.faster(self.speed).make_jobs()
        return {
            "url": url,
            "jobs": [[job.generation_id, job.api_project_id, job.created_at] for job in jobs],
            "policy": policy,
            "interval": self.interval / self.speed,
            "threads": self.threads,
            "stop_after": self.stop_after,
            "sample_after": self.sample_after,
        }


def _post(url: str, body: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(body).encode())  # noqa: S310 - loopback
    with urllib.request.urlopen(request) as response:  # noqa: S310 - loopback
        return json.load(response)


def measure(row: Row, python: str) -> Figures:
    """Run a row with an interpreter, and return its figures in simulated seconds."""
    who = "alone" if row.alone and row.who == "ours" else row.who
    script = ["published.py"] if who == "published" else ["contender.py", who]
    with (
        process(sys.executable, str(HERE / "server.py")) as service,
        process(python, str(HERE / script[0]), *script[1:]) as contender,
    ):
        url = f"http://127.0.0.1:{service.read()}/v1"
        contender.request(row.spec(url))  # returns when it is ready
        started_at = _post(url + "/start", asdict(row.fleet.faster(row.speed)))["started_at"]
        result = contender.request(started_at)
        return _figures(row, started_at, result, _post(url + "/figures", {}))


def _figures(
    row: Row, started_at: float, result: dict[str, Any], requests: dict[str, Any]
) -> Figures:
    ends = {job.generation_id: job.ended_at for job in row.fleet.make_jobs()}
    delays = [(at - started_at) * row.speed - ends[name] for name, at in result["ends"]]
    instants = [at * row.speed for at in requests["single"] + requests["listings"]]
    jobs, mean = row.fleet.jobs, sum(delays) / len(delays) if delays else None
    grown = result["resident_waiting"] - result["resident_before"]
    figures: Figures = {
        "what": row.title,
        "who": "diffio_async" if row.who == "ours" else row.who,
        "jobs": jobs,
        "projects": row.fleet.projects,
        "speed": row.speed,
        "ended": len(delays),
        "requests": len(instants),
        "listings": len(requests["listings"]),
        "delay_mean": mean,
        "delay_p50": quantile(delays, 0.5) if delays else None,
        "delay_p95": quantile(delays, 0.95) if delays else None,
        "cpu_seconds": result["cpu"],
        "peak_mib": result["resident_max"],
        "bytes_per_job": grown * MIB / jobs if jobs >= _MIN_JOBS_FOR_MEMORY else None,
        # By arrival: requests sent slightly more than a second apart may arrive within one.
        "max_per_second": max_within(instants, 1.0),
        "longest_gap": requests["longest_gap"] * row.speed,
        "fixed_interval_requests": None,
    }
    if mean and row.stop_after is None:
        # Requests of a fixed interval with the same mean delay.
        figures["fixed_interval_requests"] = simulate_fixed(row.fleet, 2 * mean).requests
    return figures
