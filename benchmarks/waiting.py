"""Benchmark of waiting for fleets of jobs: this client, a naive loop per job, the published SDK.

    python benchmarks/waiting.py [--only TEXT] [--json FILE] [--published PYTHON]
    python benchmarks/waiting.py --quick       a smoke run of a few seconds
    python benchmarks/waiting.py --simulate    simulate the poll decision only
    python benchmarks/waiting.py --recording N wait for real restorations, N with each contender
    python benchmarks/waiting.py --plot FILE   plot delay against requests as SVG

The column `fixed_interval_requests` has the number of a fixed interval with the same mean delay.

The service and each contender are separate processes, and all contenders wait for equal fleets.
Some fleets run on a faster clock: durations and the intervals of the policy are divided by `speed`,
the rate limit is multiplied by it, and figures are in simulated seconds, except CPU seconds. Round
trips are not scaled, nor the rate of polls at first and its growth, so a faster clock makes delays
seem longer, never shorter.
"""

from __future__ import annotations

import sys
from pathlib import Path

from harness import Figures, parser, print_heading, print_line, report, save
from waits import recording, simulation, single_job
from waits.fleets import Fleet
from waits.plot import plot
from waits.running import Row, measure

ONE, MANY = "one project", "a project each"
COLUMNS = (
    *("what", "who", "speed", "ended", "requests", "delay_mean", "delay_p50", "delay_p95"),
    *("cpu_seconds", "peak_mib", "bytes_per_job", "max_per_second", "longest_gap"),
    "fixed_interval_requests",
)


def rows() -> list[Row]:
    """Return all rows of the table."""
    single = Fleet(jobs=1, median=20)
    hundred = Fleet(jobs=100, projects=100, median=20)
    thousand = Fleet(jobs=1000, projects=1000)
    together = Fleet(jobs=1000)
    jumps = Fleet(jobs=1000, projects=1000, progress="jumps")
    later = Fleet(jobs=1000, projects=1000, progress="jumps", created_over=600)
    short = Fleet(jobs=40, projects=40, median=3, spread=2 / 3)
    twelve = Fleet(jobs=256, projects=256, median=12, spread=0.8)
    return [
        *(
            Row(
                title=f"1 job alone, 1 to 5 s (40 times){how}",
                who=who,
                fleet=short,
                interval=interval,
                alone=True,
            )
            for who, how, interval in (
                ("ours", "", 2.0),
                ("naive", ", every 2 s", 2.0),
                ("naive", ", every 0.5 s", 0.5),
            )
        ),
        Row(title="1 job, median 20 s", who="ours", fleet=single),
        Row(title="1 job, median 20 s", who="naive", fleet=single),
        Row(title=f"100 jobs, median 20 s, {MANY}", who="ours", fleet=hundred),
        Row(title=f"100 jobs, median 20 s, {MANY}", who="naive", fleet=hundred),
        Row(title=f"1,000 jobs, median 60 s, {ONE}", who="ours", fleet=together, speed=2),
        Row(title=f"1,000 jobs, median 60 s, {MANY}", who="ours", fleet=thousand),
        Row(title="1,000 jobs, median 60 s", who="naive", fleet=thousand, speed=2),
        *(
            Row(
                title=f"1,000 jobs, median 60 s, {MANY}{how}, at most {rate} polls/s",
                who="ours",
                fleet=fleet,
                policy={"max_polls_per_second": float(rate), "burst": 50},
                speed=speed,
            )
            for how, fleet, rate, speed in (
                ("", thousand, 10, 2),
                (", stages jump", jumps, 400, 1),
                (", stages jump, created over 10 min", later, 150, 4),
            )
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
            speed=4,
        ),
        *(
            Row(
                title=f"10,000 jobs of hours, {where}: 60 s of waiting",
                who="ours",
                fleet=Fleet(jobs=10_000, projects=projects, median=7200, sigma=0.2),
                stop_after=60,
                sample_after=20,
            )
            for where, projects in ((ONE, 1), (MANY, 10_000))
        ),
        *(
            Row(title="256 jobs, 12 s ± 80 %", who=who, fleet=twelve)
            for who in ("ours", "naive", "published")
        ),
    ]


def quick() -> list[Row]:
    """Return the rows of a smoke run."""
    few = Fleet(jobs=60, projects=6, median=2)
    contenders = ("ours", "naive", "published")
    return [Row(title="60 jobs, median 2 s", who=who, fleet=few) for who in contenders]


def main() -> None:
    """Measure, and print a table."""
    given = parser(__doc__, published=True)
    given.add_argument(
        "--only", metavar="TEXT", help="only rows whose title or contender contains this"
    )
    given.add_argument("--quick", action="store_true")
    given.add_argument("--simulate", action="store_true")
    given.add_argument("--jobs", type=int, default=1000, help="number of simulated jobs")
    given.add_argument(
        "--median", type=float, default=60.0, help="median duration of simulated jobs, in seconds"
    )
    given.add_argument("--recording", type=int, metavar="N", help="number of real restorations")
    given.add_argument("--plot", type=Path, metavar="FILE")
    arguments = given.parse_args()
    if arguments.plot and arguments.json and not (arguments.simulate or arguments.recording):
        given.error("--plot draws figures and returns none: leave out --json")
    results: list[Figures] = []
    if arguments.plot:
        arguments.plot.write_text(plot(arguments.jobs), encoding="utf-8")
    if arguments.simulate:
        results += [*simulation.rows(arguments.jobs, arguments.median), *single_job.rows()]
    if arguments.recording:
        results += recording.rows(arguments.recording)
    if arguments.simulate or arguments.plot or arguments.recording:
        report(results, arguments)
        return
    selected = quick() if arguments.quick else rows()
    selected = [row for row in selected if (arguments.only or "") in f"{row.title} {row.who}"]
    print_heading(*COLUMNS)
    for row in selected:
        python = arguments.published if row.who == "published" else sys.executable
        if python:
            results.append(measure(row, python))
            print_line(*(results[-1][name] for name in COLUMNS))
    save(results, arguments)


if __name__ == "__main__":
    main()
