"""Pages: what they contain, and that nothing half-written stays behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import av
import numpy as np
import pytest

from diffio_async.errors import ConfigurationError, InvalidTarget
from diffio_async.report import Report, list_pairs, make_report, make_rows, maker
from diffio_async.report.rows import link_to
from diffio_async.report.workers import Task, run_tasks
from tests.disks import disk
from tests.report.conftest import CLEAN, NOISY, WriteWav, phrases, tone

pytestmark = pytest.mark.slow

HOSTILE = "<img src=x onerror=alert(1)>.wav"


def data_of(page: Path) -> Any:
    """Return the data of a page."""
    found = re.search(r'id="report-data"[^>]*>(.*?)</script>', page.read_text("utf-8"), re.DOTALL)
    assert found
    return json.loads(found[1])


def details_of(made: Report, number: str) -> Any:
    """Return the details of a row of a linked page."""
    assert made.files is not None
    script = (made.files / f"{number}.js").read_text("ascii")
    found = re.fullmatch(rf'diffioDetails\("{number}", (.*)\);\n', script)
    assert found
    return json.loads(found[1])


def test_a_page_contains_everything(tmp_path: Path) -> None:
    """Without `link` there is one file; its blocks are the media, the pictures and the details."""
    made = make_report([(NOISY, CLEAN)], tmp_path / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    blocks = set(
        re.findall(r'<script type="text/plain" id="([^"]+)"', made.page.read_text("utf-8"))
    )
    assert blocks == {
        "r1-before-media",
        "r1-before-picture",
        "r1-after-media",
        "r1-after-picture",
        "r1-details",
    }
    (row,) = data_of(made.page)["rows"]
    assert row["before"]["media"] == {"block": "r1-before-media"}
    assert row["gain"] > 25
    assert (row["state"], row["seconds"], row["warnings"]) == ("restored", 10.515, [])


def test_a_linked_page_refers_to_files(tmp_path: Path) -> None:
    """With `link`, recordings are played where they are, and pictures are beside the page."""
    shutil.copy(NOISY, tmp_path / HOSTILE)
    shutil.copy(CLEAN, tmp_path / "100 %.flac")
    (tmp_path / "pages").mkdir()
    pairs = [(tmp_path / HOSTILE, tmp_path / "100 %.flac")]
    made = make_report(pairs, tmp_path / "pages" / "my page.html", link=True)
    assert made.files == tmp_path / "pages" / "my page_files"
    text = made.page.read_text("utf-8")
    assert "<img" not in text
    (row,) = data_of(made.page)["rows"]
    assert row["name"] == HOSTILE
    details = details_of(made, "r1")
    for reference, media_type in (
        (row["before"]["media"], b"RIFF"),
        (row["after"]["media"], b"fLaC"),
        (details["before"]["spectrogram"], b"\x89PNG"),
        (row["details"], b"diff"),
    ):
        assert reference["href"].startswith("./")
        target = made.page.parent / unquote(reference["href"])
        assert target.read_bytes().startswith(media_type)
    assert len(text) < 120_000


def test_a_link_is_never_taken_for_a_url(tmp_path: Path) -> None:
    """Names with a colon, a hash, a query or bytes that are not UTF-8 stay names."""
    for name, link in (
        ("javascript:x.wav", "./javascript%3Ax.wav"),
        ("a#b?c.wav", "./a%23b%3Fc.wav"),
        ("\udcff.wav", "./%FF.wav"),
    ):
        assert link_to(tmp_path / name, tmp_path) == link
    assert link_to(tmp_path / "in" / "a.wav", tmp_path / "pages") == "./../in/a.wav"


def test_a_recording_that_browsers_do_not_play_gets_a_listening_copy(
    tmp_path: Path, write_wav: WriteWav
) -> None:
    """The copy is an MP3 of the same length; numbers are those of the file itself."""
    source = write_wav("a.wav", tone(440, -20, 3))
    with av.open(str(source), "r") as original, av.open(str(tmp_path / "a.aiff"), "w") as copy:
        stream = copy.add_stream("pcm_s16be", rate=48_000, layout="mono")
        for frame in original.decode(original.streams.audio[0]):
            copy.mux(stream.encode(frame))
        copy.mux(stream.encode(None))
    made = make_report([(source, tmp_path / "a.aiff")], tmp_path / "page.html", link=True)
    before, after = made.rows[0]["before"], made.rows[0]["after"]
    assert "copy" not in before
    assert (after["copy"], after["type"], after["kind"]) == (True, "audio/mpeg", "audio")
    assert after["numbers"] == before["numbers"]
    with av.open(str(tmp_path / "page_files" / "r1-after.mp3"), "r") as played:
        assert played.streams.audio[0].codec_context.name.startswith("mp3")
        seconds = sum(f.samples for f in played.decode(played.streams.audio[0])) / 48_000
    assert seconds == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize(("codec", "kind"), [("libx264", "video"), ("mpeg4", "audio")])
def test_a_video_is_played_if_browsers_can(codec: str, kind: str, tmp_path: Path) -> None:
    """H.264 in MP4 is played where it is, of MPEG-4 Part 2 only the sound is copied."""
    path = tmp_path / "film.mp4"
    with av.open(str(path), "w") as container:
        picture: Any = container.add_stream(codec, rate=25)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound: Any = container.add_stream("aac", rate=48_000, layout="mono")
        for number in range(50):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number, np.uint8), "rgb24")
            container.mux(picture.encode(frame))
        samples = tone(440, -20, 2).astype(np.float32)[None, :]
        audio = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        audio.sample_rate = 48_000
        container.mux(sound.encode(audio))
        for stream in (picture, sound):
            container.mux(stream.encode(None))
    made = make_report([(path, CLEAN)], tmp_path / "page.html", link=True)
    before = made.rows[0]["before"]
    assert (before["kind"], before.get("copy", False)) == (kind, kind == "audio")
    assert before["media"]["href"].endswith("film.mp4" if kind == "video" else "r1-before.mp3")
    assert before["duration"] == pytest.approx(2, abs=0.1)


def test_a_large_recording_is_embedded_as_a_copy(tmp_path: Path, write_wav: WriteWav) -> None:
    """The page is much smaller than the recording; a linked page plays the recording itself."""
    large = write_wav("large.wav", phrases(-20, 40))
    assert large.stat().st_size > 3_000_000
    made = make_report([(large, CLEAN)], tmp_path / "page.html")
    assert made.rows[0]["before"]["copy"] is True
    assert made.page.stat().st_size < 1_500_000
    linked = make_report([(large, CLEAN)], tmp_path / "linked.html", link=True)
    assert linked.rows[0]["before"]["media"] == {"href": "./large.wav"}


def test_bad_results_are_rows_with_a_reason(tmp_path: Path, write_wav: WriteWav) -> None:
    """Damaged, silent, shorter, vanished: each row states what is wrong, and the page is made."""
    good = write_wav("good.wav", phrases(-20, 4))
    (tmp_path / "damaged.mp3").write_bytes(b"\xff\xfbnothing" * 40)
    write_wav("silent.wav", np.zeros(4 * 48_000))
    write_wav("short.wav", phrases(-20, 2))
    write_wav("vanished.wav", phrases(-20, 1))
    names = ("damaged.mp3", "silent.wav", "short.wav", "vanished.wav")
    listing = list_pairs([(good, tmp_path / name) for name in names])
    (tmp_path / "vanished.wav").unlink()
    rows = make_rows(listing)
    assert [row["state"] for row in rows] == ["damaged", "restored", "restored", "missing"]
    for row, text in zip(
        rows, ("cannot be played", "is silent", "another length: 2.0 s", "any more"), strict=True
    ):
        assert any(text in warning for warning in row["warnings"]), row
    assert [row["gain"] for row in rows] == [None] * 4
    assert all(row["before"] for row in rows)


def test_a_recording_that_cannot_be_played_is_a_damaged_row(tmp_path: Path) -> None:
    """Although its result is a recording: the two were not compared."""
    (tmp_path / "talk.txt").write_text("these are the minutes\n" * 50)
    (row,) = make_rows(list_pairs([(tmp_path / "talk.txt", CLEAN)]))
    assert (row["state"], row["before"], bool(row["after"])) == ("damaged", None, True)
    assert "'talk.txt' cannot be played" in row["warnings"][0]


def test_an_existing_page_is_kept(tmp_path: Path) -> None:
    """Nothing is measured; `overwrite` replaces the page and its folder."""
    page = tmp_path / "page.html"
    page.write_text("mine")
    seen: list[Any] = []
    with pytest.raises(InvalidTarget, match="exists"):
        make_report([(NOISY, CLEAN)], page, on_row=seen.append)
    assert (page.read_text(), seen) == ("mine", [])
    (tmp_path / "page_files").mkdir()
    (tmp_path / "page_files" / "r9.js").write_text("old")
    make_report([(NOISY, CLEAN)], page, link=True, on_conflict="overwrite")
    assert not (tmp_path / "page_files" / "r9.js").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "page_files"]


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path) -> None:
    """Its name may be that of the page's files by chance; nothing is measured."""
    tapes = tmp_path / "tapes_files"
    tapes.mkdir()
    for name in ("talk.wav", "talk.restored.wav"):
        shutil.copy(NOISY, tapes / name)
    with pytest.raises(InvalidTarget, match=r"tapes_files.*'talk\..*name another page"):
        make_report(tapes, tmp_path / "tapes.html", link=True, on_conflict="overwrite")
    assert len(list(tapes.iterdir())) == 2


