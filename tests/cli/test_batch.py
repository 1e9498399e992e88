"""`diffio-async batch` on a real process: run, run again, retry, status, report, Ctrl-C."""

from __future__ import annotations

import csv
import io
import json
import signal
from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async.sandbox import Answer, Fault, Sandbox
from tests.batch.scenes import JOURNAL, below, content, generations, recordings
from tests.scripts import PROGRESS, told

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run, Start

pytestmark = pytest.mark.slow


def events(stdout: str) -> list[dict[str, object]]:
    """The objects that a command printed."""
    return [json.loads(line) for line in stdout.splitlines()]


async def test_a_folder_is_restored_and_told_of(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """Results on stdout, failures on stderr, the code 1; the same again goes on for nothing."""
    recordings(tmp_path / "in", "a.wav", "deep/b.wav", "bad.wav")
    (tmp_path / "in" / "bad.wav").write_bytes(b"")
    done = await run("batch", "in", "-o", "out", env=sandbox.environment)
    assert done.returncode == 1
    assert sorted(line.split(" -> ")[1] for line in done.stdout.splitlines()) == [
        str(tmp_path / "out" / "a.restored.mp3"),
        str(tmp_path / "out" / "deep" / "b.restored.mp3"),
    ]
    assert "bad.wav' is empty" in done.stderr
    assert "2 restored, 1 failed" in done.stderr
    (tmp_path / "in" / "bad.wav").write_bytes(content("mended"))
    again = await run("batch", "in", "-o", "out", "--json", env=sandbox.environment)
    assert again.returncode == 0
    told_of = [each for each in events(again.stdout) if each["event"] == "restored"]
    assert [each["file"] for each in told_of] == [str(tmp_path / "in" / "bad.wav")]
    assert events(again.stdout)[-1] == {
        "event": "finished",
        "done": 3,
        "failed": 0,
        "earlier": 2,
        "journal": str(tmp_path / "out" / JOURNAL),
    }
    assert generations(sandbox) == 3


async def test_a_dry_run_sends_and_writes_nothing(
    run: Run, sandbox: Sandbox, tmp_path: Path
) -> None:
    """It lists the files, the sizes and the least that will be billed."""
    recordings(tmp_path / "in", "a.wav", "b.wav")
    plan = await run("batch", "in", "-o", "out", "--dry-run", "--types", "audio,transcript")
    assert plan.returncode == 0
    assert "a.restored.json" in plan.stdout
    assert "2 to restore, 1.4 kB; 2 generations, 120 seconds billed at least" in plan.stdout
    assert not (tmp_path / "out").exists()
    await run("batch", "in", "-o", "out", env=sandbox.environment)
    recordings(tmp_path / "in", "c.wav")
    plan = await run("batch", "in", "-o", "out", "--dry-run", "--json")
    assert [each["file"] for each in events(plan.stdout)[:-1]] == [str(tmp_path / "in" / "c.wav")]
    assert events(plan.stdout)[-1]["billed_seconds"] == 60
    assert generations(sandbox) == 2


async def test_status_retry_and_report(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """A failed generation shows in both, and `retry` starts it anew under the batch's own terms."""
    recordings(tmp_path / "in", "a.wav", "b.wav")
    sandbox.faults.add(Fault(path=PROGRESS, action=Answer(json=told("failed", error="too noisy"))))
    first = await run("batch", "in", "-o", "out", "--name", "{name}{ext}", env=sandbox.environment)
    assert first.returncode == 1
    assert "too noisy" in first.stderr
    assert "billed anew" in first.stderr
    status = await run("batch", "status", "out")
    assert status.returncode == 1
    assert "2: 1 done, 1 failed, 0 to come" in status.stdout
    assert "1 GenerationFailed" in status.stdout
    report = await run("batch", "report", "out", "--csv")
    rows = list(csv.DictReader(io.StringIO(report.stdout)))
    assert sorted(row["result_state"] for row in rows) == ["done", "wanted"]
    assert {row["error_type"] for row in rows} == {"", "GenerationFailed"}
    assert "upload" not in rows[0]
    retried = await run("batch", "retry", "out", env=sandbox.environment)
    assert retried.returncode == 0
    assert below(tmp_path / "out") == ["a.wav.mp3", "b.wav.mp3"]
    status = await run("batch", "status", tmp_path / "out" / JOURNAL, "--json")
    assert status.returncode == 0
    [said] = events(status.stdout)
    assert said["files"] == {"done": 2}
    assert said["billed_seconds"] == 180
    report = await run("batch", "report", "out")
    assert report.stdout.count("done ") == 2
    assert generations(sandbox) == 3


async def test_wrong_usage_is_2(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """An empty folder, a type that is none, no key, a file that is no journal."""
    (tmp_path / "empty").mkdir()
    refused = await run("batch", "empty", "-o", "out", "--json", env=sandbox.environment)
    assert refused.returncode == 2
    assert events(refused.stdout)[0]["error"] == "ConfigurationError"
    assert "no recording" in refused.stderr
    assert (await run("batch", "empty", "-o", "out", "--types", "sound")).returncode == 2
    assert "DIFFIO_API_KEY" in (await run("batch", "empty", "-o", "out")).stderr
    (tmp_path / "no.sqlite").write_bytes(b"no journal" * 1000)
    for command in ("status", "report", "retry"):
        refused = await run("batch", command, "no.sqlite")
        assert refused.returncode == 2
        assert "damaged" in refused.stderr
    assert sandbox.requests == []


@pytest.mark.parametrize("times", [1, 2])
async def test_ctrl_c_loses_nothing(times: int, start: Start, run: Run, tmp_path: Path) -> None:
    """Once parks what runs, twice ends at once: 130 both, and the same again goes on."""
    recordings(tmp_path / "in", *(f"{n}.wav" for n in range(12)))
    async with Sandbox(engine="echo", duration=1.0) as sandbox:
        process = await start("batch", "in", "-o", "out", "-j", "4", env=sandbox.environment)
        with anyio.fail_after(20):
            while len(sandbox.world.generations) < 6:
                await anyio.sleep(0.02)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
        with anyio.fail_after(10):
            assert await process.wait() == 130
        assert process.stderr is not None
        said = b"".join([piece async for piece in process.stderr]).decode()
        assert "Traceback" not in said
        if times == 1:
            assert "run the same again" in said
            assert "diffio-async batch status" in said
        done = await run("batch", "in", "-o", "out", env=sandbox.environment)
        assert done.returncode == 0, done.stderr
        assert len(below(tmp_path / "out")) == 12
        assert len(sandbox.world.generations) == 12


async def test_the_sandbox_of_the_command_restores(run: Run, tmp_path: Path) -> None:
    """`--sandbox` needs no key; what cannot be restored is reported, and is 1."""
    recordings(tmp_path / "in", "a.wav")
    done = await run("batch", "--sandbox", "in", "-o", "out")
    assert done.returncode == 1
    assert "billed anew" in done.stderr
