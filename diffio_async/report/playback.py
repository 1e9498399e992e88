"""What a browser plays: files in place, or a listening copy of their sound as MP3."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import av
from attrs import frozen

from diffio_async.sandbox.audio.decoding import find_audio, find_video, is_decodable, open_media
from diffio_async.sandbox.audio.sound import RATE, as_frame, layout_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from av.container import OutputContainer

    from diffio_async.sandbox.audio.sound import Block

#: Media type, codecs of the sound and of the picture, by FFmpeg's name of the container. All major
#: browsers play these.
_PLAYABLE = {
    "mp3": ("audio/mpeg", "mp3", ""),
    "wav": ("audio/wav", "pcm_u8 pcm_s16le pcm_s24le pcm_f32le", ""),
    "flac": ("audio/flac", "flac", ""),
    "ogg": ("audio/ogg", "opus vorbis flac", ""),
    "aac": ("audio/aac", "aac", ""),
    "mp4": ("audio/mp4", "aac mp3 flac opus", "h264 av1"),
    "webm": ("audio/webm", "opus vorbis", "vp8 vp9 av1"),
}
#: Bits per second of a listening copy, by its channels.
_BIT_RATES = {1: 96_000, 2: 160_000}


@frozen
class Media:
    """How a file is played.

    Attributes:
        type: Its media type, None if a browser does not play it.
        has_video: Whether it has a picture.
        seconds: The declared duration, None if absent.
    """

    type: str | None
    has_video: bool
    seconds: float | None


def media_of(path: Path) -> Media:
    """Return how a browser plays a file.

    Raises:
        CannotRestore: The file has no sound, or cannot be opened.
        OSError: The file cannot be read.
    """
    with open_media(path) as container:
        names = {*container.format.name.split(",")}
        if "webm" in names and path.suffix.lower() not in {".webm", ".weba"}:
            names = set()  # Matroska, which browsers do not play
        video = find_video(container)
        picture = video.codec_context.name if video is not None and is_decodable(video) else None
        seconds = container.duration / 1e6 if container.duration else None
        sound = find_audio(container).codec_context.codec.canonical_name
        kind, sounds, pictures = next(
            (playable for name, playable in _PLAYABLE.items() if name in names), ("", "", "")
        )
    if sound not in sounds.split() or (video and picture not in pictures.split()):
        return Media(None, video is not None, seconds)
    return Media(kind.replace("audio/", "video/") if video else kind, video is not None, seconds)


def copy_sound(blocks: Iterable[Block], channels: int, target: Path) -> Iterator[Block]:
    """Yield the blocks of a sound, and write them as MP3 to a new file."""
    with closing(_open_mp3(target)) as container:
        stream: Any = container.add_stream("libmp3lame", rate=RATE)
        stream.layout = layout_name(channels)
        stream.bit_rate = _BIT_RATES[channels]
        length = 0
        for block in blocks:
            container.mux(stream.encode(as_frame(block, length)))
            length += len(block)
            yield block
        container.mux(stream.encode(None))


def _open_mp3(target: Path) -> OutputContainer:
    return av.open(str(target), "w", format="mp3")
