"""Unusual recordings are restored; invalid ones are refused with a reason."""

import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diffio_async.sandbox.audio import CannotRestore, Restored, probe, restore
from diffio_async.sandbox.audio.choices import choose_track
from diffio_async.sandbox.audio.decoding import Limits
from diffio_async.sandbox.audio.timeline import Decoder

RATE = 48_000
SAMPLE = Path(__file__).parents[3] / "samples" / "noisy-speech.wav"


def refusal_message(source: Path, out: Path) -> str:
    with pytest.raises(CannotRestore) as caught:
        restore(source, out, report=lambda *_: None)
    assert list(out.iterdir()) == []  # nothing half-written stays
    return str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"Dear all, these are the minutes of the meeting.\n" * 400, "not a recording"),
        (b'{"minutes": []}', "not a recording"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20, "no audio stream"),
        (b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0", "the file is cut off"),
    ],
    ids=["empty", "text", "json", "picture", "header cut off"],
)
def test_a_file_that_is_not_a_recording_is_refused_whatever_its_name(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    source = tmp_path / "minutes.wav"
    source.write_bytes(content)
    assert reason in refusal_message(source, tmp_path / "out")


@pytest.mark.parametrize(
    "content",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {}\n",
    ],
    ids=["hls", "concat"],
)
def test_a_playlist_may_not_choose_which_files_are_read(tmp_path: Path, content: str) -> None:
    source = tmp_path / "list.wav"
    source.write_text(content.format(SAMPLE))
    assert "not a recording" in refusal_message(source, tmp_path / "out")


def test_random_bytes_are_refused(tmp_path: Path) -> None:
    source = tmp_path / "random.mp3"
    source.write_bytes(np.random.default_rng(0).bytes(100_000))
    assert refusal_message(source, tmp_path / "out")


def test_silence_is_refused(tmp_path: Path, recordings: Any) -> None:
    source = recordings.write_wav(tmp_path / "silence.wav", np.zeros(RATE))
    assert refusal_message(source, tmp_path / "out") == "the recording is silent"


def test_a_clip_under_a_tenth_of_a_second_is_refused(tmp_path: Path, recordings: Any) -> None:
    source = recordings.write_wav(tmp_path / "short.wav", recordings.clip[: RATE // 20])
    assert "too little sound" in refusal_message(source, tmp_path / "out")


def test_a_video_without_sound_is_refused(tmp_path: Path, recordings: Any) -> None:
    source = recordings.write_media(tmp_path / "mute.mp4", None, video="mpeg4")
    assert not probe(source).has_audio
    assert refusal_message(source, tmp_path / "out") == "there is no audio stream in this file"


def test_an_error_can_be_pickled() -> None:
    assert str(pickle.loads(pickle.dumps(CannotRestore("no sound")))) == "no sound"


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        restore(tmp_path / "gone.wav", tmp_path / "out", report=lambda *_: None)


@pytest.mark.slow
@pytest.mark.parametrize("length", [RATE // 10, RATE // 2, RATE + 1], ids=["0.1 s", "0.5 s", "1 s"])
def test_short_clips_keep_their_length(
    tmp_path: Path, recordings: Any, restored: Callable[..., Restored], length: int
) -> None:
    source = recordings.write_wav(tmp_path / "clip.wav", recordings.clip[:length])
    for engine in (None, "afftdn"):
        assert len(recordings.decode_mono(restored(source, engine=engine).audio)) == length


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp3", "libmp3lame"), ("a.flac", "flac"), ("a.ogg", "libopus"), ("a.m4a", "aac")],
)
def test_common_formats_are_read(
    tmp_path: Path, recordings: Any, restored: Callable[..., Restored], name: str, codec: str
) -> None:
    source = recordings.write_media(tmp_path / name, recordings.clip, audio=codec)
    unnamed = source.rename(tmp_path / "upload")  # the content decides, not the name
    result = restored(unnamed)
    assert not result.has_video
    assert result.video is None
    assert result.seconds == pytest.approx(2.0, abs=0.1)
    assert probe(unnamed).seconds == pytest.approx(2.0, abs=0.1)


@pytest.mark.slow
def test_a_truncated_recording_is_restored_as_far_as_possible(
    tmp_path: Path, restored: Callable[..., Restored]
) -> None:
    source = tmp_path / "cut.wav"
    source.write_bytes(SAMPLE.read_bytes()[: 44 + 2 * 16_000])
    assert restored(source).seconds == pytest.approx(1.0, abs=0.05)


@pytest.mark.slow
def test_bytes_lost_in_the_middle_do_not_lose_the_rest(
    tmp_path: Path, recordings: Any, restored: Callable[..., Restored]
) -> None:
    whole = recordings.write_media(tmp_path / "a.mp3", recordings.clip, audio="libmp3lame")
    data = whole.read_bytes()
    source = tmp_path / "holes.mp3"
    source.write_bytes(data[:9000] + np.random.default_rng(1).bytes(3000) + data[12_000:])
    assert restored(source).seconds == pytest.approx(1.8, abs=0.25)


@pytest.mark.slow
def test_samples_that_are_not_numbers_are_tolerated(
    tmp_path: Path, recordings: Any, restored: Callable[..., Restored]
) -> None:
    samples = recordings.clip.astype("<f4")
    samples[1000], samples[2000] = np.nan, np.inf
    data = samples.tobytes()
    form = struct.pack("<IHHIIHH", 16, 3, 1, RATE, RATE * 4, 4, 32)
    source = tmp_path / "odd.wav"
    source.write_bytes(
        b"RIFF"
        + struct.pack("<I", 36 + len(data))
        + b"WAVEfmt "
        + form
        + b"data"
        + struct.pack("<I", len(data))
        + data
    )
    sound = recordings.decode_mono(restored(source).audio)
    assert np.isfinite(sound).all()
    assert sound.std() > 0.05


@pytest.mark.parametrize(
    ("channels", "width"),
    [
        (9, 1),
        (9, 2),
        (33, 4),
        pytest.param(64, 2, marks=pytest.mark.slow),
        pytest.param(255, 2, marks=pytest.mark.slow),
    ],
)
def test_many_channels_without_a_layout_are_mixed(
    tmp_path: Path, channels: int, width: int
) -> None:
    """Their mean is restored: ffmpeg itself mixes only layouts that have a name."""
    wave = np.sin(np.arange(RATE // 2) / 20) * 0.4
    if width == 1:
        samples = (wave * 127 + 128).astype(np.uint8)
    else:
        samples = (wave * (2 ** (8 * width - 1) - 1)).astype(f"<i{width}")
    data = np.repeat(samples, channels).tobytes()
    form = struct.pack(
        "<HHIIHH", 1, channels, RATE, RATE * channels * width, channels * width, 8 * width
    )
    source = tmp_path / "many.wav"
    source.write_bytes(
        b"RIFF"
        + struct.pack("<I", 36 + len(data))
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", len(data))
        + data
    )
    track = choose_track(source, Limits())
    decoded = np.concatenate([*Decoder(source, track, Limits()).blocks(lambda _: None)])
    assert len(decoded) == len(wave)
    assert np.abs(decoded).max() == pytest.approx(0.4, abs=0.01)
    assert np.corrcoef(decoded[:, 0], wave)[0, 1] > 0.99
