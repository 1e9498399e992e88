"""A quick run of the transfer benchmark; the figures themselves are not checked."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "transfers.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by /proc")
def test_a_quick_run_reports_every_scene_and_contender(tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    arguments = ["--quick", "--size", "16"]
    arguments += ["--folder", str(tmp_path), "--json", str(out)]
    subprocess.run([sys.executable, PROGRAM, *arguments], check=True, timeout=400)
    report = json.loads(out.read_text())
    scenes = {row["what"] for row in report["rows"]}
    kinds = {scene.split()[0] for scene in scenes}
    contenders = {"diffio_async", "curl"} if shutil.which("curl") else {"diffio_async"}
    assert kinds == {"loopback", "disk", "link"}
    assert {(row["what"], row["who"]) for row in report["rows"]} == {
        (scene, contender) for scene in scenes for contender in contenders
    }
    for row in report["rows"]:
        assert row["mb_per_s"] > 0
        assert row["cpu_s_per_gb"] > 0
        if row["who"] == "diffio_async":
            assert row["grown_mib"] >= 0
            assert row["lag_worst_ms"] >= row["lag_busy_worst_ms"] >= 0
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
