"""Decoding of recordings into blocks of one or two channels.

FFmpeg also reads formats that are programs (SBaGen generates sound from a few bytes of text), that
name other files or hosts (playlists), and that any text is valid in (terminal art). Uploads are
therefore opened with whitelists of formats, codecs and protocols.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import av.error
import numpy as np
from attrs import frozen
from av.audio.stream import AudioStream
from av.codec import Codec
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from diffio_async.sandbox.audio.sound import RATE, Block, as_block, layout_name

if TYPE_CHECKING:
    from collections.abc import Iterable


class CannotRestore(Exception):
    """The recording cannot be restored; the message is for its owner."""


@frozen
class Probed:
    """The contents of a file by its headers.

    Attributes:
        has_audio: Whether there is an audio stream.
        has_video: Whether there is a video stream; cover art does not count.
        seconds: The declared duration, or None if absent.
    """

    has_audio: bool
    has_video: bool
    seconds: float | None


MiB = 1024 * 1024
GiB = 1024 * MiB

# The most compact speech codec, AMR at 4.75 kbit/s, expands by 320 when it is decoded.
_MAX_EXPANSION = 500
_MIN_DECODED_LIMIT = 512 * MiB
_MIN_RATE = 2000


@frozen(kw_only=True)
class Limits:
    """Limits of one recording, however small its file is.

    Attributes:
        seconds: Maximum duration of the decoded sound.
        decoded_bytes: Maximum scratch space: 192 kB per second and channel. Beyond 512 MiB, 500
            times the size of the file is a limit too.
    """

    seconds: float = 6 * 3600.0
    decoded_bytes: int = 6 * GiB

    def check_rate(self, rate: int) -> None:
        """Check the sampling rate; a very low one would expand to hours of sound at 48 kHz.

        Raises:
            CannotRestore: The rate is below 2 kHz.
        """
        if rate < _MIN_RATE:
            raise CannotRestore(
                f"the sound has {rate} samples per second, but at least {_MIN_RATE} are required"
            )

    def check(self, *, samples: int, decoded_bytes: int, file_size: int) -> None:
        """Check the duration and size of a recording while it is decoded.

        Args:
            samples: Samples per channel decoded so far.
            decoded_bytes: Bytes of scratch space so far.
            file_size: Bytes in the file of the recording.

        Raises:
            CannotRestore: A limit is exceeded; the message contains it.
        """
        if samples > self.seconds * RATE:
            raise CannotRestore(
                f"the recording is longer than {self.seconds:g} s, the limit of this sandbox"
            )
        if decoded_bytes > self.decoded_bytes:
            raise CannotRestore(
                f"the recording takes more than {_size(self.decoded_bytes)} when it is decoded,"
                " the limit of this sandbox"
            )
        if decoded_bytes > max(_MIN_DECODED_LIMIT, _MAX_EXPANSION * file_size):
            raise CannotRestore(
                f"the recording takes over {_size(decoded_bytes)} when it is decoded, but its file"
                f" has only {_size(file_size)}"
            )


def _size(count: int) -> str:
    return f"{count / GiB:.1f} GiB" if count >= GiB else f"{count / MiB:.1f} MiB"


#: Above this many channels, ffmpeg can only mix layouts that have a name.
_MAX_UNNAMED = 8

_FORMATS = frozenset(
    """aac ac3 aiff amr amrnb amrwb ape asf ast au avi caf dsf dts dtshd dv eac3 flac flv
    g722 g729 gsm ircam ivf loas matroska mlp mov mp3 mpc mpc8 mpeg mpegts mxf nistsphere
    nut oga ogg oma ogv rm sox tak truehd tta voc w64 wav webm wsaud wtv wv xwma""".split()  # noqa: SIM905
)
# Opened only to report that they contain no sound.
_STILL_PICTURES = frozenset({"bmp_pipe", "gif", "jpeg_pipe", "png_pipe", "tiff_pipe", "webp_pipe"})

_SOUND_CODECS = frozenset(
    """aac aac_latm ac3 alac amr_nb amr_wb ape atrac1 atrac3 atrac3al atrac3p atrac3pal cook
    dss_sp dsd_lsbf dsd_lsbf_planar dsd_msbf dsd_msbf_planar dts eac3 flac g723_1 g729 gsm
    gsm_ms ilbc imc mace3 mace6 mlp mp1 mp2 mp3 musepack7 musepack8 nellymoser opus qcelp
    qdm2 qdmc ra_144 ra_288 shorten sipr speex tak truehd truespeech tta vorbis wavpack
    wmalossless wmapro wmav1 wmav2 wmavoice xma1 xma2""".split()  # noqa: SIM905
)
_SOUND_FAMILIES = ("pcm_", "adpcm_")
# Video is copied, not decoded, except for the few frames from which FFmpeg reads its size.
_PICTURE_CODECS = frozenset(
    """av1 cinepak dnxhd dvvideo ffv1 flv1 h261 h263 h263i h263p h264 hevc indeo3 indeo5
    mjpeg mpeg1video mpeg2video mpeg4 msmpeg4v1 msmpeg4v2 msmpeg4v3 prores rv10 rv20 rv30
    rv40 svq1 svq3 theora vc1 vp3 vp6 vp6f vp8 vp9 vvc wmv1 wmv2 wmv3""".split()  # noqa: SIM905
)


def is_sound_codec(name: str) -> bool:
    """Return whether an audio codec, by its FFmpeg name, is allowed."""
    return name in _SOUND_CODECS or name.startswith(_SOUND_FAMILIES)


@cache
def whitelist_options() -> dict[str, str]:
    """Return the options with which FFmpeg opens an upload: formats, decoders and protocols."""
    formats = (
        name
        for name in av.formats_available
        # One demuxer may have several names: "mov,mp4,m4a,3gp,3g2,mj2".
        if (_FORMATS | _STILL_PICTURES).intersection(name.split(","))
    )
    return {
        "format_whitelist": _join(formats),
        "codec_whitelist": _join(filter(_is_allowed_decoder, av.codecs_available)),
        "protocol_whitelist": "file",
    }


def _is_allowed_decoder(name: str) -> bool:
    try:
        codec = Codec(name, "r")
    except ValueError:  # an encoder
        return False
    return is_sound_codec(codec.canonical_name) or codec.canonical_name in _PICTURE_CODECS


def _join(names: "Iterable[str]") -> str:
    return ",".join(sorted(names))


_MAX_CHANNELS = 2
_DAMAGED = "the recording is damaged: none of its sound can be decoded"

# Metadata in an odd encoding does not make a recording unusable. PyAV before version 19 needs an
# option for that; later versions have no such option.
_LENIENT_SINCE = 19
_LENIENT: dict[str, Any] = (
    {}
    if int(av.__version__.partition(".")[0]) >= _LENIENT_SINCE
    else {"metadata_errors": "replace"}
)


@contextmanager
def open_media(source: Path) -> Iterator[InputContainer]:
    """Open a recording; its format is detected from its content.

    Raises:
        CannotRestore: The file is empty, or is not an audio or video file.
        OSError: The file cannot be read.
    """
    if source.stat().st_size == 0:
        raise CannotRestore("the file is empty")
    try:
        container = av.open(f"file:{source}", "r", options=whitelist_options(), **_LENIENT)
    except (FileNotFoundError, PermissionError):
        raise
    except (av.error.FFmpegError, ValueError) as error:
        raise CannotRestore(
            "the file is not a recording, or damaged: no audio or video format fits its content"
        ) from error
    with container:
        yield container


def find_video(container: InputContainer) -> VideoStream | None:
    """Return the video stream, or None; cover art is not video."""
    not_moving = Disposition.attached_pic | Disposition.timed_thumbnails
    return next((s for s in container.streams.video if not s.disposition & not_moving), None)


def find_audio(container: InputContainer) -> AudioStream:
    """Return the main audio stream.

    Raises:
        CannotRestore: There is no audio stream, or its codec is unsupported.
    """
    best = container.streams.best("audio")
    if not isinstance(best, AudioStream) or not is_decodable(best):
        if container.streams.audio:
            raise CannotRestore("the sound in this file is in a format that cannot be decoded")
        raise CannotRestore("there is no audio stream in this file")
    codec = best.codec_context.codec.canonical_name
    if not is_sound_codec(codec):
        raise CannotRestore(
            f"the sound in this file is in a format ({codec}) that is not supported"
        )
    return best


def is_decodable(stream: AudioStream | VideoStream) -> bool:
    """Return whether FFmpeg has a decoder for a stream; PyAV's stubs omit that it may not."""
    context: object = stream.codec_context
    return context is not None


