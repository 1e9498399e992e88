"""What the name, the type or the first bytes of a recording say about its container."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from diffio_async._protocol.media_types import content_type_of
from diffio_async.errors import InvalidSource

if TYPE_CHECKING:
    from collections.abc import Collection

#: Endings of types of sound whose files may hold pictures all the same.
_MAY_HAVE_PICTURES = frozenset({".ogg", ".wma"})
#: Types of sound alone, in all their spellings.
_SOUND_TYPES = frozenset(
    (  # noqa: SIM905 - a list of words, to be read as one
        "audio/wav audio/x-wav audio/wave audio/vnd.wave audio/mpeg audio/mp3 audio/flac "
        "audio/x-flac audio/aac audio/aiff audio/x-aiff audio/amr audio/basic audio/opus"
    ).split()
)
_SOUND = frozenset(
    {".m4a", ".m4b", ".opus", ".wav", ".flac", ".mp3", ".aac", ".aiff", ".amr", ".au", ".caf"}
)
#: Bytes that `ending_by_content` looks at.
HEAD = 64

_BEGINNINGS = (
    (b"fLaC", ".flac"),
    (b"ID3", ".mp3"),
    (b"OggS", ".ogg"),
    (b"#!AMR", ".amr"),
    (b".snd", ".au"),
    (b"caff", ".caf"),
    (b"FLV\x01", ".flv"),
    (b"\x00\x00\x01\xba", ".mpg"),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", ".asf"),
)
_RIFF = {b"WAVE": ".wav", b"AVI ": ".avi"}
_BRANDS = {b"M4A ": ".m4a", b"M4B ": ".m4b", b"qt  ": ".mov", b"3gp": ".3gp", b"3g2": ".3g2"}


def ending_by_content(head: bytes) -> str | None:
    """Return the usual ending of the container that these first bytes begin, None if unknown."""
    for beginning, ending in _BEGINNINGS:
        if head.startswith(beginning):
            if ending == ".ogg" and b"OpusHead" in head:
                return ".opus"
            return ".ogv" if ending == ".ogg" and b"\x80theora" in head else ending
    if head[:4] in {b"RIFF", b"RF64"}:
        return _RIFF.get(head[8:12])
    if head[:4] == b"FORM" and head[8:12] in {b"AIFF", b"AIFC"}:
        return ".aiff"
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12]) or _BRANDS.get(head[8:11], ".mp4")
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return ".webm" if b"webm" in head else ".mkv"
    return _ending_of_frames(head)


def _ending_of_frames(head: bytes) -> str | None:
    """MPEG audio without a container: eleven set bits, then the version and the layer."""
    if len(head) < 2 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:  # noqa: PLR2004 - two bytes
        return None
    if head[1] & 0xF6 == 0xF0:  # noqa: PLR2004 - the layer of ADTS
        return ".aac"
    layer_3, reserved_version = head[1] & 0x06 == 0x02, head[1] & 0x18 == 0x08  # noqa: PLR2004
    return ".mp3" if layer_3 and not reserved_version else None


def holds_only_sound(name: str, content_type: str | None = None, head: bytes = b"") -> bool:
    """Whether a recording is one of sound, by all that is known of it.

    What may have pictures is for the service to say, and so is what a name says nothing about.

    Args:
        name: Its file name.
        content_type: Its MIME type, where the user named one.
        head: Its first bytes, as far as they are known.
    """
    if ending_by_content(head) not in _SOUND | {None}:
        return False  # a film under the name of a sound recording
    ending = PurePath(name).suffix.lower()
    by_name = content_type_of(name).startswith("audio/") and ending not in _MAY_HAVE_PICTURES
    by_type = None if content_type is None else content_type.partition(";")[0].strip().lower()
    if by_type is None:
        return by_name
    return by_type in _SOUND_TYPES and (by_name or not ending)


def check_video_possible(
    kinds: Collection[str], name: str, content_type: str | None = None, head: bytes = b""
) -> None:
    """Find out before a generation is billed that nothing can be fetched of it.

    Args:
        kinds: The API's words for the download types that are wanted.
        name: As for `holds_only_sound`.
        content_type: As for `holds_only_sound`.
        head: As for `holds_only_sound`.

    Raises:
        InvalidSource: Only videos are wanted, and the recording has no pictures.
    """
    if set(kinds) == {"video"} and holds_only_sound(name, content_type, head):
        what = f"{name!r} is a sound recording" if name else "the source is a sound recording"
        raise InvalidSource(
            f"{what}, so there will be no video: fetch the audio instead (download_type='audio')"
        )
