"""URLs where only local paths are accepted are refused, and create no folders."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import AsyncDiffio, BatchItem, ConfigurationError
from diffio_async import _bridge as bridge
from diffio_async._validators import local_path
from diffio_async.compat import DiffioApiError, DiffioClient
from diffio_async.webhooks import WebhookInbox
from tests.batch.scenes import restored

if TYPE_CHECKING:
    from collections.abc import Callable

    from diffio_async.sandbox import Sandbox

BUCKET = "s3://bucket/out"


@pytest.fixture(autouse=True)
def talk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Recording in the working folder."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "talk.wav"
    path.write_bytes(b"speech " * 100)
    return path


@pytest.mark.parametrize(
    "path",
    [
        BUCKET,
        Path(BUCKET),
        "gs://bucket/x",
        "https://host/talk.wav",
        Path("https://host/talk.wav"),
        "HTTP://host",
        "file:///tmp/x",
        Path("file:///tmp/x"),
        " s3://bucket/x",
        "abfss://c@a.dfs.core.windows.net/x",
        "made-up+scheme.1://x",
        Path("made-up://x"),
        "data:audio/wav;base64,UklGRg==",
        b"s3://bucket/x",
    ],
)
def test_urls_are_refused(path: Any) -> None:
    """Also if `pathlib` merged two slashes; the message names the remedy."""
    with pytest.raises(ConfigurationError, match="the source is a URL"):
        local_path(path, "the source")


@pytest.mark.parametrize(
    "path",
    [
        "talk.wav",
        "12:30.wav",
        "a:b/c.wav",
        "C:/talks/a.wav",
        "c:\\talks\\a.wav",
        "C://talks",
        "./s3.wav",
        "/s3://x",
        "dir/s3://x",
        "",
        "-",
        "data:x",
        "notes: one/two.wav",
        "\\\\server\\share\\a.wav",
    ],
)
def test_paths_with_colons_are_accepted(path: str) -> None:
    assert local_path(path, "the source") == path


def test_an_existing_folder_with_a_colon_is_accepted() -> None:
    """An existing folder `Talks:` is used, though it looks like a scheme."""
    with pytest.raises(ConfigurationError):
        local_path("Talks:/a.wav", "the source")
    Path("Talks:").mkdir()
    assert local_path("Talks:/a.wav", "the source") == "Talks:/a.wav"


def test_credentials_of_a_url_are_not_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        local_path("https://me:secret@host/a.wav?X-Amz-Signature=secret", "the source")
    assert "secret" not in str(caught.value)
    assert "https://host/a.wav" in str(caught.value)


async def test_every_call_refuses_urls_before_a_request(
    client: AsyncDiffio, sandbox: Sandbox, talk: Path
) -> None:
    """Journals, inboxes and resume files; sources and targets of other schemes, or as a Path."""
    Path("rows.csv").write_text("source\nftp://host/a.wav\n")
    Path("names.jsonl").write_text(json.dumps({"source": "talk.wav", "to": BUCKET}))
    calls: list[Callable[[], Any]] = [
        lambda: client.restore("ftp://host/talk.wav"),
        lambda: client.restore(Path(BUCKET)),
        lambda: client.restore(talk, Path(BUCKET) / "a.mp3"),
        lambda: client.restore(talk, "sftp://host/a.mp3"),
        lambda: client.audio_isolation.isolate(Path(BUCKET)),
        lambda: client.projects.create(Path(BUCKET)),
        lambda: client.projects.create(talk, resume=BUCKET),
        lambda: client.generations.download(
            generation_id="gen_1", api_project_id="proj_1", download_file_path=Path(BUCKET)
        ),
        lambda: restored(client, "ftp://host/in/", Path("out")),
        lambda: restored(client, [talk, BatchItem(source=Path(BUCKET))], Path("out")),
        lambda: restored(client, BatchItem(source=talk, to=BUCKET), Path("out")),
        lambda: restored(client, Path("s3://bucket/*.wav"), Path("out")),
        lambda: restored(client, "rows.csv", Path("out")),
        lambda: restored(client, "names.jsonl", Path("out")),
        lambda: restored(client, talk, Path(BUCKET)),
        lambda: restored(client, talk, Path("out"), journal=BUCKET),
    ]
    for call in calls:
        with pytest.raises(ConfigurationError, match="URL"):
            await call()
    with pytest.raises(ConfigurationError, match="the inbox is a URL"):
        WebhookInbox(BUCKET)
    assert list(sandbox.requests) == []
    assert not Path("s3:").exists()


def test_the_compat_client_refuses_urls(talk: Path) -> None:
    """The base URL has no listener, so a request would fail."""
    client = DiffioClient(apiKey="k", baseUrl="http://127.0.0.1:9")
    with pytest.raises(DiffioApiError, match="URL"):
        client.create_project(filePath="ftp://host/talk.wav")
    with pytest.raises(DiffioApiError, match="URL"):
        client.generations.download(
            generationId="g", apiProjectId="p", downloadFilePath="ftp://host/a.mp3"
        )
    bridge.stop()
    assert talk.exists()
    assert not Path("s3:").exists()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("file:///tmp/x", "(file:///tmp/x), and"),
        ("file:///tmp/x", "leave out file://"),
        ("file:/tmp/x", "(file:/tmp/x), and"),
        ("file:/tmp/x", "leave out file:"),
        (Path("file:///tmp/x"), "(file:///tmp/x)"),
        ("s3:/b", "(s3:/b)"),
        ("S3://b/c?token=1", "(S3://b/c)"),
        ("https://me:hush@host/x", "(https://host/x)"),
    ],
)
def test_the_message_shows_the_url_as_typed(given: str | Path, shown: str) -> None:
    """Without credentials; the rest without the scheme is the suggested path."""
    with pytest.raises(ConfigurationError) as caught:
        local_path(given, "the source")
    assert shown in str(caught.value)
