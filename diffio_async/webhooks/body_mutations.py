"""Changes of a body between signer and verifier, and how to revert them.

Used by `diagnose` to find out which change made a signature invalid.
"""

from __future__ import annotations

import ast
import base64
import json
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote_to_bytes

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

_BOM = b"\xef\xbb\xbf"
#: Formats of JSON: Python's default, compact (JavaScript, Rust), Go's; with or without escapes.
_JSON_FORMATS: list[dict[str, Any]] = [
    {"separators": separators, "ensure_ascii": ascii_only, "indent": indent, "sort_keys": ordered}
    for separators, indent in (((",", ":"), None), ((", ", ": "), None), ((",", ": "), 2))
    for ascii_only in (False, True)
    for ordered in (False, True)
]
#: Errors of a reversal for bodies that were not changed in that way.
_MISMATCH = (
    ValueError,
    RecursionError,
    SyntaxError,
    OSError,
    EOFError,
    MemoryError,
    zlib.error,
)
#: Maximum size in bytes: an event has about one thousand, and each candidate costs a hash.
_MAX_BODY = 1024 * 1024


@frozen
class BodyMutation:
    """One change: its code, a description (after "the body "), and the possible original bodies."""

    code: str
    description: str
    origins: Callable[[bytes], Iterable[bytes]]

    def candidates(self, body: bytes) -> Iterator[bytes]:
        """Yield the possible original bodies; none if the change is not applicable."""
        if len(body) > _MAX_BODY:
            return
        try:
            for origin in self.origins(body):
                if origin != body:
                    yield origin
        except _MISMATCH:
            return


def _reencoded(body: bytes) -> Iterator[bytes]:
    yield body.decode("latin-1").encode("utf-8")
    for narrow in ("latin-1", "cp1252"):
        with suppress(UnicodeError):
            yield body.decode("utf-8").encode(narrow)


def _parse_json(body: bytes) -> Any:
    return json.loads(body.decode("utf-8-sig"))


def _dumps(value: Any) -> Iterator[bytes]:
    for json_format in _JSON_FORMATS:
        text = json.dumps(value, **json_format)
        yield text.encode("utf-8", "surrogatepass")
        # Go escapes these three characters, PHP the slash.
        yield _escape(text, "<>&").encode("utf-8", "surrogatepass")
        yield text.replace("/", "\\/").encode("utf-8", "surrogatepass")


def _escape(text: str, letters: str) -> str:
    for letter in letters:
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return text


def _reserialized(body: bytes) -> Iterator[bytes]:
    for text in _dumps(_parse_json(body)):
        yield text
        yield text + b"\n"


def _python_literal(body: bytes) -> Iterator[bytes]:
    value = ast.literal_eval(body.decode().strip())
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, dict):
        yield from _dumps(value)


def _unwrapped(body: bytes) -> Iterator[bytes]:
    value = _parse_json(body)
    if isinstance(value, str):
        yield value.encode()
    for name in ("body", "payload", "data", "rawBody"):
        inner = value.get(name) if isinstance(value, dict) else None
        if isinstance(inner, str):
            yield inner.encode()
            yield base64.b64decode(inner, validate=True)
        elif inner is not None:
            yield from _dumps(inner)


def _form_decoded(body: bytes) -> Iterator[bytes]:
    yield unquote_to_bytes(body.replace(b"+", b" "))
    yield unquote_to_bytes(body)
    for values in parse_qs(body.decode()).values():
        yield values[0].encode()


def _decompressed(body: bytes) -> Iterator[bytes]:
    # Limited, because a small body may decompress to gigabytes.
    yield zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(body, _MAX_BODY)


BODY_MUTATIONS = (
    BodyMutation(
        "newline_added",
        "has gained a newline or blanks at its end (an editor, or `echo` instead of `printf`)",
        lambda body: (body.rstrip(b"\r\n"), body.rstrip()),
    ),
    BodyMutation(
        "newline_stripped",
        "has lost the newline at its end (strip() or $(…) took it)",
        lambda body: (body + b"\n", body + b"\r\n"),
    ),
    BodyMutation(
        "line_ends",
        "has had its line ends changed between LF and CRLF (a file written or read as text)",
        lambda body: (
            body.replace(b"\r\n", b"\n"),
            body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"),
            body.replace(b"\r\n", b"\n").rstrip(b"\n"),
        ),
    ),
    BodyMutation(
        "bom",
        "has gained or lost a byte order mark (utf-8-sig)",
        lambda body: (
            body.removeprefix(_BOM),
            body.removeprefix(_BOM).rstrip(),
            _BOM + body.removeprefix(_BOM),
        ),
    ),
    BodyMutation(
        "encoding",
        "was decoded with one character set and encoded with another (Latin-1 and UTF-8)",
        _reencoded,
    ),
    BodyMutation(
        "redumped",
        "was parsed as JSON and written again (json.dumps(request.json())): its spacing, escapes "
        "or order are not those that were signed; verify the raw bytes",
        _reserialized,
    ),
    BodyMutation(
        "python_repr",
        "is Python's way to show it (str() or repr() of bytes or of a dict), not the bytes",
        _python_literal,
    ),
    BodyMutation(
        "enveloped",
        "is wrapped in other JSON, as gateways and queues do: verify the text inside",
        _unwrapped,
    ),
    BodyMutation(
        "base64",
        "is in base64, as gateways pass binary bodies on: decode it first",
        lambda body: (base64.b64decode(b"".join(body.split()), validate=True),),
    ),
    BodyMutation(
        "percent_encoded", "is percent-encoded, as a form is: decode it first", _form_decoded
    ),
    BodyMutation("compressed", "is compressed (gzip or deflate): unpack it first", _decompressed),
)