@pytest.mark.parametrize("name", ["talk.wav", "page", "journal.sqlite"])
def test_only_a_page_is_overwritten(name: str, tmp_path: Path) -> None:
    """A recording or a journal in place of the page is a mistake."""
    (tmp_path / name).write_text("mine")
    with pytest.raises(InvalidTarget, match=r"not an HTML file: name a page, such as page\.html"):
        make_report([(NOISY, CLEAN)], tmp_path / name, on_conflict="overwrite")
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("link", [False, True])
def test_names_that_are_not_utf_8_are_reported(link: bool, tmp_path: Path) -> None:
    """The folder is the title of the page, and the page itself has such a name."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    (folder / "talk.wav").write_bytes(b"")
    shutil.copy(CLEAN, folder / "talk.restored.flac")
    made = make_report(folder, tmp_path / os.fsdecode(b"caf\xe9.html"), link=link)
    data = data_of(made.page)
    assert data["title"] == folder.name
    if link:
        assert data["rows"][0]["details"]["href"] == "./caf%E9_files/r1.js"


@pytest.mark.parametrize("jobs", [0, -1])
def test_a_number_of_processes_below_one_is_refused(jobs: int, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="jobs must be 1 or more"):
        make_report([(NOISY, CLEAN)], tmp_path / "page.html", jobs=jobs)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("link", [False, True])
def test_an_ended_report_leaves_nothing(link: bool, tmp_path: Path) -> None:
    """What `on_row` raises ends the work; no page, no folder and no worker is left."""

    class Enough(Exception):
        pass

    def end(_: object) -> None:
        raise Enough

    with pytest.raises(Enough):
        make_report([(NOISY, CLEAN)] * 3, tmp_path / "page.html", link=link, on_row=end)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", ["40k", "700k"])
def test_a_full_disk_ends_the_report(size: str, tmp_path: Path, write_wav: WriteWav) -> None:
    """A picture, a copy or the page does not fit: the error has the reason, and nothing is left."""
    large = write_wav("large.wav", phrases(-20, 40))
    with disk(tmp_path / "disk", size=size) as small:
        with pytest.raises(InvalidTarget, match=r"cannot be written.*[Nn]o space left|is full"):
            make_report([(large, CLEAN)], small / "page.html")
        assert list(small.iterdir()) == []


def test_a_page_that_browsers_cannot_open_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the option; nothing is written, and nothing more is measured."""
    monkeypatch.setattr(maker, "MAX_EMBEDDED", 100_000)
    seen: list[Any] = []
    with pytest.raises(ConfigurationError, match="link=True"):
        make_report([(NOISY, CLEAN)] * 3, tmp_path / "page.html", jobs=1, on_row=seen.append)
    assert (list(tmp_path.iterdir()), seen) == ([], [])


