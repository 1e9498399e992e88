"""Media types of files, from the package's own table rather than from the system's."""

from __future__ import annotations

import subprocess
import sys

import pytest

from diffio_async._protocol.media_types import (
    RECORDING_ENDINGS,
    SNIFFED,
    VIDEO_ENDINGS,
    content_type_of,
    ending_of,
    is_ambiguous,
    is_packed,
    is_recording,
)
from diffio_async.batch.sources import RECORDINGS
from diffio_async.sandbox.state import media_suffix

PROGRAM = """
import mimetypes
# A machine without /etc/mime.types, and a Python that knows nothing either.
mimetypes.knownfiles = []
mimetypes._types_map_default = {}
mimetypes.types_map = mimetypes.encodings_map = mimetypes.suffix_map = {}
mimetypes.init = lambda files=None: None
mimetypes._db = mimetypes.MimeTypes()
mimetypes._db.types_map = mimetypes._db.encodings_map = ({}, {})
import asyncio, gzip, pathlib, sys
from diffio_async import AsyncDiffio
from diffio_async.sandbox import Sandbox

async def main(folder):
    async with Sandbox(engine="echo") as sandbox:
        async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client:
            for suffix in sys.argv[2:]:
                path = folder / f"talk.{suffix}"
                path.write_bytes((b"G" + bytes(187)) * 8)
                project = await client.projects.create(path)
                print(suffix, project.content_type)
            with gzip.open(folder / "talk.wav.gz", "wb") as file:
                file.write(b"sound")
            with gzip.open(folder / "talk.wav.gz") as file:
                project = await client.projects.create(file)
                print(project.file_name, project.content_type)
            print("packed", (await client.projects.create(folder / "talk.wav.gz")).content_type)
            found = set()
            async for outcome in client.restore_many(folder, folder / "out", name="{name}.x{ext}"):
                found.add(outcome.source.suffix)
            print(*sorted(found))

asyncio.run(main(pathlib.Path(sys.argv[1])))
"""
EXPECTED = {
    "mkv": "video/x-matroska",
    "opus": "audio/ogg",
    "m4a": "audio/mp4",
    "wv": "audio/x-wavpack",
    "webm": "video/webm",
    "mov": "video/quicktime",
    "ts": "video/mp2t",
    "mts": "video/mp2t",
    "m2ts": "video/mp2t",
    "3gp": "video/3gpp",
    "aif": "audio/x-aiff",
    "amr": "audio/amr",
    "caf": "audio/x-caf",
    "ape": "audio/x-ape",
    "wav": "audio/x-wav",
    "MP3": "audio/mpeg",
    "flac": "audio/flac",
    "wmv": "video/x-ms-wmv",
}


@pytest.mark.slow
def test_media_types_do_not_depend_on_the_systems_table(tmp_path: object) -> None:
    """Content types, names of compressed files, and the recordings found in a folder."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path), *EXPECTED],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    lines = done.stdout.splitlines()
    assert dict(line.split() for line in lines[:-3]) == EXPECTED, done.stderr
    assert lines[-3:] == [
        "talk.wav audio/x-wav",
        "packed application/octet-stream",
        " ".join(sorted(f".{suffix}" for suffix in EXPECTED)),
    ]


@pytest.mark.slow
def test_the_package_does_not_import_mimetypes() -> None:
    from tests.test_layers import package_imports

    assert [each for each in package_imports() if each.imported.startswith("mimetypes")] == []


def test_package_and_sandbox_know_the_same_suffixes() -> None:
    """The sandbox imports nothing of the package, so it has its own table."""
    assert RECORDINGS == RECORDING_ENDINGS
    for suffix in RECORDING_ENDINGS:
        assert content_type_of(f"a{suffix.upper()}").startswith(
            ("audio/", "video/", "application/")
        )
        assert media_suffix(f"a{suffix}") == suffix


@pytest.mark.parametrize(
    ("media_type", "suffix"),
    [("video/mp4", ".mp4"), ("VIDEO/QuickTime; x=y", ".mov"), ("text/html", None), ("", None)],
)
def test_a_media_type_has_a_usual_suffix(media_type: str, suffix: str | None) -> None:
    """It is used for results without a suffix."""
    assert ending_of(media_type) == suffix


def test_a_compressed_file_is_not_a_recording() -> None:
    """It is recognised by its suffix, in any case."""
    assert is_packed("a.wav.GZ")
    assert not is_packed("a.wav")
    assert content_type_of("a.wav.gz") == content_type_of("a") == "application/octet-stream"


@pytest.mark.parametrize("size", [188, 192, 204])
@pytest.mark.parametrize("start", [0, 4, 100, 187])
def test_a_transport_stream_has_a_sync_byte_in_each_packet(size: int, start: int) -> None:
    """Of any size of packet, also if the recording begins in the middle of one."""
    stream = bytes(start) + (b"\x47" + bytes(range(1, 70)) + bytes(size - 70)) * 20
    assert is_ambiguous(".ts")
    for content in (stream, stream[: 4 * size]):
        assert is_recording(".ts", content[:SNIFFED])
        assert is_recording(".m2ts", b"not looked at")


@pytest.mark.parametrize(
    ("ending", "head", "expected"),
    [
        (".ts", b"export const Greeting = 'GGG';\n" * 60, False),
        (".ts", b"<?xml version='1.0'?><TS><context><name>G</name></context></TS>", False),
        (".mts", b"", False),
        (".mod", b"\x00\x00\x01\xba" + bytes(60), True),
        (".mod", b"module example.com/program\n\ngo 1.22\n", False),
        (".dts", b"\x7f\xfe\x80\x01" + bytes(60), True),
        (".dts", b"/dts-v1/;\n/ { compatible = 'board'; };\n", False),
        (".wav", b"text", True),
    ],
)
def test_other_files_with_the_suffix_of_a_recording_are_recognized(
    ending: str, head: bytes, expected: bool
) -> None:
    """By their first bytes; other suffixes are unambiguous."""
    assert is_recording(ending, head) is expected


def test_the_containers_that_the_decoder_reads_are_recordings() -> None:
    """Each suffix that FFmpeg registers for a format that the sandbox accepts is known."""
    av_format = pytest.importorskip("av.format")
    from diffio_async.sandbox.audio.decoding import whitelist_options

    others = {"avif", "gif", "heic", "heif", "ism", "mks", "apl"}  # pictures, playlists, subtitles
    unspecific = {"722", "ast", "g729", "mac", "omg", "psp", "sf"}
    known = {ending[1:] for ending in RECORDING_ENDINGS} | others | unspecific
    found = {
        extension
        for name in whitelist_options()["format_whitelist"].split(",")
        if name not in {"oga", "ogv"}  # names of writers
        for extension in av_format.ContainerFormat(name, "r").extensions
    }
    assert found - known == set()


def test_video_endings_are_those_of_containers_with_pictures() -> None:
    """A result may have any of them, and none of the audio ones."""
    assert {".mp4", ".mkv", ".mxf", ".m2ts", ".vob", ".dv", ".3g2"} <= VIDEO_ENDINGS
    assert {".wav", ".wv", ".qta", ".ape"}.isdisjoint(VIDEO_ENDINGS)


@pytest.mark.parametrize(
    "ending",
    "w64 wv ts m2ts vob mxf dv 3g2 bwf rf64 ape tta awb qta caf mka tod mod m2t rm dsf".split(),  # noqa: SIM905
)
def test_less_frequent_recordings_are_known(ending: str) -> None:
    """A batch restores them from a folder."""
    assert f".{ending}" in RECORDINGS
