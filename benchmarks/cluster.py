"""A batch on a Dask cluster: CPU time and memory of each process.

    python benchmarks/cluster.py [--files 3000] [--workers 3] [--tls] [--rounds 1] [--json FILE]
    python benchmarks/cluster.py --memory [--files 12000] [--tls]
    python benchmarks/cluster.py --growth [--files 10000]
    python benchmarks/cluster.py --simulate [--files 1000000]
    python benchmarks/cluster.py --large | --journal | --links

The service, the scheduler, the coordinator and each worker run in processes of their own, all on
this machine. Without an option, files of 16 kB are restored by a sandbox whose generations end at
once: without a cluster, and with one.

`--memory` measures memory with generations in flight that do not end, `--growth` with the number
of files, `--large` that of a worker which moves three files of 2 GiB at once. `--journal` records
files without requests, with commits that are 20 ms late. `--links` gives each worker a network
namespace with a link of 1 MB/s (Linux, root). `--simulate` simulates batches.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from clusters import journal, links, memory, simulation
from clusters.running import on_sandbox, write_files
from harness import Figures, compare, parser, report

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

_SIZE, _GIB = 16384, 1024**3
#: CPU seconds of the coordinator for one file, for the simulation.
_COORDINATOR = 0.006


def cpu(options: argparse.Namespace) -> list[Figures]:
    """Return the CPU time of each kind of process per file, without and with a cluster."""
    contenders = {
        "no cluster": partial(run, options, workers=0, tls=False),
        f"{options.workers} workers": partial(run, options, workers=options.workers, tls=False),
    }
    if options.tls:
        contenders["no cluster, TLS"] = partial(run, options, workers=0, tls=True)
        workers = options.workers
        contenders[f"{workers} workers, TLS"] = partial(run, options, workers=workers, tls=True)
    what = f"{options.files:,} files of 16 kB"
    return compare(what, contenders, rounds=options.rounds)


def run(options: argparse.Namespace, *, workers: int, tls: bool) -> Figures:
    """Restore the files once."""
    settings = {"duration": 0, "keep_requests": 1000}
    with on_sandbox(settings, tls=tls) as cluster:
        if workers:
            cluster.start_workers(workers)
        source = write_files(cluster.folder, options.files, _SIZE)
        found = cluster.restore(source, files=options.files)
        own = found["coordinator"]

        def milliseconds(role: str) -> float:
            used = (each["cpu_seconds"] for name, each in found.items() if name.startswith(role))
            found_ms: float = 1000 * sum(used) / options.files
            return found_ms

        return {
            "seconds": own["seconds"],
            "cpu_seconds": own["cpu_seconds"],
            "files_per_second": options.files / own["seconds"],
            **{f"{role}_ms": milliseconds(role) for role in ("coordinator", "scheduler", "worker")},
            "peak_mib": own["peak_mib"],
        }


SCENES: dict[str, tuple[str, Callable[[argparse.Namespace], list[Figures]]]] = {
    "memory": (
        "memory with generations in flight",
        lambda given: memory.in_flight(given.files, tls=given.tls),
    ),
    "growth": (
        "memory with the number of files",
        lambda given: memory.per_file(given.files, given.workers),
    ),
    "large": ("memory with large files", lambda _: memory.large_files(3, 2 * _GIB)),
    "journal": ("the journal alone", lambda given: journal.compared(given.files)),
    "links": (
        "workers with limited links",
        lambda _: links.scaling((1, 2, 4, 8), rate=1_000_000, files=30, size=1_000_000),
    ),
    "simulate": (
        "simulated batches",
        lambda given: list(simulation.rows(given.files, _COORDINATOR)),
    ),
}


def main() -> None:
    """Measure, and print a table."""
    given = parser(__doc__, rounds=1)
    given.add_argument("--files", type=int, default=3000)
    given.add_argument("--workers", type=int, default=3)
    given.add_argument("--tls", action="store_true", help="measure all connections over TLS too")
    for name, (text, _) in SCENES.items():
        given.add_argument(f"--{name}", action="store_const", const=name, dest="scene", help=text)
    options = given.parse_args()
    report(SCENES[options.scene][1](options) if options.scene else cpu(options), options)


if __name__ == "__main__":
    main()
