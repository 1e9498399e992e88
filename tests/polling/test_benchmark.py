"""The benchmark of waiting runs, and its figures are of the right kind."""

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
def test_its_smoke_run_measures_ours_and_a_naive_loop(tmp_path: Path) -> None:
    """Real processes and sockets: all ends are detected, with fewer requests than a loop."""
    run = subprocess.run(
        [sys.executable, str(BENCHMARK), "--quick", "--json", str(tmp_path / "figures.json")],
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert run.returncode == 0, run.stderr
    ours, naive = json.loads((tmp_path / "figures.json").read_text())
    assert (ours["who"], naive["who"]) == ("ours", "naive")
    assert ours["ended"] == naive["ended"] == ours["jobs"]
    assert ours["requests"] < naive["requests"]
    assert ours["most_in_a_second"] <= 20
    assert 0 < ours["delay_p50"] <= ours["delay_p95"]
    assert len(run.stdout.splitlines()) == 2


def test_the_curve_is_drawn() -> None:
    """An SVG with a line for each kind of fleet, and one for fixed intervals, inside its frame."""
    root = ET.fromstring(plot(12))
    space = "{http://www.w3.org/2000/svg}"
    lines = [path for path in root.iter(f"{space}path") if path.get("fill") == "none"]
    assert len(lines) == 5
    for dot in root.iter(f"{space}circle"):
        assert 0 <= float(dot.get("cx", "-1")) <= 760
        assert 0 <= float(dot.get("cy", "-1")) <= 460
