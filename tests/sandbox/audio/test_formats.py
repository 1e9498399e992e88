"""Allowed formats and codecs, and the limits of one recording."""

import shutil
import struct
import subprocess
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffio_async.sandbox.audio import CannotRestore, Limits, restore

RATE = 48_000
SAMPLE = Path(__file__).parents[3] / "samples" / "noisy-speech.wav"
MiB = 1024 * 1024


def refusal_message(source: Path, out: Path, limits: Limits | None = None) -> str:
    with pytest.raises(CannotRestore) as caught:
        restore(source, out, report=lambda *_: None, limits=limits or Limits())
    assert list(out.iterdir()) == []  # no temporary file stays
    return str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        "SBAGEN\n-SE\nbrown: pink/40 200+5/50\nNOW brown\n",
        "; SBaGen\n-SE\noff: -\nts: 200+1/90\n00:00 ts\n23:00 off\n",
        ";FFMETADATA1\ntitle=a\n[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND=100000\n",
        "ffconcat version 1.0\nfile {}\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
        '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period/></MPD>\n',
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\n",
        "WEBVTT\n\n00:00.000 --> 90:00.000\nhello\n",
        "1\n00:00:00,000 --> 90:00:00,000\nhello\n",
        "[Script Info]\nScriptType: v4.00+\n",
        "\x1b[2J\x1b[31mart\x1b[0m\n" * 40,
        "ILBM",
    ],
)
def test_programs_and_playlists_are_refused(tmp_path: Path, content: str) -> None:
    """Text that generates sound, lists other files, or is valid as a picture is not a recording."""
    for name in ("talk.wav", "talk.sbg", "talk.ans", "talk.m3u8"):
        source = tmp_path / name
        source.write_text(content.replace("{}", str(SAMPLE)))
        start = time.monotonic()
        assert "not a recording" in refusal_message(source, tmp_path / "out")
        assert time.monotonic() - start < 30


def test_an_unsupported_codec_is_refused(tmp_path: Path, recordings: Any) -> None:
    """The container may be a usual one: what is in it is looked at too."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs the command ffmpeg")
    plain = recordings.write_wav(tmp_path / "plain.wav", recordings.clip)
    source = tmp_path / "odd.mkv"
    made = ["ffmpeg", "-v", "error", "-i", plain, "-strict", "-2", "-c:a", "sonicls", source]
    if subprocess.run(made, check=False, capture_output=True).returncode:
        pytest.skip("this ffmpeg has no such encoder")
    assert "format" in refusal_message(source, tmp_path / "out")


@pytest.mark.slow
def test_a_recording_over_the_length_is_refused_with_the_limit(
    tmp_path: Path, recordings: Any
) -> None:
    source = recordings.write_wav(tmp_path / "a.wav", recordings.clip)
    message = refusal_message(source, tmp_path / "out", Limits(seconds=1.5))
    assert message == "the recording is longer than 1.5 s, the limit of this sandbox"
    restore(source, tmp_path / "out", report=lambda *_: None, limits=Limits(seconds=3))


def test_a_recording_over_the_decoded_size_is_refused_while_it_is_decoded(
    tmp_path: Path, recordings: Any
) -> None:
    """The scratch file never exceeds the limit: a small file may decode to a very large one."""
    source = recordings.write_media(tmp_path / "s.flac", np.zeros(120 * RATE), audio="flac")
    assert source.stat().st_size < 100_000
    message = refusal_message(source, tmp_path / "out", Limits(decoded_bytes=2 * MiB))
    assert message.startswith("the recording takes more than 2.0 MiB when it is decoded")


def test_the_expansion_of_a_file_is_limited() -> None:
    """By default; AMR, the smallest codec for speech, grows by 320."""
    limits = Limits()
    limits.check(samples=1, decoded_bytes=512 * MiB, file_size=1)
    limits.check(samples=1, decoded_bytes=499 * 2 * MiB, file_size=2 * MiB)
    with pytest.raises(CannotRestore, match="but its file has only"):
        limits.check(samples=1, decoded_bytes=501 * 2 * MiB, file_size=2 * MiB)


def test_a_sampling_rate_of_one_is_refused(tmp_path: Path) -> None:
    """A second for each sample: a few kilobytes would be an hour of sound."""
    source = tmp_path / "slow.wav"
    with wave.open(str(source), "wb") as out:
        out.setparams((1, 2, 1, 0, "NONE", ""))
        out.writeframes(struct.pack("<4000h", *range(4000)))
    assert "1 samples per second" in refusal_message(source, tmp_path / "out")
