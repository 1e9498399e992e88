"""Batches whose recordings or results are in a store."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from attrs import define

from diffio_async import BatchItem, ConfigurationError
from diffio_async._store_url import StoreUrl
from diffio_async._stores import connection
from tests.scripts import requests_to
from tests.stores.conftest import Relay, relay_to
from tests.stores.test_results import write
from tests.stores.test_sources import content_of, policy

if TYPE_CHECKING:
    from diffio_async import AsyncDiffio, FileOutcome
    from diffio_async.sandbox import Sandbox
    from tests.stores.conftest import Bucket

MIB = 1024 * 1024


async def batch(
    client: AsyncDiffio, sources: Any, to: Any, **options: Any
) -> dict[str, FileOutcome]:
    """Restore many, and return the outcome of each source by its text."""
    outcomes = client.restore_many(sources, to, **options)
    return {str(outcome.source): outcome async for outcome in outcomes}


def generations(sandbox: Sandbox) -> int:
    """Return the number of generations that were requested."""
    return len(requests_to(sandbox, "*-generation"))


@pytest.fixture
async def talks() -> None:
    """Recordings in a folder of a store, and other objects."""
    for key, content in {
        "a.wav": b"one",
        "deep/b.flac": b"two",
        "deep/c.wav": b"one",
        "notes.txt": b"text",
        ".hidden.wav": b"hidden",
        "x.restored.mp3": b"result",
        "app.ts": b"export const x = 1\n" * 20,
    }.items():
        await write(f"memory://in/talks/{key}", content)


@pytest.mark.slow
async def test_a_folder_is_restored_into_a_folder(
    talks: None, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Results keep their folders; equal contents are billed once; a second run sends nothing."""
    journal = tmp_path / "j.sqlite"
    first = await batch(client, "memory://in/talks/", "memory://out/r", journal=journal)
    assert {name: outcome.urls["audio"] for name, outcome in first.items()} == {
        "memory://in/talks/a.wav": "memory://out/r/a.restored.mp3",
        "memory://in/talks/deep/b.flac": "memory://out/r/deep/b.restored.mp3",
        "memory://in/talks/deep/c.wav": "memory://out/r/deep/c.restored.mp3",
    }
    assert all(outcome.state == "done" and not outcome.paths for outcome in first.values())
    assert await content_of("memory://out/r/deep/b.restored.mp3") == b"two"
    assert generations(sandbox) == 2
    before = len(list(sandbox.requests))
    again = await batch(client, "memory://in/talks/", "memory://out/r", journal=journal)
    assert again.keys() == first.keys()
    assert len(list(sandbox.requests)) == before


async def test_names_that_are_left_out_are_reported(
    talks: None, client: AsyncDiffio, tmp_path: Path
) -> None:
    """Other types, hidden names, earlier results; TypeScript by its content."""
    left_out: list[Any] = []
    options = {"journal": tmp_path / "j.sqlite", "on_left_out": left_out.append}
    await batch(client, "memory://in/talks/", "memory://in/talks/out", **options)
    assert {(str(each.path).rpartition("/")[2], each.reason) for each in left_out} == {
        ("", "folder"),
        ("notes.txt", "ending"),
        (".hidden.wav", "hidden"),
        ("x.restored.mp3", "result"),
        ("app.ts", "ending"),
    }


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("memory://in/talks/*.wav", ["a.wav"]),
        ("memory://in/talks/**/*.wav", ["a.wav", "c.wav"]),
        ("memory://in/t*/d?ep/*", ["b.flac", "c.wav"]),
        ("memory://in/**", ["a.wav", "app.ts", "b.flac", "c.wav", "notes.txt"]),
        ("memory://in/talks/deep/b.flac", ["b.flac"]),
    ],
)
async def test_patterns_match_parts_of_keys(
    talks: None, client: AsyncDiffio, tmp_path: Path, pattern: str, names: list[str]
) -> None:
    outcomes = await batch(client, pattern, tmp_path / "out")
    assert sorted(outcome.source.name for outcome in outcomes.values()) == names
    assert all(outcome.paths["audio"].is_file() for outcome in outcomes.values())


