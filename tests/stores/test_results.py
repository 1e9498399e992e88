"""Results as objects: complete or absent, and never in place of another by mistake."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from diffio_async import (
    ConfigurationError,
    ConnectionFailed,
    DownloadFailed,
    InvalidSource,
    InvalidTarget,
)
from diffio_async._store_url import StoreUrl, location_of
from diffio_async._stores import writing
from diffio_async.sandbox import Fault, RespondWith
from tests.stores.test_sources import content_of, few_retries, policy

if TYPE_CHECKING:
    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox
    from tests.stores.conftest import Bucket, Relay, Responder

__all__ = ["few_retries"]

#: Path of results at the sandbox.
RESULT = "/*/results/*"
MIB = 1024 * 1024
SPEECH = b"speech " * 1000


def address(url: str) -> StoreUrl:
    """Return a parsed URL."""
    found = location_of(url, "the target")
    assert isinstance(found, StoreUrl)
    return found


async def write(url: str, content: bytes, on_conflict: str = "error", owner: str = "me") -> None:
    """Write an object."""

    async def read(offset: int, length: int) -> bytes:
        return content[offset : offset + length]

    await writing.write_object(address(url), read, len(content), on_conflict, owner=owner)  # type: ignore[arg-type]


async def test_a_recording_is_restored_from_a_store_to_a_store(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    """In memory here; a folder gets the default name."""
    await write("memory://in/talks/talk.wav", SPEECH)
    result = await client.restore("memory://in/talks/talk.wav", "memory://out/talks/")
    assert result.url == "memory://out/talks/talk.restored.mp3"
    assert (result.path, result.content, result.source) == (None, None, None)
    assert await content_of(result.url) == SPEECH
    assert list(tmp_path.iterdir()) == []


async def test_a_local_recording_is_restored_to_an_object(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    source = tmp_path / "talk.wav"
    source.write_bytes(SPEECH)
    result = await client.restore(source, "memory://out/a.mp3")
    assert (result.url, result.source) == ("memory://out/a.mp3", source)
    assert await content_of("memory://out/a.mp3") == SPEECH


async def test_a_file_url_is_a_local_path(client: AsyncDiffio, tmp_path: Path) -> None:
    source = tmp_path / "a talk.wav"
    source.write_bytes(SPEECH)
    result = await client.restore(source.as_uri(), f"{tmp_path.as_uri()}/")
    assert (result.source, result.url) == (source, None)
    assert result.path == tmp_path / "a talk.restored.mp3"


async def test_an_existing_object_is_reported_before_anything_is_sent(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    await write("memory://out/a.mp3", b"another")
    with pytest.raises(InvalidTarget, match=r"'memory://out/a\.mp3' exists"):
        await client.restore(SPEECH, "memory://out/a.mp3")
    assert list(sandbox.requests) == []
    await client.restore(SPEECH, "memory://out/a.mp3", on_conflict="overwrite")
    assert await content_of("memory://out/a.mp3") == SPEECH


async def test_an_object_that_appears_meanwhile_is_not_replaced() -> None:
    """The write is conditional; a repeated write of the same result succeeds."""
    await write("memory://out/a.mp3", b"mine", owner="me")
    with pytest.raises(InvalidTarget, match="exists"):
        await write("memory://out/a.mp3", b"other", owner="another")
    await write("memory://out/a.mp3", b"mine", owner="me")
    assert await content_of("memory://out/a.mp3") == b"mine"


async def test_a_web_address_is_not_written(client: AsyncDiffio, sandbox: Sandbox) -> None:
    with pytest.raises(InvalidTarget, match="which is only read"):
        await client.restore(SPEECH, "https://127.0.0.1:9/a.mp3")
    assert list(sandbox.requests) == []


async def test_only_a_file_is_resumed(client: AsyncDiffio, sandbox: Sandbox) -> None:
    with pytest.raises(ConfigurationError, match="leave out resume=True"):
        await client.generations.download(
            generation_id="gen_1",
            api_project_id="proj_1",
            download_file_path="memory://out/a.mp3",
            resume=True,
        )
    assert list(sandbox.requests) == []


async def test_a_failed_download_leaves_no_object(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor a spool in the folder of temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sandbox.faults.add(Fault(path=RESULT, times=None, action=RespondWith(500)))
    with pytest.raises(DownloadFailed):
        await client.restore(SPEECH, "memory://out/a.mp3")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidSource, match="there is no object"):
        await content_of("memory://out/a.mp3")


async def test_a_large_result_is_spooled_and_written(
    s3: Bucket, client: AsyncDiffio, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one conditional request up to 64 MiB, in parts above; nothing stays on the disk."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for size in (20 * MIB, 65 * MIB):
        content = os.urandom(size)
        result = await client.restore(s3.put(f"{size}.wav", content), s3.url("out/"))
        assert result.url is not None
        assert s3.get(f"out/{size}.restored.mp3") == content
        assert list(tmp_path.iterdir()) == []


async def test_a_key_of_1024_bytes_is_written(s3: Bucket, client: AsyncDiffio) -> None:
    """Whatever part of it is the folder; the check of the folder needs no longer one."""
    for folder in ("", "f" * 1000 + "/", "f" * 1019 + "/"):
        key = folder + "k" * (1020 - len(folder)) + ".mp3"
        await client.restore(SPEECH, s3.url(key))
        assert s3.get(key) == SPEECH


async def test_an_object_has_its_type_and_its_generation(s3: Bucket, client: AsyncDiffio) -> None:
    result = await client.restore(SPEECH, s3.url("a.mp3"), file_name="talk.wav")
    found = s3.client.head_object(Bucket=s3.name, Key="a.mp3")
    assert found["ContentType"] == "audio/mpeg"
    owner = f"{result.project.api_project_id}/{result.generation.generation_id}/audio"
    assert found["Metadata"] == {"diffioresult": owner}


async def test_the_rule_of_the_documentation_is_accepted(s3: Bucket) -> None:
    """It removes the uploads that a killed process leaves."""
    text = (Path(__file__).parents[2] / "docs" / "stores.md").read_text()
    rule = json.loads(text.partition("--lifecycle-configuration '")[2].partition("'")[0])
    s3.client.put_bucket_lifecycle_configuration(Bucket=s3.name, LifecycleConfiguration=rule)
    found = s3.client.get_bucket_lifecycle_configuration(Bucket=s3.name)["Rules"][0]
    assert found["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}


@pytest.mark.parametrize("size", [1000, 20 * MIB])
async def test_overwriting_is_atomic(s3: Bucket, size: int) -> None:
    s3.put("a.mp3", b"old")
    await write(s3.url("a.mp3"), b"x" * size, "overwrite")
    assert s3.get("a.mp3") == b"x" * size
    assert s3.all_keys() == ["a.mp3"]


async def test_a_write_in_parts_does_not_replace(s3: Bucket) -> None:
    s3.put("a.mp3", b"old")
    with pytest.raises(InvalidTarget, match="exists"):
        await write(s3.url("a.mp3"), b"x" * (65 * MIB))
    assert s3.get("a.mp3") == b"old"


async def test_a_bucket_that_is_missing_is_reported_before_anything_is_sent(
    s3: Bucket, client: AsyncDiffio, sandbox: Sandbox
) -> None:
    with pytest.raises(InvalidTarget, match="there is no bucket 'absent-bucket'"):
        await client.restore(SPEECH, "s3://absent-bucket/a.mp3")
    assert list(sandbox.requests) == []


async def test_a_bucket_that_is_read_only_is_reported_before_anything_is_sent(
    responder: Responder, client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """By an upload in parts, which is refused and would be aborted."""
    responder.status, responder.body = 403, "<Error><Code>AccessDenied</Code></Error>"
    with pytest.raises(InvalidTarget, match=r"cannot be written: access is denied \(AccessDenied"):
        await client.restore(SPEECH, "s3://bucket/a.mp3")
    assert [line.split("?")[0] for line in responder.requests] == [
        "POST /bucket/_diffio-check",
    ]
    assert list(sandbox.requests) == []


async def test_a_result_that_a_store_refuses_stays_at_the_service(
    s3: Bucket, client: AsyncDiffio
) -> None:
    """The error has the ids with which it is downloaded to another place, without cost."""
    # moto lets an upload in parts begin where this policy would refuse it.
    s3.client.put_bucket_policy(Bucket=s3.name, Policy=policy("s3:PutObject", s3.name))
    with pytest.raises(InvalidTarget, match="cannot be written: access is denied") as caught:
        await client.restore(SPEECH, s3.url("a.mp3"))
    assert s3.all_keys() == []
    error = caught.value
    assert error.generation_id is not None
    assert error.api_project_id is not None
    result = await client.generations.download(
        generation_id=error.generation_id, api_project_id=error.api_project_id
    )
    assert result.content == SPEECH


async def test_a_bucket_that_does_not_show_missing_objects_is_written(s3: Bucket) -> None:
    """Without the permission to list it, a missing object looks forbidden."""
    s3.client.put_bucket_policy(Bucket=s3.name, Policy=policy("s3:GetObject", s3.name))
    await writing.check_object(address(s3.url("a.mp3")), "error")
    await write(s3.url("a.mp3"), b"x")
    assert s3.all_keys() == ["a.mp3"]


async def test_a_versioned_bucket_gets_one_version(s3: Bucket, client: AsyncDiffio) -> None:
    s3.client.put_bucket_versioning(Bucket=s3.name, VersioningConfiguration={"Status": "Enabled"})
    await client.restore(SPEECH, s3.url("a.mp3"))
    found = s3.client.list_object_versions(Bucket=s3.name)
    assert [each["Key"] for each in found["Versions"]] == ["a.mp3"]
    assert "DeleteMarkers" not in found


async def test_a_cancelled_write_is_aborted(s3: Bucket, relay: Relay) -> None:
    """Whenever it is cancelled: no object or a complete one, and no upload that would be billed."""
    content = b"x" * (70 * MIB)
    for received in (0, 3 * MIB, 20 * MIB, 50 * MIB, 69 * MIB):
        relay.received = 0
        task = asyncio.create_task(write(s3.url("a.mp3"), content, "overwrite"))
        while relay.received <= received and not task.done():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or (received > 40 * MIB and task.exception() is None)
        assert s3.open_uploads() == []
        # All parts were sent when it was cancelled late.
        assert s3.all_keys() == [] or (received > 40 * MIB and s3.get("a.mp3") == content)


async def test_a_check_that_is_cancelled_leaves_no_upload(s3: Bucket) -> None:
    for delay in (0.0, 0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02):
        writing._writable.clear()
        task = asyncio.create_task(writing.check_object(address(s3.url("a.mp3")), "error"))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or task.exception() is None
        assert s3.open_uploads() == []


@pytest.mark.usefixtures("few_retries")
async def test_a_store_that_goes_away_is_a_transient_failure(s3: Bucket, relay: Relay) -> None:
    """In the middle of an upload in parts; the store would drop that upload by its rule."""
    task = asyncio.create_task(write(s3.url("a.mp3"), b"x" * (70 * MIB)))
    while relay.received < 20 * MIB:
        await asyncio.sleep(0.001)
    relay.broken = True
    with pytest.raises(InvalidTarget, match="cannot be written") as caught:
        await task
    assert isinstance(caught.value.__cause__, ConnectionFailed)
    assert s3.all_keys() == []
    s3.abort_uploads()


async def test_the_lost_response_to_an_abort_is_no_failure(s3: Bucket, relay: Relay) -> None:
    """The repeated abort finds no upload, which does not mean that there is no bucket."""
    relay.lose = re.compile(rb"DELETE \S+uploadId=")
    await writing.check_object(address(s3.url("a.mp3")), "error")
    assert relay.lost == 1


async def test_the_lost_response_to_a_completion_is_no_failure(s3: Bucket, relay: Relay) -> None:
    """The repeated completion finds no upload at other servers than this one, but the object."""
    content = b"x" * (9 * MIB)
    relay.lose = re.compile(rb"POST \S+uploadId=")
    body = b"<Error><Code>NoSuchUpload</Code><Message>It does not exist</Message></Error>"
    relay.repeated = b"HTTP/1.1 404 Not Found\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    await write(s3.url("a.mp3"), content, "overwrite")
    assert relay.lost == 1
    assert s3.get("a.mp3") == content


async def test_an_upload_that_another_program_aborts_is_a_transient_failure(
    s3: Bucket, relay: Relay
) -> None:
    task = asyncio.create_task(write(s3.url("a.mp3"), b"x" * (40 * MIB), "overwrite"))
    while relay.received < 10 * MIB:
        await asyncio.sleep(0.001)
    s3.abort_uploads()
    with pytest.raises(InvalidTarget, match="upload in parts was aborted") as caught:
        await task
    assert isinstance(caught.value.__cause__, ConnectionFailed)
    assert s3.all_keys() == []


async def test_a_killed_process_leaves_no_object(s3: Bucket, relay: Relay) -> None:
    """An upload in parts stays open until a rule of the bucket removes it, as documented."""
    program = (
        "import asyncio, tests.stores.test_results as t;"
        f"asyncio.run(t.write({s3.url('a.mp3')!r}, b'x' * (70 << 20)))"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    while relay.received < 20 * MIB:
        assert process.returncode is None
        await asyncio.sleep(0.001)
    process.kill()
    await process.wait()
    assert s3.all_keys() == []
    assert s3.open_uploads() == ["a.mp3"]
    s3.abort_uploads()
    await write(s3.url("a.mp3"), b"x")
    assert s3.get("a.mp3") == b"x"
