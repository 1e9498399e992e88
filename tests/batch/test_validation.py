"""Errors that concern the whole batch are raised before anything is sent."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import BatchItem, ConfigurationError, DatabaseError
from tests.batch.scenes import content, planned, recordings, restored, states

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox


@pytest.fixture(autouse=True)
def _nothing_is_sent(sandbox: Sandbox) -> Any:
    yield
    assert sandbox.state.projects == {}


async def refused(client: AsyncDiffio, sources: Any, to: Path, **how: Any) -> str:
    """Return the message of the error."""
    with pytest.raises(ConfigurationError) as caught:
        await restored(client, sources, to, **how)
    return str(caught.value)


async def rejected(sources: Any, to: Path) -> str:
    """Return the message of the error when a batch is only planned."""
    with pytest.raises(ConfigurationError) as caught:
        await planned(sources, to)
    return str(caught.value)


async def test_a_source_that_matches_nothing_is_an_error(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    """An empty folder, a glob without a match, an empty path: each is named."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "read.me").write_text("no sound")
    recordings(tmp_path / "deep", "sub/a.wav")
    to = tmp_path / "out"
    assert "contains no recordings" in await refused(client, tmp_path / "empty", to)
    assert "contains no recordings" in await refused(client, tmp_path / "notes", to)
    assert "sub-folders are not" in await refused(client, tmp_path / "deep", to, recursive=False)
    assert "nothing matches" in await refused(client, str(tmp_path / "*.wav"), to)
    assert "empty" in await refused(client, "", to)


async def test_two_results_with_one_path_are_an_error(client: AsyncDiffio, tmp_path: Path) -> None:
    """Collisions are found before the first upload, and nothing is recorded."""
    one = recordings(tmp_path / "one", "a.wav", "b.wav")
    two = recordings(tmp_path / "two", "a.flac", "c.wav")
    message = await refused(client, [one, two], tmp_path / "out")
    assert "a.wav" in message
    assert "a.flac" in message
    assert "would both become" in message
    video = [str(recordings(tmp_path / "films", "x.mov", "x.mkv"))]
    assert "both become" in await refused(
        client, video, tmp_path / "out", download_types=("video",)
    )


async def test_a_result_that_would_replace_a_recording_is_an_error(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    """A result may not replace its own or another recording."""
    source = recordings(tmp_path / "in", "a.mp3")
    message = await refused(client, source, source, name="{stem}{ext}")
    assert "would replace the recording" in message
    assert (source / "a.mp3").read_bytes() == content("a.mp3")


INVALID: list[tuple[dict[str, Any], str]] = [
    ({"name": "{stem}"}, "end in"),
    ({"name": "same{ext}"}, "must contain"),
    ({"name": "{album}{ext}"}, "may contain"),
    ({"name": "../{stem}{ext}"}, "leads out"),
    ({"name": "{stem{ext}"}, "not a valid template"),
    ({"download_types": ()}, "at least one"),
    ({"download_types": "audio"}, "several"),
    ({"download_types": ("sound",)}, "not a download type"),
    ({"model": "gpt"}, "model"),
    ({"on_conflict": "never"}, "on_conflict must be 'error', 'overwrite' or 'skip'"),
    ({"on_error": "never"}, "on_error must be 'continue' or 'stop'"),
    ({"timeout": -1}, "timeout"),
    ({"sampling": {"seed": object()}}, "sampling"),
]


async def test_an_invalid_argument_is_an_error(client: AsyncDiffio, tmp_path: Path) -> None:
    """Each is refused, and the message names it."""
    source = recordings(tmp_path / "in", "a.wav")
    for how, words in INVALID:
        assert words in await refused(client, source, tmp_path / "out", **how), how


async def test_an_invalid_manifest_is_an_error(tmp_path: Path) -> None:
    """A wrong column or value is named with its line."""
    recordings(tmp_path, "a.wav")
    for name, text, words in (
        ("m.csv", "source,modell\na.wav,diffio-3.5\n", "line 1: 'modell' is not a column"),
        ("m.csv", "path\na.wav\n", "'path' is not a column"),
        ("m.csv", "model\ndiffio-3.5\n", "'source' is missing"),
        ("m.csv", "source,params\na.wav,{tag\n", "line 2: params is not valid JSON"),
        ("m.csv", "source,model\na.wav,gpt\n", "line 2: "),
        ("m.csv", "source\n", "lists no recordings"),
        ("m.csv", "source,to\na.wav,../../b\n", "leads out"),
        ("m.csv", "source\na.wav,b\n", "more values than columns"),
        ("m.jsonl", '{"source": "a.wav"}\n[]\n', "line 2: expected a JSON object"),
        ("m.jsonl", '{"source": 5}\n', "source must be text"),
        ("m.jsonl", '{"source": "a.wav", "params": 5}\n', "params must be a JSON object"),
    ):
        (tmp_path / name).write_text(text)
        assert words in await rejected(tmp_path / name, tmp_path / "out"), text
    assert "cannot be read" in await rejected(tmp_path / "none.csv", tmp_path / "out")


async def test_a_journal_of_another_batch_is_refused(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Other settings than those of the journal are refused, and each difference is shown."""
    source = recordings(tmp_path / "in", "a.wav")
    sandbox.state.account.billing_status = "paymentFailed"
    journal = tmp_path / "j.sqlite"
    item = BatchItem(source=tmp_path / "none.wav")
    outcomes = await restored(client, item, tmp_path / "out", journal=journal)
    assert states(outcomes) == {"none.wav": "failed"}
    message = await refused(
        client, source, tmp_path / "out", journal=journal, model="diffio-3.5", sampling={"seed": 1}
    )
    assert "model is 'diffio-3.5' here and 'diffio-4.6-flash' there" in message
    assert "sampling is" in message
    message = await refused(client, source, tmp_path / "other", journal=journal)
    assert "to is" in message
    message = await refused(client, source, tmp_path / "out", journal=journal, salt="mine")
    assert "another salt" in message


async def test_a_journal_without_files_is_bound_to_nothing(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    """After a refused listing another batch can use the journal."""
    (tmp_path / "empty").mkdir()
    await refused(client, tmp_path / "empty", tmp_path / "out", model="diffio-3.5")
    await refused(client, tmp_path / "empty", tmp_path / "out")


async def test_an_unusable_journal_is_an_error(client: AsyncDiffio, tmp_path: Path) -> None:
    """Not writable, newer, damaged: each is explained."""
    source = recordings(tmp_path / "in", "a.wav")
    to = tmp_path / "out"
    with pytest.raises(DatabaseError, match="no folder"):
        await restored(client, source, to, journal=tmp_path / "none" / "j.sqlite")
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(DatabaseError, match=r"[Pp]ermission"):
            await restored(client, source, to, journal=tmp_path / "closed" / "j.sqlite")
    journal = tmp_path / "j.sqlite"
    await refused(client, str(tmp_path / "*.none"), to, journal=journal)
    with closing(sqlite3.connect(journal)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(DatabaseError, match="newer version"):
        await restored(client, source, to, journal=journal)
    journal.write_bytes(b"no journal" * 1000)
    with pytest.raises(DatabaseError, match="damaged"):
        await restored(client, source, to, journal=journal)


async def test_a_folder_of_results_that_cannot_be_created_is_an_error(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    """A file where the folder should be is named."""
    source = recordings(tmp_path / "in", "a.wav")
    (tmp_path / "out").write_text("a file")
    assert "cannot be created" in await refused(client, source, tmp_path / "out")
