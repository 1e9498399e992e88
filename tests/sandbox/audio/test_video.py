"""Videos keep their pictures, packet for packet, and get the restored sound."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from diffio_async.sandbox.audio import Restored, probe

#: Restoring real recordings takes seconds.
pytestmark = pytest.mark.slow


def picture(path: Path) -> tuple[list[float], list[bytes]]:
    """Return the bytes of the video packets, and their times relative to the first."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.time_base is not None
        packets = sorted(
            (float((packet.pts or 0) * stream.time_base), bytes(packet))
            for packet in container.demux(stream)
            if packet.size
        )
    first = packets[0][0]
    return [time - first for time, _ in packets], [content for _, content in packets]


@pytest.mark.parametrize(
    ("name", "video", "audio", "kept_in"),
    [
        ("a.mp4", "libx264", "aac", ".mp4"),
        ("a.mov", "mpeg4", "aac", ".mov"),
        ("a.webm", "libvpx", "libopus", ".webm"),
        ("a.mkv", "libx264", "aac", ".mkv"),
        ("a.avi", "mpeg4", "libmp3lame", ".mp4"),
    ],
)
def test_the_video_stays_and_the_sound_is_replaced(
    tmp_path: Path,
    recordings: Any,
    restored: Callable[..., Restored],
    name: str,
    video: str,
    audio: str,
    kept_in: str,
) -> None:
    source = recordings.write_media(tmp_path / name, recordings.clip, audio=audio, video=video)
    result = restored(source)
    assert result.has_video
    assert probe(source).has_video
    assert result.video is not None
    assert result.video.name == f"restored{kept_in}"
    (times, packets), (first_times, first_packets) = picture(result.video), picture(source)
    assert packets == first_packets
    assert times == pytest.approx(first_times, abs=0.002)
    sound = recordings.decode_mono(result.video)
    assert len(sound) / 48_000 == pytest.approx(result.seconds, abs=0.05)
    assert recordings.si_sdr(recordings.decode_mono(result.audio), sound) > 10
    assert abs(recordings.lag(recordings.decode_mono(result.audio), sound)) < 48_000 * 0.03


def test_sound_and_video_are_interleaved(
    tmp_path: Path, recordings: Any, restored: Callable[..., Restored]
) -> None:
    """A player that reads from the front never waits for the sound."""
    source = recordings.write_media(tmp_path / "a.mkv", recordings.clip, video="mpeg4")
    result = restored(source)
    assert result.video is not None
    with av.open(str(result.video)) as container:
        kinds = [packet.stream.type for packet in container.demux() if packet.size]
    half = kinds[: len(kinds) // 2]
    assert 0.3 < half.count("audio") / kinds.count("audio") < 0.7


def test_a_rotated_video_stays_rotated(
    tmp_path: Path, recordings: Any, restored: Callable[..., Restored]
) -> None:
    source = recordings.write_media(tmp_path / "a.mp4", recordings.clip, video="mpeg4")
    data = bytearray(source.read_bytes())
    matrix = data.find(b"tkhd") + 44  # of the first track, the picture's
    data[matrix : matrix + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    source.write_bytes(data)
    result = restored(source)
    assert result.video is not None
    turned = []
    for path in (source, result.video):
        with av.open(str(path)) as container:
            turned.append(next(container.decode(video=0)).rotation)
    assert turned == [-90, -90]


def test_cover_art_is_not_video(
    tmp_path: Path, recordings: Any, restored: Callable[..., Restored]
) -> None:
    source = recordings.write_media(tmp_path / "a.mp3", recordings.clip, audio="libmp3lame")
    pixels = bytes.fromhex(  # a PNG of one pixel
        "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c489"
        "0000000d49444154789c6360000002000100055d0a2db40000000049454e44ae426082"
    )
    art = b"\0image/png\0\x03\0" + pixels
    frame = b"APIC" + struct.pack(">IH", len(art), 0) + art
    size = len(frame)
    head = b"ID3\x03\0\0" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0))
    data = source.read_bytes()
    tag = 10 + int.from_bytes(bytes([0]) + data[7:10], "big") if data[:3] == b"ID3" else 0
    source.write_bytes(head + frame + data[tag:])
    with av.open(str(source)) as container:
        assert container.streams.video  # ffmpeg does show it as a picture
    result = restored(source)
    assert not result.has_video
    assert result.video is None
