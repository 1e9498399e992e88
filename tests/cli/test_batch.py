"""`diffio-async batch`: run, resume, retry, status, report, Ctrl-C."""

from __future__ import annotations

import csv
import io
import json
import shutil
import signal
import sqlite3
import wave
from importlib.util import find_spec
from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async.sandbox import Fault, RespondWith, Sandbox
from tests.batch.scenes import JOURNAL, below, content, generations, recordings, rows
from tests.cli.conftest import SAMPLE
from tests.scripts import PROGRESS, progress_body

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run, Start

pytestmark = pytest.mark.slow


def events(stdout: str) -> list[dict[str, object]]:
    """Return the JSON objects that a command printed."""
    return [json.loads(line) for line in stdout.splitlines()]


async def test_a_folder_is_restored_and_reported(
    run: Run, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Results on stdout, failures on stderr, code 1; the same command resumes without a charge."""
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
    restored = [each for each in events(again.stdout) if each["event"] == "restored"]
    assert [each["file"] for each in restored] == [str(tmp_path / "in" / "bad.wav")]
    assert events(again.stdout)[-1] == {
        "event": "finished",
        "done": 3,
        "failed": 0,
        "from_earlier_run": 2,
        "journal": str(tmp_path / "out" / JOURNAL),
    }
    assert generations(sandbox) == 3


async def test_a_dry_run_sends_and_writes_nothing(
    run: Run, sandbox: Sandbox, tmp_path: Path
) -> None:
    """It lists the files, the sizes and the minimum that will be billed."""
    recordings(tmp_path / "in", "a.wav", "b.wav")
    plan = await run("batch", "in", "-o", "out", "--dry-run", "--types", "audio,transcript")
    assert plan.returncode == 0
    assert "a.restored.json" in plan.stdout
    assert "2 to restore, 1.4 kB; 2 generations, at least 120 seconds billed" in plan.stdout
    assert not (tmp_path / "out").exists()
    await run("batch", "in", "-o", "out", env=sandbox.environment)
    recordings(tmp_path / "in", "c.wav")
    plan = await run("batch", "in", "-o", "out", "--dry-run", "--json")
    assert [each["file"] for each in events(plan.stdout)[:-1]] == [str(tmp_path / "in" / "c.wav")]
    assert events(plan.stdout)[-1]["billed_seconds"] == 60
    assert generations(sandbox) == 2


async def test_status_retry_and_report(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """Both list a failed generation, and `retry` restarts it with the options of the batch."""
    recordings(tmp_path / "in", "a.wav", "b.wav")
    sandbox.faults.add(
        Fault(path=PROGRESS, action=RespondWith(json=progress_body("failed", error="too noisy")))
    )
    first = await run("batch", "in", "-o", "out", "--name", "{name}{ext}", env=sandbox.environment)
    assert first.returncode == 1
    assert "too noisy" in first.stderr
    assert "billed again" in first.stderr
    status = await run("batch", "status", "out")
    assert status.returncode == 1
    assert "2: 1 done, 1 failed, 0 remaining" in status.stdout
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
    [printed] = events(status.stdout)
    assert printed["files"] == {"done": 2}
    assert printed["billed_seconds"] == 180
    report = await run("batch", "report", "out")
    assert report.stdout.count("done ") == 2
    assert generations(sandbox) == 3


async def test_wrong_usage_is_2(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """An empty folder, an unknown type, no key, a file that is not a journal."""
    (tmp_path / "empty").mkdir()
    refused = await run("batch", "empty", "-o", "out", "--json", env=sandbox.environment)
    assert refused.returncode == 2
    assert events(refused.stdout)[0]["error"] == "ConfigurationError"
    assert "no recording" in refused.stderr
    assert (await run("batch", "empty", "-o", "out", "--types", "sound")).returncode == 2
    assert "DIFFIO_API_KEY" in (await run("batch", "empty", "-o", "out")).stderr
    (tmp_path / "no.sqlite").write_bytes(b"not a journal" * 1000)
    for command in ("status", "report", "retry"):
        refused = await run("batch", command, "no.sqlite")
        assert refused.returncode == 2
        assert "damaged" in refused.stderr
    assert sandbox.requests == []


@pytest.mark.parametrize("times", [1, 2])
async def test_ctrl_c_loses_nothing(times: int, start: Start, run: Run, tmp_path: Path) -> None:
    """One Ctrl-C suspends active jobs, a second exits at once; the same command resumes."""
    recordings(tmp_path / "in", *(f"{n}.wav" for n in range(12)))
    async with Sandbox(engine="echo", duration=1.0) as sandbox:
        process = await start("batch", "in", "-o", "out", "-j", "4", env=sandbox.environment)
        with anyio.fail_after(60):
            while len(sandbox.state.generations) < 6:
                await anyio.sleep(0.02)
        for _ in range(times):
            process.send_signal(signal.SIGINT)
        with anyio.fail_after(120):
            assert await process.wait() == 130
        assert process.stderr is not None
        printed = b"".join([piece async for piece in process.stderr]).decode()
        assert "Traceback" not in printed
        if times == 1:
            assert "run the same command again" in printed
            assert "diffio-async batch status" in printed
        done = await run("batch", "in", "-o", "out", env=sandbox.environment)
        assert done.returncode == 0, done.stderr
        assert len(below(tmp_path / "out")) == 12
        assert len(sandbox.state.generations) == 12


async def test_the_sandbox_of_the_command_restores(run: Run, tmp_path: Path) -> None:
    """`--sandbox` needs no key; an invalid recording is reported, with code 1."""
    recordings(tmp_path / "in", "a.wav")
    done = await run("batch", "--sandbox", "in", "-o", "out")
    assert done.returncode == 1
    assert "billed again" in done.stderr


def _talks(folder: Path, count: int) -> None:
    folder.mkdir()
    with wave.open(str(SAMPLE)) as sample:
        settings, data = sample.getparams(), sample.readframes(sample.getnframes())
    for n in range(count):
        with wave.open(str(folder / f"t{n}.wav"), "wb") as part:
            part.setparams(settings)
            part.writeframes(data[n * 3200 : n * 3200 + 2 * settings.framerate])


def _has_started(journal: Path) -> bool:
    """Return whether a journal lists a generation; it may be missing or under creation."""
    try:
        return journal.exists() and bool(rows(journal, "SELECT 1 FROM job WHERE generation != ''"))
    except sqlite3.OperationalError:
        return False


async def test_a_batch_of_the_sandbox_survives_kill_9(
    start: Start, run: Run, sandbox: Sandbox, tmp_path: Path
) -> None:
    """After SIGKILL, a run and a retry without options, the same sandbox restores every file."""
    _talks(tmp_path / "in", 3)
    data = tmp_path / "out" / f"{JOURNAL}-sandbox"
    process = await start("batch", "--sandbox", "in", "-o", "out")
    with anyio.fail_after(60):
        while not _has_started(tmp_path / "out" / JOURNAL):
            await anyio.sleep(0.05)
    process.kill()
    await process.wait()
    assert data.is_dir()
    other = await run("batch", "in", "-o", "out", env=sandbox.environment)
    assert other.returncode == 2
    assert "the sandbox beside the journal there" in other.stderr
    assert "--sandbox" in other.stderr
    assert sandbox.requests == []
    done = await run("batch", "retry", "out")
    assert done.returncode == 0, done.stderr
    assert "3 restored, 0 failed" in done.stderr
    if find_spec("pocketsphinx") is None:
        return  # no wheel for this Python: the sandbox has no transcripts
    # The data is gone: what is new is restored, what was there is not restored again.
    shutil.rmtree(data)
    again = await run("batch", "--sandbox", "in", "-o", "out", "--types", "audio,transcript")
    assert again.returncode == 0, again.stderr
    assert len(list((tmp_path / "out").glob("*.restored.json"))) == 3
    status = await run("batch", "status", "out")
    assert "the sandbox beside the journal" in status.stdout


async def test_one_run_at_a_time_uses_the_sandbox_of_a_batch(
    start: Start, run: Run, tmp_path: Path
) -> None:
    """A second run is refused with code 2, and does not affect the first."""
    _talks(tmp_path / "in", 2)
    first = await start("batch", "--sandbox", "in", "-o", "out")
    with anyio.fail_after(120):
        while not (tmp_path / "out" / JOURNAL).exists():
            await anyio.sleep(0.05)
    second = await run("batch", "--sandbox", "in", "-o", "out")
    assert second.returncode == 2
    assert "one at a time uses its sandbox" in second.stderr
    with anyio.fail_after(60):
        assert await first.wait() == 0


async def test_retry_uses_the_options_of_the_previous_run(
    run: Run, sandbox: Sandbox, tmp_path: Path
) -> None:
    """`--on-conflict overwrite` applies to `batch retry`, and options of `retry` override it."""
    recordings(tmp_path / "in", "a.wav")
    sandbox.faults.add(
        Fault(path=PROGRESS, action=RespondWith(json=progress_body("failed", error="too noisy")))
    )
    how = ("--on-conflict", "overwrite", "-j", "3", "--timeout", "50", "--max-spend", "60")
    first = await run("batch", "in", "-o", "out", *how, env=sandbox.environment)
    assert first.returncode == 1
    (tmp_path / "out" / "a.restored.mp3").write_bytes(b"in the way")
    stopped = await run("batch", "retry", "out", env=sandbox.environment)
    assert stopped.returncode == 1
    assert "max_spend_seconds" in stopped.stderr
    kept = await run(
        "batch",
        "retry",
        "out",
        "--max-spend",
        "600",
        "--on-conflict",
        "error",
        env=sandbox.environment,
    )
    assert kept.returncode == 1
    [(text,)] = rows(tmp_path / "out" / JOURNAL, "SELECT value FROM batch WHERE name = 'options'")
    assert json.loads(text)["timeout"] == 50
    assert json.loads(text)["max_in_flight"] == 3
    done = await run("batch", "retry", "out", "--on-conflict", "overwrite", env=sandbox.environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "a.restored.mp3").read_bytes() == content("a.wav")


async def test_names_left_out_are_listed(run: Run, sandbox: Sandbox, tmp_path: Path) -> None:
    """One line at the end, every name in `--dry-run` and `report`, the counts in `status`."""
    recordings(tmp_path / "in", "a-b.wav", "c.wav", "notes.txt", ".d.wav", "old.restored.mp3")
    name = ("--name", "{stem}-{type}{ext}")
    plan = await run("batch", "in", "-o", "in", *name, "--dry-run")
    assert plan.returncode == 0
    words = "left out: 1 result, 1 hidden name"
    passed_over = "1 file passed over (.txt): --all takes every file"
    assert words in plan.stdout
    assert passed_over in plan.stdout
    assert f"left out {tmp_path / 'in' / 'notes.txt'}" in plan.stdout
    done = await run("batch", "in", "-o", "in", *name, env=sandbox.environment)
    assert "2 restored, 0 failed" in done.stderr
    assert words in done.stderr
    assert passed_over in done.stderr
    again = await run("batch", "in", "-o", "in", *name, "--json", env=sandbox.environment)
    assert events(again.stdout)[-1]["left_out"] == {"result": 3, "hidden": 1, "ending": 1}
    assert events(again.stdout)[-1]["passed_over"] == {".txt": 1}
    report = await run("batch", "report", "in")
    assert report.stdout.count("left out ") == 5
    report = await run("batch", "report", "in", "--csv")
    found = list(csv.DictReader(io.StringIO(report.stdout)))
    assert sum(row["file_state"] == "left_out" for row in found) == 5
    status = await run("batch", "status", "in")
    assert "3 results, 1 hidden name, 1 file passed over (.txt)" in status.stdout
    status = await run("batch", "status", "in", "--json")
    assert events(status.stdout)[0]["left_out"] == {"result": 3, "hidden": 1, "ending": 1}
    assert events(status.stdout)[0]["passed_over"] == {".txt": 1}
    planned = await run("batch", "in", "-o", "in", *name, "--dry-run", "--all", "--json")
    assert events(planned.stdout)[-1]["left_out"] == {"result": 3, "hidden": 1}
    assert [event["file"] for event in events(planned.stdout)[:-1] if "file" in event] == [
        str(tmp_path / "in" / "notes.txt")
    ]
