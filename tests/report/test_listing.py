"""Recordings of a report: which files belong together, and what is refused."""

from __future__ import annotations

import os
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING

import pytest

from diffio_async.errors import ConfigurationError
from diffio_async.report import find_recordings, list_folders, list_pairs
from diffio_async.report.journal import names_of

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async.report import Listing


def touch(folder: Path, *names: str) -> Path:
    """Create empty files, and the folders that they need."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def pairs(listing: Listing) -> dict[str, str | None]:
    """Return the file name of each result by the name of its recording."""
    return {each.name: each.after.name if each.after else None for each in listing.recordings}


def test_results_beside_recordings_are_found(tmp_path: Path) -> None:
    """`talk.restored.mp3` is the result of `talk.wav` in the same folder, not of another one."""
    touch(tmp_path, "talk.wav", "talk.restored.mp3", "a/talk.flac", "a/talk.restored.mp3")
    assert pairs(list_folders(tmp_path)) == {
        "talk.wav": "talk.restored.mp3",
        os.path.join("a", "talk.flac"): "talk.restored.mp3",  # noqa: PTH118
    }


def test_results_mirror_the_tree_of_the_recordings(tmp_path: Path) -> None:
    """Of two folders, files in the same place with the same stem belong together."""
    touch(tmp_path / "in", "a/1.wav", "b/1.wav", "b/2.wav")
    touch(tmp_path / "out", "a/1.restored.mp3", "b/1.mp3", "b/2.wav.restored.mp3")
    listing = list_folders(tmp_path / "in", tmp_path / "out")
    assert [(each.before, each.after) for each in listing.recordings] == [
        (tmp_path / "in" / name, tmp_path / "out" / result)
        for name, result in (
            ("a/1.wav", "a/1.restored.mp3"),
            ("b/1.wav", "b/1.mp3"),
            ("b/2.wav", "b/2.wav.restored.mp3"),
        )
    ]


def test_a_recording_without_a_result_is_listed_as_missing(tmp_path: Path) -> None:
    """Its row has the folder in which the result was expected."""
    touch(tmp_path, "in/1.wav", "in/2.wav", "out/1.restored.mp3")
    one, two = list_folders(tmp_path / "in", tmp_path / "out").recordings
    assert (one.state, two.state, two.after) == ("restored", "missing", None)
    assert two.problem is not None
    assert str(tmp_path / "out") in two.problem.message


def test_the_files_of_another_report_are_left_out(tmp_path: Path) -> None:
    """Listening copies in the folder beside a page are not recordings."""
    touch(tmp_path, "1.wav", "1.restored.mp3", "page.html", "page_files/r1-after.mp3")
    touch(tmp_path, "own_files/2.wav", "own_files/2.restored.mp3")
    assert len(list_folders(tmp_path).recordings) == 2


def test_a_result_without_a_recording_is_listed(tmp_path: Path) -> None:
    """Sources may have been removed since."""
    touch(tmp_path, "in/1.wav", "out/1.restored.mp3", "out/2.restored.mp3")
    last = list_folders(tmp_path / "in", tmp_path / "out").recordings[-1]
    assert (last.name, last.before) == ("2.restored.mp3", None)


def test_an_ambiguous_result_is_not_guessed(tmp_path: Path) -> None:
    """`talk.restored.mp3` belongs to neither `talk.wav` nor `talk.flac`; the warning names both."""
    touch(tmp_path, "talk.wav", "talk.flac", "talk.restored.mp3")
    listing = list_folders(tmp_path)
    assert pairs(listing) == {
        "talk.flac": None,
        "talk.wav": None,
        "talk.restored.mp3": "talk.restored.mp3",
    }
    assert "talk.flac and talk.wav could each be" in listing.recordings[-1].warnings[0]


def test_the_sound_is_compared_and_the_transcript_is_kept(tmp_path: Path) -> None:
    """Of several results of a recording, the sound comes before the video."""
    touch(tmp_path, "a.mp4", *(f"a.restored.{suffix}" for suffix in ("mp3", "mp4", "json")))
    (only,) = list_folders(tmp_path).recordings
    assert only.after == tmp_path / "a.restored.mp3"
    assert only.transcript == tmp_path / "a.restored.json"
    assert "a.restored.mp4" in only.warnings[0]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="this user reads every folder")
def test_an_unreadable_folder_is_noted(tmp_path: Path) -> None:
    """The others are compared nevertheless."""
    touch(tmp_path, "a.wav", "a.restored.mp3", "locked/b.wav")
    (tmp_path / "locked").chmod(0)
    try:
        listing = list_folders(tmp_path)
    finally:
        (tmp_path / "locked").chmod(0o700)
    assert pairs(listing) == {"a.wav": "a.restored.mp3"}
    assert "locked" in listing.notes[0]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="this user reads every folder")
def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """The error has the reason of the system."""
    touch(tmp_path, "locked/a.wav")
    (tmp_path / "locked").chmod(0)
    try:
        with pytest.raises(ConfigurationError, match=r"locked.*cannot be read"):
            find_recordings(tmp_path / "locked")
    finally:
        (tmp_path / "locked").chmod(0o700)


def test_the_key_is_that_of_the_same_files_only(tmp_path: Path) -> None:
    """Marks are found again in the next report of the same folder, not in that of another."""
    first = touch(tmp_path / "first", "a.wav", "a.restored.mp3")
    second = touch(tmp_path / "second", "a.wav", "a.restored.mp3")
    assert list_folders(first).key == list_folders(first).key != list_folders(second).key


REFUSED = {
    "an empty folder": ((), ("folder",), "no restored recording"),
    "recordings without results": (("folder/a.wav",), ("folder",), r"talk\.restored\.mp3"),
    "a missing folder": ((), ("nothing",), "there is no file or folder"),
    "a recording alone": (("a.wav",), ("a.wav",), "name its result too"),
    "a missing result": (("a.wav",), ("a.wav", "b.mp3"), "does not exist"),
    "a folder and a file": (("a.wav", "folder/b.wav"), ("folder", "a.wav"), "is not a file"),
    "a signed link": (("b.mp3",), ("https://h.test/a.wav?sig=x", "b.mp3"), "may be a credential"),
    "a URL": ((), ("https://example.com/a.wav",), "name the journal of the batch"),
    "a signed link alone": ((), ("s3://b/x?X-Amz-Signature=hush",), "leave out what begins with"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_refused(what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be compared is refused with what to do."""
    files, arguments, message = REFUSED[what]
    (tmp_path / "folder").mkdir()
    touch(tmp_path, *files)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=message) as caught:
        find_recordings(*arguments)
    assert "hush" not in str(caught.value)


def test_no_pairs_are_refused() -> None:
    """An empty list of pairs has nothing to compare."""
    with pytest.raises(ConfigurationError, match="there are no pairs"):
        list_pairs([])


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["C:/in/a/x.wav", "C:/in/b/y.wav"], ["a\\x.wav", "b\\y.wav"]),
        (["C:/in/x.wav"], ["x.wav"]),
        (["C:/in/x.wav", "D:/in/x.wav"], ["C:\\in\\x.wav", "D:\\in\\x.wav"]),
    ],
)
def test_names_are_relative_to_the_common_folder(paths: list[str], names: list[str]) -> None:
    """Files of a batch may be on several drives of Windows: these have their whole paths."""
    assert names_of([PureWindowsPath(path) for path in paths]) == names
