"""A batch leaves out only names that are not recordings, and reports each."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import AsyncDiffio, BatchItem, ConfigurationError, LeftOut
from diffio_async.batch.journal import Journal
from diffio_async.batch.journal_queries import LeftOutCounts
from diffio_async.batch.restore_many import list_sources
from tests.batch.scenes import (
    JOURNAL,
    batch_request,
    generations,
    planned,
    recordings,
    restored,
    rows,
    states,
)

if TYPE_CHECKING:
    from diffio_async import BatchProgress
    from diffio_async.sandbox import Sandbox

TEMPLATES = [
    "{stem}.restored{ext}",
    "{stem}-{type}{ext}",
    "{stem}.{type}{ext}",
    "{stem}_{name}{ext}",
    "{name}{ext}",
    "restored-{name}{ext}",
    "restored-{stem}{ext}",
    "{stem}r{ext}",
    "{type}{stem}{ext}",
    "{type}/{stem}{ext}",
    "new/{name}{ext}",
    "{stem}/{type}{ext}",
    "{parent}-{stem}-{type}{ext}",
    "./{stem}-{type}{ext}",
]
#: Names that a template could take for a result if its fields matched anything.
LOOKALIKES = [
    *("a-b.wav", "my-talk.mp3", "interview-audio.wav", "x-video.flac", "restored-talk.wav"),
    *("talk.restored.wav", "talk_hd.mp3", "a.b.mp3", "audio.mp3", "audio-1.mp3", "over.mp3"),
    *("transcript.mp3", "new/a.mp3", "audio/c.mp3", "restored-x.mp3"),
]


async def left_out(
    client: AsyncDiffio, source: object, to: Path, **how: object
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the state of each file, and the reason of each name that was left out."""
    names: dict[str, str] = {}

    def note(name: LeftOut) -> None:
        names[name.path.name] = name.reason

    outcomes = await restored(client, source, to, on_left_out=note, **how)
    return states(outcomes), names


@pytest.mark.parametrize("template", TEMPLATES)
async def test_no_template_makes_a_recording_look_like_a_result(
    template: str, tmp_path: Path
) -> None:
    """Recordings whose names merely resemble a result are all restored."""
    source = recordings(tmp_path / "in", *LOOKALIKES)
    files, names = await planned(source, tmp_path / "out", name=template)
    assert len(files) == len(LOOKALIKES)
    assert [file.problem for file in files] == [None] * len(LOOKALIKES)
    assert names == []


@pytest.mark.parametrize("template", TEMPLATES)
async def test_results_among_their_sources_are_left_out(template: str, tmp_path: Path) -> None:
    """The next run, with the same journal or without it, restores no result of the first."""
    source = recordings(tmp_path / "in", "a.mp4", "b-c.mkv", "sub/d.mp4")
    how: dict[str, Any] = {"name": template, "download_types": ("audio", "video")}
    one = tmp_path / "one.sqlite"
    request = batch_request(source, source, journal=one, **how)
    journal = await Journal.open(one)
    await journal.register(request)
    await list_sources(request, journal)
    await journal.write(
        lambda connection: connection.execute("UPDATE result SET owned = 1").rowcount
    )
    await journal.close()
    results = [Path(path) for (path,) in rows(one, "SELECT path FROM result")]
    assert len(results) == 6
    for path in results:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"restored")
    for journal_path in (one, source / JOURNAL):
        files, names = await planned(source, source, journal=journal_path, **how)
        assert [name.reason for name in names] == ["result"] * 6
        assert len(files) == 3