@pytest.mark.parametrize("name", ["nothing/page.html", "."])
def test_a_page_that_cannot_be_written_is_refused_at_once(name: str, tmp_path: Path) -> None:
    """A missing folder, or a folder in place of a file."""
    with pytest.raises(InvalidTarget):
        make_report([(NOISY, CLEAN)], tmp_path / name)


def test_words_of_a_transcript_have_their_times(tmp_path: Path) -> None:
    """Words of the transcript beside a result are part of its details."""
    shutil.copy(NOISY, tmp_path / "a.wav")
    shutil.copy(CLEAN, tmp_path / "a.restored.flac")
    words = [
        {"word": "good", "start": 0.5, "end": 0.9},
        {"word": "morning", "start": 1, "end": 1.4},
    ]
    (tmp_path / "a.restored.json").write_text(json.dumps({"text": "good morning", "words": words}))
    made = make_report(tmp_path, tmp_path / "page.html", link=True)
    assert details_of(made, "r1")["words"] == [["good", 0.5, 0.9], ["morning", 1.0, 1.4]]
    (tmp_path / "a.restored.json").write_text("{}")
    made = make_report(tmp_path, tmp_path / "page.html", link=True, on_conflict="overwrite")
    assert details_of(made, "r1")["words"] is None
    assert "transcript" in made.rows[0]["warnings"][0]


def test_a_worker_that_dies_costs_one_row(tmp_path: Path) -> None:
    """The next tasks are done by another process; the result names the signal."""
    task = Task(number=0, before=str(NOISY), after=None, transcript=None)
    results = []
    for outcome in run_tasks(iter([task, task, task]), 1):
        if outcome is None:
            continue
        results.append(outcome[1])
        if len(results) == 1:
            _kill_children()
    assert len(results) == 3
    crashed = [result["crashed"] for result in results if "crashed" in result]
    assert crashed == ["the measuring process died (SIGKILL)"]


def _kill_children() -> None:
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    for task in Path("/proc/self/task").iterdir():
        for child in (task / "children").read_text().split():
            if "diffio_async.report.rows" in Path(f"/proc/{child}/cmdline").read_text():
                os.kill(int(child), signal.SIGKILL)
    assert children.exists()
