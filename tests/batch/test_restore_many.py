"""Without faults, every file is restored once, and a second run costs nothing."""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING

import anyio
import pytest
from attrs import evolve

from diffio_async import AsyncDiffio, BatchItem, Diffio
from diffio_async._storage.sqlite_open import connect
from diffio_async.batch import restore_many, scheduler
from diffio_async.batch.schema import SCHEMA
from tests.batch.scenes import (
    JOURNAL,
    below,
    content,
    generations,
    recordings,
    restored,
    rows,
    states,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from diffio_async import BatchProgress
    from diffio_async.sandbox import Sandbox


async def test_a_folder_is_restored_with_its_sub_folders(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Each recording of a folder, at any depth, has a result in the same sub-folder."""
    source = recordings(tmp_path / "in", "a.wav", "deep/er/b.MP4", "deep/c.flac", "notes.txt")
    outcomes = await restored(client, source, tmp_path / "out")
    assert states(outcomes) == {"a.wav": "done", "b.MP4": "done", "c.flac": "done"}
    assert below(tmp_path / "out") == [
        "a.restored.mp3",
        "deep/c.restored.mp3",
        "deep/er/b.restored.mp3",
    ]
    outcome = outcomes["c.flac"]
    assert outcome.paths["audio"].read_bytes() == content("deep/c.flac")
    assert outcome.api_project_id in sandbox.state.projects
    assert outcome.generation_id in sandbox.state.generations
    assert (outcome.attempts, outcome.size_bytes, outcome.received_bytes) == (1, 700, 700)
    assert outcome.seconds > 0
    assert not outcome.from_earlier_run


async def test_a_second_run_repeats_nothing(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The second run sends no request, and yields the outcomes of the first."""
    source = recordings(tmp_path / "in", "a.wav", "b.wav")
    first = await restored(client, source, tmp_path / "out")
    before = len(sandbox.requests)
    second = await restored(client, source, tmp_path / "out")
    assert len(sandbox.requests) == before
    assert all(outcome.from_earlier_run for outcome in second.values())
    assert {o.generation_id for o in first.values()} == {o.generation_id for o in second.values()}


async def test_equal_contents_share_one_generation(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Three files with one content are billed once, and each has its result."""
    source = recordings(tmp_path / "in", "a.wav", "b.wav")
    for name in ("c.wav", "d.wav"):
        (source / name).write_bytes((source / "a.wav").read_bytes())
    outcomes = await restored(client, source, tmp_path / "out")
    assert set(states(outcomes).values()) == {"done"}
    assert generations(sandbox) == 2
    assert len(sandbox.state.projects) == 2
    for name in ("a", "c", "d"):
        assert (tmp_path / "out" / f"{name}.restored.mp3").read_bytes() == content("a.wav")


async def test_several_types_and_a_type_added_later(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Each type is downloaded; one that is added later is not billed again."""
    source = recordings(tmp_path / "in", "a.wav", "b.wav")
    await restored(client, source, tmp_path / "out")
    outcomes = await restored(
        client, source, tmp_path / "out", download_types=("audio", "transcript")
    )
    assert set(outcomes["a.wav"].paths) == {"audio", "transcript"}
    assert generations(sandbox) == 2
    assert below(tmp_path / "out") == [
        "a.restored.json",
        "a.restored.mp3",
        "b.restored.json",
        "b.restored.mp3",
    ]


@pytest.mark.slow
async def test_results_are_not_recordings(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The next run does not restore results that are among the recordings."""
    source = recordings(tmp_path / "in", "a.mp3", "sub/b.mp3")
    await restored(client, source, source)
    await restored(client, source, source)
    await restored(client, source, source / "sub" / "out", journal=tmp_path / "second.sqlite")
    await restored(client, source, source / "sub" / "out", journal=tmp_path / "second.sqlite")
    # The second journal knows nothing of the first, but of what results look like.
    assert generations(sandbox) == 4


async def test_items_and_iterables_and_globs(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Sources may be sync or async iterables; an item has its own name and metadata."""
    source = recordings(tmp_path / "in", "a.wav", "b.wav", "c.wav", "deep/d.wav", "deep/e.wav")

    async def named() -> AsyncIterator[str | BatchItem]:
        yield str(source / "[ab].wav")
        await asyncio.sleep(0)
        yield BatchItem(
            source=source / "c.wav", to="other/name", model="diffio-4.6-pro", params={"tag": "x"}
        )

    await restored(client, named(), tmp_path / "one")
    assert below(tmp_path / "one") == ["a.restored.mp3", "b.restored.mp3", "other/name.mp3"]
    own = [each for each in sandbox.state.generations.values() if each.params]
    assert [(each.model_key, each.params) for each in own] == [("diffio-4.6-pro", {"tag": "x"})]
    await restored(client, [f"{source}/**/[de].wav"], tmp_path / "two", name="{type}/{name}{ext}")
    assert below(tmp_path / "two") == ["deep/audio/d.wav.mp3", "deep/audio/e.wav.mp3"]


async def test_breaking_out_of_the_loop_can_be_resumed(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Leaving the loop after one outcome loses nothing; the next run completes the batch."""
    source = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(6)))
    outcomes = client.restore_many(source, tmp_path / "out", max_in_flight=2)
    async for outcome in outcomes:
        assert outcome.state == "done"
        break
    await outcomes.aclose()
    assert rows(tmp_path / "out" / JOURNAL, "SELECT count(*) FROM run") == [(0,)]
    held = "SELECT count(*) FROM file WHERE run_id IS NOT NULL"
    assert rows(tmp_path / "out" / JOURNAL, held) == [(0,)]
    rest = await restored(client, source, tmp_path / "out")
    assert len(rest) == 6
    assert generations(sandbox) == 6
    assert len(below(tmp_path / "out")) == 6


async def test_two_concurrent_runs_share_the_work(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs on one journal restore each file once, and each yields all outcomes."""
    source = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(8)))
    found: list[int] = []
    for module in (scheduler, restore_many):
        monkeypatch.setattr(module, "_POLL_SECONDS", 0.05)

    async def run() -> None:
        found.append(len(await restored(client, source, tmp_path / "out", max_in_flight=2)))

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        group.start_soon(run)
    assert found == [8, 8]
    assert generations(sandbox) == 8
    assert len(sandbox.state.projects) == 8


async def test_progress_is_reported(client: AsyncDiffio, tmp_path: Path) -> None:
    """The callback gets the numbers, and the last ones are complete."""
    source = recordings(tmp_path / "in", "a.wav", "b.wav")
    reports: list[BatchProgress] = []
    await restored(client, source, tmp_path / "out", on_progress=reports.append)
    last = reports[-1]
    assert (last.files, last.done, last.failed) == (2, 2, 0)
    assert (last.sent_bytes, last.received_bytes) == (1400, 1400)
    assert last.uploading == last.generating == last.downloading == 0


@pytest.mark.slow
async def test_the_sync_client_iterates_the_same(sandbox: Sandbox, tmp_path: Path) -> None:
    """`Diffio().restore_many` yields the outcomes without a loop."""
    source = recordings(tmp_path / "in", "a.wav", "b.wav")

    def run() -> list[str]:
        with Diffio(sandbox.api_key, base_url=sandbox.base_url) as client:
            outcomes = client.restore_many(source, tmp_path / "out")
            return sorted(outcome.source.name for outcome in outcomes)

    assert await anyio.to_thread.run_sync(run) == ["a.wav", "b.wav"]


async def test_the_journal_of_an_earlier_version_is_used(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    """What it lacks is added: here, the workers of results."""
    journal = tmp_path / "j.sqlite"
    earlier = evolve(SCHEMA, migrations=SCHEMA.migrations[:3])
    with closing(connect(str(journal), earlier, create=True)) as old:
        old.execute("CREATE VIEW report AS SELECT id FROM file")
    outcomes = await restored(
        client, recordings(tmp_path / "in", "a.wav"), tmp_path / "out", journal=journal
    )
    assert set(states(outcomes).values()) == {"done"}
    assert rows(journal, "SELECT result_state, worker FROM report") == [("done", None)]
