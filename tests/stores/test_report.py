"""Reports of recordings and results in a store."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from diffio_async import ConfigurationError
from diffio_async.report import find_recordings, make_report, make_rows
from tests.cli.conftest import run
from tests.report.conftest import CLEAN, NOISY
from tests.report.test_maker import data_of
from tests.stores.conftest import SECRET
from tests.stores.test_command import store_settings

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from tests.cli.conftest import Run
    from tests.stores.conftest import Bucket

__all__ = ["run"]


async def restored(client: AsyncDiffio, s3: Bucket, folder: Path) -> Path:
    """Restore two recordings from a bucket into it, and return the journal."""
    for name in ("a.wav", "deep/b.wav"):
        s3.put(f"in/{name}", NOISY.read_bytes())
    journal = folder / "j.sqlite"
    async for outcome in client.restore_many(s3.url("in/"), to=s3.url("out/"), journal=journal):
        assert outcome.state == "done"
    return journal


@pytest.mark.parametrize("link", [False, True])
async def test_a_page_of_a_batch_contains_listening_copies(
    s3: Bucket, client: AsyncDiffio, tmp_path: Path, link: bool
) -> None:
    """A browser cannot play what is in a bucket; the numbers are those of the objects."""
    journal = await restored(client, s3, tmp_path)
    made = make_report(journal, tmp_path / "page.html", link=link)
    (local,) = make_rows(find_recordings(NOISY, NOISY))
    assert [row["name"] for row in made.rows] == [s3.url("in/a.wav"), s3.url("in/deep/b.wav")]
    for row, name in zip(made.rows, ("a", "deep/b"), strict=True):
        assert (row["state"], row["warnings"]) == ("restored", [])
        assert row["before"]["path"] == s3.url(f"in/{name}.wav")
        assert row["after"]["path"] == s3.url(f"out/{name}.restored.mp3")
        assert row["before"]["copy"]
        assert row["before"]["numbers"] == local["before"]["numbers"]
    files = [] if made.files is None else [made.files]
    found = {each for each in tmp_path.iterdir() if not each.name.startswith(journal.name)}
    assert found == {made.page, *files}
    if made.files is not None:
        assert len([*made.files.glob("*.mp3")]) == 4
    assert data_of(made.page)["title"] == "out"
    assert SECRET not in made.page.read_text("utf-8")


async def test_an_object_that_cannot_be_read_costs_its_side_only(
    s3: Bucket, client: AsyncDiffio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was removed; and all, without credentials."""
    journal = await restored(client, s3, tmp_path)
    s3.client.delete_object(Bucket=s3.name, Key="in/a.wav")
    s3.client.delete_object(Bucket=s3.name, Key="out/deep/b.restored.mp3")
    first, second = make_rows(find_recordings(journal))
    assert (first["before"], first["state"]) == (None, "restored")
    assert first["warnings"] == [f"there is no file {s3.url('in/a.wav')!r} any more"]
    assert (second["after"], second["state"]) == (None, "missing")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    for row in make_rows(find_recordings(journal)):
        assert row["warnings"][0].startswith("there are no credentials for s3://")
        assert row["state"] == "missing"


async def test_two_objects_are_compared(run: Run, s3: Bucket, tmp_path: Path) -> None:
    before, after = s3.put("a.wav", NOISY.read_bytes()), s3.put("a.flac", CLEAN.read_bytes())
    done = await run("report", before, after, "--text", "--json", env=store_settings())
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout.splitlines()[0])
    assert (row["before"]["path"], row["after"]["path"]) == (before, after)
    assert row["gain"] > 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (("memory://b/a.wav", str(CLEAN)), "is in the memory of one process"),
        (("s3://b/a\nb.wav", str(CLEAN)), "a control character"),
        (("s3://b/in/",), "is not on this machine"),
    ],
)
def test_what_no_report_can_read_is_refused(places: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        find_recordings(*places)
