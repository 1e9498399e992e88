"""`diffio-async report`, `batch report --html` and `batch retry --from`."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import sqlite3
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from diffio_async.batch.restart import read_marks
from tests.batch.scenes import JOURNAL, generations, rows
from tests.cli.conftest import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from diffio_async.sandbox import Sandbox
    from tests.cli.conftest import Finished, Run, Start

pytestmark = pytest.mark.slow

CLEAN = SAMPLE.with_name("clean-speech.flac")


def events(stdout: str) -> list[dict[str, Any]]:
    """Return the JSON objects that a command printed."""
    return [json.loads(line) for line in stdout.splitlines()]


def marks(*marked: dict[str, Any], with_generation: bool = True) -> str:
    """Return the CSV that the page exports for rows with a mark."""
    names = ["path", "file_id", "name", "mark"] + ["generation"] * with_generation
    text = io.StringIO()
    writer = csv.DictWriter(text, names, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(marked)
    return text.getvalue()


@pytest.fixture
async def batch(run: Run, echo: Sandbox, talk: Path, tmp_path: Path) -> list[dict[str, Any]]:
    """Restore two recordings and a file without sound; return the rows of a report."""
    (tmp_path / "in" / "deep").mkdir(parents=True)
    shutil.move(tmp_path / talk, tmp_path / "in" / "deep" / "talk.wav")
    shutil.copy(SAMPLE, tmp_path / "in" / "sample.wav")
    (tmp_path / "in" / "bad.wav").write_bytes(b"")
    await run("batch", "in", "-o", "out", env=echo.environment)
    done = await run("report", "out", "--text", "--json")
    return sorted(events(done.stdout)[:-1], key=lambda row: str(row["name"]))


async def test_numbers_are_printed(run: Run) -> None:
    """One paragraph for each pair: what changed, in decibels."""
    done = await run("report", SAMPLE, CLEAN, "--text")
    assert (done.returncode, done.stderr) == (0, "")
    first, ratio, levels, loudness = done.stdout.splitlines()
    assert first == "noisy-speech.wav: restored, 0:10"
    assert ratio == "  speech over noise 5.9 -> 35.7 dB (+29.8); noise floor -23.1 -> -52.4 dBFS"
    assert levels == "  speech -17.2 -> -16.7 dBFS; loudness -14.0 -> -14.7 LUFS"
    assert loudness == "  true peak -0.9 -> -2.4 dBTP; clipped 0.00 -> 0.00 %"


async def test_a_page_is_written_once(run: Run, tmp_path: Path) -> None:
    """An existing page is refused with code 1, before anything is measured, until --overwrite."""
    for code in (0, 1):
        done = await run("report", SAMPLE, CLEAN, "-o", "page.html", "--link")
        assert done.returncode == code
    assert done.stderr == (
        f"diffio-async: {str(tmp_path / 'page.html')!r} exists: --overwrite replaces it\n"
    )
    done = await run("report", SAMPLE, CLEAN, "-o", "page.html", "--overwrite", "--json")
    assert events(done.stdout) == [
        {
            "event": "report",
            "page": str(tmp_path / "page.html"),
            "recordings": 1,
            "states": {"restored": 1},
        }
    ]


async def test_a_batch_is_reported(run: Run, batch: list[dict[str, Any]], tmp_path: Path) -> None:
    """Names are relative to the folder of all sources; a failure has its error and what to do."""
    names = ["bad.wav", "deep/talk.wav", "sample.wav"]
    assert [row["name"] for row in batch] == names
    bad, talk, _ = batch
    assert (bad["state"], bad["billed"], bad["generation"]) == ("failed", None, None)
    assert "is empty" in bad["error"]["message"]
    assert bad["error"]["next"] == "run the batch again, which retries it without a bill"
    assert (talk["state"], talk["billed"]) == ("restored", 60)
    assert talk["generation"].startswith("gen_")
    assert talk["before"]["numbers"] == talk["after"]["numbers"]
    done = await run("batch", "report", "out", "--html", "page.html", "--link")
    assert done.stdout == f"{tmp_path / 'page.html'}: 2 restored, 1 failed\n" or done.stdout == (
        f"{tmp_path / 'page.html'}: 1 failed, 2 restored\n"
    )
    assert (tmp_path / "page_files").is_dir()


async def test_a_batch_is_reported_while_it_is_written(
    run: Run, batch: list[dict[str, Any]], tmp_path: Path
) -> None:
    """A journal that another process has locked for writing is read from a copy."""
    journal = tmp_path / "out" / JOURNAL
    before = journal.stat().st_mtime_ns
    with sqlite3.connect(journal) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE file SET state = 'listed', end_seq = NULL, error = NULL")
        during = await run("report", "out", "--text", "--json")
        writer.rollback()
    writer.close()
    states = [row["state"] for row in events(during.stdout)[:-1]]
    assert sorted(states) == ["failed", "restored", "restored"]
    assert journal.stat().st_mtime_ns == before


async def test_a_moved_batch_is_reported(
    run: Run, batch: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Results are found where the folder is now, and the journal stays unchanged."""
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    done = await run("report", "elsewhere", "--text", "--json")
    found = {row["name"]: row for row in events(done.stdout)[:-1]}
    assert found["sample.wav"]["after"]["path"] == str(
        tmp_path / "elsewhere" / "sample.restored.mp3"
    )
    journal = tmp_path / "elsewhere" / JOURNAL
    assert rows(journal, "SELECT value FROM batch WHERE name = 'to'") == [(str(tmp_path / "out"),)]


