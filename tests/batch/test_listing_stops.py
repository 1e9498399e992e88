"""Errors while listing: a shortage stops the batch, an unreadable folder is a failed item."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import BatchStopped
from diffio_async.batch import naming, selection, sources
from tests.batch.scenes import generations, recordings, restored, states

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox

if sys.platform != "win32":
    import resource

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="limits and modes are POSIX")


def short_of_descriptors(work: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function, which then runs without a free descriptor."""

    def wrapped(*arguments: Any) -> Any:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            return work(*arguments)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    return wrapped


@pytest.mark.parametrize(
    ("module", "reader", "pattern"),
    [
        (sources, "_entries", "in"),
        (selection, "_glob_entries", "in/*.wav"),
        (naming, "_names", "in"),
        (naming, "_open_journal", "in"),
    ],
)
async def test_a_shortage_while_listing_stops_the_batch_and_bills_nothing(
    module: Any,
    reader: str,
    pattern: str,
    client: AsyncDiffio,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No folder fails, no result is listed as a recording, and the next run completes."""
    source = recordings(tmp_path / "in", "a-1.wav")  # the template might have made this name
    name = "{stem}-{type}{ext}"
    if reader == "_open_journal":
        await restored(client, source, source)
        before = generations(sandbox)
    else:
        before = 0
    with monkeypatch.context() as patch:
        patch.setattr(module, reader, short_of_descriptors(getattr(module, reader)))
        with pytest.raises(BatchStopped, match="Too many open files"):
            await restored(client, str(tmp_path / pattern), tmp_path / "out", name=name)
    assert generations(sandbox) == before
    again = await restored(client, str(tmp_path / pattern), tmp_path / "out", name=name)
    assert states(again) == {"a-1.wav": "done"}


@pytest.fixture
def denied(tmp_path: Path) -> Iterator[Path]:
    """Create a folder without read permission; skip the test for root."""
    folder = recordings(tmp_path / "in" / "denied", "b.wav")
    folder.chmod(0)
    if os.access(folder, os.R_OK):
        pytest.skip("this user reads every folder")
    yield folder
    folder.chmod(0o700)


@pytest.mark.parametrize("pattern", ["in", "in/**/*.wav"])
async def test_a_folder_that_cannot_be_read_is_a_failed_item(
    pattern: str, denied: Path, client: AsyncDiffio, tmp_path: Path
) -> None:
    """A folder that is found in its parent or by a glob."""
    recordings(tmp_path / "in", "a.wav")
    outcomes = await restored(client, str(tmp_path / pattern), tmp_path / "out")
    assert states(outcomes) == {"a.wav": "done", "denied": "failed"}
    assert "cannot be read" in (outcomes["denied"].error or "")


async def test_a_glob_skips_folders_without_the_rest_of_its_path(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    """`in/*/wav/*.wav` matches in folders that have a `wav`; others are skipped."""
    recordings(tmp_path / "in", "one/wav/a.wav", "two/b.wav")
    outcomes = await restored(client, str(tmp_path / "in/*/wav/*.wav"), tmp_path / "out")
    assert states(outcomes) == {"a.wav": "done"}
