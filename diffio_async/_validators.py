"""Validators of options, arguments and local paths; errors name the parameter and the rule."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeGuard, get_args

from attrs import frozen

from diffio_async._error_base import ConfigurationError

if TYPE_CHECKING:
    from attrs import Attribute

_MAX_DISPLAYED = 80


def is_number(value: object) -> TypeGuard[float]:
    """Return whether the value is a finite number in the range of a float, and not a bool."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def displayed(value: object) -> str:
    """Return the repr of a value for messages, shortened; huge integers have none."""
    try:
        text = repr(value)
    except ValueError:
        return "a number of thousands of digits"
    return text if len(text) <= _MAX_DISPLAYED else f"{text[:_MAX_DISPLAYED]}…"


def several(values: object, name: str) -> tuple[str, ...]:
    """Return the strings of any iterable: a list, a set, the keys of a dict, a generator.

    One string alone is refused, because its letters would be taken for the values.

    Raises:
        ConfigurationError: It is one string, is not iterable, or contains something else than
            non-empty strings. The message contains `name`, the parameter's.
    """
    if isinstance(values, (str, bytes, bytearray)) or not isinstance(values, Iterable):
        raise ConfigurationError(
            f"{name} must be several words, such as a list of strings, not {displayed(values)}"
        )
    held = tuple(values)
    for value in held:
        if not isinstance(value, str) or not value:
            raise ConfigurationError(f"{name} must be words, and {displayed(value)} is not one")
    return held


def require_strings(values: object, name: str) -> list[str]:
    """Return one or more strings as a list.

    Raises:
        ConfigurationError: As `several`, or there are no values.
    """
    found = several(values, name)
    if not found:
        raise ConfigurationError(f"{name} must be one or more words")
    return list(found)


@frozen
class Rule:
    """Requirement for a value: a validator of attrs fields, and `check` for arguments."""

    requirement: str
    accepts: Callable[[object], bool]

    def check(self, name: str, value: object) -> None:
        """Check an argument.

        Raises:
            ConfigurationError: The value does not meet the requirement.
        """
        if not self.accepts(value):
            raise ConfigurationError(f"{name} must be {self.requirement}, not {displayed(value)}")

    def __call__(self, _: object, attribute: Attribute[Any], value: object) -> None:
        self.check(attribute.name, value)


def _is_int(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def int_between(least: int, most: int) -> Rule:
    """Return the rule for whole numbers in a range, its ends included."""
    return Rule(
        f"a whole number from {least:,} to {most:,}", lambda v: _is_int(v) and least <= v <= most
    )


def one_of(literal: object) -> Rule:
    """Return the rule for the values of a `Literal` type."""
    choices = get_args(literal)
    *others, last = map(repr, choices)
    return Rule(f"{', '.join(others)} or {last}", lambda v: v in choices)


non_negative = Rule("0 or more seconds", lambda v: is_number(v) and v >= 0)
# 0 is excluded: aiohttp takes it for no time-out, asyncio for a time-out at once.
positive = Rule("above 0 seconds", lambda v: is_number(v) and v > 0)
optional_positive = Rule(positive.requirement, lambda v: v is None or positive.accepts(v))
#: Seconds, or `math.inf` for no limit.
unlimited = Rule(non_negative.requirement, lambda v: v == math.inf or non_negative.accepts(v))
#: Seconds, or None or `math.inf` for no limit.
optional_unlimited = Rule(non_negative.requirement, lambda v: v is None or unlimited.accepts(v))
positive_int = Rule("1 or more", lambda v: _is_int(v) and v >= 1)
non_negative_int = Rule("0 or more", lambda v: _is_int(v) and v >= 0)
positive_number = Rule("above 0", lambda v: is_number(v) and v > 0)


def validate_wait(poll_interval: float | None, timeout: float | None) -> None:
    """Check the times of a wait, in seconds.

    Raises:
        ConfigurationError: `poll_interval` is not above 0, or `timeout` is below 0.
    """
    optional_positive.check("poll_interval", poll_interval)
    optional_unlimited.check("timeout", timeout)


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


#: Schemes that sources and results accept, and how they are named.
_STORE_SCHEMES = frozenset({"s3", "gs", "az", "http", "https", "memory"})
_STORES_NAMED = "s3://, gs://, az:// and, for sources, http(s)://"


def local_path(path: str | os.PathLike[str], what: str, *, stores: bool = False) -> str:
    """Return a local path as text.

    File names, and folders that exist, may contain colons.

    Args:
        path: Path given by the user.
        what: Purpose of the path, such as "the source"; the error message begins with it.
        stores: Whether the caller accepts URLs of stores as well; the error message names them.

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
    shown = _redacted_url(path, text, scheme)
    if stores and scheme in _STORE_SCHEMES:
        raise ConfigurationError(
            f"{what} is a URL ({shown}) that a Path or the text has changed: pass it as text, "
            "with both slashes and no space before it"
        )
    accepted = f"only local paths, {_STORES_NAMED} are" if stores else "only local paths are"
    raise ConfigurationError(
        f"{what} is a URL ({shown}), and {accepted} accepted: {_advice(text, scheme)}"
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
    return shown if len(shown) <= _MAX_DISPLAYED else f"{shown[:_MAX_DISPLAYED]}…"


def _advice(text: str, scheme: str) -> str:
    if scheme == "file":
        return f"leave out {'file://' if '://' in text else 'file:'}"
    if scheme == "data":
        return "decode it, and pass the bytes"
    if scheme in _STORE_SCHEMES:
        return "URLs name recordings and results; name a file or a folder of this machine here"
    return (
        "download a recording first, or pass its bytes; write a result to a local folder, and "
        "upload it from there"
    )