def probe(source: Path) -> Probed:
    """Read the headers of a file.

    Raises:
        CannotRestore: The file is empty, or is not an audio or video file.
    """
    with open_media(source) as container:
        return Probed(
            has_audio=bool(container.streams.audio),
            has_video=find_video(container) is not None,
            seconds=container.duration / 1e6 if container.duration else None,
        )


def output_channels(stream: AudioStream) -> int:
    """Return the number of channels of the restored sound: one or two."""
    return min(max(1, stream.codec_context.channels), _MAX_CHANNELS)


def decode_blocks(
    container: InputContainer,
    stream: AudioStream,
    limits: Limits,
    on_progress: Callable[[float], None],
) -> Iterator[Block]:
    """Yield the sound at 48 kHz in one or two channels, without the packets that are damaged.

    Args:
        container: An open recording.
        stream: The stream that `find_audio` returned.
        limits: Limits of the recording.
        on_progress: Called with the fraction that is done, from 0 to 1.

    Raises:
        CannotRestore: Most of the sound cannot be decoded, or its sampling rate is too low.
    """
    channels = output_channels(stream)
    resampler: av.AudioResampler | None = None
    previous_format: tuple[str, str, int] | None = None
    decoded = failed = 0
    for packet in _packets(container, stream):
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            failed += 1
            continue
        for given in frames:
            decoded += 1
            frame = _mixable(given)
            frame_format = (frame.format.name, frame.layout.name, frame.sample_rate)
            limits.check_rate(frame.sample_rate)
            if (
                resampler is None or frame_format != previous_format
            ):  # formats may change within a stream
                yield from _resample(resampler, None)
                resampler = av.AudioResampler("flt", layout_name(channels), RATE)
                previous_format = frame_format
            frame.pts = None
            yield from _resample(resampler, frame)
        on_progress(_fraction_done(packet, container, stream))
    yield from _resample(resampler, None)
    if failed > decoded:
        raise CannotRestore(_DAMAGED)


