"""A batch folder that was moved: its results belong to the folder that the journal is in now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from diffio_async.batch.journal import Journal, identity_of
from tests.batch.scenes import below, generations, recordings, restored, states

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox


async def test_a_batch_goes_to_the_folder_that_its_journal_was_moved_to(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Paths of sources in the folder are updated, others stay, and nothing is billed again."""
    recordings(tmp_path / "out" / "own", "a.wav")
    recordings(tmp_path, "b.wav", "late.wav")
    (tmp_path / "late.wav").rename(tmp_path / "hidden")
    sources = [tmp_path / "out" / "own" / "a.wav", tmp_path / "b.wav", tmp_path / "late.wav"]
    first = await restored(client, sources, tmp_path / "out")
    assert states(first) == {"a.wav": "done", "b.wav": "done", "late.wav": "failed"}
    (tmp_path / "out").rename(tmp_path / "moved")
    (tmp_path / "hidden").rename(tmp_path / "late.wav")
    again = await restored(client, None, tmp_path / "moved")
    assert set(states(again).values()) == {"done"}
    assert again["a.wav"].source == tmp_path / "moved" / "own" / "a.wav"
    assert again["late.wav"].paths == {"audio": tmp_path / "moved" / "late.restored.mp3"}
    assert {path.parent for each in again.values() for path in each.paths.values()} == {
        tmp_path / "moved"
    }
    assert not (tmp_path / "out").exists()
    assert len(below(tmp_path / "moved")) == 4
    assert generations(sandbox) == 3


async def test_another_way_to_the_same_folder_is_no_move(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    """The recorded paths are unchanged."""
    source = recordings(tmp_path / "in", "a.wav")
    await restored(client, source, tmp_path / "out")
    (tmp_path / "link").symlink_to("out")
    journal = await Journal.open(tmp_path / "link" / ".diffio-batch.sqlite", create=False)
    terms = await journal.read(identity_of)
    await journal.close()
    assert terms is not None
    assert terms.to == str(tmp_path / "out")