async def test_recordings_that_are_gone_have_their_results(
    run: Run, batch: list[dict[str, Any]], tmp_path: Path
) -> None:
    """A report needs the results only; a result that was removed is missing, with code 1."""
    shutil.rmtree(tmp_path / "in")
    (tmp_path / "out" / "deep" / "talk.restored.mp3").unlink()
    done = await run("report", "out", "--text", "--json")
    assert done.returncode == 1
    found = {row["name"]: row for row in events(done.stdout)[:-1]}
    sample, talk = found["sample.wav"], found["deep/talk.wav"]
    assert (sample["state"], sample["before"], talk["state"]) == ("restored", None, "missing")
    assert sample["after"]["numbers"]["lufs"] == pytest.approx(-14, abs=1)


async def retried(run: Run, echo: Sandbox, *more: str) -> Finished:
    """Run `batch retry --from marks.csv`."""
    return await run(
        "batch", "retry", "out", "--from", "marks.csv", "--json", *more, env=echo.environment
    )


async def test_marked_recordings_are_restored_again_once(
    run: Run, echo: Sandbox, batch: list[dict[str, Any]], tmp_path: Path
) -> None:
    """By default those marked b, 1 or 2; the same marks do not bill a second time."""
    bad, talk, sample = batch
    text = marks({**talk, "mark": "b"}, {**sample, "mark": "g"})
    (tmp_path / "marks.csv").write_text(text)
    assert generations(echo) == 2
    done = await retried(run, echo)
    restored = {event["file"]: event for event in events(done.stdout) if "file" in event}
    assert restored[talk["path"]]["generation_id"] != talk["generation"]
    assert sample["path"] not in restored
    assert generations(echo) == 3
    await retried(run, echo)
    assert generations(echo) == 3
    again = await run("report", "out", "--text", "--json")
    found = {row["name"]: row for row in events(again.stdout)[:-1]}
    assert found["deep/talk.wav"]["generation"] == restored[talk["path"]]["generation_id"]
    assert found["deep/talk.wav"]["state"] == "restored"
    assert bad["state"] == "failed"


async def test_marks_can_be_chosen_and_exported_as_json(
    run: Run, echo: Sandbox, batch: list[dict[str, Any]], tmp_path: Path
) -> None:
    """`--mark` selects others; the JSON of the page is accepted too, without generations."""
    marked = [{**row, "mark": "g"} for row in batch[1:]]
    (tmp_path / "marks.csv").write_text(json.dumps({"version": 1, "key": "k", "marks": marked}))
    await retried(run, echo, "--mark", "g")
    assert generations(echo) == 4


