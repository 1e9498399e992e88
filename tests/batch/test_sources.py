"""Sources: globs and folders with links, blocking iterables, and name collisions."""

from __future__ import annotations

import asyncio
import re
import threading
import time
from typing import TYPE_CHECKING

import pytest

from diffio_async import AsyncDiffio, BatchItem, ConfigurationError, Diffio
from diffio_async.batch.selection import expand_glob
from tests.batch.scenes import below, planned, recordings, restored, states

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from diffio_async.sandbox import Sandbox


def found(pattern: Path | str, below: Path) -> list[str]:
    """Return the paths that a pattern matches, relative to a folder."""
    return [
        path.removeprefix(f"{below}/") for path, failure in expand_glob(str(pattern)) if not failure
    ]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*.wav", ["a.wav"]),
        ("**/*.wav", ["a.wav", "one/b.wav", "one/two/c.wav"]),
        ("**/**/*.wav", ["a.wav", "one/b.wav", "one/two/c.wav"]),
        ("*/*.wav", ["one/b.wav"]),
        ("one/**", ["one/b.wav", "one/two", "one/two/c.wav"]),
        ("**/two/*", ["one/two/c.wav"]),
        ("**/c.wav", ["one/two/c.wav"]),
        ("[ab].wav", ["a.wav"]),
        ("?.wav", ["a.wav"]),
        (".*/*.wav", [".hidden/h.wav"]),
        ("none*/x.wav", []),
    ],
)
def test_a_glob_matches(pattern: str, names: list[str], tmp_path: Path) -> None:
    """A pattern matches as in a shell, each file once."""
    recordings(tmp_path, "a.wav", "one/b.wav", "one/two/c.wav", ".hidden/h.wav")
    assert sorted(found(tmp_path / pattern, tmp_path)) == sorted(names)


def test_a_glob_visits_each_folder_once(tmp_path: Path) -> None:
    """Circular links list no file twice, and take no time."""
    recordings(tmp_path, "a.wav", "one/b.wav", "one/two/c.wav")
    for n in range(5):
        (tmp_path / f"loop{n}").symlink_to(tmp_path)
        (tmp_path / "one" / f"up{n}").symlink_to(tmp_path / "one")
        (tmp_path / "one" / "two" / f"top{n}").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    began = time.monotonic()
    for pattern in ("**/*.wav", "**/**/*.wav", "**/one/**/*.wav"):
        names = found(tmp_path / pattern, tmp_path)
        assert len(names) == len({name.rpartition("/")[2] for name in names}), pattern
    assert time.monotonic() - began < 20
    assert sorted(found(tmp_path / "**/*.wav", tmp_path)) == ["a.wav", "one/b.wav", "one/two/c.wav"]


async def test_a_batch_of_a_glob_with_a_loop(client: AsyncDiffio, tmp_path: Path) -> None:
    """Each file is restored once, under the path without links."""
    source = recordings(tmp_path / "in", "a.wav", "sub/b.wav")
    (source / "aaa").symlink_to(source)
    outcomes = await restored(client, str(source / "**" / "*.wav"), tmp_path / "out")
    assert set(states(outcomes).values()) == {"done"}
    assert below(tmp_path / "out") == ["a.restored.mp3", "sub/b.restored.mp3"]


