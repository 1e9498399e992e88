"""Results stay in their folder, whatever the names, links or journal contain."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from diffio_async import AsyncDiffio, BatchItem, ConfigurationError
from diffio_async.sandbox import Fault, RespondWith, Sandbox
from tests.batch.scenes import (
    JOURNAL,
    below,
    content,
    generations,
    planned,
    recordings,
    restored,
    states,
)

if TYPE_CHECKING:
    from pathlib import Path


async def refused(sources: object, to: Path, **how: object) -> str:
    """Return why a batch is refused."""
    with pytest.raises(ConfigurationError) as caught:
        await planned(sources, to, **how)
    return str(caught.value)


@pytest.mark.parametrize("name", ["...wav", "..wav", "...", "...."])
@pytest.mark.parametrize("template", ["{stem}/{name}{ext}", "a/{stem}/{stem}/{name}{ext}"])
async def test_a_file_name_cannot_lead_a_result_out(
    name: str, template: str, tmp_path: Path
) -> None:
    """Dots at the start of a name are not taken for a suffix, which would leave `..` before it."""
    source = recordings(tmp_path / "in", name)
    [[file], _] = await planned(source / name, tmp_path / "out", name=template)
    assert file.paths == (tmp_path / "out" / template.format(stem=name, name=name, ext=".mp3"),)


@pytest.mark.parametrize("name", ["talk.", "...wav", ".wav"])
async def test_a_name_has_the_same_result_on_every_python(name: str, tmp_path: Path) -> None:
    """Dots at the ends of a name belong to its stem: a newer Python can continue a batch."""
    source = recordings(tmp_path / "in", name)
    [[file], _] = await planned(source / name, tmp_path / "out")
    assert [path.name for path in file.paths] == [f"{name}.restored.mp3"]


@pytest.mark.parametrize(
    "template",
    [
        "/{stem}{ext}",
        "../{stem}{ext}",
        "a/../../{stem}{ext}",
        "{stem}{ext}/../{stem}/x{ext}",
        "..\\{stem}{ext}",
        "C:\\{stem}{ext}",
    ],
)
async def test_a_template_that_leads_out_somewhere(template: str, tmp_path: Path) -> None:
    """A template that leads out of the folder on any operating system is refused."""
    source = recordings(tmp_path / "in", "a.wav")
    assert "leads out" in await refused(source, tmp_path / "out", name=template)


@pytest.mark.parametrize("to", ["../x", "/x", "a/../../x", "..\\x", "C:\\x", "\\\\host\\x", ".."])
async def test_a_name_in_a_manifest_that_leads_out(to: str, tmp_path: Path) -> None:
    """The name of a result in a manifest is refused too."""
    recordings(tmp_path, "a.wav")
    item = BatchItem(source=tmp_path / "a.wav", to=to)
    assert re.search("leads out|lead out", await refused(item, tmp_path / "out"))


async def test_a_name_that_no_file_can_have(tmp_path: Path) -> None:
    """A NUL in a name is refused before anything is sent."""
    recordings(tmp_path, "a.wav")
    item = BatchItem(source=tmp_path / "a.wav", to="a\0b")
    assert "no file can have" in await refused(item, tmp_path / "out")


async def test_a_glob_with_parent_folders_leads_no_result_out(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    """A pattern with `..` after a `*` matches files above its base: results stay in the folder."""
    source = recordings(tmp_path / "in", "sub/deep/x.wav", "a.wav")
    to = tmp_path / "deep" / "out"
    outcomes = await restored(client, str(source / "sub" / "*" / ".." / ".." / "*.wav"), to)
    assert states(outcomes) == {"a.wav": "done"}
    assert below(tmp_path / "deep") == ["out/a.restored.mp3"]


async def test_names_that_only_look_odd_are_restored(client: AsyncDiffio, tmp_path: Path) -> None:
    """Dots, blanks and backslashes in a file's name are part of it."""
    names = ["a..b.wav", "..c.wav", " d .wav", "e\\f.wav", "g:h.wav", "nul.wav"]
    source = recordings(tmp_path / "in", *names)
    outcomes = await restored(client, [source / name for name in names], tmp_path / "out")
    assert set(states(outcomes).values()) == {"done"}
    assert len(below(tmp_path / "out")) == len(names)