def test_exported_names_that_are_not_utf_8_are_found(tmp_path: Path) -> None:
    """The CSV of a browser has a replacement character, its JSON a surrogate."""
    read = []
    for name, text in (
        ("marks.csv", "path,file_id,name,mark\r\n/in/caf\ufffd.wav,7,x,b\r\n"),
        ("marks.json", '{"marks": [{"path": "/in/caf\\udce9.wav", "file_id": 7, "mark": "b"}]}'),
    ):
        (tmp_path / name).write_text(text, "utf-8")
        read += [(mark.path, mark.file_id) for mark in read_marks(str(tmp_path / name))]
    assert read == [("/in/caf\ufffd.wav", 7)] * 2


REFUSED: dict[str, tuple[Callable[[dict[str, Any]], str], str]] = {
    "nothing is marked so": (lambda row: marks({**row, "mark": "g"}), "1 marked g"),
    "an unknown mark": (lambda row: marks({**row, "mark": "x"}), "line 2: expected the columns"),
    "another table": (lambda _: "a,b\n1,2\n", "expected the columns"),
    "another batch": (
        lambda row: marks({**row, "mark": "b", "file_id": 77}),
        "is not a file of this batch",
    ),
    "no number of a file": (
        lambda row: marks({**row, "mark": "b", "file_id": "9" * 5000, "path": "/elsewhere/x.wav"}),
        "is not a file of this batch",
    ),
    "a name that is not UTF-8": (
        lambda row: json.dumps({"marks": [{**row, "mark": "b", "path": "/\udcff.wav"}]}),
        "is not a file of this batch",
    ),
    "another file": (
        lambda row: marks({**row, "mark": "b", "path": "/elsewhere/x.wav"}),
        "is not a file of this batch",
    ),
    "not text": (lambda _: "\0\1\2{", "no marks"),
    "other JSON": (lambda _: '{"rows": []}', "export them again"),
    "an empty file": (lambda _: "", "no marks"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_marks_are_refused(
    what: str, run: Run, echo: Sandbox, batch: list[dict[str, Any]], tmp_path: Path
) -> None:
    """Invalid marks are refused with code 2: nothing is sent, and the journal is unchanged."""
    text, message = REFUSED[what]
    (tmp_path / "marks.csv").write_text(text(batch[1]))
    look = "SELECT id, state, attempt FROM file ORDER BY id"
    before = rows(tmp_path / "out" / JOURNAL, look)
    done = await retried(run, echo)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert rows(tmp_path / "out" / JOURNAL, look) == before
    assert generations(echo) == 2


async def test_wrong_usage_of_marks_is_refused(run: Run) -> None:
    """`--mark` without `--from`, and a missing file."""
    done = await run("batch", "retry", "out", "--mark", "b")
    assert (done.returncode, "--from" in done.stderr) == (2, True)
    done = await run("batch", "retry", "out", "--mark", "7", "--from", "x.csv")
    assert (done.returncode, "choose from" in done.stderr) == (2, True)
    done = await run("batch", "retry", "out", "--from", "nothing.csv")
    assert (done.returncode, "nothing.csv" in done.stderr) == (2, True)


async def test_wrong_usage_is_refused(run: Run, talk: Path) -> None:
    """No page and no --text, no result, no journal: code 2, and what to do."""
    for arguments, message in (
        (("report", SAMPLE, CLEAN), "-o FILE, or add --text"),
        (("report", talk, "--text"), "name its result too"),
        (("report", ".", "--text"), "no restored recording"),
        (("report", "nothing", "--text"), "check the path"),
        (("batch", "report", ".", "--html", "x.html"), "no restored recording"),
    ):
        done = await run(*arguments)
        assert done.returncode == 2, done.stderr
        assert message in done.stderr


async def test_an_interrupted_report_leaves_nothing(
    start: Start, long_talk: Path, tmp_path: Path
) -> None:
    """Ctrl-C ends the workers: code 130, no page, no folder."""
    for number in range(40):
        shutil.copy(tmp_path / long_talk, tmp_path / f"{number}.wav")
        shutil.copy(tmp_path / long_talk, tmp_path / f"{number}.restored.mp3")
    before = sorted(tmp_path.iterdir())
    process = await start("report", ".", "-o", "page.html", "--link", "--jobs", 1)
    with anyio.fail_after(120):
        while not list(tmp_path.glob(".diffio-report-*/files/*.png")):
            await anyio.sleep(0.05)
    process.send_signal(signal.SIGINT)
    with anyio.fail_after(120):
        assert await process.wait() == 130
    assert sorted(tmp_path.iterdir()) == before


async def test_the_folder_of_a_killed_report_is_removed_by_the_next(
    start: Start, run: Run, long_talk: Path, tmp_path: Path
) -> None:
    """One that another process still uses is kept."""
    for number in range(20):
        shutil.copy(tmp_path / long_talk, tmp_path / f"{number}.wav")
        shutil.copy(tmp_path / long_talk, tmp_path / f"{number}.restored.mp3")
    killed = await start("report", ".", "-o", "killed.html", "--jobs", 1)
    folder = await working_folder(tmp_path)
    killed.kill()
    await killed.wait()
    running = await start("report", ".", "-o", "running.html", "--jobs", 1)
    used = await working_folder(tmp_path, besides=folder)
    assert not folder.exists()
    done = await run("report", SAMPLE, CLEAN, "-o", "page.html")
    assert done.returncode == 0, done.stderr
    assert used.exists()
    running.send_signal(signal.SIGINT)
    with anyio.fail_after(30):
        assert await running.wait() == 130
    assert list(tmp_path.glob(".diffio-report-*")) == []


async def working_folder(folder: Path, *, besides: Path | None = None) -> Path:
    """Wait until a report is being made in a folder, and return where."""
    with anyio.fail_after(120):
        while True:
            for picture in folder.glob(".diffio-report-*/files/*.png"):
                if picture.parents[1] != besides:
                    return picture.parents[1]
            await anyio.sleep(0.02)


async def test_a_recording_that_cannot_be_played_is_named(run: Run, tmp_path: Path) -> None:
    """The page is written, the warning is printed, and the exit code is 1."""
    (tmp_path / "talk.txt").write_text("these are the minutes\n" * 50)
    done = await run("report", "talk.txt", CLEAN, "-o", "page.html")
    assert done.returncode == 1
    assert done.stdout == f"{tmp_path / 'page.html'}: 1 damaged\n"
    assert done.stderr.startswith("talk.txt: warning: 'talk.txt' cannot be played: ")
    assert len(done.stderr.splitlines()) == 1


async def test_restore_shows_the_same_numbers_on_a_terminal(
    run: Run, start: Start, echo: Sandbox, talk: Path, tmp_path: Path
) -> None:
    """Below the result: the numbers of `report --text`, and a waveform of each side."""
    master, slave = os.openpty()
    environment = {**echo.environment, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
    process = await start("restore", talk, env=environment, stdout=slave)
    os.close(slave)
    with anyio.fail_after(120):
        assert await process.wait() == 0
    shown = os.read(master, 65_536).decode().replace("\r\n", "\n")
    os.close(master)
    first, *lines = shown.splitlines()
    assert first.startswith("talk.wav -> ")
    done = await run("report", talk, "talk.restored.mp3", "--text")
    assert lines[:3] == done.stdout.splitlines()[1:4]
    assert [line[:9] for line in lines[3:]] == ["  before ", "  after  "]
    assert set(lines[3][9:]) <= set("▁▂▃▄▅▆▇█")
    assert lines[3][9:] == lines[4][9:]  # the sandbox returned the recording itself
