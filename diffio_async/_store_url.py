"""Addresses of objects: `s3://bucket/key` and other schemes, checked before anything is sent."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from attrs import evolve, field, frozen

from diffio_async._error_base import ConfigurationError
from diffio_async._validators import is_encodable, local_path

if TYPE_CHECKING:
    import os

#: Schemes of stores with buckets; a key is literal, as in the stores' own tools.
_STORES = ("s3", "gs", "az", "memory")
_ACCEPTED = re.compile(rf"({'|'.join((*_STORES, 'https?', 'file'))})://", re.IGNORECASE)
_BUCKET = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{0,254}")
#: What a signed or versioned link has behind its path. A `?` alone may be part of a title.
_QUERY = re.compile(r"\?[\w.-]+=")
#: Bytes of the longest key that stores accept.
MAX_KEY_BYTES = 1024


@frozen
class StoreUrl:
    """Address of an object, or of a folder if its key is empty or ends with a slash.

    It has the attributes of a path that batches and programs use; `str(url)` is the address.

    Attributes:
        scheme: `s3`, `gs`, `az`, `memory`, `http` or `https`.
        bucket: Bucket or container; host and port of a web address.
        key: Key in the bucket; path of a web address, as it was given.
        query: Query of a web address. It may be a credential and is never displayed.
    """

    scheme: str
    bucket: str
    key: str
    query: str = field(default="", repr=False)

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"

    @property
    def is_web(self) -> bool:
        """Whether this is a web address, which is only read."""
        return self.scheme in {"http", "https"}

    @property
    def is_folder(self) -> bool:
        """Whether this names a folder, not an object."""
        return not self.key or self.key.endswith("/")

    @property
    def as_folder(self) -> StoreUrl:
        """The folder of this name."""
        return self if self.is_folder else evolve(self, key=f"{self.key}/")

    @property
    def name(self) -> str:
        """The last part of the key, "" for a bucket."""
        name = self.key.rstrip("/").rpartition("/")[2]
        return unquote(name) if self.is_web else name

    @property
    def suffix(self) -> str:
        """The suffix of the name, such as `.wav`."""
        return PurePosixPath(self.name).suffix

    @property
    def stem(self) -> str:
        """The name without its suffix."""
        return PurePosixPath(self.name).stem

    @property
    def parent(self) -> StoreUrl:
        """The folder of an object."""
        head, slash, _ = self.key.rpartition("/")
        return evolve(self, key=head + slash)

    @property
    def request_url(self) -> str:
        """The complete web address, with its query."""
        return f"{self}?{self.query}" if self.query else str(self)

    def with_name(self, name: str) -> StoreUrl:
        """Return the address of another object in the same folder."""
        return self.parent / name

    def __truediv__(self, below: str) -> StoreUrl:
        """Return the address of an object in this folder.

        Raises:
            ConfigurationError: The key is too long or cannot be a key.
        """
        return _checked(evolve(self, key=self.as_folder.key + below), "the result")


#: A file, or an object of a store.
Place: TypeAlias = Path | StoreUrl


def place_of(location: str) -> Place:
    """Return the place that `str` of a place names.

    Raises:
        ConfigurationError: It is not a valid URL.
    """
    if not is_store_url(location):
        return Path(location)
    return parse_url(location, "the URL")


def location_of(value: str | os.PathLike[str], what: str) -> StoreUrl | str:
    """Return the address in a text, or a local path as text.

    Args:
        value: A path, or a URL as text. `file://` is a local path.
        what: Purpose of the location, such as "the source"; the error message begins with it.

    Raises:
        ConfigurationError: The URL is invalid or of another scheme, or contains a credential.
    """
    if is_store_url(value):
        found = _address(value, what)
        _check_query(found, what)  # before the checks whose messages show the key
        return _checked(found, what)
    accepted = _ACCEPTED.match(value) if isinstance(value, str) else None
    if accepted is None:
        return local_path(value, what, stores=True)
    return _local_file(str(value)[accepted.end() :], what)


def parse_url(text: str, what: str) -> StoreUrl:
    """Return the address in a text with an accepted scheme, which is not `file`.

    It may be one that a batch has listed: text like a query is part of its key.

    Raises:
        ConfigurationError: As `location_of`.
    """
    return _checked(_address(text, what), what)


def has_query(key: str) -> bool:
    """Return whether a key looks like a signed link; `location_of` does not accept it."""
    return _QUERY.search(key) is not None


def is_store_url(value: object) -> TypeGuard[str]:
    """Return whether a value is text with a scheme that `location_of` accepts, without `file`."""
    accepted = _ACCEPTED.match(value) if isinstance(value, str) else None
    return accepted is not None and accepted[1].lower() != "file"


def _address(text: str, what: str) -> StoreUrl:
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()
    found = _web_address(scheme, rest, what) if scheme not in _STORES else _object(scheme, rest)
    if "@" in found.bucket:
        raise ConfigurationError(
            f"{what} is a URL ({scheme}://) with a user name or a password in it, which would "
            "be shown in logs: leave it out, and configure credentials as the store's own tools do"
        )
    return found


def _object(scheme: str, rest: str) -> StoreUrl:
    bucket, _, key = rest.partition("/")
    return StoreUrl(scheme, bucket, key)


def _web_address(scheme: str, rest: str, what: str) -> StoreUrl:
    parts = urlsplit("")
    with contextlib.suppress(ValueError):  # brackets, or a port that is not a number
        found = urlsplit(f"{scheme}://{rest}")
        parts = found if found.port != 0 else parts
    if not parts.hostname:
        raise ConfigurationError(f"{what} is a web address without a valid host")
    # A browser does not send the fragment either.
    return StoreUrl(scheme, parts.netloc, parts.path.removeprefix("/"), parts.query)


def _local_file(rest: str, what: str) -> str:
    host, slash, path = rest.partition("/")
    if host.lower() not in {"", "localhost"} or not slash:
        raise ConfigurationError(
            f"{what} is a file:// URL of another host, or without a path: write file:///folder/file"
        )
    return local_path(url2pathname(slash + path), what)


def _check_query(url: StoreUrl, what: str) -> None:
    if not url.is_web and has_query(str(url)):
        raise ConfigurationError(
            f"{what} is {_shown(url)!r} with a query, which is not accepted: leave out what begins "
            "with '?', and configure credentials as the store's own tools do"
        )


def _checked(url: StoreUrl, what: str) -> StoreUrl:
    if not url.is_web and not _BUCKET.fullmatch(url.bucket):
        named = f"{url.bucket[:80]!r} is not the name of a bucket" if url.bucket else "it has none"
        raise ConfigurationError(
            f"{what} is a URL ({url.scheme}://) that must name a bucket, and {named}: write "
            f"{url.scheme}://BUCKET/KEY"
        )
    problem = _key_problem(url)
    if problem is not None:
        raise ConfigurationError(f"{what}, {_shown(url)!r}, {problem}")
    return url


def _shown(url: StoreUrl) -> str:
    """Return the beginning of a URL, without text that may be a signature."""
    return _QUERY.split(str(url), maxsplit=1)[0][:120]


def _key_problem(url: StoreUrl) -> str | None:
    key = url.key
    if not is_encodable(key):
        return "is not valid Unicode: rename the object"
    if any(ord(character) < 0x20 or character == "\x7f" for character in key):  # noqa: PLR2004
        return "has a control character (such as a line break) in its key: rename the object"
    if url.is_web:
        return None
    if len(key.encode()) > MAX_KEY_BYTES:
        return f"has a key of {len(key.encode()):,} bytes, and stores accept 1,024: shorten it"
    parts = key.removesuffix("/").split("/") if key else []
    if any(part in {"", ".", ".."} for part in parts):
        return (
            "has an empty part, '.' or '..' in its key, which is not resolved: write the full key"
        )
    return None


def source_name_of(value: Any) -> str | None:
    """Return the name of the recording that a URL addresses, or None for other sources.

    Raises:
        ConfigurationError: As `location_of`.
    """
    return parse_url(value, "the source").name if is_store_url(value) else None
