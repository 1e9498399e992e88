"""Reading recordings: whatever ffmpeg's libraries know, as blocks of one or two channels."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from diffio_async.sandbox.audio.filtering import as_block, layout_of
from diffio_async.sandbox.audio.formats import is_sound_codec, open_options
from diffio_async.sandbox.audio.limits import Limits
from diffio_async.sandbox.audio.outcome import CannotRestore, Probed
from diffio_async.sandbox.audio.sound import RATE, Block

_MOST_CHANNELS = 2
_BROKEN = "the recording is damaged: none of its sound can be decoded"

# Names and titles in odd encodings are no reason to refuse a recording. PyAV before this version
# has to be told, and later ones know no such word.
_DECODES_LATER = 19
_LENIENT: dict[str, Any] = (
    {}
    if int(av.__version__.partition(".")[0]) >= _DECODES_LATER
    else {"metadata_errors": "replace"}
)


@contextmanager
def open_media(source: Path) -> Iterator[InputContainer]:
    """Open a recording, whatever its name says.

    Raises:
        CannotRestore: it is empty, or nothing that holds sound or pictures.
        OSError: it cannot be read at all.
    """
    if source.stat().st_size == 0:
        raise CannotRestore("the file is empty")
    try:
        container = av.open(f"file:{source}", "r", options=open_options(), **_LENIENT)
    except (FileNotFoundError, PermissionError):
        raise
    except (av.error.FFmpegError, ValueError) as error:
        raise CannotRestore(
            "the file is not a recording, or damaged: no audio or video format fits its content"
        ) from error
    with container:
        yield container


def picture_in(container: InputContainer) -> VideoStream | None:
    """The moving picture, or None; cover art does not move."""
    still = Disposition.attached_pic | Disposition.timed_thumbnails
    return next((s for s in container.streams.video if not s.disposition & still), None)


def sound_in(container: InputContainer) -> AudioStream:
    """The recording's main sound.

    Raises:
        CannotRestore: there is none, no decoder knows it, or no recording has its codec.
    """
    best = container.streams.best("audio")
    if not isinstance(best, AudioStream) or not is_decodable(best):
        if container.streams.audio:
            raise CannotRestore("the sound in this file is in a form that cannot be decoded")
        raise CannotRestore("there is no audio stream in this file")
    codec = best.codec_context.codec.canonical_name
    if not is_sound_codec(codec):
        raise CannotRestore(f"the sound in this file is in a form ({codec}) that is not read")
    return best


def is_decodable(stream: AudioStream | VideoStream) -> bool:
    """Return whether FFmpeg has a decoder for a stream: PyAV's stubs say that it always has."""
    context: object = stream.codec_context
    return context is not None


def probe(source: Path) -> Probed:
    """Look at a file's headers.

    Raises:
        CannotRestore: it is empty, or nothing that holds sound or pictures.
    """
    with open_media(source) as container:
        return Probed(
            has_audio=bool(container.streams.audio),
            has_video=picture_in(container) is not None,
            seconds=container.duration / 1e6 if container.duration else None,
        )


def channels_of(stream: AudioStream) -> int:
    """How many channels the restored sound will have: two at most."""
    return min(max(1, stream.codec_context.channels), _MOST_CHANNELS)


def decoded(
    container: InputContainer,
    stream: AudioStream,
    limits: Limits,
    done: Callable[[float], None],
) -> Iterator[Block]:
    """The sound at 48 kHz, in one or two channels; damaged stretches are left out.

    Args:
        container: as `opened` gives it.
        stream: as `sound_in` gives it.
        limits: what the recording may take.
        done: told the part that is done, from 0 to 1.

    Raises:
        CannotRestore: nothing of it, or hardly anything, can be decoded, or too much.
    """
    channels = channels_of(stream)
    resampler: av.AudioResampler | None = None
    heard_form: tuple[str, str, int] | None = None
    good = bad = 0
    for packet in _packets(container, stream):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            bad += 1
            continue
        for frame in frames:
            good += 1
            form = (frame.format.name, frame.layout.name, frame.sample_rate)
            limits.check_rate(frame.sample_rate)
            if resampler is None or form != heard_form:  # a stream may change on its way
                yield from _resampled(resampler, None)
                resampler = av.AudioResampler("flt", layout_of(channels), RATE)
                heard_form = form
            frame.pts = None
            yield from _resampled(resampler, frame)
        done(_part(packet, container, stream))
    yield from _resampled(resampler, None)
    if bad > good:
        raise CannotRestore(_BROKEN)


def _packets(container: InputContainer, stream: AudioStream) -> Iterator["av.Packet[AudioStream]"]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            return  # cut short: what came before is worth restoring
        if packet is None:
            return
        yield packet


def _resampled(resampler: av.AudioResampler | None, frame: av.AudioFrame | None) -> Iterator[Block]:
    if resampler is not None:
        for out in resampler.resample(frame):
            yield np.nan_to_num(as_block(out), posinf=1.0, neginf=-1.0)


def _part(
    packet: "av.Packet[AudioStream]", container: InputContainer, stream: AudioStream
) -> float:
    if packet.pts is not None and container.duration and stream.time_base is not None:
        start = stream.start_time or 0
        return min(1.0, float((packet.pts - start) * stream.time_base) * 1e6 / container.duration)
    if packet.pos is not None and container.size > 0:
        return min(1.0, packet.pos / container.size)
    return 0.0
