"""Content types of recordings by the endings of their names: the same on every machine."""

from __future__ import annotations

from pathlib import PurePath

_UNKNOWN = "application/octet-stream"
#: The first ending of a type is its usual one. Containers that hold pictures or sound have a type
#: of video: what is a sound recording in one is found out by the service.
_ENDINGS_BY_TYPE = {
    "audio/mpeg": "mp3 mpga mp2 m2a",
    "audio/x-wav": "wav wave bwf rf64",
    "audio/flac": "flac",
    "audio/mp4": "m4a m4b m4r",
    "audio/aac": "aac adts",
    "audio/ogg": "ogg oga opus spx",
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
    "audio/x-w64": "w64",
    "audio/basic": "au snd",
    "audio/ac3": "ac3",
    "audio/eac3": "eac3",
    "audio/vnd.dts": "dts",
    "video/mp4": "mp4 m4v f4v",
    "video/quicktime": "mov qt",
    "video/x-matroska": "mkv",
    "video/webm": "webm",
    "video/x-msvideo": "avi divx",
    "video/mpeg": "mpg mpeg mpe m2v vob",
    "video/mp2t": "ts mts m2ts m2t",
    "video/3gpp": "3gp",
    "video/3gpp2": "3g2",
    "video/ogg": "ogv ogm",
    "video/x-flv": "flv",
    "video/x-ms-wmv": "wmv",
    "video/x-ms-asf": "asf",
    "video/dv": "dv",
    "application/mxf": "mxf",
}
_TYPES = {
    f".{ending}": kind for kind, endings in _ENDINGS_BY_TYPE.items() for ending in endings.split()
}
#: The endings by which a recording is known in a folder, in small letters.
RECORDING_ENDINGS = frozenset(_TYPES)
#: Endings of what has to be unpacked before there is a recording.
_PACKED = frozenset({".gz", ".bz2", ".xz", ".z", ".br", ".zst", ".lzma"})


def content_type_of(name: str) -> str:
    """The content type of a recording by its name; `talk.wav.gz` is none before it is unpacked."""
    return _TYPES.get(PurePath(name).suffix.lower(), _UNKNOWN)


def is_packed(name: str) -> bool:
    """Whether a name is that of a compressed file."""
    return PurePath(name).suffix.lower() in _PACKED


def ending_of(content_type: str) -> str | None:
    """The usual ending of a content type, None for one that no recording has."""
    endings = _ENDINGS_BY_TYPE.get(content_type.partition(";")[0].strip().lower())
    return None if endings is None else f".{endings.split()[0]}"
