"""Google Cloud Storage and Azure Blob Storage: each behaves as S3 does."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import ConfigurationError, InvalidSource, InvalidTarget
from diffio_async._stores import reading, writing
from tests.stores import clouds
from tests.stores.clouds import Cloud
from tests.stores.test_results import MIB, SPEECH, address, write
from tests.stores.test_sources import content_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def azure_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an account of Azurite."""
    with clouds.azurite(tmp_path_factory.mktemp("azurite")) as endpoint:
        yield endpoint


@pytest.fixture
async def azure(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Cloud]:
    """A container of Azurite; no block without a blob may remain in it."""
    endpoint: str = request.getfixturevalue("azure_endpoint")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", endpoint)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", clouds.ACCOUNT)
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", clouds.KEY)
    container = f"test-{uuid.uuid4().hex[:12]}"
    await clouds.azure_request(endpoint, "PUT", container, restype="container")
    yield Cloud(f"az://{container}/", [])
    assert "_diffio-check" not in await clouds.azure_blobs(endpoint, container)


@pytest.fixture
async def google(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cloud]:
    """A bucket of Google, which the S3 server keeps; no open upload may remain in it."""
    boto3 = pytest.importorskip("boto3")
    client = boto3.client("s3", endpoint_url=s3_endpoint)
    bucket = f"test{uuid.uuid4().hex[:12]}"
    client.create_bucket(Bucket=bucket)
    requests: list[str] = []
    async with clouds.google(s3_endpoint, requests) as base_url:
        monkeypatch.setenv("GOOGLE_BASE_URL", base_url)
        monkeypatch.setenv("GOOGLE_BEARER_TOKEN", "token-of-the-tests")
        yield Cloud(f"gs://{bucket}/", requests)
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)
    client.close()


@pytest.fixture(params=["google", "azure"])
def cloud(request: pytest.FixtureRequest) -> Cloud:
    """A bucket of each cloud."""
    found: Cloud = request.getfixturevalue(request.param)
    return found


async def test_a_recording_is_restored_from_a_cloud_to_a_cloud(
    cloud: Cloud, client: AsyncDiffio
) -> None:
    """Whatever characters are in its key."""
    for key in ("talks/a.wav", "Ein Gespräch/What? 100%+#&=;.wav"):
        await write(cloud.folder + key, SPEECH)
        result = await client.restore(cloud.folder + key, cloud.folder + "out/")
        assert result.url is not None
        assert await content_of(result.url) == SPEECH


@pytest.mark.parametrize("size", [1000, 20 * MIB])
async def test_a_result_has_an_owner_and_is_not_replaced(
    cloud: Cloud, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one conditional request, and in parts; repeated by its owner, it stands."""
    monkeypatch.setattr(writing, "_MAX_PUT", 10 * MIB)
    url, content = cloud.folder + "a.mp3", os.urandom(size)
    for _ in range(2):
        await write(url, content, owner="proj_1/gen_1/audio")
    with pytest.raises(InvalidTarget, match="exists"):
        await write(url, b"other" * (size // 5), owner="proj_1/gen_2/audio")
    assert await content_of(url) == content
    assert await writing.own_size(address(url), "proj_1/gen_1/audio") == size
    assert await writing.own_size(address(url), "proj_1/gen_2/audio") is None
    await write(url, content[::-1], "overwrite", owner="proj_1/gen_2/audio")
    assert await content_of(url) == content[::-1]
    assert await writing.own_size(address(url), "proj_1/gen_2/audio") == size


async def test_a_replaced_object_is_not_mixed(cloud: Cloud) -> None:
    url = cloud.folder + "a.wav"
    await write(url, b"a" * (20 * MIB))
    source = await reading.open_object(address(url))
    await write(url, b"b" * (20 * MIB), "overwrite")
    with pytest.raises(InvalidSource, match="changed while it was read"):
        async for _ in source.blocks():
            pass


async def test_a_batch_of_a_cloud_runs_once(
    cloud: Cloud, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Equal content is uploaded once, and a second run uploads nothing."""
    for name in ("a.wav", "below/b.wav", "notes.txt"):
        await write(f"{cloud.folder}in/{name}", SPEECH)
    await write(f"{cloud.folder}in/empty.wav", b"")
    folders: Any = {"to": cloud.folder + "out/", "journal": tmp_path / "j.sqlite"}
    for _ in range(2):
        outcomes = [each async for each in client.restore_many(cloud.folder + "in/", **folders)]
        assert sorted(each.state for each in outcomes) == ["done", "done", "failed"]
        assert len(sandbox.state.projects) == 1
    assert await content_of(cloud.folder + "out/below/b.restored.mp3") == SPEECH


async def test_a_missing_bucket_is_reported_before_anything_is_sent(
    cloud: Cloud, client: AsyncDiffio, sandbox: Sandbox
) -> None:
    absent = cloud.folder.partition("//")[0] + "//absentbucket/"
    with pytest.raises(InvalidTarget, match="there is no bucket 'absentbucket'"):
        await client.restore(SPEECH, absent + "a.mp3")
    with pytest.raises(InvalidSource, match="there is no bucket 'absentbucket'"):
        await client.restore(absent + "a.wav", cloud.folder)
    assert list(sandbox.requests) == []


async def test_invalid_credentials_of_azure_are_reported_before_anything_is_sent(
    azure: Cloud, client: AsyncDiffio, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", "SECRETSECRET")
    with pytest.raises(InvalidTarget, match="cannot be written: access is denied") as caught:
        await client.restore(SPEECH, azure.folder + "a.mp3")
    assert "SECRET" not in str(caught.value)
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME")
    with pytest.raises(ConfigurationError, match="Account must be specified"):
        await client.restore(SPEECH, azure.folder + "a.mp3")
    assert list(sandbox.requests) == []


async def test_results_of_google_are_written_by_the_expected_requests(
    google: Cloud, client: AsyncDiffio
) -> None:
    await client.restore(SPEECH, google.folder + "a.mp3", file_name="a.wav")
    bucket = google.folder[5:-1]
    # The check starts an upload, sends a part, and aborts it, perhaps while the part arrives.
    assert {each.partition("=")[0] for each in google.requests} == {
        f"DELETE /{bucket}/%5Fdiffio%2Dcheck?uploadId",
        f"HEAD /{bucket}/a%2Emp3",
        f"POST /{bucket}/%5Fdiffio%2Dcheck?uploads",
        f"PUT /{bucket}/%5Fdiffio%2Dcheck?partNumber",
        f"PUT /{bucket}/a%2Emp3",
    }