async def test_a_link_in_the_folder_of_the_results_leads_nothing_out(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A file whose result would follow a link out of the folder fails before it is billed."""
    source = recordings(tmp_path / "in", "a.wav", "sub/b.wav", "sub/deep/c.wav", "near/d.wav")
    (tmp_path / "else").mkdir()
    (tmp_path / "real" / "place").mkdir(parents=True)
    # The folder itself may be a link, and one in it may lead to another place in it.
    (tmp_path / "out").symlink_to(tmp_path / "real")
    (tmp_path / "out" / "sub").symlink_to(tmp_path / "else")
    (tmp_path / "out" / "near").symlink_to(tmp_path / "real" / "place")
    outcomes = await restored(client, source, tmp_path / "out")
    assert states(outcomes) == {
        "a.wav": "done",
        "b.wav": "failed",
        "c.wav": "failed",
        "d.wav": "done",
    }
    assert "leads out of the folder of the results" in (outcomes["b.wav"].error or "")
    assert list((tmp_path / "else").iterdir()) == []
    assert generations(sandbox) == 2


async def test_a_link_that_comes_later_leads_nothing_out(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The path is checked again before a download; the result can be downloaded later."""
    source = recordings(tmp_path / "in", "sub/b.wav")
    sandbox.faults.add(
        Fault(path="/v1/get_generation_download", action=RespondWith(status=402), times=None)
    )
    with pytest.raises(Exception, match="stopped"):
        await restored(client, source, tmp_path / "out")
    sandbox.faults.clear()
    (tmp_path / "else").mkdir()
    sub = tmp_path / "out" / "sub"
    if sub.exists():
        for each in sub.iterdir():
            each.unlink()
        sub.rmdir()
    sub.symlink_to(tmp_path / "else")
    outcomes = await restored(client, source, tmp_path / "out")
    assert states(outcomes) == {"b.wav": "failed"}
    assert list((tmp_path / "else").iterdir()) == []
    sub.unlink()
    outcomes = await restored(client, source, tmp_path / "out")
    assert states(outcomes) == {"b.wav": "done"}
    assert generations(sandbox) == 1


async def test_a_result_path_of_a_changed_journal_is_not_written(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A path outside of the folder is refused, before the upload and before the download."""
    source = recordings(tmp_path / "in", "a.wav", "b.wav")
    victim = tmp_path / "victim.mp3"
    victim.write_bytes(b"precious")
    sandbox.faults.add(Fault(path="/v1/get_generation_progress", action=RespondWith(status=402)))
    with pytest.raises(Exception, match="stopped"):
        await restored(client, source, tmp_path / "out", max_in_flight=1)
    with closing(sqlite3.connect(tmp_path / "out" / JOURNAL)) as connection:
        for number, path in ((1, victim), (2, tmp_path / "out" / ".." / "victim.mp3")):
            connection.execute(
                "UPDATE result SET path = ?, path_key = ?, owned = 1, bytes = 8 WHERE file_id = ?",
                (str(path), str(path), number),
            )
        connection.commit()
    outcomes = await restored(client, None, tmp_path / "out")
    assert set(states(outcomes).values()) == {"failed"}
    assert victim.read_bytes() == b"precious"
    assert all("is not in the folder of the results" in (o.error or "") for o in outcomes.values())


@pytest.mark.slow
async def test_the_service_cannot_choose_a_path(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Only the suffix of the server's file name for a video is used."""
    source = recordings(tmp_path / "in", "a.mp4")
    real = await restored(client, source, tmp_path / "first", download_types=("video",))
    assert states(real) == {"a.mp4": "done"}
    link = await client.generations.get_download(
        generation_id=str(real["a.mp4"].generation_id),
        api_project_id=str(real["a.mp4"].api_project_id),
        download_type="video",
    )
    names = ("x.mp4/../../y", "x.", "x.a\\b", "x.m\0v", "x." + "v" * 300)
    for number, name in enumerate(names):
        body = {
            "generationId": link.generation_id,
            "apiProjectId": link.api_project_id,
            "downloadType": "video",
            "downloadUrl": link.download_url,
            "fileName": name,
            "mimeType": "video/mp4",
        }
        sandbox.faults.clear()
        sandbox.faults.add(
            Fault(path="/v1/get_generation_download", action=RespondWith(json=body), times=None)
        )
        to = tmp_path / f"out{number}"
        outcomes = await restored(client, source, to, download_types=("video",))
        assert states(outcomes) == {"a.mp4": "done"}
        assert below(to) == ["a.restored.mp4"]
        assert (to / "a.restored.mp4").read_bytes() == content("a.mp4")
        assert not (tmp_path / "y").exists()
