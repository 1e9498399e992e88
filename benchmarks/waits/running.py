"""Runs one contender on one fleet: the service and the contender in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import asdict, field, frozen
from waits.fleets import Fleet
from waits.simulation import asked_on_a_beat, most_within, quantile

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).parent
BEAT = 2.0
#: Of fewer jobs, what one takes cannot be told from what waiting takes at all.
_MANY = 1000
#: What `WaitPolicy` has in seconds, and a second.
_SECONDS, _RATES = (
    ("min_interval", "max_interval", "push_check_interval"),
    ("max_polls_per_second",),
)
DEFAULTS = {
    "min_interval": 1.0,
    "max_interval": 15.0,
    "push_check_interval": 60.0,
    "max_polls_per_second": 10.0,
    "burst": 10,
}


@frozen(kw_only=True)
class Row:
    """One line of the table.

    Attributes:
        title: What the fleet is.
        who: `ours`, `naive` or `published`.
        fleet: In its own seconds.
        policy: Ours: what differs from the defaults of `WaitPolicy`, in the fleet's seconds.
        speed: How many times as fast the clock is; what is reported is in the fleet's seconds.
        stop_after: Real seconds after which waiting is ended, where it is not waited out.
        look_after: Real seconds after which memory is looked at.
        threads: The published SDK's.
    """

    title: str
    who: str
    fleet: Fleet
    policy: dict[str, float] = field(factory=dict)
    speed: float = 1.0
    stop_after: float | None = None
    look_after: float = 4.0
    threads: int = 256

    def spec(self, url: str) -> dict[str, Any]:
        """What the contender is told."""
        policy: dict[str, float] = {**DEFAULTS, **self.policy}
        for name in _SECONDS:
            policy[name] /= self.speed
        for name in _RATES:
            policy[name] *= self.speed
        jobs = self.fleet.faster(self.speed).made()
        return {
            "url": url,
            "jobs": [[job.generation_id, job.api_project_id, job.begins] for job in jobs],
            "policy": policy,
            "beat": BEAT / self.speed,
            "threads": self.threads,
            "stop_after": self.stop_after,
            "look_after": self.look_after,
        }


@contextmanager
def service() -> Iterator[str]:
    """The service's address."""
    command = [sys.executable, str(HERE / "server.py")]
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent)}
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        if process.stdout is None:
            raise RuntimeError("the service has no output")
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}/v1"
        finally:
            process.terminate()


def _post(url: str, said: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(said).encode())  # noqa: S310 - loopback
    with urllib.request.urlopen(request) as answer:  # noqa: S310 - loopback
        return json.load(answer)


def measured(row: Row, python: str) -> dict[str, Any]:
    """Run a row with an interpreter: its figures, in the fleet's seconds."""
    script = ["published.py"] if row.who == "published" else ["contender.py", row.who]
    command = [python, str(HERE / script[0]), *script[1:]]
    with (
        service() as url,
        subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        stdin, stdout = process.stdin, process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("the contender cannot be talked to")
        try:
            stdin.write(json.dumps(row.spec(url)) + "\n")
            stdin.flush()
            if stdout.readline().strip() != "ready":
                raise RuntimeError(f"{row.who} did not get ready")
            began = _post(url + "/begin", asdict(row.fleet.faster(row.speed)))["began"]
            stdin.write(f"{began}\n")
            stdin.flush()
            result = json.loads(stdout.readline())
        finally:
            process.kill()
        return _figures(row, began, result, _post(url + "/figures", {}))


def _figures(
    row: Row, began: float, result: dict[str, Any], asked: dict[str, Any]
) -> dict[str, Any]:
    ends = {job.generation_id: job.ends for job in row.fleet.made()}
    delays = [(at - began) * row.speed - ends[name] for name, at in result["ends"]]
    instants = [at * row.speed for at in asked["singles"] + asked["listings"]]
    jobs, mean = row.fleet.jobs, sum(delays) / len(delays) if delays else None
    grown = result["resident_waiting"] - result["resident_before"]
    figures: dict[str, Any] = {
        "title": row.title,
        "who": row.who,
        "jobs": jobs,
        "projects": row.fleet.projects,
        "speed": row.speed,
        "ended": len(delays),
        "requests": len(instants),
        "listings": len(asked["listings"]),
        "delay_mean": mean,
        "delay_p50": quantile(delays, 0.5) if delays else None,
        "delay_p95": quantile(delays, 0.95) if delays else None,
        "cpu_seconds": result["cpu"],
        "peak_mib": result["resident_most"] / 2**20,
        "bytes_per_job": grown / jobs if jobs >= _MANY else None,
        # As they arrive: what was sent a little more than a second apart may arrive within one.
        "most_in_a_second": most_within(instants, 1.0),
        "longest_unasked": asked["longest_unasked"] * row.speed,
        "beat_of_that_delay": None,
    }
    if mean and row.stop_after is None:
        # What a fixed beat of the same mean delay would have asked.
        figures["beat_of_that_delay"] = asked_on_a_beat(row.fleet, 2 * mean).requests
    return figures
