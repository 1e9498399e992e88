"""Types of recordings, by their name, content type and first bytes: the same on every machine."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING

from diffio_async.errors import InvalidSource

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

_UNKNOWN = "application/octet-stream"
#: The first ending of a type is its usual one. Containers that can hold a video have a video type;
#: the service detects whether they hold one.
_ENDINGS_BY_TYPE = {
    "audio/mpeg": "mp3 mpga mpa mp2 m2a mp1 m1a",
    "audio/x-wav": "wav wave bwf rf64",
    "audio/flac": "flac",
    "audio/mp4": "m4a m4b m4r m4p isma",
    "audio/3gpp": "3ga",
    "audio/quicktime": "qta",
    "audio/aac": "aac adts loas latm",
    "audio/ogg": "ogg oga opus spx mogg",
    "audio/webm": "weba",
    "audio/x-matroska": "mka",
    "audio/x-aiff": "aiff aif aifc",
    "audio/x-ms-wma": "wma",
    "audio/amr": "amr",
    "audio/amr-wb": "awb",
    "audio/x-caf": "caf",
    "audio/x-ape": "ape",
    "audio/x-wavpack": "wv",
    "audio/x-tta": "tta",
    "audio/x-tak": "tak",
    "audio/x-musepack": "mpc",
    "audio/x-dsf": "dsf",
    "audio/x-w64": "w64",
    "audio/x-voc": "voc",
    "audio/x-gsm": "gsm",
    "audio/x-nist": "sph nist",
    "audio/x-ircam": "ircam",
    "audio/x-oma": "oma aa3",
    "audio/x-sox": "sox",
    "audio/x-xwma": "xwma",
    "audio/basic": "au snd",
    "audio/ac3": "ac3",
    "audio/eac3": "eac3 ec3",
    "audio/vnd.dts": "dts dtshd",
    "audio/vnd.dolby.mlp": "mlp thd truehd",
    "audio/g722": "g722",
    "audio/vnd.rn-realaudio": "ra",
    "video/mp4": "mp4 m4v f4v mp4v mj2 ismv",
    "video/quicktime": "mov qt",
    "video/x-matroska": "mkv mk3d",
    "video/webm": "webm",
    "video/x-msvideo": "avi divx xvid amv",
    "video/mpeg": "mpg mpeg mpe m2v m2p vob vro evo mod",
    "video/mp2t": "ts mts m2ts m2t tp trp tod",
    "video/3gpp": "3gp 3gpp",
    "video/3gpp2": "3g2 3gp2",
    "video/ogg": "ogv ogm ogx",
    "video/x-flv": "flv",
    "video/x-ms-wmv": "wmv wm",
    "video/x-ms-asf": "asf dvr-ms",
    "video/x-ms-wtv": "wtv",
    "video/dv": "dv dif",
    "video/x-nut": "nut",
    "application/vnd.rn-realmedia": "rm rmvb",
    "application/mxf": "mxf",
}
_TYPES = {
    f".{ending}": kind for kind, endings in _ENDINGS_BY_TYPE.items() for ending in endings.split()
}
#: The lower-case endings of recordings in a folder.
RECORDING_ENDINGS = frozenset(_TYPES)
#: Those of containers that can hold a video.
VIDEO_ENDINGS = frozenset(
    ending for ending, kind in _TYPES.items() if not kind.startswith("audio/")
)
#: Endings of compressed files.
_PACKED = frozenset({".gz", ".bz2", ".xz", ".z", ".br", ".zst", ".lzma"})


def content_type_of(name: str) -> str:
    """Return the content type of a recording by its name; the general one if unknown."""
    return _TYPES.get(PurePath(name).suffix.lower(), _UNKNOWN)


def is_packed(name: str) -> bool:
    """Return whether a name is that of a compressed file."""
    return PurePath(name).suffix.lower() in _PACKED


def ending_of(content_type: str) -> str | None:
    """Return the usual ending of a content type; None if recordings do not have the type."""
    endings = _ENDINGS_BY_TYPE.get(content_type.partition(";")[0].strip().lower())
    return None if endings is None else f".{endings.split()[0]}"


#: Endings with an audio type whose files may hold a video.
_MAY_HAVE_PICTURES = frozenset({".ogg", ".wma"})
#: Audio types whose files hold no video, in all their spellings.
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
    """Return the ending of MPEG audio without a container.

    A frame begins with eleven set bits, the version and the layer.
    """
    if len(head) < 2 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:  # noqa: PLR2004 - two bytes
        return None
    if head[1] & 0xF6 == 0xF0:  # noqa: PLR2004 - the layer of ADTS
        return ".aac"
    layer_3, reserved_version = head[1] & 0x06 == 0x02, head[1] & 0x18 == 0x08  # noqa: PLR2004
    return ".mp3" if layer_3 and not reserved_version else None


#: Bytes that `is_recording` looks at, and the least number of transport packets among them.
SNIFFED = 2048
_MIN_PACKETS = 3
#: Packets of a transport stream: plain, with a time code (cameras), with error correction.
_PACKET_SIZES = (188, 192, 204)
_SYNC = 0x47


def _is_transport_stream(head: bytes) -> bool:
    """Return whether each packet begins with the sync byte, from some first packet on."""
    return any(
        len(every := head[first::size]) >= _MIN_PACKETS and every.count(_SYNC) == len(every)
        for size in _PACKET_SIZES
        for first in range(size)
    )


def _is_program_stream(head: bytes) -> bool:
    return head.startswith(b"\x00\x00\x01\xba")


def _is_binary(head: bytes) -> bool:
    return b"\0" in head


#: Endings that mostly belong to other files: TypeScript, modules, device trees, patches, meshes.
_AMBIGUOUS: Mapping[str, Callable[[bytes], bool]] = {
    **dict.fromkeys((".ts", ".mts", ".tp", ".trp", ".tod"), _is_transport_stream),
    ".mod": _is_program_stream,
    **dict.fromkeys((".dts", ".dif", ".mlp"), _is_binary),
}


def is_ambiguous(ending: str) -> bool:
    """Return whether files with this lower-case ending are often not recordings."""
    return ending in _AMBIGUOUS


def is_recording(ending: str, head: bytes) -> bool:
    """Return whether the first `SNIFFED` bytes fit the lower-case ending of a recording."""
    fits = _AMBIGUOUS.get(ending)
    return fits is None or fits(head)


def holds_only_sound(name: str, content_type: str | None = None, head: bytes = b"") -> bool:
    """Return whether a recording certainly holds no video.

    Args:
        name: Its file name.
        content_type: Its MIME type, if the user set one.
        head: Its first bytes, if known.
    """
    if ending_by_content(head) not in _SOUND | {None}:
        return False  # a video with the name of an audio file
    ending = PurePath(name).suffix.lower()
    by_name = content_type_of(name).startswith("audio/") and ending not in _MAY_HAVE_PICTURES
    by_type = None if content_type is None else content_type.partition(";")[0].strip().lower()
    if by_type is None:
        return by_name
    return by_type in _SOUND_TYPES and (by_name or not ending)


def check_video_possible(
    kinds: Collection[str], name: str, content_type: str | None = None, head: bytes = b""
) -> None:
    """Check, before a generation is billed, that it can have a result of the requested types.

    Args:
        kinds: The download types, by the API's names.
        name: As for `holds_only_sound`.
        content_type: As for `holds_only_sound`.
        head: As for `holds_only_sound`.

    Raises:
        InvalidSource: Only videos are requested, and the recording holds none.
    """
    if set(kinds) == {"video"} and holds_only_sound(name, content_type, head):
        what = f"{name!r} is a sound recording" if name else "the source is a sound recording"
        raise InvalidSource(
            f"{what}, so there will be no video: fetch the audio instead (download_type='audio')"
        )