async def test_an_iterable_that_blocks_does_not_stop_the_loop(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    """A generator runs in its own thread: the loop runs other tasks while it blocks."""
    source = recordings(tmp_path / "in", "a.wav")
    is_blocking, may_continue = threading.Event(), threading.Event()

    def slowly() -> Iterator[Path]:
        is_blocking.set()
        assert may_continue.wait(60)
        yield source / "a.wav"

    async def release() -> None:
        while not is_blocking.is_set():
            await asyncio.sleep(0.005)
        may_continue.set()

    releasing = asyncio.create_task(release())
    outcomes = await restored(client, slowly(), tmp_path / "out")
    await releasing
    assert set(states(outcomes).values()) == {"done"}


async def test_a_generator_may_call_the_blocking_client(
    sandbox: Sandbox, client: AsyncDiffio, tmp_path: Path
) -> None:
    """An iterable of sources may call the service itself, with the blocking client."""
    source = recordings(tmp_path / "in", "a.wav")
    with Diffio(sandbox.api_key, base_url=sandbox.base_url) as blocking:

        def named() -> Iterator[Path]:
            assert blocking.projects.list() == []
            yield source / "a.wav"

        outcomes = await restored(client, named(), tmp_path / "out")
        assert states(outcomes) == {"a.wav": "done"}
        project = str(outcomes["a.wav"].api_project_id)

        def ids() -> Iterator[str]:
            for row in blocking.projects.list_generations(api_project_id=project):
                yield row.generation_id

        waited = await client.generations.wait_many(ids(), api_project_id=project)
        assert [outcome.status for outcome in waited] == ["complete"]


async def test_an_error_of_a_generator_is_raised(client: AsyncDiffio, tmp_path: Path) -> None:
    """An error of the user's own code is raised unchanged, and nothing is recorded."""

    def broken() -> Iterator[str]:
        yield str(recordings(tmp_path / "in", "a.wav"))
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await restored(client, broken(), tmp_path / "out")
    outcomes = await restored(client, tmp_path / "in", tmp_path / "out", model="diffio-4.6-pro")
    assert states(outcomes) == {"a.wav": "done"}


async def test_a_path_of_bytes_is_a_path(client: AsyncDiffio, tmp_path: Path) -> None:
    """Bytes are not treated as an iterable of numbers."""
    source = recordings(tmp_path / "in", "a.wav")
    outcomes = await restored(client, bytes(source), tmp_path / "out")
    assert states(outcomes) == {"a.wav": "done"}


CLASHES: dict[str, tuple[list[str], str]] = {
    "endings": (
        ["in/a.wav", "in/a.flac", "in/a.mp3", "in/b.wav", "in/b.aac"],
        "{stem}.restored{ext}",
    ),
    "folders": (["x/a.wav", "y/a.wav", "x/b.wav"], "{stem}.restored{ext}"),
    "both": (["x/a.wav", "x/a.mp3", "y/a.wav"], "{stem}.restored{ext}"),
    "in place": (["in/a.wav", "in/a.mp3"], "{stem}{ext}"),
    "types": (["in/a.wav", "in/a.flac"], "{stem}-{type}{ext}"),
}


@pytest.mark.parametrize("case", CLASHES)
async def test_the_suggested_template_resolves_the_collision(case: str, tmp_path: Path) -> None:
    """All clashes are listed; a batch with the suggested name has no collision."""
    names, template = CLASHES[case]
    recordings(tmp_path, *names)
    sources = sorted({str((tmp_path / name).parent) for name in names})
    to = tmp_path / ("in" if case == "in place" else "out")
    with pytest.raises(ConfigurationError) as caught:
        await planned(sources, to, name=template)
    message = str(caught.value)
    suggested = re.search(r"--name '([^']+)'", message)
    assert suggested is not None, message
    files, _ = await planned(sources, to, name=suggested[1])
    assert [file.problem for file in files] == [None] * len(names)


async def test_every_collision_is_listed(tmp_path: Path) -> None:
    """The message names each result, and each source once."""
    names = [f"{n}.{ending}" for n in range(60) for ending in ("wav", "flac", "aac")[: 2 + n % 2]]
    source = recordings(tmp_path / "in", *names)
    with pytest.raises(ConfigurationError) as caught:
        await planned(source, tmp_path / "out")
    message = str(caught.value)
    assert message.count(" would both become ") == 30
    assert message.count(" would all become ") == 30
    for name in names:
        assert message.count(f"/{name}'") == 1


async def test_a_collision_that_no_template_resolves(tmp_path: Path) -> None:
    """If no template helps, the message suggests alternatives."""
    recordings(tmp_path, "x/talks/a.wav", "y/talks/a.wav")
    sources = [tmp_path / "x" / "talks", tmp_path / "y" / "talks"]
    with pytest.raises(ConfigurationError, match="no template gives all"):
        await planned(sources, tmp_path / "out")
    items = [
        BatchItem(source=tmp_path / "x/talks/a.wav", to="same"),
        BatchItem(source=tmp_path / "y/talks/a.wav", to="same"),
    ]
    with pytest.raises(ConfigurationError, match="in the column 'to'"):
        await planned(items, tmp_path / "out")


async def test_a_collision_in_a_batch_that_has_begun(client: AsyncDiffio, tmp_path: Path) -> None:
    """Its names cannot change, so the message suggests no template."""
    await restored(client, recordings(tmp_path / "x", "a.wav"), tmp_path / "out")
    with pytest.raises(ConfigurationError, match="that has begun cannot change"):
        await restored(client, recordings(tmp_path / "y", "a.flac"), tmp_path / "out")