async def test_the_next_run_restores_no_result_of_the_last_one(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Results among their recordings are left out, also by a batch with another journal."""
    source = recordings(tmp_path / "in", "a.mp4", "sub/d.mkv")
    how: dict[str, Any] = {
        "name": "{type}/{stem}{ext}",
        "download_types": ("audio", "video"),
    }
    await restored(client, source, source, journal=tmp_path / "one.sqlite", **how)
    for other in ({}, {"journal": tmp_path / "two.sqlite", "on_conflict": "skip"}):
        left: list[LeftOut] = []
        how |= {"journal": tmp_path / "one.sqlite", **other}
        await restored(client, source, source, on_left_out=left.append, **how)
        assert [name.reason for name in left] == ["result"] * 4
        assert generations(sandbox) == 2


@pytest.mark.slow
async def test_results_of_an_earlier_batch_are_detected_from_its_journal(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A batch with another template leaves out what the journal of a folder lists as results."""
    source = recordings(tmp_path / "in", "a.mp3", "sub/b.wav")
    await restored(client, source, source / "old", name="{stem}{ext}")
    await restored(client, source, source, name="{stem}{type}{ext}")
    (source / "a.mp3").unlink()
    (source / "c.mp3").write_bytes(b"of no batch")
    outcomes, names = await left_out(
        client, source, tmp_path / "out", name="{stem}+{ext}", journal=tmp_path / "j.sqlite"
    )
    assert outcomes == {"b.wav": "done", "c.mp3": "done"}
    assert names == {
        "aaudio.mp3": "result",
        "a.mp3": "result",
        "b.mp3": "result",
        "baudio.mp3": "result",
    }


async def test_a_result_named_as_a_source_is_left_out(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A shell's `*.mp3` names results of the first run too, which are left out."""
    source = recordings(tmp_path / "in", "a.mp3")
    await restored(client, [source / "a.mp3"], source)
    recordings(source, "b.mp3")
    named = sorted(source.glob("*.mp3"))
    assert len(named) == 3
    outcomes, names = await left_out(client, named, source)
    assert outcomes == {"a.mp3": "done", "b.mp3": "done"}
    assert names == {"a.restored.mp3": "result"}


async def test_everything_left_out_is_counted_and_listed(
    client: AsyncDiffio,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Hidden names, other types, links, pipes, folders and duplicates each have a reason."""
    source = recordings(
        tmp_path / "in", "a.wav", "b.restored.mp3", ".c.wav", "notes.txt", ".hid/d.wav", "out/e.wav"
    )
    (source / "loop").symlink_to(source)
    (source / "copy.wav").symlink_to(source / "a.wav")
    os.mkfifo(source / "pipe.wav")
    reports: list[BatchProgress] = []
    with caplog.at_level(logging.INFO, logger="diffio_async"):
        outcomes, names = await left_out(
            client,
            [source, source / "a.wav", BatchItem(source=source / "a.wav", to="again")],
            source / "out",
            on_progress=reports.append,
        )
    assert outcomes == {"a.wav": "done", "copy.wav": "done"}
    assert names == {
        "b.restored.mp3": "result",
        ".c.wav": "hidden",
        ".hid": "hidden",
        "notes.txt": "ending",
        "loop": "link",
        "pipe.wav": "irregular",
        "out": "folder",
        "a.wav": "duplicate",
    }
    assert reports[-1].left_out == 9
    assert reports[-1].passed_over == 1
    assert "1 result, 2 hidden names" in caplog.text
    assert "1 file passed over (.txt)" in caplog.text
    assert "2 sources named twice" in caplog.text


async def test_without_recursive_folders_are_left_out(client: AsyncDiffio, tmp_path: Path) -> None:
    """With `recursive=False` each sub-folder is left out."""
    source = recordings(tmp_path / "in", "a.wav", "sub/b.wav")
    outcomes, names = await left_out(client, source, tmp_path / "out", recursive=False)
    assert outcomes == {"a.wav": "done"}
    assert names == {"sub": "folder"}


async def test_the_folder_of_the_results_is_known_by_any_path(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    """The folder of the results is not read as a source, also if another path leads to it."""
    source = recordings(tmp_path / "in", "a.wav", "out/old.wav")
    (tmp_path / "link").symlink_to(source)
    outcomes, names = await left_out(client, tmp_path / "link", source / "out")
    assert outcomes == {"a.wav": "done"}
    assert names == {"out": "folder"}


async def test_the_next_listing_replaces_what_the_last_left_out(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    """Each run reports its own listing; a run without sources keeps the last one."""
    source = recordings(tmp_path / "in", "a.wav", "b.txt")
    _, names = await left_out(client, source, tmp_path / "out")
    assert names == {"b.txt": "ending"}
    _, names = await left_out(client, None, tmp_path / "out")
    assert names == {"b.txt": "ending"}
    (source / "b.txt").rename(source / "c.txt")
    _, names = await left_out(client, source, tmp_path / "out")
    assert names == {"c.txt": "ending"}


async def test_files_of_other_types_are_counted_by_suffix(tmp_path: Path) -> None:
    """The most frequent suffixes come first; implausible ones count as no suffix."""
    source = recordings(tmp_path / "in", "a.txt", "b.TXT", "c.cue", "Makefile", "d.what is this")
    with pytest.raises(ConfigurationError) as caught:
        await planned(source, tmp_path / "out")
    assert "5 files passed over (" in str(caught.value)
    assert "suffixes=None (--all) takes every file" in str(caught.value)
    counts = LeftOutCounts()
    for path in sorted(source.iterdir()):
        counts.count(LeftOut(path=path, reason="ending"))
    assert counts.passed_over == {".txt": 2, ".cue": 1, "": 2}
    assert counts.describe() == "5 files passed over (no suffix, .txt, .cue)"
    counts.count(LeftOut(path=tmp_path / ".x", reason="hidden"))
    for number in range(9):
        counts.count(LeftOut(path=tmp_path / f"x.a{number}", reason="ending"))
    assert counts.describe() == (
        "1 hidden name, 14 files passed over (no suffix, .txt, .cue, .a0, .a1, .a2, …)"
    )


async def test_every_file_is_taken_without_suffixes(tmp_path: Path) -> None:
    """`suffixes=None` takes files of all types, but no hidden names and no results."""
    source = recordings(
        tmp_path / "in", "a.wav", "b.dat", "c", "d.ts", ".hidden", "a.restored.mp3", "x-audio.mp3"
    )
    files, names = await planned(source, tmp_path / "out", suffixes=None)
    assert {file.source.name for file in files} == {"a.wav", "b.dat", "c", "d.ts", "x-audio.mp3"}
    assert {name.path.name: name.reason for name in names} == {
        ".hidden": "hidden",
        "a.restored.mp3": "result",
    }
    recordings(source, "x.dat")
    files, names = await planned(source, source, suffixes=None, name="{stem}-{type}{ext}")
    assert {name.path.name for name in names if name.reason == "result"} == {
        "a.restored.mp3",
        "x-audio.mp3",
    }


async def test_the_content_decides_about_an_ambiguous_suffix(tmp_path: Path) -> None:
    """A program in TypeScript is left out, unless it is named or its suffix is."""
    source = recordings(tmp_path / "in", "talk.wav")
    (source / "film.ts").write_bytes((b"\x47" + bytes(187)) * 20)
    (source / "camera.MTS").write_bytes((bytes(4) + b"\x47" + bytes(187)) * 20)
    (source / "program.ts").write_text("export const G = 1;\n" * 20)
    files, names = await planned(source, tmp_path / "out")
    assert {file.source.name for file in files} == {"talk.wav", "film.ts", "camera.MTS"}
    assert {name.path.name: name.reason for name in names} == {"program.ts": "ending"}
    for sources, how in ((source / "program.ts", {}), (source, {"suffixes": {".ts"}})):
        files, _ = await planned(sources, tmp_path / "out", **how)
        assert source / "program.ts" in {file.source for file in files}
