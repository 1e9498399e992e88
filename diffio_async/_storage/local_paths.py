"""Paths of this machine's file system: a URL in the place of one is refused, with what to do."""

from __future__ import annotations

import os
import re

from diffio_async.errors import ConfigurationError

#: Two letters at least: a single one is a drive of Windows.
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]+):(/+)")
_DATA = re.compile(r"\s*data:[\w.+-]+/[\w.+-]+[;,]", re.IGNORECASE)
#: Schemes that are known to be no folder, though `pathlib` made one slash of the two.
_KNOWN = frozenset(
    {
        *("http", "https", "ftp", "ftps", "sftp", "scp", "ssh", "smb", "nfs", "dav", "davs"),
        *("s3", "s3a", "s3n", "gs", "gcs", "az", "abfs", "abfss", "adl", "wasb", "wasbs"),
        *("azure", "b2", "r2", "oci", "oss", "cos", "swift", "minio", "hdfs", "webhdfs", "dbfs"),
        *("file", "gdrive", "dropbox", "hf", "ipfs", "rclone", "memory"),
    }
)

_LONGEST_SHOWN = 80


def local_path(path: str | os.PathLike[str], what: str) -> str:
    """Return the text of a path on this machine.

    Names may hold colons, and so may folders that exist.

    Args:
        path: What the user gave.
        what: What it is for, such as "the source"; the message begins with it.

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
        f"{what} is a URL ({_shown(path, text, scheme)}), and only paths of this machine are taken "
        f"here: {_do(text, scheme)}"
    )


def local_paths(path: str | os.PathLike[str] | None, what: str) -> str | None:
    """Return the text of a path as `local_path` does, None for None."""
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
    if len(slashes) > 1 or scheme in _KNOWN:
        return scheme
    # `pathlib` makes one slash of two, so this may have been a URL, or a folder "Talks:".
    return None if _is_folder(found[0].rstrip("/")) else scheme


def _is_folder(name: str) -> bool:
    try:
        return os.path.isdir(name)  # noqa: PTH112 - any text
    except ValueError:
        return False


def _shown(path: str | os.PathLike[str], text: str, scheme: str) -> str:
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
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"


def _do(text: str, scheme: str) -> str:
    if scheme == "file":
        return f"leave out {'file://' if '://' in text else 'file:'}"
    if scheme == "data":
        return "decode it, and pass the bytes"
    return (
        "download a recording first, or pass its bytes; write a result to a local folder, and "
        "upload it from there"
    )
