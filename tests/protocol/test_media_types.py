"""What a file is is decided by a table of our own, on every machine alike."""

from __future__ import annotations

import subprocess
import sys

import pytest

from diffio_async._protocol.media_types import (
    RECORDING_ENDINGS,
    content_type_of,
    ending_of,
    is_packed,
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
            for ending in sys.argv[2:]:
                path = folder / f"talk.{ending}"
                path.write_bytes(b"sound")
                project = await client.projects.create(path)
                print(ending, project.content_type)
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
def test_an_empty_table_of_the_machine_changes_nothing(tmp_path: object) -> None:
    """Content types, names of what is packed, and what a folder holds."""
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
        " ".join(sorted(f".{ending}" for ending in EXPECTED)),
    ]


@pytest.mark.slow
def test_the_package_asks_no_machine_what_a_file_is() -> None:
    """`mimetypes` is imported nowhere."""
    from tests.test_layers import package_imports

    assert [each for each in package_imports() if each.imported.startswith("mimetypes")] == []


def test_every_ending_has_a_type_here_and_a_place_in_the_sandbox() -> None:
    """The sandbox imports nothing of the package, and so has a table of its own."""
    assert RECORDINGS == RECORDING_ENDINGS
    for ending in RECORDING_ENDINGS:
        assert content_type_of(f"a{ending.upper()}").startswith(
            ("audio/", "video/", "application/")
        )
        assert media_suffix(f"a{ending}") == ending


@pytest.mark.parametrize(
    ("kind", "ending"),
    [("video/mp4", ".mp4"), ("VIDEO/QuickTime; x=y", ".mov"), ("text/html", None), ("", None)],
)
def test_a_type_has_a_usual_ending(kind: str, ending: str | None) -> None:
    """For a result whose name has none."""
    assert ending_of(kind) == ending


def test_what_is_packed_is_no_recording() -> None:
    """Its ending says so, in any letters."""
    assert is_packed("a.wav.GZ")
    assert not is_packed("a.wav")
    assert content_type_of("a.wav.gz") == content_type_of("a") == "application/octet-stream"
