"""What the benchmarks share: processes, paired rounds, medians, tables, and JSON.

Only the standard library is imported, since programs that run the published SDK use it too. A
measurement is a dict of figures: `seconds`, `cpu_seconds`, `peak_mib` (memory of a process),
`grown_mib` (above that before the measurement), `requests`, and others of the program.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

HERE = Path(__file__).parent
MIB = 1024 * 1024

Figures = dict[str, Any]


def parser(
    description: str | None, *, rounds: int | None = None, published: bool = False
) -> argparse.ArgumentParser:
    """Return a parser with the option `--json`, and others.

    Args:
        description: The docstring of the program.
        rounds: The default of `--rounds`, which is left out if None.
        published: Whether there is an option for the published SDK.
    """
    found = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    found.add_argument("--json", type=Path, metavar="FILE", help="write all figures to this file")
    if published:
        found.add_argument("--published", metavar="PYTHON", help="interpreter with diffio==0.3.10")
    if rounds is not None:
        found.add_argument("--rounds", type=int, default=rounds, help=f"({rounds})")
    return found


class Process:
    """A running child process that exchanges lines of JSON with this one."""

    def __init__(self, popen: subprocess.Popen[str]) -> None:
        self.popen = popen

    def read(self) -> Any:
        """Return the next line of the process, decoded.

        Raises:
            RuntimeError: The process has ended.
        """
        line = self.popen.stdout.readline() if self.popen.stdout else ""
        if not line:
            raise RuntimeError(f"no line was received: run {self.popen.args!r} to see why")
        return json.loads(line)

    def request(self, value: object) -> Any:
        """Send a line; return the next line of the process."""
        print(json.dumps(value), file=self.popen.stdin, flush=True)
        return self.read()


@contextmanager
def process(*command: str, variables: Mapping[str, str] | None = None) -> Iterator[Process]:
    """Run a process while the body runs, with additional environment variables."""
    with subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(variables),
    ) as popen:
        try:
            yield Process(popen)
        finally:
            popen.terminate()


@contextmanager
def sandbox(
    settings: Mapping[str, object], *, delay: float = 0.0
) -> Iterator[tuple[dict[str, str], Process]]:
    """Run a sandbox whose responses are delayed; yield its environment, and its process.

    Each `request(None)` of the process returns what it counted since the last.
    """
    given = json.dumps({"engine": "echo", **settings})
    with process(sys.executable, str(HERE / "service.py"), str(delay), given) as running:
        yield running.read(), running


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a child, which caches bytecode as users do and imports this."""
    own = {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPATH": str(HERE)}
    return {**os.environ, **own, **(variables or {})}


def finish(
    *command: str,
    variables: Mapping[str, str] | None = None,
    watch: Callable[[int], None] | None = None,
) -> tuple[str, Figures]:
    """Run a process to its end; return its output, and its cost.

    Args:
        command: The program and its arguments.
        variables: Additional environment variables.
        watch: Called ten times a second with the process id.

    Raises:
        RuntimeError: The process failed.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        began = time.perf_counter()
        child = subprocess.Popen(  # noqa: S603
            command, stdout=output, stderr=errors, env=environment(variables)
        )
        while True:
            ended, status, used = os.wait4(child.pid, os.WNOHANG if watch else 0)
            if ended:
                break
            if watch:
                watch(child.pid)
            time.sleep(0.1)
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if child.returncode:
            raise RuntimeError(f"{command[:3]} failed: {errors.read()[-2000:]}")
        cpu = used.ru_utime + used.ru_stime
        cost = {"seconds": seconds, "cpu_seconds": cpu, "peak_mib": used.ru_maxrss / 1024}
        return output.read(), cost


def cpu_seconds() -> float:
    """Return the CPU seconds of this process so far, those of all its threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def resident(name: str = "VmRSS") -> float:
    """Return the memory of this process in MiB: `VmRSS` is that of now, `VmHWM` the peak.

    It is 0 where there is no `/proc`.
    """
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else ()
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name)), 0.0)


@contextmanager
def metered() -> Iterator[Figures]:
    """Measure the body: seconds, CPU seconds of all threads, and peak memory above that before."""
    found: Figures = {}
    idle = resident()
    if idle:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    cpu, began = cpu_seconds(), time.perf_counter()
    yield found
    found["seconds"] = time.perf_counter() - began
    found["cpu_seconds"] = cpu_seconds() - cpu
    found["grown_mib"] = resident("VmHWM") - idle if idle else None


def compare(
    what: str,
    contenders: Mapping[str, Callable[[], Figures]],
    *,
    rounds: int,
    against: str | None = None,
) -> list[Figures]:
    """Run the contenders in turn, so that noise affects all of them; return a row for each.

    Args:
        what: What is measured.
        contenders: Functions that run once, and return figures.
        rounds: Number of runs of each.
        against: The contender with which the others are compared, round by round.
    """
    runs: dict[str, list[Figures]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            runs[name].append(run())
    rows = []
    for name, found in runs.items():
        row: Figures = {"what": what, "who": name, **medians(found)}
        if against in runs and against != name:
            row |= ratios(found, runs[against])
        rows.append({**row, "runs": found})
    return rows


def medians(runs: Sequence[Figures]) -> Figures:
    """Return the median of each figure that has values, and the maximum of memory."""
    found = {}
    for name in runs[0]:
        values = [run[name] for run in runs if run[name] is not None]
        if values:
            found[name] = (max if name.endswith("_mib") else statistics.median)(values)
    return found


def quantile(values: Sequence[float], share: float) -> float:
    """Return a quantile of one or more values; `share` is from 0 to 1."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def ratios(runs: Sequence[Figures], others: Sequence[Figures]) -> Figures:
    """Return by what factor runs were faster than others, and used more CPU: medians of pairs."""
    pairs = list(zip(runs, others, strict=True))
    found = {}
    if "seconds" in runs[0]:
        found["speed_ratio"] = statistics.median(b["seconds"] / a["seconds"] for a, b in pairs)
    found["cpu_ratio"] = statistics.median(a["cpu_seconds"] / b["cpu_seconds"] for a, b in pairs)
    return found


def text(value: object) -> str:
    """Return a figure as text: three significant digits, and those before the point."""
    if isinstance(value, float) and value < 100:  # noqa: PLR2004
        return f"{value:.3g}"
    return f"{value:,.0f}" if isinstance(value, int | float) else str(value or "")


def print_line(*cells: object) -> None:
    """Print one line of a table in Markdown."""
    print("| " + " | ".join(text(cell) for cell in cells) + " |", flush=True)


def print_heading(*cells: str) -> None:
    """Print the first two lines of a table in Markdown."""
    print_line(*cells)
    print("|---" * len(cells) + "|", flush=True)


def print_table(rows: Sequence[Figures], columns: Sequence[str] = ()) -> None:
    """Print rows as one table, with a column for each figure (of these) that a row has."""
    present = dict.fromkeys(name for row in rows for name in row if name != "runs")
    columns = [name for name in columns or present if name in present]
    lines = [columns, *([text(row.get(name)) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for number, line in enumerate(lines):
        print_line(*(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))
        if not number:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def report(rows: Sequence[Figures], options: argparse.Namespace) -> None:
    """Print a table, and write the file of `--json`."""
    print_table(rows)
    save(rows, options)


def save(rows: Sequence[Figures], options: argparse.Namespace) -> None:
    """Write all figures to the file of `--json`, if it was given."""
    if options.json:
        about = {"python": platform.python_version(), "cores": os.cpu_count()}
        found = json.dumps({**about, "rows": rows}, indent=1)
        options.json.write_text(found + "\n", encoding="utf-8")
