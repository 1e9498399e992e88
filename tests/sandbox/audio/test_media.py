"""Unusual files: nothing that can be read is lost, moved or passed over without a warning."""

import errno
import re
import shutil
import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import pytest
from numpy.typing import NDArray

from diffio_async.sandbox.audio import CannotRestore, Limits, Restored, film, restore
from diffio_async.sandbox.audio.choices import choose_track
from diffio_async.sandbox.audio.clock import Clock
from diffio_async.sandbox.audio.sound import SoundFile
from diffio_async.sandbox.audio.structure import read_structure
from diffio_async.sandbox.audio.timeline import Decoder

RATE = 48_000
MEDIA = Path(__file__).parent / "media"

Sound = NDArray[np.float64]


def decoded(source: Path) -> tuple[Sound, Decoder]:
    """Return the first channel of the sound, and the decoder with its warnings."""
    track = choose_track(source, Limits())
    decoder = Decoder(source, track, Limits())
    blocks = [block[:, 0] for block in decoder.blocks(lambda _: None)]
    return np.concatenate(blocks).astype(np.float64), decoder


def on_time_line(path: Path) -> tuple[Sound, float, list[float]]:
    """Return the sound by its time stamps, and the times of the pictures, from the earliest."""
    frames: list[tuple[float, Sound]] = []
    time, rate = 0.0, RATE
    pictures: list[float] = []
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.audio[0], *container.streams.video[:1]):
            if packet.stream.type == "video":
                if packet.size and packet.pts is not None:
                    pictures.append(float(packet.pts * packet.time_base))
                continue
            decoded_frames: list[Any] = [*packet.decode()]
            for frame in decoded_frames:
                resampler = av.AudioResampler("flt", "mono", frame.sample_rate)
                if frame.pts is not None:  # else directly after the one before
                    time = float(frame.pts * frame.time_base)
                frame.pts = None
                mono = [out.to_ndarray()[0] for out in resampler.resample(frame)]
                frames.append((time, np.concatenate(mono).astype(np.float64)))
                time += len(frames[-1][1]) / frame.sample_rate
                rate = frame.sample_rate
    origin = min([frames[0][0], *pictures])
    sound = np.zeros(round((frames[-1][0] - origin + 1) * rate))
    for time, samples in frames:
        start = round((time - origin) * rate)
        sound[start : start + len(samples)] = samples
    at = np.arange(round(len(sound) * RATE / rate)) * rate / RATE
    sound = np.interp(at, np.arange(len(sound)), sound)
    return sound, frames[0][0] - origin, sorted(time - origin for time in pictures)


def delays(reference: Sound, sound: Sound, *starts: float, lag: Any) -> list[float]:
    """Return how many seconds the sound is late, for one second from each start."""
    result = []
    for start in starts:
        piece = slice(round(start * RATE), round((start + 1) * RATE))
        result.append(lag(reference[piece], sound[piece]) / RATE)
    return result


