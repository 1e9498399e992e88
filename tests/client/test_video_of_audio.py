"""Requests for a video of an audio recording are refused before the upload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import AsyncDiffio, InvalidSource, NotFound
from diffio_async._protocol.media_types import ending_by_content, holds_only_sound
from diffio_async.compat import DiffioApiError, DiffioClient
from diffio_async.sandbox import Fault, RespondWith
from tests.batch.scenes import generations, planned, recordings, restored
from tests.scripts import requests_to

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async.sandbox import Sandbox

DOWNLOAD = "/v1/get_generation_download"
SPEECH = b"speech " * 100
WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(100)
M4A = b"\x00\x00\x00\x20ftypM4A " + bytes(100)
MP4 = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00" + bytes(100)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("talk.wav", SPEECH),
        ("TALK.MP3", SPEECH),
        ("talk.m4a", M4A),
        ("talk.wav", WAV),
    ],
)
async def test_an_audio_recording_is_refused_before_the_upload(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, name: str, content: bytes
) -> None:
    """It is recognised by its suffix, unless its first bytes are those of a video."""
    source = tmp_path / name
    source.write_bytes(content)
    with pytest.raises(InvalidSource, match="no video: fetch the audio"):
        await client.restore(source, download_type="video")
    assert list(sandbox.requests) == []


def test_the_compat_client_refuses_an_audio_recording(tmp_path: Path) -> None:
    """`restore_audio` returns the error in its dict, or raises; the base URL has no listener."""
    source = tmp_path / "talk.wav"
    source.write_bytes(WAV)
    client = DiffioClient(apiKey="k", baseUrl="http://127.0.0.1:9")
    content, info = client.restore_audio(filePath=source, downloadType="video")
    assert content is None
    assert "no video" in str(info["error"])
    with pytest.raises(DiffioApiError, match="no video"):
        client.restore_audio(filePath=source, downloadType="video", raiseOnError=True)


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("a.mp4", None),
        ("a.webm", None),
        ("a.ogg", None),
        ("a.mkv", None),
        ("a.3gp", None),
        ("a.wma", None),
        ("a", None),
        ("a.rec", None),
        ("a.wav", "video/mp4"),
        ("a.mp4", "audio/mpeg"),
        ("a.wav", "application/octet-stream"),
    ],
)
def test_files_that_may_contain_video_are_left_to_the_service(
    name: str, content_type: str | None
) -> None:
    assert not holds_only_sound(name, content_type)


def test_a_video_with_an_audio_suffix_is_a_video() -> None:
    """The first bytes take precedence over the name."""
    assert not holds_only_sound("talk.wav", None, MP4)
    assert not holds_only_sound("talk.m4a", None, MP4)


@pytest.mark.parametrize(
    ("head", "suffix"),
    [
        (WAV, ".wav"),
        (b"RIFF\x00\x00\x00\x00AVI LIST", ".avi"),
        (b"fLaC\x00", ".flac"),
        (b"ID3\x04", ".mp3"),
        (b"\xff\xfb\x90\x64", ".mp3"),
        (b"\xff\xf1\x50\x80", ".aac"),
        (b"OggS" + bytes(24) + b"OpusHead", ".opus"),
        (b"OggS" + bytes(24) + b"\x80theora", ".ogv"),
        (b"OggS" + bytes(24) + b"\x01vorbis", ".ogg"),
        (b"\x00\x00\x00\x20ftypM4A ", ".m4a"),
        (b"\x00\x00\x00\x14ftypqt  ", ".mov"),
        (b"\x00\x00\x00\x14ftyp3gp5", ".3gp"),
        (MP4, ".mp4"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x84webm", ".webm"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x82\x88matroska", ".mkv"),
        (b"FORM\x00\x00\x00\x00AIFFCOMM", ".aiff"),
        (b"#!AMR\n", ".amr"),
        (SPEECH, None),
        (b"", None),
        (b"\xff", None),
        (b"\xff\xfe\x00\x00", None),
    ],
)
def test_containers_are_recognised_by_their_first_bytes(head: bytes, suffix: str | None) -> None:
    assert ending_by_content(head[:64]) == suffix


@pytest.mark.slow
async def test_a_batch_of_videos_refuses_audio_and_restores_the_rest(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Audio files are not uploaded unless their audio is requested too."""
    source = recordings(tmp_path / "in", "a.wav", "b.mp4")
    found = await restored(client, source, tmp_path / "out", download_types=("video",))
    assert found["a.wav"].state == "failed"
    assert "no video" in str(found["a.wav"].error)
    assert [row.original_file_name for row in await client.projects.list()] == ["b.mp4"]
    await restored(client, source, tmp_path / "two", download_types=("audio", "video"))
    assert (tmp_path / "two" / "a.restored.mp3").exists()


async def test_a_missing_picture_is_known_before_the_video_is_requested(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """Progress reports whether there is a picture; the error does not advise to check an id."""
    with pytest.raises(NotFound, match="the recording has no picture") as caught:
        await client.restore(SPEECH, download_type="video", file_name="talk.rec")
    assert "download_type='audio'" in caught.value.hint
    assert "heck the id" not in str(caught.value) + caught.value.hint
    assert caught.value.generation_id
    assert requests_to(sandbox, DOWNLOAD) == []
    with pytest.raises(NotFound, match="the recording has no picture"):
        await client.generations.download(
            generation_id=caught.value.generation_id,
            api_project_id=caught.value.api_project_id or "",
            download_type="video",
        )


@pytest.mark.slow
@pytest.mark.parametrize("code", [None, "downloadUnavailable"])
async def test_a_batch_gives_the_missing_picture_as_the_reason(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, code: str | None
) -> None:
    """Also if the video of a completed generation is requested later; the audio is restored."""
    source = recordings(tmp_path / "in", "a.wav")
    both: dict[str, Any] = {"download_types": ("audio", "video")}
    found = await restored(client, source, tmp_path / "out", **both)
    assert found["a.wav"].state == "failed"
    assert str(found["a.wav"].error).startswith("the recording has no picture")
    assert not found["a.wav"].retry_is_billed
    assert (tmp_path / "out" / "a.restored.mp3").exists()
    assert len(requests_to(sandbox, DOWNLOAD)) == 1
    found = await restored(client, source, tmp_path / "two")
    assert found["a.wav"].state == "done"
    body = {"error": "not found", **({} if code is None else {"code": code})}
    sandbox.faults.add(Fault(path=DOWNLOAD, action=RespondWith(404, json=body)))
    found = await restored(client, source, tmp_path / "two", **both)
    assert found["a.wav"].state == "failed"
    assert str(found["a.wav"].error).startswith("the recording has no picture")
    assert generations(sandbox) == 2


async def test_a_batch_of_videos_takes_a_video_with_the_name_of_a_sound(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The first bytes decide, in the dry run too."""
    (tmp_path / "talk.m4a").write_bytes(MP4)
    (tmp_path / "sound.m4a").write_bytes(M4A)
    files, _ = await planned(tmp_path, tmp_path / "out", download_types=("video",))
    assert {file.source.name: file.problem is None for file in files} == {
        "talk.m4a": True,
        "sound.m4a": False,
    }