def _packets(container: InputContainer, stream: AudioStream) -> Iterator["av.Packet[AudioStream]"]:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.FFmpegError:
            return  # truncated: restore what came before
        if packet is None:
            return
        yield packet


def _resample(resampler: av.AudioResampler | None, frame: av.AudioFrame | None) -> Iterator[Block]:
    if resampler is not None:
        for out in resampler.resample(frame):
            yield np.nan_to_num(as_block(out), posinf=1.0, neginf=-1.0)


def _mixable(frame: av.AudioFrame) -> av.AudioFrame:
    """Return a frame that ffmpeg can mix: of many channels without a layout, their mean."""
    count = frame.layout.nb_channels
    if count <= _MAX_UNNAMED or frame.layout.name != f"{count} channels":
        return frame
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, count).T
    mean = samples.mean(axis=0, dtype=np.float64)
    if samples.dtype.kind == "u":
        mean = (mean - 128.0) / 128.0
    elif samples.dtype.kind == "i":
        mean /= 2.0 ** (8 * samples.dtype.itemsize - 1)
    mixed = av.AudioFrame.from_ndarray(mean.astype(np.float32)[np.newaxis], "flt", "mono")
    mixed.sample_rate = frame.sample_rate
    return mixed


def _fraction_done(
    packet: "av.Packet[AudioStream]", container: InputContainer, stream: AudioStream
) -> float:
    if packet.pts is not None and container.duration and stream.time_base is not None:
        start = stream.start_time or 0
        return min(1.0, float((packet.pts - start) * stream.time_base) * 1e6 / container.duration)
    if packet.pos is not None and container.size > 0:
        return min(1.0, packet.pos / container.size)
    return 0.0
