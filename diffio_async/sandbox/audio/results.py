"""The MP3 of a restoration, and the streams of its video."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Disposition

from diffio_async.sandbox.audio.decoding import is_decodable, is_disk_full, open_media
from diffio_async.sandbox.audio.sound import (
    RATE,
    Block,
    as_frame,
    layout_name,
)
from diffio_async.sandbox.audio.timeline import packets

_BITS_PER_CHANNEL = 192_000
_MAX_BITS = 320_000


def add_audio_stream(container: OutputContainer, codec: str, channels: int) -> AudioStream:
    """Add an audio stream to an output file: 48 kHz, 192 kbit/s for one channel, 320 for two."""
    audio_stream = container.add_stream(codec, rate=RATE)
    if not isinstance(audio_stream, AudioStream):
        raise TypeError(f"{codec} is not an audio codec")
    audio_stream.layout = layout_name(channels)
    audio_stream.bit_rate = min(_BITS_PER_CHANNEL * channels, _MAX_BITS)
    audio_stream.time_base = Fraction(1, RATE)
    return audio_stream


_TAGS = frozenset(
    """title artist album album_artist composer performer publisher genre date track disc comment
    copyright""".split()  # noqa: SIM905
)
_MAX_ARTWORK = 16 * 1024 * 1024  # bytes


def write_mp3(blocks: Iterable[Block], channels: int, source: Path, target: Path) -> None:
    """Write sound as an MP3, with the tags of the source, and its artwork if MP3 takes it.

    Its header contains the encoder's delay and padding, so that decoding returns the exact length.
    """
    with open_media(source) as original:
        try:
            _write_mp3(blocks, channels, original, target, artwork=_find_artwork(original))
        except _ArtworkRefused:
            _write_mp3(blocks, channels, original, target, artwork=None)


class _ArtworkRefused(Exception):
    """MP3 does not take a picture; no sound is written yet."""


def _write_mp3(
    blocks: Iterable[Block],
    channels: int,
    original: InputContainer,
    target: Path,
    artwork: "av.Packet[Any] | None",
) -> None:
    with av.open(str(target), "w", format="mp3", options={"id3v2_version": "3"}) as container:
        container.metadata.update(_tags(original))
        audio_stream = add_audio_stream(container, "libmp3lame", channels)
        if artwork is not None:
            try:
                picture = container.add_stream_from_template(artwork.stream, opaque=True)
                picture.disposition = Disposition.attached_pic.value
                artwork.stream = picture
                container.mux_one(artwork)
            except (av.error.FFmpegError, ValueError) as error:
                if is_disk_full(error):
                    raise
                raise _ArtworkRefused from error
        start = 0
        for block in blocks:
            container.mux(audio_stream.encode(as_frame(block, start)))
            start += len(block)
        container.mux(audio_stream.encode(None))


def _tags(original: InputContainer) -> dict[str, str]:
    """Return the tags to keep; Ogg has them in its stream."""
    given: dict[str, str] = {}
    for metadata in (
        *(stream.metadata for stream in original.streams.audio[:1]),
        original.metadata,
    ):
        given |= {name.lower(): value for name, value in metadata.items()}
    if "creation_time" in given:
        given.setdefault("date", given["creation_time"][:10])
    return {name: value for name, value in given.items() if name in _TAGS}


def _find_artwork(original: InputContainer) -> "av.Packet[Any] | None":
    """Return the picture of the front cover, or None."""
    for stream in original.streams.video:
        if not stream.disposition & Disposition.attached_pic or not is_decodable(stream):
            continue
        packet = next((p for p in packets(original, stream) if p.size), None)
        if packet is not None and packet.size <= _MAX_ARTWORK:
            return packet
    return None