def write_film(path: Path, sound: Sound, *, video: str, audio: str, gap: bool = False) -> Path:
    """Write noise as a picture, and sound in pieces of 20 ms; with a gap, without 0.5 to 1 s."""
    with av.open(str(path), "w") as container:
        picture: Any = container.add_stream(video, rate=25)
        audio_stream: Any = container.add_stream(audio, rate=RATE)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        audio_stream.layout = "mono"
        audio_stream.time_base = Fraction(1, RATE)
        size = max(audio_stream.codec_context.frame_size, 960)
        chance = np.random.default_rng(7)
        for number in range(len(sound) * 25 // RATE):
            pixels = chance.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            shown = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            shown.pts, shown.time_base = number, Fraction(1, 25)
            container.mux(picture.encode(shown))
        container.mux(picture.encode(None))
        for start in range(0, len(sound) - size, size):
            samples = sound[start : start + size].astype(np.float32)[None, :]
            frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = RATE, start, Fraction(1, RATE)
            for packet in audio_stream.encode(frame):
                time = float((packet.pts or 0) * packet.time_base)
                if not (gap and 0.5 <= time < 1):
                    container.mux(packet)
        container.mux(audio_stream.encode(None))
    return path


def streams(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [stream.type for stream in container.streams]


# --- the picture does not decide over the sound


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kept_in"), [("av1.webm", ".webm"), ("windows.wmv", ".wmv"), ("hevc.mov", ".mov")]
)
def test_pictures_are_copied_without_an_encoder(
    restored: Callable[..., Restored], recordings: Any, name: str, kept_in: str
) -> None:
    result = restored(MEDIA / name, engine="afftdn")
    assert result.video is not None
    assert result.video.suffix == kept_in
    assert result.warnings == []
    with av.open(str(MEDIA / name)) as before, av.open(str(result.video)) as after:
        assert (
            after.streams.video[0].codec_context.name == before.streams.video[0].codec_context.name
        )
        packets = [
            [bytes(packet) for packet in container.demux(container.streams.video[0])]
            for container in (before, after)
        ]
        assert packets[0] == packets[1]
    original, _, _ = on_time_line(MEDIA / name)
    sound, _, _ = on_time_line(result.video)
    assert np.abs(delays(original, sound, 0.3, lag=recordings.lag)).max() < 0.02


def test_hevc_keeps_its_tag_its_metadata_and_its_time_code(
    restored: Callable[..., Restored],
) -> None:
    """Without the tag hvc1, neither QuickTime nor Safari shows the picture."""
    result = restored(MEDIA / "hevc.mov", engine="afftdn")
    assert result.video is not None
    with av.open(str(result.video)) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"
        assert container.metadata["title"] == "Interview"
        assert container.metadata["creation_time"].startswith("2024-05-01")
        assert any(s.metadata.get("timecode") == "01:00:00:00" for s in container.streams)
    with av.open(str(result.audio)) as container:
        assert container.metadata["title"] == "Interview"
        assert container.metadata["date"].startswith("2024")


def test_a_picture_of_an_unknown_codec_costs_the_video_only(
    restored: Callable[..., Restored],
) -> None:
    result = restored(MEDIA / "unknown-picture.mp4", engine="afftdn")
    assert result.has_video
    assert result.video is None
    assert result.seconds == pytest.approx(2.0, abs=0.05)
    assert result.warnings == ["the video is missing: its format is not known"]


def test_a_picture_that_no_format_accepts_costs_the_video_only(
    tmp_path: Path,
    recordings: Any,
    restored: Callable[..., Restored],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = recordings.write_media(tmp_path / "a.mp4", recordings.clip, video="mpeg4")
    monkeypatch.setattr(film, "containers_for", lambda *_: [film.WEBM])
    result = restored(source, engine="afftdn")
    assert result.video is None
    assert result.warnings == [
        "the video is missing: its format (mpeg4) cannot be copied into a file with other sound"
    ]


# --- frames are placed by their time


@pytest.mark.slow
def test_sound_after_a_hole_stays_with_the_picture(
    restored: Callable[..., Restored], recordings: Any
) -> None:
    result = restored(MEDIA / "gap.mp4", engine="afftdn")
    assert result.seconds == pytest.approx(6.0, abs=0.05)
    assert result.video is not None
    original, _, _ = on_time_line(MEDIA / "gap.mp4")
    sound, _, _ = on_time_line(result.video)
    late = delays(original, sound, 0.5, 4.5, lag=recordings.lag)
    assert np.abs(late).max() < 0.005
    assert np.abs(sound[round(2.3 * RATE) : round(3.7 * RATE)]).max() < 0.01
    assert result.warnings == [
        "2.0 s of sound are missing or damaged in the file: silence in the result"
    ]


@pytest.mark.parametrize(
    ("name", "video", "audio"),
    [
        ("a.mkv", "mpeg4", "flac"),
        ("a.webm", "libvpx", "libopus"),
        ("a.ts", "mpeg2video", "mp2"),
        ("a.mp4", "mpeg4", "aac"),
    ],
)
def test_a_hole_is_filled_with_silence_in_every_format(
    tmp_path: Path, recordings: Any, name: str, video: str, audio: str
) -> None:
    source = write_film(tmp_path / name, recordings.clip, video=video, audio=audio, gap=True)
    sound, decoder = decoded(source)
    expected, start, _ = on_time_line(source)
    expected = expected[round(start * RATE) :]
    assert np.abs(delays(expected, sound, 0, 0.95, lag=recordings.lag)).max() < 0.003
    assert np.abs(sound[round(0.6 * RATE) : round(0.9 * RATE)]).max() == 0
    assert "missing or damaged" in decoder.warnings[0]


def test_a_fragmented_film_starts_with_its_picture(recordings: Any) -> None:
    sound, _ = decoded(MEDIA / "fragmented.mp4")
    expected, _, _ = on_time_line(MEDIA / "fragmented.mp4")
    assert np.abs(delays(expected, sound, 0.5, 4, lag=recordings.lag)).max() < 0.003


def test_damaged_packets_do_not_move_what_follows(tmp_path: Path, recordings: Any) -> None:
    whole = recordings.write_media(tmp_path / "a.m4a", recordings.clip, audio="aac")
    expected, _ = decoded(whole)
    data = bytearray(whole.read_bytes())
    middle = len(data) * 2 // 5
    data[middle : middle + len(data) // 10] = bytes(len(data) // 10)
    source = tmp_path / "damaged.m4a"
    source.write_bytes(data)
    sound, _ = decoded(source)
    assert len(sound) == len(expected)
    assert np.abs(delays(expected, sound, 0, 1, lag=recordings.lag)).max() < 0.001


def test_time_stamps_that_contradict_the_sound_are_ignored(tmp_path: Path) -> None:
    """Otherwise half of the sound would be trimmed."""
    source = tmp_path / "a.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=RATE)
        assert isinstance(stream, av.AudioStream)
        stream.layout = "mono"
        for number in range(1000):
            packet = av.Packet(bytes(2 * 4800))
            packet.stream, packet.time_base = stream, Fraction(1, RATE)
            packet.pts = packet.dts = number * 2400
            container.mux(packet)
    sound, _ = decoded(source)
    assert len(sound) > 80 * RATE


def zeroed(whole: Path, start: float, end: float) -> Path:
    """Copy a file with zeros from one share of its bytes to another."""
    data = bytearray(whole.read_bytes())
    first, last = round(len(data) * start), round(len(data) * end)
    data[first:last] = bytes(last - first)
    source = whole.with_name(f"zeroed-{whole.name}")
    source.write_bytes(data)
    return source


@pytest.mark.parametrize("audio", ["libmp3lame", "pcm_s16le"])
def test_what_an_avi_file_loses_is_found_by_its_index(
    tmp_path: Path, recordings: Any, audio: str
) -> None:
    """An AVI file has no time stamps: FFmpeg counts its packets."""
    whole = write_film(tmp_path / "a.avi", recordings.clip, video="mpeg4", audio=audio)
    expected, _ = decoded(whole)
    sound, decoder = decoded(zeroed(whole, 0.3, 0.45))
    assert len(sound) == pytest.approx(len(expected), abs=RATE / 20)
    assert np.abs(delays(expected, sound, 0, 0.95, lag=recordings.lag)).max() < 0.001
    assert "missing or damaged" in decoder.warnings[0]


@pytest.mark.parametrize(("name", "codec"), [("a.mp3", "libmp3lame"), ("a.ac3", "ac3")])
def test_damage_in_a_stream_without_time_stamps_is_filled_by_its_size(
    tmp_path: Path, recordings: Any, name: str, codec: str
) -> None:
    whole = recordings.write_media(tmp_path / name, recordings.clip, audio=codec)
    expected, _ = decoded(whole)
    sound, decoder = decoded(zeroed(whole, 0.4, 0.6))
    assert len(sound) == pytest.approx(len(expected), abs=RATE / 10)
    assert "0.4 s of sound are missing or damaged" in decoder.warnings[0]


def test_damage_of_unknown_size_is_reported(tmp_path: Path, recordings: Any) -> None:
    whole = recordings.write_media(tmp_path / "a.ac3", recordings.clip, audio="ac3")
    data = whole.read_bytes()
    source = tmp_path / "b.ac3"
    source.write_bytes(data[: len(data) // 2] + data[len(data) * 3 // 4 + 1 :])
    _, decoder = decoded(source)
    assert decoder.warnings == ["the file is damaged at 1.0 s: sound may be missing there"]


def test_sound_behind_a_tag_in_the_middle_follows_at_once(tmp_path: Path, recordings: Any) -> None:
    """MP3 files that are joined keep their tags, with pictures of any size."""
    plain = recordings.write_media(tmp_path / "a.mp3", recordings.clip, audio="libmp3lame")
    tag = b"ID3\x03\0\0\0\0\x7f\x76" + bytes(0x7F << 7 | 0x76)
    source = tmp_path / "b.mp3"
    source.write_bytes(plain.read_bytes() + tag + plain.read_bytes())
    sound, decoder = decoded(source)
    assert len(sound) / RATE == pytest.approx(4.1, abs=0.1)
    assert decoder.warnings == []


# --- time bases


class _Packet:
    """A packet for the clock."""

    time_base = Fraction(1)
    duration = 1
    pts = None

    def __init__(self, stream_index: int, dts: int | None) -> None:
        self.stream_index = stream_index
        self.dts = dts


def times(
    format_name: str, *stamps: tuple[int, int | None], seconds: int | None = None
) -> Iterator[float | None]:
    class Format:
        name = format_name

    class Container:
        format = Format
        start_time = 0
        duration = None if seconds is None else seconds * av.time_base

    container: Any = Container
    clock = Clock(container)
    for index, dts in stamps:
        packet: Any = _Packet(index, dts)
        yield clock.adjust(packet)


def test_streams_restart_together() -> None:
    """Packets of the first part may come after the first packet of the second part."""
    stamps = [(0, 5), (1, 5), (0, 6), (0, 5), (1, 6), (1, 5), (0, 6), (0, None), (1, 6)]
    assert [*times("mpegts", *stamps)] == [5, 5, 6, 7, 6, 7, 8, None, 8]


def test_only_a_broadcast_may_jump_forwards() -> None:
    stamps = [(0, 5), (0, 6), (0, 40_000), (0, 40_001)]
    assert [*times("mpegts", *stamps)] == [5, 6, 7, 8]
    assert [*times("matroska,webm", *stamps)] == [5, 6, 40_000, 40_001]


def test_a_time_far_beyond_the_declared_end_is_wrong() -> None:
    """One bad time stamp does not add hours of silence."""
    stamps = [(0, 5), (0, 6), (0, 3_600), (0, 8), (0, 9)]
    assert [*times("flv", *stamps, seconds=12)] == [5, 6, 7, 8, 9]


@pytest.mark.slow
def test_joined_streams_continue_each_other(
    restored: Callable[..., Restored], recordings: Any
) -> None:
    result = restored(MEDIA / "joined.ts", engine="afftdn")
    assert result.video is not None
    sound, _, pictures = on_time_line(result.video)
    assert len(pictures) == 60
    step = pictures[30] - pictures[0]
    assert step == pytest.approx(2.07, abs=0.1)
    second = sound[round(step * RATE) :]
    assert delays(sound, second, 0.3, lag=recordings.lag) == pytest.approx([0], abs=0.003)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.mkv", "a.mp4", "a.ts"])
def test_a_film_that_begins_at_40000_s_does_not_last_11_hours(
    tmp_path: Path, recordings: Any, restored: Callable[..., Restored], name: str
) -> None:
    plain = write_film(tmp_path / "b.ts", recordings.clip, video="mpeg2video", audio="mp2")
    source = tmp_path / name
    with av.open(str(plain)) as given, av.open(str(source), "w") as out:
        copies = [out.add_stream_from_template(s, opaque=True) for s in given.streams]
        for packet in given.demux():
            if packet.pts is not None and packet.dts is not None:
                later = round(40_000 / packet.time_base)
                packet.pts += later
                packet.dts += later
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
    result = restored(source, engine="afftdn")
    assert result.video is not None
    with av.open(str(result.video)) as container:
        assert container.duration is not None
        assert container.duration / 1e6 == pytest.approx(2, abs=0.1)
    original, _, _ = on_time_line(source)
    sound, _, _ = on_time_line(result.video)
    assert np.abs(delays(original, sound, 0.3, lag=recordings.lag)).max() < 0.005
    assert result.warnings == []


@pytest.mark.slow
def test_every_part_of_a_chained_ogg_file_is_restored(restored: Callable[..., Restored]) -> None:
    """Also where the number of channels changes, at which FFmpeg stops."""
    result = restored(MEDIA / "chained.opus", engine="afftdn")
    assert result.seconds == pytest.approx(6.0, abs=0.01)
    assert result.warnings == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "video", "audio"),
    [
        ("a.mp4", "mpeg4", "aac"),
        ("a.wmv", "wmv2", "ac3"),
        ("a.flv", "flv1", "aac"),
        ("a.mkv", "mpeg4", "aac"),
        ("a.ogg", "libvpx", "libopus"),
    ],
)
def test_joined_films_become_one(
    tmp_path: Path,
    recordings: Any,
    restored: Callable[..., Restored],
    name: str,
    video: str,
    audio: str,
) -> None:
    plain = write_film(tmp_path / name, recordings.clip, video=video, audio=audio)
    source = tmp_path / f"joined-{name}"
    source.write_bytes(plain.read_bytes() * 2)
    result = restored(source, engine="afftdn")
    assert result.warnings == []
    assert result.seconds == pytest.approx(4, abs=0.15)
    assert result.video is not None
    sound, _, pictures = on_time_line(result.video)
    assert len(pictures) == 100
    step = pictures[50] - pictures[0]
    assert step == pytest.approx(2, abs=0.1)
    second = sound[round(step * RATE) :]
    assert delays(sound, second, 0.3, lag=recordings.lag) == pytest.approx([0], abs=0.02)


def test_joined_sounds_become_one(tmp_path: Path, recordings: Any) -> None:
    plain = recordings.write_wav(tmp_path / "a.wav", recordings.clip)
    source = tmp_path / "b.wav"
    source.write_bytes(plain.read_bytes() * 3)
    sound, decoder = decoded(source)
    assert len(sound) == 6 * RATE
    assert decoder.warnings == []


@pytest.mark.slow
def test_a_sound_and_a_film_that_are_joined_become_a_film(
    tmp_path: Path, recordings: Any, restored: Callable[..., Restored]
) -> None:
    speech = recordings.write_media(tmp_path / "a.ogg", recordings.clip, audio="libopus")
    joined = write_film(tmp_path / "b.ogg", recordings.clip, video="libvpx", audio="libopus")
    source = tmp_path / "c.ogg"
    source.write_bytes(speech.read_bytes() + joined.read_bytes())
    result = restored(source, engine="afftdn")
    assert result.video is not None
    assert result.seconds == pytest.approx(4, abs=0.1)
    _, sound_starts, pictures = on_time_line(result.video)
    assert sound_starts == 0
    assert len(pictures) == 50
    assert pictures[0] == pytest.approx(2, abs=0.05)


def test_parts_with_different_pictures_cost_the_video_only(
    tmp_path: Path, recordings: Any, restored: Callable[..., Restored]
) -> None:
    one = write_film(tmp_path / "a.mp4", recordings.clip, video="mpeg4", audio="aac")
    other = write_film(tmp_path / "b.mp4", recordings.clip, video="mpeg1video", audio="aac")
    source = tmp_path / "c.mp4"
    source.write_bytes(one.read_bytes() + other.read_bytes())
    result = restored(source, engine="afftdn")
    assert result.seconds == pytest.approx(4, abs=0.1)
    assert result.warnings == [
        "the video is missing: the parts of the file have different formats of pictures"
    ]


def test_parts_of_ogg_files_are_found(tmp_path: Path, recordings: Any) -> None:
    plain = recordings.write_media(tmp_path / "a.ogg", recordings.clip, audio="libopus")
    assert read_structure(plain).links == ()
    assert len(read_structure(MEDIA / "chained.opus").links) == 2
    assert read_structure(MEDIA / "gap.mp4").links == ()


# --- the sound that is meant


def write_channels(path: Path, sound: Sound, channels: int, spoken: int, mask: int = 0) -> Path:
    samples = np.zeros((len(sound), channels), "<i2")
    samples[:, spoken] = sound * 32767
    data = samples.tobytes()
    header = (channels, RATE, RATE * channels * 2, channels * 2, 16)
    form = struct.pack("<HHIIHH", 1, *header)
    if mask:
        pcm = bytes.fromhex("0100000000001000800000aa00389b71")
        form = struct.pack("<HHIIHH", 0xFFFE, *header) + struct.pack("<HHI", 22, 16, mask) + pcm
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data"
    body += struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("channels", "spoken", "mask"),
    [(3, 2, 0), (6, 3, 0), (9, 8, 0), (20, 3, 0), (60, 59, 0), (6, 3, 0x3F)],
)
def test_a_voice_on_any_channel_is_kept(
    tmp_path: Path, recordings: Any, channels: int, spoken: int, mask: int
) -> None:
    """FFmpeg drops the channel of low frequencies, and guesses which one that is."""
    clip = recordings.clip[: RATE // 2]
    source = write_channels(tmp_path / "a.wav", clip, channels, spoken, mask)
    sound, _ = decoded(source)
    assert len(sound) == len(clip)
    np.testing.assert_allclose(sound * channels, clip, atol=0.002)


def test_positions_of_channels_are_used_where_they_are_given(
    tmp_path: Path, recordings: Any
) -> None:
    source = write_channels(tmp_path / "a.wav", recordings.clip, 6, 0, mask=0x3F)
    track = choose_track(source, Limits())
    assert track.channels == 2
    assert not track.evenly


def test_the_first_track_with_sound_is_restored() -> None:
    sound, decoder = decoded(MEDIA / "three-tracks.mov")
    assert np.abs(sound).max() > 0.1
    assert decoder.warnings == [
        "of the 3 sound tracks in this file, only track 2 was restored, because track 1 is silent"
    ]


@pytest.mark.slow
def test_the_other_tracks_are_copied(restored: Callable[..., Restored]) -> None:
    result = restored(MEDIA / "three-tracks.mov", engine="afftdn")
    assert result.video is not None
    assert streams(result.video) == ["video", "audio", "audio", "audio"]


def test_sound_that_continues_under_another_id_is_complete(tmp_path: Path, recordings: Any) -> None:
    """Recorders of broadcasts give the sound of each programme another id."""
    source = tmp_path / "a.ts"
    with av.open(str(source), "w") as container:
        tracks: list[Any] = [
            container.add_stream("mp2", rate=RATE, layout="mono", bit_rate=64_000) for _ in range(3)
        ]
        for number, stream in enumerate(tracks):
            samples = recordings.clip[: RATE // 1152 * 1152].astype(np.float32)[None, :]
            frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
            frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
            frame.pts = number * samples.shape[1]
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    track = choose_track(source, Limits())
    assert len(track.streams) == 3
    sound, decoder = decoded(source)
    assert len(sound) / RATE == pytest.approx(3, abs=0.1)
    assert decoder.warnings == []


def test_sound_that_starts_late_is_not_called_truncated(tmp_path: Path, recordings: Any) -> None:
    """The duration of a Matroska file counts from the first picture."""
    plain = write_film(tmp_path / "a.mkv", recordings.clip, video="mpeg4", audio="aac")
    source = tmp_path / "b.mkv"
    with av.open(str(plain)) as given, av.open(str(source), "w") as out:
        copies = [out.add_stream_from_template(s, opaque=True) for s in given.streams]
        for packet in given.demux():
            if packet.dts is not None and packet.pts is not None:
                if packet.stream.type == "audio":
                    packet.pts += 1500
                    packet.dts += 1500
                packet.stream = copies[packet.stream_index]
                out.mux(packet)
    _, decoder = decoded(source)
    assert decoder.warnings == []


# --- what else is in a file


def write_subtitles(plain: Path, target: Path) -> Path:
    """Write a film with subtitles and two chapters."""
    with av.open(str(plain)) as given, av.open(str(target), "w") as out:
        copies = [out.add_stream_from_template(s, opaque=True) for s in given.streams]
        subtitles = out.add_mux_stream("subrip")
        out.set_chapters(
            [
                {"id": n, "start": n, "end": n + 1, "time_base": Fraction(1), "metadata": {}}
                for n in range(2)
            ]
        )
        packet = av.Packet(b"Hello")
        packet.stream, packet.time_base = subtitles, Fraction(1, 1000)
        packet.pts = packet.dts = 0
        packet.duration = 900
        out.mux(packet)
        for copied in given.demux():
            if copied.dts is not None:
                copied.stream = copies[copied.stream_index]
                out.mux(copied)
    return target


@pytest.mark.slow
def test_subtitles_and_chapters_are_kept_or_named(
    tmp_path: Path,
    recordings: Any,
    restored: Callable[..., Restored],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = write_film(tmp_path / "a.mkv", recordings.clip, video="mpeg4", audio="mp2")
    source = write_subtitles(plain, tmp_path / "b.mkv")
    result = restored(source, engine="afftdn")
    assert result.video is not None
    assert streams(result.video) == ["video", "audio", "subtitle"]
    with av.open(str(result.video)) as container:
        assert len(container.chapters()) == 2
    assert result.warnings == []
    monkeypatch.setattr(film, "containers_for", lambda *_: [film.AVI])
    assert restored(source, engine="afftdn").warnings == [
        "not in the video: subtitles (subrip)",
        "not in the video: the chapters",
    ]


# --- reasons


def test_an_encrypted_recording_is_called_encrypted(tmp_path: Path) -> None:
    with pytest.raises(CannotRestore, match="encrypted"):
        restore(MEDIA / "encrypted.m4a", tmp_path / "out", report=lambda *_: None)


def test_a_full_disk_is_named(
    tmp_path: Path, recordings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = recordings.write_wav(tmp_path / "a.wav", recordings.clip)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SoundFile, "append", fail)
    with pytest.raises(CannotRestore, match="the disk of the sandbox is full"):
        restore(source, tmp_path / "out", report=lambda *_: None)


def test_a_disk_that_the_video_fills_costs_the_video_only(
    tmp_path: Path,
    recordings: Any,
    restored: Callable[..., Restored],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = recordings.write_media(tmp_path / "a.mp4", recordings.clip, video="mpeg4")

    def fail(*_: object) -> None:
        raise av.error.OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(film, "add_audio_stream", fail)
    result = restored(source, engine="afftdn")
    assert result.video is None
    assert result.warnings == ["the video is missing: the disk of the sandbox is full"]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp3", "libmp3lame"),
        ("a.flac", "flac"),
        ("a.wav", "pcm_s16le"),
        ("a.w64", "pcm_s16le"),
        ("a.caf", "pcm_s16le"),
        ("a.au", "pcm_s16be"),
        ("a.mka", "flac"),
    ],
)
def test_a_truncated_recording_is_called_truncated(
    tmp_path: Path, recordings: Any, name: str, codec: str
) -> None:
    whole = recordings.write_media(tmp_path / name, recordings.clip, audio=codec)
    assert decoded(whole)[1].warnings == []
    source = tmp_path / f"cut-{name}"
    source.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    sound, decoder = decoded(source)
    (warning,) = decoder.warnings
    read, whole_length = (float(word) for word in re.findall(r"\d\.\d", warning))
    assert warning == f"only {read} of {whole_length} s could be read"
    assert read == round(len(sound) / RATE, 1)
    assert whole_length == pytest.approx(2.0, abs=0.21)


def test_a_film_without_its_end_is_called_cut_off(tmp_path: Path, recordings: Any) -> None:
    """The index of an MP4 file is at its end: nothing can be read without it."""
    whole = recordings.write_media(tmp_path / "a.mp4", recordings.clip, audio="aac")
    source = tmp_path / "b.mp4"
    source.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(CannotRestore, match="cut off"):
        decoded(source)


@pytest.mark.parametrize(
    ("name", "codec"), [("a.ogg", "libopus"), ("a.ts", "mp2"), ("a.vob", "ac3"), ("a.m2ts", "ac3")]
)
def test_a_file_that_ends_within_a_packet_is_called_cut_off(
    tmp_path: Path, recordings: Any, name: str, codec: str
) -> None:
    whole = recordings.write_media(tmp_path / name, recordings.clip, audio=codec)
    assert decoded(whole)[1].warnings == []
    source = tmp_path / f"cut-{name}"
    source.write_bytes(whole.read_bytes()[:-100])
    sound, decoder = decoded(source)
    assert decoder.warnings == [f"the file is cut off: only {len(sound) / RATE:.1f} s were read"]


def test_a_wav_file_of_unknown_size_is_complete(tmp_path: Path, recordings: Any) -> None:
    """Programs that write to a pipe cannot know the size beforehand."""
    source = recordings.write_wav(tmp_path / "a.wav", recordings.clip)
    data = bytearray(source.read_bytes())
    for size in (0xFFFF_FFFF, 0x7FFF_FFFF, 0):
        data[4:8] = struct.pack("<I", size)
        source.write_bytes(data)
        assert read_structure(source).size <= len(data)


@pytest.mark.parametrize(("name", "video"), [("a.mp4", "mpeg4"), ("a.ogg", "libtheora")])
def test_a_video_with_the_name_of_a_sound_is_a_video(
    tmp_path: Path, recordings: Any, restored: Callable[..., Restored], name: str, video: str
) -> None:
    if video not in av.codecs_available:
        pytest.skip("this build has no such encoder")
    audio = "aac" if name == "a.mp4" else "libvorbis"
    source = recordings.write_media(tmp_path / name, recordings.clip, audio=audio, video=video)
    named = shutil.copy(source, tmp_path / "b.m4a")
    assert restored(named, engine="afftdn").video is not None
