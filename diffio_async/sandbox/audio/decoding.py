"""Opening of recordings: allowed formats and codecs, limits, and the choice of streams.

FFmpeg also reads formats that are programs (SBaGen generates sound from a few bytes of text), that
name other files or hosts (playlists), and that any text is valid in (terminal art). Uploads are
therefore opened with whitelists of formats, codecs and protocols.
"""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import av.error
from attrs import frozen
from av.audio.stream import AudioStream
from av.codec import Codec
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from diffio_async.sandbox.audio.sound import RATE
from diffio_async.sandbox.audio.structure import Link, read_structure

if TYPE_CHECKING:
    from collections.abc import Iterable


class CannotRestore(Exception):
    """The recording cannot be restored; the message is for its owner."""


def is_disk_full(error: BaseException) -> bool:
    """Return whether an error means that a disk or a quota is full."""
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


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


# Metadata in an odd encoding does not make a recording unusable. PyAV before version 19 needs an
# option for that; later versions have no such option.
_LENIENT_SINCE = 19
_LENIENT: dict[str, Any] = (
    {}
    if int(av.__version__.partition(".")[0]) >= _LENIENT_SINCE
    else {"metadata_errors": "replace"}
)


@contextmanager
def open_media(source: Path, link: Link | None = None) -> Iterator[InputContainer]:
    """Open a recording; its format is detected from its content.

    Args:
        source: The recording.
        link: The part of a joined file to open, or None for the complete file.

    Raises:
        CannotRestore: The file is empty, is not an audio or video file, or is encrypted.
        OSError: The file cannot be read.
    """
    if source.stat().st_size == 0:
        raise CannotRestore("the file is empty")
    part = None if link is None else _Part(source, link)
    try:
        file = part or f"file:{source}"
        container = av.open(file, "r", options=whitelist_options(), **_LENIENT)
    except (FileNotFoundError, PermissionError):
        raise
    except (av.error.FFmpegError, ValueError) as error:
        if _is_protected_asf(source):
            raise CannotRestore(ENCRYPTED) from error
        if read_structure(source).size > source.stat().st_size:
            raise CannotRestore(
                "the file is cut off, and cannot be read without its end: copy it again"
            ) from error
        raise CannotRestore(
            "the file is not a recording, or damaged: no audio or video format fits its content"
        ) from error
    try:
        with container:
            yield container
    finally:
        if part is not None:
            part.close()


ENCRYPTED = "the recording is encrypted (DRM); restore a copy without copy protection"
_PROTECTED_TAGS = frozenset({"drms", "drmi", "enca", "encv", "aavd"})
# The GUIDs of the two content encryption objects of ASF.
_PROTECTED_ASF = (
    bytes.fromhex("FBB3112223BDD211B4B700A0C955FC6E"),
    bytes.fromhex("14E68A292226174CB935DAE07EE9289C"),
)
_HEAD = 64 * 1024


def _is_protected_asf(source: Path) -> bool:
    with source.open("rb") as file:
        head = file.read(_HEAD)
    return head.startswith(b"\x30\x26\xb2\x75") and any(guid in head for guid in _PROTECTED_ASF)


def codec_tag(stream: AudioStream | VideoStream) -> str:
    """Return the four characters that a file has for a codec; empty if they are not ASCII."""
    try:
        return stream.codec_context.codec_tag
    except UnicodeDecodeError:
        return ""


def check_encryption(container: InputContainer, stream: AudioStream, source: Path) -> None:
    """Check that the headers of a recording do not declare its sound as encrypted.

    Raises:
        CannotRestore: The sound is encrypted.
    """
    if (
        codec_tag(stream) in _PROTECTED_TAGS
        or "enc_key_id" in stream.metadata
        or (container.format.name == "asf" and _is_protected_asf(source))
    ):
        raise CannotRestore(ENCRYPTED)


class _Part:
    """A part of a file, as a file for PyAV."""

    def __init__(self, source: Path, link: Link) -> None:
        self._file = source.open("rb")
        self._link = link
        self._position = self._file.seek(link.start)

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes, none at the end."""
        data = self._file.read(max(0, min(size, self._link.end - self._position)))
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move to a byte of the part, and return its position."""
        base = (self._link.start, self._position, self._link.end)[whence]
        self._position = self._file.seek(base + offset)
        return self.tell()

    def tell(self) -> int:
        """Return the position within the part; PyAV does not seek without this method."""
        return self._position - self._link.start

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
        best = next((s for s in container.streams.audio if is_decodable(s)), None)
    if best is None:
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
