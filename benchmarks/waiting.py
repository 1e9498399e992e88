"""Waiting for fleets of generations: ours, a naïve loop for each, and the published SDK.

    python benchmarks/waiting.py [--only WORDS] [--json FILE] [--published PYTHON]
    python benchmarks/waiting.py --quick       a smoke run of some seconds
    python benchmarks/waiting.py --simulate    the decision alone, on a virtual clock
    python benchmarks/waiting.py --plot FILE   the curve of delay against requests, as SVG

The service is a process of its own, and so is each contender; a fleet is the same for all. Some
fleets run on a faster clock, so that an hour fits into minutes: durations, and all of the policy
that is in seconds, are divided by `speed`, the budget is multiplied by it, and what is reported is
in the fleet's own seconds, but for CPU seconds. A round trip is not scaled, so a fast clock makes
delays look longer, never shorter.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from itertools import chain
from pathlib import Path
from typing import Any

from moving.contenders import with_published
from waits import lone
from waits.fleets import Fleet
from waits.plot import plot
from waits.running import Row, measured
from waits.simulation import lines

ONE, MANY = "one project", "a project each"


def rows() -> list[Row]:
    """All that is measured."""
    single = Fleet(jobs=1, median=20)
    hundred = Fleet(jobs=100, projects=100, median=20)
    thousand = Fleet(jobs=1000, projects=1000)
    together = Fleet(jobs=1000)
    jumps = Fleet(jobs=1000, projects=1000, way="jumps")
    later = Fleet(jobs=1000, projects=1000, way="jumps", over=600)
    twelve = Fleet(jobs=256, projects=256, median=12, within=0.8)
    return [
        Row(title="1 job, median 20 s", who="ours", fleet=single),
        Row(title="1 job, median 20 s", who="naive", fleet=single),
        Row(title=f"100 jobs, median 20 s, {MANY}", who="ours", fleet=hundred),
        Row(title=f"100 jobs, median 20 s, {MANY}", who="naive", fleet=hundred),
        Row(title=f"1,000 jobs, median 60 s, {ONE}", who="ours", fleet=together, speed=2),
        Row(title="1,000 jobs, median 60 s", who="naive", fleet=thousand, speed=2),
        *(
            Row(
                title=f"1,000 jobs, median 60 s, {MANY}{how}, budget {budget}/s",
                who="ours",
                fleet=fleet,
                policy={"max_polls_per_second": float(budget), "burst": 50},
                speed=speed,
            )
            for how, fleet, budget, speed in (
                ("", thousand, 150, 2),
                (", stages jump", jumps, 400, 1),
                (", stages jump, begun over 10 min", later, 150, 4),
            )
        ),
        Row(
            title=f"1,000 jobs, median 60 s, {MANY}, default budget",
            who="ours",
            fleet=thousand,
            speed=2,
        ),
        Row(
            title=f"10,000 jobs, median 20 s, {ONE}",
            who="ours",
            fleet=Fleet(jobs=10_000, median=20),
        ),
        Row(
            title=f"10,000 jobs, median 5 min, {MANY}",
            who="ours",
            fleet=Fleet(jobs=10_000, projects=10_000, median=300),
            speed=20,
        ),
        *(
            Row(
                title=f"10,000 jobs of hours, {where}: 60 s of waiting",
                who="ours",
                fleet=Fleet(jobs=10_000, projects=projects, median=7200, sigma=0.2),
                stop_after=60,
                look_after=20,
            )
            for where, projects in ((ONE, 1), (MANY, 10_000))
        ),
        *(
            Row(
                title="256 jobs, 12 s ± 80 %",
                who=who,
                fleet=twelve,
                policy={"max_polls_per_second": 150.0, "burst": 50},
            )
            for who in ("ours", "naive", "published")
        ),
    ]


def quick() -> list[Row]:
    """Some seconds of it."""
    few = Fleet(jobs=60, projects=6, median=2)
    return [Row(title="60 jobs, median 2 s", who=who, fleet=few) for who in ("ours", "naive")]


def line(figures: dict[str, Any]) -> str:
    """A row for people."""

    def number(name: str, form: str) -> str:
        value = figures[name]
        return "-" if value is None else format(value, form)

    return (
        f"{figures['title']:58} {figures['who']:9} x{figures['speed']:<3g} "
        f"ended {figures['ended']:6} requests {figures['requests']:6} "
        f"delay {number('delay_mean', '.2f')} / {number('delay_p50', '.2f')} / "
        f"{number('delay_p95', '.2f')} s  cpu {figures['cpu_seconds']:.2f} s  "
        f"peak {figures['peak_mib']:.0f} MiB  bytes/job {number('bytes_per_job', '.0f')}  "
        f"worst second {figures['most_in_a_second']}  "
        f"unasked {figures['longest_unasked']:.1f} s  "
        f"beat of that delay {number('beat_of_that_delay', '')}"
    )


def main() -> None:
    """Measure, and print a table: delays are mean / p50 / p95."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", metavar="WORDS", help="rows whose line holds these words")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--simulate", action="store_true")
    parser.add_argument("--jobs", type=int, default=1000, help="simulated")
    parser.add_argument("--median", type=float, default=60.0, help="simulated, in seconds")
    parser.add_argument("--plot", type=Path, metavar="FILE")
    parser.add_argument("--published", metavar="PYTHON", help="that has diffio==0.3.10 already")
    parser.add_argument("--without-published", action="store_true")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    if asked.simulate:
        for each in chain(lines(asked.jobs, asked.median), lone.lines()):
            print(each, flush=True)
    if asked.plot:
        asked.plot.write_text(plot(asked.jobs), encoding="utf-8")
    if asked.simulate or asked.plot:
        return
    wanted = quick() if asked.quick else rows()
    wanted = [row for row in wanted if (asked.only or "") in f"{row.title} {row.who}"]
    if asked.without_published:
        wanted = [row for row in wanted if row.who != "published"]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for row in wanted:
            python = sys.executable
            if row.who == "published":
                python = asked.published or with_published(Path(folder))
            found.append(measured(row, python))
            print(line(found[-1]), flush=True)
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
