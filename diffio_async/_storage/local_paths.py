"""Local paths and file names: URLs are rejected, and names are kept within system limits."""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath

from diffio_async.errors import ConfigurationError

#: At least two letters: a single one is a Windows drive.
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]+):(/+)")
_DATA = re.compile(r"\s*data:[\w.+-]+/[\w.+-]+[;,]", re.IGNORECASE)

#: Schemes that are recognised even after `pathlib` has collapsed two slashes into one.
_KNOWN_SCHEMES = frozenset(
    {
        *("http", "https", "ftp", "ftps", "sftp", "scp", "ssh", "smb", "nfs", "dav", "davs"),
        *("s3", "s3a", "s3n", "gs", "gcs", "az", "abfs", "abfss", "adl", "wasb", "wasbs"),
        *("azure", "b2", "r2", "oci", "oss", "cos", "swift", "minio", "hdfs", "webhdfs", "dbfs"),
        *("file", "gdrive", "dropbox", "hf", "ipfs", "rclone", "memory"),
    }
)
_MAX_SHOWN = 80


def local_path(path: str | os.PathLike[str], what: str) -> str:
    """Return a local path as text.

    File names, and folders that exist, may contain colons.

    Args:
        path: Path given by the user.
        what: Purpose of the path, such as "the source"; the error message begins with it.

    Raises:
        ConfigurationError: It is a URL, or of another type. Nothing is made under its name.
    """
    try:
        text = os.fsdecode(path)
    except TypeError:
        raise ConfigurationError(f"{what} must be a path, not {type(path).__name__}") from None
    scheme = _scheme_of(text)
    if scheme is None:
        return text
    raise ConfigurationError(
        f"{what} is a URL ({_redacted_url(path, text, scheme)}), and only local paths are "
        f"accepted: {_advice(text, scheme)}"
    )


def optional_local_path(path: str | os.PathLike[str] | None, what: str) -> str | None:
    """Return a local path as `local_path` does, or None if `path` is None."""
    return None if path is None else local_path(path, what)


def is_encodable(text: str) -> bool:
    """Return whether the text is valid Unicode: undecodable bytes and half characters are not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _scheme_of(text: str) -> str | None:
    if _DATA.match(text):
        return "data"
    found = _SCHEME.match(text)
    if found is None:
        return None
    scheme, slashes = found[1].lower(), found[2]
    if len(slashes) > 1 or scheme in _KNOWN_SCHEMES:
        return scheme
    # `pathlib` collapses two slashes, so this may have been a URL, or a folder named "Talks:".
    return None if _is_folder(found[0].rstrip("/")) else scheme


def _is_folder(name: str) -> bool:
    try:
        return os.path.isdir(name)  # noqa: PTH112 - accepts any text
    except ValueError:
        return False


def _redacted_url(path: str | os.PathLike[str], text: str, scheme: str) -> str:
    """The URL up to its path, as it was given: a query or a user may hold credentials."""
    if scheme == "data":
        return "data:…"
    name, _, rest = text.partition("?")[0].partition("#")[0].partition(":")
    address = rest.lstrip("/")
    slashes = rest[: len(rest) - len(address)]
    if isinstance(path, os.PathLike):
        # `pathlib` makes one slash of several.
        slashes = "///" if scheme == "file" else "//"
    shown = f"{name.lstrip()}:{slashes}{address.rpartition('@')[2]}"
    return shown if len(shown) <= _MAX_SHOWN else f"{shown[:_MAX_SHOWN]}…"


def _advice(text: str, scheme: str) -> str:
    if scheme == "file":
        return f"leave out {'file://' if '://' in text else 'file:'}"
    if scheme == "data":
        return "decode it, and pass the bytes"
    return (
        "download a recording first, or pass its bytes; write a result to a local folder, and "
        "upload it from there"
    )


#: Longest file name in bytes that common file systems accept.
NAME_MAX = 255

#: Longer suffixes, or ones with other characters, are not treated as file suffixes.
_SUFFIX = re.compile(r"\.[A-Za-z0-9_+-]{1,16}")


def truncate_name(stem: str, suffix: str = "") -> str:
    """Return `stem` plus `suffix`; cut the stem between two characters if it is too long."""
    suffix = _truncate(suffix, NAME_MAX - 1)
    return _truncate(stem, NAME_MAX - _byte_length(suffix)) + suffix


def suffix_of(name: str | None) -> str:
    """Return the file suffix of an untrusted name, or "" if it has no plausible one."""
    suffix = PurePosixPath(name or "").suffix
    return suffix if _SUFFIX.fullmatch(suffix) else ""


def _truncate(text: str, max_bytes: int) -> str:
    if len(text) * 4 <= max_bytes:
        return text
    used = 0
    for number, character in enumerate(text):
        used += _byte_length(character)
        if used > max_bytes:
            return text[:number]
    return text


def _byte_length(text: str) -> int:
    """Return the length on disk in bytes; an undecodable byte counts as one."""
    return sum(
        1 if "\udc80" <= c <= "\udcff" else len(c.encode("utf-8", "surrogatepass")) for c in text
    )
