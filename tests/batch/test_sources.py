"""Sources: globs and folders with links, blocking iterables, and name collisions."""

from __future__ import annotations

import asyncio
import itertools
import re
import time
from typing import TYPE_CHECKING

import anyio
import pytest

from diffio_async import AsyncDiffio, BatchItem, ConfigurationError, Diffio
from diffio_async.batch.sources import expand_glob
from tests.batch.scenes import below, recordings, restored, states

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from diffio_async import FileOutcome
    from diffio_async.sandbox import Sandbox


def found(pattern: Path | str, below: Path) -> list[str]:
    """What a pattern names, below a folder."""
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
    """A pattern names what the shell's would, each file once."""
    recordings(tmp_path, "a.wav", "one/b.wav", "one/two/c.wav", ".hidden/h.wav")
    assert sorted(found(tmp_path / pattern, tmp_path)) == sorted(names)


def test_a_glob_visits_each_folder_once(tmp_path: Path) -> None:
    """Links in circles, up, across and to each other list no file twice, and end at once."""
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
    assert time.monotonic() - began < 1
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
    """A generator runs in a thread of its own: other tasks go on while it sleeps."""
    source = recordings(tmp_path / "in", "a.wav", "b.wav")
    beats: list[float] = []

    def slowly() -> Iterator[Path]:
        for name in ("a.wav", "b.wav"):
            time.sleep(0.3)
            yield source / name

    async def beat() -> None:
        while True:
            beats.append(time.monotonic())
            await asyncio.sleep(0.01)

    outcomes: dict[str, FileOutcome] = {}
    async with anyio.create_task_group() as group:
        group.start_soon(beat)
        outcomes = await restored(client, slowly(), tmp_path / "out")
        group.cancel_scope.cancel()
    assert set(states(outcomes).values()) == {"done"}
    assert max(b - a for a, b in itertools.pairwise(beats)) < 0.25


async def test_a_generator_may_call_the_blocking_client(
    sandbox: Sandbox, client: AsyncDiffio, tmp_path: Path
) -> None:
    """What names the sources may ask the service itself, with the client that blocks."""
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


@pytest.mark.parametrize("sources", [5, [5], [["a.wav"]], [None]])
async def test_an_invalid_source_is_named_in_the_error(
    sources: object, client: AsyncDiffio, tmp_path: Path
) -> None:
    """A number, a nested list and None are ConfigurationErrors."""
    with pytest.raises(ConfigurationError, match="source"):
        await restored(client, sources, tmp_path / "out")


async def test_a_path_of_bytes_is_a_path(client: AsyncDiffio, tmp_path: Path) -> None:
    """Not an iterable of numbers."""
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
async def test_the_suggested_template_resolves_the_collision(
    case: str, client: AsyncDiffio, tmp_path: Path
) -> None:
    """All clashes are listed; the batch runs with the name that the message suggests."""
    names, template = CLASHES[case]
    recordings(tmp_path, *names)
    sources = sorted({str((tmp_path / name).parent) for name in names})
    to = tmp_path / ("in" if case == "in place" else "out")
    with pytest.raises(ConfigurationError) as caught:
        await restored(client, sources, to, name=template)
    said = str(caught.value)
    suggested = re.search(r"--name '([^']+)'", said)
    assert suggested is not None, said
    outcomes = client.restore_many(sources, to, name=suggested[1])
    assert {outcome.state async for outcome in outcomes} == {"done"}


async def test_every_collision_is_listed(client: AsyncDiffio, tmp_path: Path) -> None:
    """A message of a hundred clashes names a hundred results, and each source once."""
    names = [f"{n}.{ending}" for n in range(700) for ending in ("wav", "flac", "aac")[: 2 + n % 2]]
    source = recordings(tmp_path / "in", *names)
    with pytest.raises(ConfigurationError) as caught:
        await restored(client, source, tmp_path / "out")
    said = str(caught.value)
    assert said.count(" would both become ") == 350
    assert said.count(" would all become ") == 350
    for name in names:
        assert said.count(f"/{name}'") == 1


async def test_a_collision_that_no_template_resolves(client: AsyncDiffio, tmp_path: Path) -> None:
    """If no template helps, the message suggests alternatives."""
    recordings(tmp_path, "x/talks/a.wav", "y/talks/a.wav")
    sources = [tmp_path / "x" / "talks", tmp_path / "y" / "talks"]
    with pytest.raises(ConfigurationError, match="no template tells them all apart: list"):
        await restored(client, sources, tmp_path / "out")
    items = [
        BatchItem(source=tmp_path / "x/talks/a.wav", to="same"),
        BatchItem(source=tmp_path / "y/talks/a.wav", to="same"),
    ]
    with pytest.raises(ConfigurationError, match="in the column 'to'"):
        await restored(client, items, tmp_path / "out")


async def test_a_collision_in_a_batch_that_has_begun(client: AsyncDiffio, tmp_path: Path) -> None:
    """Its names cannot change, so the message suggests no template."""
    await restored(client, recordings(tmp_path / "x", "a.wav"), tmp_path / "out")
    with pytest.raises(ConfigurationError, match="that has begun cannot change"):
        await restored(client, recordings(tmp_path / "y", "a.flac"), tmp_path / "out")
