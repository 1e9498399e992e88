"""Long names are shortened by bytes, between two characters, and keep their suffix."""

from __future__ import annotations

import os
from pathlib import Path, PurePath
from typing import TYPE_CHECKING

import pytest

from diffio_async._storage.files import sibling_path, suffix_of, truncate_name
from diffio_async.batch.naming import Naming
from diffio_async.restoration import result_name
from tests.downloads.scenes import entries, finished

if TYPE_CHECKING:
    from diffio_async import AsyncDiffio

TEXTS = [
    "a" * 400,
    "ü" * 200,
    "日本" * 100,
    "🎙" * 100,
    "a" + "🎙" * 80,
    "\udcff" * 300,
    "\ud83d" * 90,
]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_a_shortened_name_has_the_maximum_length(text: str) -> None:
    """At most 255 bytes, and at most one character less than possible."""
    for ending in ("", ".restored.mp3", ".ü"):
        name = truncate_name(text, ending)
        size = len(name.encode("utf-8", "surrogatepass"))
        if "\udcff" in text:
            size = len(os.fsencode(name))
        assert 250 < size <= 255
        assert name.endswith(ending)
        assert text.startswith(name.removesuffix(ending))


def test_short_names_are_unchanged() -> None:
    """A suffix that is too long by itself is cut."""
    assert truncate_name("talk", ".mp3") == "talk.mp3"
    assert len(truncate_name("talk", "." + "x" * 400)) == 255


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("a.mp4", ".mp4"),
        ("a.b/c.WebM", ".WebM"),
        ("a", ""),
        (None, ""),
        ("a." + "x" * 300, ""),
        ("a.mp4\0", ""),
        ("a.m p4", ""),
        ("a.\x1b[31m", ""),
    ],
)
def test_an_untrusted_suffix_is_checked(name: str | None, suffix: str) -> None:
    """Only a plausible suffix is used."""
    assert suffix_of(name) == suffix


def test_names_from_templates_fit() -> None:
    """Text of the template is kept; the name of the recording is cut."""
    naming = Naming("{type}/{stem}.clean.{name}{ext}", Path("/out"))
    path = naming.result(PurePath("a") / ("ü" * 120 + ".wav"), "audio")
    assert len(os.fsencode(path.name)) <= 255
    assert path.name.endswith(".mp3")
    assert ".clean." in path.name
    assert path.parent == Path("/out/a/audio")
    named = naming.result(PurePath("x.wav"), "audio", "b/" + "n" * 300)
    assert (len(named.name), named.suffix) == (255, ".mp3")
    name = result_name("🎙" * 63 + ".mov", "video")
    assert len(name.encode()) <= 255
    assert name.endswith("🎙.restored.mov")
    assert len(os.fsencode(sibling_path(Path("x" * 255), "0123456789abcdef.part").name)) == 255


@pytest.mark.anyio
@pytest.mark.parametrize("resume", [False, True])
async def test_a_target_of_the_longest_name_leaves_space_for_its_part_file(
    resume: bool, client: AsyncDiffio, tmp_path: Path
) -> None:
    """The names of the part file and its log are shortened."""
    job = await finished(client, b"x" * 400_000)
    name = "ü" * 125 + "a.mp3"
    await job.download(tmp_path / name, resume=resume)
    assert entries(tmp_path) == [name]
