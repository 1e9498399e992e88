"""Resource usage of a process. Standard library only, since every contender imports it."""

from __future__ import annotations

import json
import resource
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moving.sink import content

if TYPE_CHECKING:
    from collections.abc import Iterator


def kib(name: str) -> int | None:
    """Return a figure of this process in KiB from Linux: `VmRSS` (now) or `VmHWM` (peak)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith(name)), 0)


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@contextmanager
def metered() -> Iterator[dict[str, Any]]:
    """Measure the body: seconds, CPU seconds of all threads, and peak memory over idle in MiB."""
    found: dict[str, Any] = {}
    idle = kib("VmRSS")
    if idle is not None:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets the peak
    processor, began = _processor(), time.perf_counter()
    yield found
    found["seconds"] = time.perf_counter() - began
    found["cpu_seconds"] = _processor() - processor
    peak = kib("VmHWM")
    found["peak_mib"] = None if idle is None or peak is None else (peak - idle) / 1024


def read_parameters() -> dict[str, Any]:
    """Return the parameters of this process, from its standard input."""
    parameters: dict[str, Any] = json.loads(sys.argv[1])
    return parameters


def print_result(found: dict[str, Any]) -> None:
    """Print the result for the parent process."""
    print(json.dumps(found), flush=True)


def check(path: Path, size: int) -> None:
    """Check the size and some bytes of a downloaded file."""
    found = path.stat().st_size
    if found != size:
        raise RuntimeError(f"{found:,} of {size:,} bytes are in the file")
    with path.open("rb") as file:
        for offset in range(0, size, max(1, size // 7)):
            file.seek(offset)
            length = min(4096, size - offset)
            if file.read(length) != content(offset, length):
                raise RuntimeError(f"other bytes than were served are at {offset:,}")
