"""Table of the measurements."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Columns: heading, name of the figure, format.
COLUMNS = (
    ("MB/s", "mb_per_s", "{:,.0f}"),
    ("s", "seconds", "{:.2f}"),
    ("CPU s/GB", "cpu_s_per_gb", "{:.2f}"),
    ("peak MiB", "peak_mib", "{:.1f}"),
    ("at once", "connections", "{:.0f}"),
    ("lag worst ms", "lag_worst_ms", "{:.1f}"),
    ("ours", "lag_busy_worst_ms", "{:.1f}"),
    ("p99", "lag_p99_ms", "{:.1f}"),
)


def row(scene: str, contender: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the medians of several runs (for memory the maximum), and the runs."""
    found: dict[str, Any] = {"scene": scene, "contender": contender}
    for _, name, _ in COLUMNS:
        values = [run[name] for run in runs if run.get(name) is not None]
        if values:
            found[name] = max(values) if name == "peak_mib" else statistics.median(values)
    found["runs"] = list(runs)
    return found


def against(
    ours: Sequence[Mapping[str, Any]], other: Sequence[Mapping[str, Any]]
) -> tuple[float, float]:
    """Return the median ratios of speed and CPU time, over pairs of runs."""
    pairs = list(zip(ours, other, strict=True))
    speed = statistics.median(mine["mb_per_s"] / its["mb_per_s"] for mine, its in pairs)
    return speed, statistics.median(mine["cpu_seconds"] / its["cpu_seconds"] for mine, its in pairs)


def heading() -> str:
    """Return the heading of the table."""
    return f"{'':26}{'':12}" + "".join(f"{head:>14}" for head, _, _ in COLUMNS)


def line(found: Mapping[str, Any]) -> str:
    """Return one line of the table."""
    cells = (
        form.format(found[name]) if found.get(name) is not None else "-"
        for _, name, form in COLUMNS
    )
    return f"{found['scene']:26}{found['contender']:12}" + "".join(f"{cell:>14}" for cell in cells)


def profile(found: Mapping[str, Any]) -> str:
    """Return the CPU time by kind of work: seconds and percentage."""
    kinds: Mapping[str, float] = found["profile"]
    total = sum(kinds.values()) or 1.0
    lines = [f"    {kind:34}{own:8.3f} s{own / total:6.0%}" for kind, own in kinds.items()]
    return "\n".join(lines)
