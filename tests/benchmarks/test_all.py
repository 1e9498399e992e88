"""The quick session runs its smallest topics; the figures themselves are not checked."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured by /proc")
@pytest.mark.parametrize(
    ("topic", "who"),
    [
        ("a call", {"bare aiohttp", "diffio_async"}),
        ("one small file", {"restore", "restore_many"}),
        ("imports", {"python alone", "aiohttp", "diffio_async"}),
    ],
)
def test_a_quick_topic_prints_a_row_for_each_contender(
    tmp_path: Path, topic: str, who: set[str]
) -> None:
    out = tmp_path / "figures.json"
    command = [sys.executable, str(BENCHMARKS), "--quick", "--only", topic, "--json", str(out)]
    run = subprocess.run(command, check=True, timeout=300, capture_output=True, text=True)
    rows = json.loads(out.read_text())["rows"]
    assert {row["who"] for row in rows if row["topic"] == topic} == who
    for row in rows:
        assert len(row["runs"]) == 3
        assert row["cpu_seconds"] > 0
        assert row["seconds"] > 0
        assert row["who"] in run.stdout
    if topic == "one small file":  # project, upload, generation, poll, download
        assert all(row["requests"] >= 5 for row in rows)


@pytest.mark.slow
def test_a_topic_that_fails_is_named_and_the_others_still_run(tmp_path: Path) -> None:
    """The exit status is 1."""
    absent = str(tmp_path / "no-python")
    command = [sys.executable, str(BENCHMARKS), "--quick", "--only", "imports"]
    run = subprocess.run(
        [*command, "--published", absent], check=False, timeout=300, capture_output=True, text=True
    )
    assert run.returncode == 1
    assert "imports: " in run.stderr
    assert absent in run.stderr
