"""Bandwidth of a cluster whose workers have links of a limited rate, each in a network namespace.

It needs Linux, the commands `ip` and `tc`, and root.
"""

from __future__ import annotations

import subprocess
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from clusters.memory import sparse_files
from clusters.running import on_sink
from harness import Figures

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


_BRIDGE, _NETWORK = "diffio-br", "10.213.57"
_MIB = 1024 * 1024


def scaling(counts: Sequence[int], *, rate: int, files: int, size: int) -> list[Figures]:
    """Return the throughput of several numbers of workers.

    Args:
        counts: Numbers of workers; the first is compared with the others.
        rate: Bytes per second of a worker's link, in each direction.
        files: Number of files for each worker.
        size: Their size in bytes; the results have the same.
    """
    rows = list[Figures]()
    for count in counts:
        seconds = _run(count, rate=rate, files=files * count, size=size)
        rows.append(
            {
                "what": f"{rate / 1e6:g} MB/s for each worker",
                "who": f"{count} workers",
                "seconds": seconds,
                "mb_per_second": 2 * files * count * size / seconds / 1e6,
                "share_of_linear": rows[0]["seconds"] / seconds if rows else 1.0,
            }
        )
    return rows


def _run(count: int, *, rate: int, files: int, size: int) -> float:
    """Restore files by workers behind links; return the seconds."""
    with ExitStack() as stack:
        links = [*stack.enter_context(_links(count, rate))]
        cluster = stack.enter_context(on_sink(host=f"{_NETWORK}.1"))
        cluster.start("scheduler")
        for number, (namespace, address) in enumerate(links):
            prefix = ("ip", "netns", "exec", namespace)
            cluster.start(f"worker {number}", *prefix, host=address)
        source = sparse_files(cluster.folder, files, size)
        found = cluster.restore(source, files=files)
        seconds: float = found["coordinator"]["seconds"]
        return seconds


@contextmanager
def _links(count: int, rate: int) -> Iterator[list[tuple[str, str]]]:
    """Create namespaces with a limited link each; yield their names and addresses."""
    with ExitStack() as stack:
        _command(f"ip link add {_BRIDGE} type bridge")
        stack.callback(_command, f"ip link del {_BRIDGE}")
        _command(f"ip addr add {_NETWORK}.1/24 dev {_BRIDGE}")
        _command(f"ip link set {_BRIDGE} up")
        found = list[tuple[str, str]]()
        for number in range(count):
            name, address = f"diffio-{number}", f"{_NETWORK}.{number + 2}"
            inside = f"ip netns exec {name}"
            limit = f"root tbf rate {8 * rate}bit burst 64kb latency 50ms"
            _command(f"ip netns add {name}")
            stack.callback(_command, f"ip netns del {name}")
            _command(f"ip link add {name} type veth peer name eth0 netns {name}")
            _command(f"ip link set {name} master {_BRIDGE} up")
            _command(f"tc qdisc add dev {name} {limit}")
            _command(f"{inside} ip link set lo up")
            _command(f"{inside} ip addr add {address}/24 dev eth0")
            _command(f"{inside} ip link set eth0 up")
            _command(f"{inside} tc qdisc add dev eth0 {limit}")
            found.append((name, address))
        yield found


def _command(line: str) -> None:
    subprocess.run(line.split(), check=True)  # noqa: S603
