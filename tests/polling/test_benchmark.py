"""The benchmark of waiting runs, and its figures are plausible."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from waits.plot import plot

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "waiting.py"


@pytest.mark.slow
def test_a_smoke_run_measures_both_contenders(tmp_path: Path) -> None:
    """All ends are detected, with fewer requests than a naive loop sends."""
    run = subprocess.run(
        [sys.executable, str(BENCHMARK), "--quick", "--json", str(tmp_path / "figures.json")],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    ours, naive = json.loads((tmp_path / "figures.json").read_text())["rows"]
    assert (ours["who"], naive["who"]) == ("diffio_async", "naive")
    assert ours["ended"] == naive["ended"] == ours["jobs"]
    assert ours["requests"] < naive["requests"]
    assert ours["max_per_second"] <= 110
    assert 0 < ours["delay_p50"] <= ours["delay_p95"]
    assert len(run.stdout.splitlines()) == 4


def test_the_plot_has_a_line_for_each_fleet_and_one_for_fixed_intervals() -> None:
    """All points are inside the frame."""
    root = ET.fromstring(plot(4))
    space = "{http://www.w3.org/2000/svg}"
    lines = [path for path in root.iter(f"{space}path") if path.get("fill") == "none"]
    assert len(lines) == 5
    for dot in root.iter(f"{space}circle"):
        assert 0 <= float(dot.get("cx", "-1")) <= 760
        assert 0 <= float(dot.get("cy", "-1")) <= 460