async def test_a_manifest_names_objects_and_files(
    talks: None, client: AsyncDiffio, tmp_path: Path
) -> None:
    """And so does a list of sources."""
    (tmp_path / "local.wav").write_bytes(b"three")
    rows = "source,to\nmemory://in/talks/a.wav,first\nlocal.wav,second\n"
    (tmp_path / "rows.csv").write_text(rows)
    outcomes = await batch(
        client, tmp_path / "rows.csv", "memory://out/m/", journal=tmp_path / "j.sqlite"
    )
    assert sorted(outcome.urls["audio"] for outcome in outcomes.values()) == [
        "memory://out/m/first.mp3",
        "memory://out/m/second.mp3",
    ]
    items = ["memory://in/talks/a.wav", BatchItem(source="memory://in/talks/deep/b.flac", to="b")]
    outcomes = await batch(client, items, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.suffix == ".mp3") == [
        "a.restored.mp3",
        "b.mp3",
    ]


async def test_a_replaced_object_is_restored_again(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """By its ETag, also if it was named alone; the batch replaces its own result."""
    options = {"journal": tmp_path / "j.sqlite"}
    await write("memory://in/a.wav", b"old")
    await batch(client, "memory://in/", "memory://out/", **options)
    for source in ("memory://in/", "memory://in/a.wav"):
        content = source.encode()
        await write("memory://in/a.wav", content, "overwrite")
        outcomes = await batch(client, source, "memory://out/", **options)
        assert outcomes["memory://in/a.wav"].state == "done"
        assert await content_of("memory://out/a.restored.mp3") == content
    assert generations(sandbox) == 3


async def test_objects_that_cannot_be_restored_fail_alone(
    talks: None, client: AsyncDiffio, tmp_path: Path
) -> None:
    await write("memory://in/talks/empty.wav", b"")
    sources = ["memory://in/talks/", "memory://in/absent.wav"]
    outcomes = await batch(client, sources, tmp_path / "out")
    failed = {name: each.error for name, each in outcomes.items() if each.state == "failed"}
    assert failed.keys() == {"memory://in/talks/empty.wav", "memory://in/absent.wav"}
    assert "is empty" in str(failed["memory://in/talks/empty.wav"])
    assert "there is no object" in str(failed["memory://in/absent.wav"])


async def test_keys_are_literal_in_a_listed_folder(client: AsyncDiffio, tmp_path: Path) -> None:
    """One that looks like a signed link fails alone."""
    store = await connection.connect(StoreUrl("memory", "in", ""))
    for name in ("a%20b.wav", "take [1] #2.wav", "Why?who=me.wav"):
        await connection.obstore().put_async(store, name, name.encode())
    outcomes = await batch(client, "memory://in/", "memory://out/", journal=tmp_path / "j.sqlite")
    failed = outcomes.pop("memory://in/Why?who=me.wav")
    assert "looks like a query: rename the object" in str(failed.error)
    assert {name: each.state for name, each in outcomes.items()} == {
        "memory://in/a%20b.wav": "done",
        "memory://in/take [1] #2.wav": "done",
    }
    assert await content_of("memory://out/take [1] #2.restored.mp3") == b"take [1] #2.wav"


async def test_empty_objects_that_mark_folders_are_no_sources(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    """Consoles create them under the name of the folder; other objects of any type are taken."""
    await write("memory://in/talks/a.wav", b"one")
    await write("memory://in/talks/b", b"two")
    for marker in ("talks", "talks/2024.06", "empty"):
        await write(f"memory://in/{marker}", b"")
    left_out: list[Any] = []
    outcomes = await batch(
        client, "memory://in/", tmp_path / "out", suffixes=None, on_left_out=left_out.append
    )
    assert sorted(outcomes) == ["memory://in/talks/a.wav", "memory://in/talks/b"]
    assert left_out == []


@pytest.mark.parametrize("on_conflict", ["error", "skip", "overwrite"])
async def test_an_object_of_others_is_treated_as_requested(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, on_conflict: str
) -> None:
    """Before anything is sent for it."""
    await write("memory://in/a.wav", b"recording")
    await write("memory://out/a.restored.mp3", b"other")
    options = {"journal": tmp_path / "j.sqlite", "on_conflict": on_conflict}
    outcomes = await batch(client, "memory://in/a.wav", "memory://out/", **options)
    outcome = outcomes["memory://in/a.wav"]
    states = {"error": "failed", "skip": "skipped", "overwrite": "done"}
    assert outcome.state == states[on_conflict]
    kept = await content_of("memory://out/a.restored.mp3")
    assert kept == (b"recording" if on_conflict == "overwrite" else b"other")
    assert generations(sandbox) == (on_conflict == "overwrite")
    if on_conflict == "error":
        assert "exists and was not written by this batch" in str(outcome.error)


@pytest.mark.parametrize(
    ("sources", "options", "message"),
    [
        ("memory://in/", {"to": "memory://out/"}, "the journal must be a file of this machine"),
        ("memory://in/", {"to": "https://h/o/", "journal": "j"}, "which is only read"),
        ("memory://in/", {"to": "memory://out/", "journal": "s3://b/j"}, "the journal is a URL"),
        ("https://h/a.wav?X-Amz-Signature=hush", {"to": "out"}, "has a query"),
        ("memory://in/rows.csv", {"to": "out"}, "is a manifest in a store"),
        ("memory://in/nothing/", {"to": "out"}, "nothing matches 'memory://in/nothing/'"),
        ("memory://in/../a/", {"to": "out"}, "'..' in its key"),
        (Path("memory://in/"), {"to": "out"}, "pass it as text"),
        ([BatchItem(source="memory://in/a.wav", to="../x")], {"to": "out"}, "leads out"),
    ],
)
async def test_invalid_batches_are_refused(
    client: AsyncDiffio,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sources: Any,
    options: dict[str, Any],
    message: str,
) -> None:
    """Before anything is sent, without credentials in the message."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        await batch(client, sources, **options)
    assert message in str(caught.value)
    assert "hush" not in str(caught.value)
    assert list(sandbox.requests) == []


async def test_a_prefix_of_a_name_is_not_its_folder(client: AsyncDiffio, tmp_path: Path) -> None:
    await write("memory://in/talk/a.wav", b"one")
    await write("memory://in/talks/b.wav", b"two")
    outcomes = await batch(client, "memory://in/talk/", tmp_path / "out")
    assert [*outcomes] == ["memory://in/talk/a.wav"]


async def test_an_outcome_is_plain_data(client: AsyncDiffio, tmp_path: Path) -> None:
    await write("memory://in/a.wav", b"one")
    journal = tmp_path / "j.sqlite"
    (outcome,) = (await batch(client, "memory://in/", "memory://out/", journal=journal)).values()
    assert isinstance(outcome.source, StoreUrl)
    assert outcome.to_dict()["source"] == "memory://in/a.wav"
    assert outcome.to_dict()["urls"] == {"audio": "memory://out/a.restored.mp3"}


async def test_a_batch_from_and_to_a_bucket(
    s3: Bucket, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """More objects than one page has, and one result in parts."""
    for number in range(30):
        s3.put(f"in/{number % 3}/{number}.wav", b"%d" % number)
    s3.put("in/long.wav", b"x" * (65 * MIB))
    journal = tmp_path / "j.sqlite"
    outcomes = await batch(client, s3.url("in/"), s3.url("out/"), journal=journal)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    assert sum(key.startswith("out/") for key in s3.all_keys()) == 31
    assert s3.get("out/2/29.restored.mp3") == b"29"
    assert len(s3.get("out/long.restored.mp3")) == 65 * MIB


async def test_the_marker_of_a_folder_is_no_recording(
    s3: Bucket, client: AsyncDiffio, tmp_path: Path
) -> None:
    """Consoles of stores create one for an empty folder."""
    s3.put("in/", b"")
    s3.put("in/deep/", b"")
    s3.put("in/a.wav", b"one")
    outcomes = await batch(client, s3.url("in/"), tmp_path / "out", suffixes=None)
    assert [name for name, each in outcomes.items() if each.state == "done"] == [s3.url("in/a.wav")]


@pytest.mark.parametrize("key", ["in/a//b.wav", "in/../b.wav"])
async def test_a_key_that_cannot_be_addressed_is_named(
    s3: Bucket, client: AsyncDiffio, tmp_path: Path, key: str
) -> None:
    """It is in the folder that is listed; nothing of the folder is restored silently."""
    s3.put(key, b"one")
    with pytest.raises(ConfigurationError, match="cannot be listed: Encountered object") as caught:
        await batch(client, s3.url("in/") if ".." not in key else s3.url(), tmp_path / "out")
    assert repr(key)[1:-1] in str(caught.value)


async def test_a_bucket_that_is_missing_stops_a_batch(
    s3: Bucket, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    for sources, to in (("s3://absent/in/", tmp_path), (s3.put("a.wav", b"x"), "s3://absent/o/")):
        with pytest.raises(ConfigurationError, match="there is no bucket 'absent'"):
            await batch(client, sources, to, journal=tmp_path / "j.sqlite")
    assert list(sandbox.requests) == []


async def test_results_that_a_store_refuses_fail_alone(
    s3: Bucket, client: AsyncDiffio, tmp_path: Path
) -> None:
    """They are paid for: the next run writes them without a bill."""
    source, options = s3.put("in/a.wav", b"one"), {"journal": tmp_path / "j.sqlite"}
    s3.client.put_bucket_policy(Bucket=s3.name, Policy=policy("s3:PutObject", s3.name))
    outcomes = await batch(client, source, s3.url("out/"), **options)
    assert "access is denied" in str(outcomes[source].error)
    s3.client.delete_bucket_policy(Bucket=s3.name)
    outcomes = await batch(client, source, s3.url("out/"), **options)
    assert outcomes[source].state == "done"
    assert s3.get("out/a.restored.mp3") == b"one"


async def test_a_cancelled_batch_continues(
    s3: Bucket, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Each recording has one generation, and each result is complete."""
    for number in range(12):
        s3.put(f"in/{number}.wav", b"%d" % number * 1000)
    options = {"journal": tmp_path / "j.sqlite"}
    for seconds in (0.1, 0.3, 0.5):
        running = asyncio.create_task(batch(client, s3.url("in/"), s3.url("out/"), **options))
        await asyncio.sleep(seconds)
        running.cancel()
        await asyncio.wait([running])
    outcomes = await batch(client, s3.url("in/"), s3.url("out/"), **options)
    assert {outcome.state for outcome in outcomes.values()} == {"done"}
    assert all(s3.get(f"out/{n}.restored.mp3") == b"%d" % n * 1000 for n in range(12))
    keys = {request.json["idempotencyKey"] for request in requests_to(sandbox, "*-generation")}
    assert len(keys) == 12


async def test_a_store_that_does_not_respond_pauses_a_batch(
    client: AsyncDiffio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, s3: Bucket
) -> None:
    """A transient failure does not end a recording."""
    monkeypatch.setattr(connection, "_MAX_RETRIES", 0)
    source = s3.put("a.wav", b"one")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    running = asyncio.create_task(batch(client, [source], tmp_path / "out"))
    await asyncio.sleep(0.5)
    assert not running.done()
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint)
    assert (await running)[source].state == "done"


@define
class _BreakingRelay(Relay):
    """A relay that breaks off the body of the first response to the start of an upload."""

    async def _copy(self, reader: Any, writer: Any, back: Any, *, requests: bool) -> None:
        while block := await reader.read(65_536):
            if requests:
                self.losing = not self.lost and re.match(rb"POST \S+\?uploads", block) is not None
            elif self.losing:
                self.losing, self.lost = False, 1
                writer.write(block.partition(b"\r\n\r\n")[0] + b"\r\n\r\n<")
                await writer.drain()
                raise ConnectionResetError
            writer.write(block)
            await writer.drain()
        raise ConnectionResetError


@pytest.mark.slow
async def test_a_check_of_a_store_is_repeated_if_its_response_breaks_off(
    s3: Bucket, client: AsyncDiffio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a request, which starts an upload in parts, is not repeated by obstore."""
    s3.put("in/a.wav", b"one")
    async with relay_to(s3.endpoint, _BreakingRelay()) as relay:
        monkeypatch.setenv("AWS_ENDPOINT_URL", relay.url)
        outcomes = await batch(client, s3.url("in/"), s3.url("out/"), journal=tmp_path / "j.sqlite")
        assert [outcome.state for outcome in outcomes.values()] == ["done"]
        assert relay.lost == 1
    s3.abort_uploads()  # the one whose id was in the response
