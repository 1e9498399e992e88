"""Writing the restored sound: MP3, and the codecs that pictures are kept with."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer

from diffio_async.sandbox.audio.filtering import as_frame, layout_of
from diffio_async.sandbox.audio.sound import RATE, Block

_BITS_PER_CHANNEL = 96_000


def sound_stream(container: OutputContainer, codec: str, channels: int) -> AudioStream:
    """Add a sound stream to a file that is written: 48 kHz, 96 kbit/s per channel."""
    stream = container.add_stream(codec, rate=RATE)
    if not isinstance(stream, AudioStream):
        raise TypeError(f"{codec} is no audio codec")
    stream.layout = layout_of(channels)
    stream.bit_rate = _BITS_PER_CHANNEL * channels
    stream.time_base = Fraction(1, RATE)
    return stream


def write_mp3(blocks: Iterable[Block], channels: int, target: Path) -> None:
    """Write sound as an MP3.

    Its header says how much the encoder delayed and filled up, so that a decoder gives exactly
    the length that went in.
    """
    with av.open(str(target), "w", format="mp3") as container:
        stream = sound_stream(container, "libmp3lame", channels)
        start = 0
        for block in blocks:
            container.mux(stream.encode(as_frame(block, start)))
            start += len(block)
        container.mux(stream.encode(None))
