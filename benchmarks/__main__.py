"""All benchmarks in turn, and one table of their figures.

    python benchmarks [--quick] [--published PYTHON] [--only TEXT] [--json FILE]

`--quick` runs one small measurement of each topic, in less than three minutes, and prints only
the table. Without it, every program runs as in docs/benchmarks.md, for hours, and prints what it
measures. The last two columns compare each row with the published SDK, if `--published` names an
interpreter that has it: medians of the ratios of runs that took turns.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from harness import HERE, Figures, environment, finish, parser, print_table, ratios, save

#: Topics and the arguments of their program; the value of the last, `--published`, is added.
QUICK = {
    "a call": "calls.py --rounds 3 --calls 500 --published",
    "a blocking call": "calls.py --blocking --rounds 3 --calls 200 --published",
    "telemetry": "telemetry.py --rounds 3 --calls 200",
    "small uploads": "transfers.py --quick --rounds 3 --only 'loopback small up' --published",
    "one small file": "batch.py --one --rounds 3 --published",
    "many files": "batch.py --files 20 --seconds 1 --published",
    "a cluster": "cluster.py --files 100 --workers 2",
    "waiting": "waiting.py --quick --published",
    "imports": "imports.py --rounds 3 --published",
    "reports": "report.py --rows 1",
    "denoising": "denoisers.py --noises white --levels 10",
}
FULL = {
    "a call": "calls.py --published",
    "parts of a call": "calls.py --layers",
    "a blocking call": "calls.py --blocking --published",
    "telemetry": "telemetry.py",
    "the bridge": "bridge.py",
    "transfers": "transfers.py --published",
    "one small file": "batch.py --one --published",
    "many files": "batch.py --bare --rounds 4 --published",
    "2,000 files": "batch.py --files 2000 --published",
    "100,000 files": "batch_rows.py",
    "a cluster": "cluster.py --tls",
    "memory of a cluster": "cluster.py --memory --files 12000",
    "large files on a cluster": "cluster.py --large",
    "a slow journal": "cluster.py --journal",
    "simulated clusters": "cluster.py --simulate --files 1000000",
    "waiting": "waiting.py --published",
    "waiting for real restorations": "waiting.py --recording 4",
    "simulated waits": "waiting.py --simulate",
    "object stores": "stores.py",
    "webhooks": "inbox.py",
    "waiting with webhooks": "hybrid.py",
    "imports": "imports.py --published",
    "modules": "walks.py",
    "reports": "report.py --rows 1 50 500",
    "pages of reports": "report_page.py",
    "denoising": "denoisers.py",
    "speed of denoisers": "denoisers.py --speed",
    "films": "restoring.py films",
    "a long recording": "restoring.py long",
}
#: Modules of extras that programs need.
NEEDED = {
    "cluster.py": "distributed",
    "telemetry.py": "opentelemetry",
    "transfers.py": "trustme",
    "report.py": "av",
    "report_page.py": "playwright",
    "denoisers.py": "av",
    "stores.py": "obstore",
    "restoring.py": "av",
}
COLUMNS = (
    *("topic", "what", "who", "seconds", "cpu_seconds", "peak_mib", "grown_mib", "requests"),
    *("delay_mean", "after_db", "speed_to_published", "cpu_to_published"),
)


def run(arguments: str, published: str | None, *, quick: bool) -> list[Figures]:
    """Run a program; return its rows."""
    words = shlex.split(arguments)
    if words[-1] == "--published":
        words[-1:] = ["--published", published] if published else []
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder, "figures.json")
        command = [sys.executable, str(HERE / words[0]), *words[1:], "--json", str(figures)]
        if quick:
            finish(*command)
        else:
            print("\n$ python benchmarks/" + " ".join(words), flush=True)
            subprocess.run(command, env=environment(), check=True)  # noqa: S603
        rows: list[Figures] = json.loads(figures.read_text())["rows"]
    return compared(rows)


def compared(rows: list[Figures]) -> list[Figures]:
    """Add the comparison with the published SDK to each row that has one."""
    published = {row["what"]: row for row in rows if row.get("who", "").startswith("published")}
    for row in rows:
        other = published.get(row["what"])
        if other is not None and row is not other:
            found = ratios(row.get("runs", [row]), other.get("runs", [other]))
            row |= {f"{name.removesuffix('_ratio')}_to_published": found[name] for name in found}
    return rows


def main() -> None:
    """Run the programs, and print the table."""
    given = parser(__doc__, published=True)
    given.add_argument("--quick", action="store_true", help="one small measurement of each topic")
    given.add_argument("--only", metavar="TEXT", default="", help="topics that contain this")
    options = given.parse_args()
    rows: list[Figures] = []
    failed = []
    for topic, arguments in (QUICK if options.quick else FULL).items():
        program = arguments.split()[0]
        needed = NEEDED.get(program)
        if options.only not in topic:
            continue
        if needed and find_spec(needed) is None:
            print(f"{topic}: left out, since {program} needs {needed}", file=sys.stderr)
            continue
        try:
            found = run(arguments, options.published, quick=options.quick)
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            failed.append(f"{topic}: {error}")
        else:
            rows += [{"topic": topic, **row} for row in found]
    print_table(rows, COLUMNS)
    save(rows, options)
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
