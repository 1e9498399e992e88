"""Video: the picture as it was, packet for packet, with the restored sound beside it."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import av
import av.error
from attrs import frozen
from av.container import InputContainer
from av.video.stream import VideoStream

from diffio_async.sandbox.audio.decoding import is_decodable, open_media, picture_in, sound_in
from diffio_async.sandbox.audio.encoding import sound_stream
from diffio_async.sandbox.audio.filtering import as_frame
from diffio_async.sandbox.audio.outcome import CannotRestore
from diffio_async.sandbox.audio.sound import RATE, Block

_OF_THE_WEB = frozenset({"vp8", "vp9", "av1"})


@frozen
class Container:
    """A kind of video file: how ffmpeg and file names call it, and the sound it takes."""

    format: str
    suffix: str
    sound: str


MP4 = Container("mp4", ".mp4", "aac")
WEBM = Container("webm", ".webm", "libopus")
MATROSKA = Container("matroska", ".mkv", "aac")


def containers_for(container: InputContainer, picture: VideoStream) -> list[Container]:
    """The kinds of file to try, best first: like the input's where the picture may go there."""
    formats, codec = container.format.name, picture.codec_context.name
    if "webm" in formats and codec in _OF_THE_WEB:
        return [WEBM, MATROSKA]
    # VP8 may not go into mp4 at all, and few players take VP9 from there.
    if codec in {"vp8", "vp9"} or "matroska" in formats:
        return [MATROSKA]
    return [MP4, MATROSKA]


def write_video(
    source: Path,
    sound: Callable[[], Iterable[Block]],
    channels: int,
    folder: Path,
    done: Callable[[float], None],
) -> Path:
    """Write the source's picture with another sound.

    Args:
        source: a recording with a picture.
        sound: gives the sound's blocks, from the start each time it is called.
        channels: one or two.
        folder: where `restored` with the fitting ending is written.
        done: told the part that is done, from 0 to 1.

    Raises:
        CannotRestore: no kind of file takes this picture as it is.
    """
    with open_media(source) as container:
        picture = picture_in(container)
        if picture is None:
            raise CannotRestore("there is no moving picture in this file")
        if not is_decodable(picture):
            raise CannotRestore("the picture in this file is in a form that is not known")
        kinds = containers_for(container, picture)
    for kind in kinds:
        target = folder / f"restored{kind.suffix}"
        try:
            _write(source, sound(), channels, kind, target, done)
        except (av.error.FFmpegError, ValueError):
            target.unlink(missing_ok=True)
        else:
            return target
    raise CannotRestore("the picture in this file cannot be kept beside a new sound")


def _write(
    source: Path,
    blocks: Iterable[Block],
    channels: int,
    kind: Container,
    target: Path,
    done: Callable[[float], None],
) -> None:
    with open_media(source) as film, av.open(str(target), "w", format=kind.format) as out:
        picture, heard = picture_in(film), sound_in(film)
        if picture is None or picture.time_base is None or heard.time_base is None:
            raise CannotRestore("the picture in this file carries no times")
        shown = out.add_stream_from_template(picture)
        shown.metadata.update(picture.metadata)
        stream = sound_stream(out, kind.sound, channels)
        # The sound need not begin with the picture.
        begin = round((heard.start_time or 0) * heard.time_base * RATE)
        talk = _AudioMuxer(
            blocks, begin, lambda block, at: out.mux(stream.encode(as_frame(block, at)))
        )
        for packet in _in_order(film.demux(picture)):
            seconds = float((packet.dts or 0) * picture.time_base)
            talk.until(seconds)
            packet.stream = shown
            out.mux_one(packet)
            if film.duration:
                done(min(1.0, seconds * 1e6 / film.duration))
        talk.until(None)
        out.mux(stream.encode(None))


def _in_order(packets: "Iterator[av.Packet[VideoStream]]") -> "Iterator[av.Packet[VideoStream]]":
    """The picture's packets, each with a decoding time.

    Where pictures are stored out of order, some containers leave the first ones without.
    """
    early: list[av.Packet[VideoStream]] = []
    for packet in packets:
        if packet.size == 0:  # the mark at the end
            continue
        if packet.dts is None:
            early.append(packet)
            continue
        for steps, waiting in enumerate(reversed(early), start=1):
            waiting.dts = packet.dts - steps * (packet.duration or 1)
        yield from early
        early.clear()
        yield packet
    yield from (packet for packet in early if packet.pts is not None)


class _AudioMuxer:
    """Lets the sound keep step with the picture, so that neither has to be held in memory."""

    def __init__(
        self, blocks: Iterable[Block], begin: int, put: Callable[[Block, int], None]
    ) -> None:
        self._blocks: Iterator[Block] = iter(blocks)
        self._at = begin
        self._put = put

    def until(self, seconds: float | None) -> None:
        """Encode up to that time; None is the end."""
        while seconds is None or self._at / RATE <= seconds:
            block = next(self._blocks, None)
            if block is None:
                return
            self._put(block, self._at)
            self._at += len(block)
