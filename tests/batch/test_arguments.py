"""Arguments are checked before a journal exists, and never look like a damaged journal."""

from __future__ import annotations

import math
import os
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import AsyncDiffio, BatchItem, ConfigurationError
from diffio_async._storage.sqlite_open import translate_error
from diffio_async.batch.schema import SCHEMA
from tests.batch.scenes import below, generations, recordings, restored, states

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async.sandbox import Sandbox

NO_TEXT = "a\udcff"
WRONG: dict[str, list[Any]] = {
    "max_in_flight": [10**30, 0, 1.5, math.inf, math.nan, "4", True],
    "max_spend_seconds": [math.nan, -1, 10**400, "60", True, []],
    "salt": [5, " ", NO_TEXT, b"salt"],
    "name": [5, NO_TEXT + "{stem}{ext}", "{stem}\0{ext}"],
    "timeout": [10**400, 10**5000, "5"],
}


@pytest.mark.parametrize("option", WRONG)
async def test_a_wrong_option_is_refused_before_the_journal_exists(
    option: str, tmp_path: Path
) -> None:
    """The error names the option, and nothing is created or sent."""
    source = recordings(tmp_path / "in", "a.wav")
    async with AsyncDiffio("key", base_url="http://localhost:9") as client:
        for value in WRONG[option]:
            with pytest.raises(ConfigurationError, match=option):
                await restored(client, source, tmp_path / "out", **{option: value})
    assert not (tmp_path / "out").exists()


async def test_an_impossible_source_leaves_no_folder_and_no_journal(tmp_path: Path) -> None:
    """It is found before anything is created."""
    source = recordings(tmp_path / "in", "a.wav")
    async with AsyncDiffio("key", base_url="http://localhost:9") as client:
        for wrong in ("ftp://example.com/a.wav", "", 5, ["a.wav"], None):
            with pytest.raises(ConfigurationError, match=r"source|path is empty"):
                await restored(client, [source, wrong], tmp_path / "out")
        with pytest.raises(ConfigurationError, match="source"):
            await restored(client, 5, tmp_path / "out")
    assert not (tmp_path / "out").exists()


async def test_an_infinite_limit_is_accepted(client: AsyncDiffio, tmp_path: Path) -> None:
    """`math.inf` means what None means: not limited."""
    source = recordings(tmp_path / "in", "a.wav")
    outcomes = await restored(client, source, tmp_path / "out", max_spend_seconds=math.inf)
    assert states(outcomes) == {"a.wav": "done"}


async def test_an_impossible_name_of_an_item_is_refused(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """It is the caller's mistake, and the journal stays usable."""
    source = recordings(tmp_path / "in", "a.wav") / "a.wav"
    wrong: tuple[Any, ...] = (NO_TEXT, "x\ud83d", 5)
    for name in wrong:
        with pytest.raises(ConfigurationError, match="the name"):
            await restored(client, BatchItem(source=source, to=name), tmp_path / "out")
    assert generations(sandbox) == 0
    assert states(await restored(client, source, tmp_path / "out")) == {"a.wav": "done"}


@pytest.mark.skipif(os.name == "nt", reason="file names are Unicode there")
async def test_results_go_to_a_folder_whose_name_is_not_utf8(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The journal stores the folder's bytes, and a second run continues the batch."""
    source = recordings(tmp_path / "in", "a.wav")
    folder = tmp_path / os.fsdecode(b"out\xff")
    assert states(await restored(client, source, folder)) == {"a.wav": "done"}
    assert below(folder) == ["a.restored.mp3"]
    again = await restored(client, source, folder)
    assert again["a.wav"].from_earlier_run
    assert generations(sandbox) == 1


@pytest.mark.parametrize("value", [10**30, "\ud83d", object()])
def test_a_value_that_cannot_be_bound_does_not_look_like_a_damaged_file(value: object) -> None:
    """The error of the program is raised unchanged."""
    with (
        sqlite3.connect(":memory:") as connection,
        pytest.raises((sqlite3.Error, OverflowError, UnicodeEncodeError)) as raised,
    ):
        connection.execute("SELECT ?", (value,))
    connection.close()
    assert translate_error("journal", SCHEMA, raised.value) is raised.value


async def test_a_callback_that_raises_is_logged_once(
    client: AsyncDiffio, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its traceback is the same each time, and the batch continues."""
    source = recordings(tmp_path / "in", "a.wav", "b.txt", "c.txt", "d.txt")

    def broken(_: object) -> None:
        raise ValueError("no such column")

    outcomes = await restored(
        client, source, tmp_path / "out", on_left_out=broken, on_progress=broken
    )
    assert states(outcomes) == {"a.wav": "done"}
    assert sum("no such column" in (record.exc_text or "") for record in caplog.records) == 2


@pytest.mark.skipif(os.name == "nt", reason="limits of a process are POSIX")
def test_a_limit_on_the_size_of_files_is_named(tmp_path: Path) -> None:
    """SQLite reports a failed disk; the limit is what has to be raised."""
    script = (
        "import resource, signal, sys; from diffio_async._storage.sqlite_open import connect;"
        "from diffio_async.batch.schema import SCHEMA;"
        "from diffio_async.errors import DatabaseError;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192));"
        "connect(sys.argv[1], SCHEMA, create=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "journal.sqlite"],
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert "ulimit -f" in last
    assert "the disk failed" not in last
