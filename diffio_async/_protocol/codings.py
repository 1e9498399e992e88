"""Content codings of responses, and their bounded decoding."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The first bytes of a gzip stream.
GZIP = b"\x1f\x8b"
_DECODED = frozenset({"gzip", "x-gzip", "deflate"})
#: Real codings. Whatever else is in the header (`aws-chunked`, `UTF-8`, `none`) changes no byte.
_CODINGS = _DECODED | {"br", "zstd", "compress", "x-compress", "dcb", "dcz"}
_MAX_CODINGS = 3
#: Bytes of decoded content that are yielded at once.
_PIECE = MIB
#: A body that grows by more than this, beyond so many bytes, is a decompression bomb.
_GROWTH, _HARMLESS = 100, 64 * MIB


class Undecodable(ValueError):
    """The content cannot be decoded."""


def codings_of(header: str) -> tuple[str, ...]:
    """Return the codings in a `Content-Encoding` header, in the order they were applied."""
    names = (each.strip().lower() for each in header.split(","))
    return tuple(name for name in names if name in _CODINGS)


class Decoder:
    """Decodes a body piece by piece."""

    def __init__(self, codings: tuple[str, ...]) -> None:
        """Create a decoder of content with these codings.

        Raises:
            Undecodable: One of them is not supported.
        """
        unknown = next((each for each in codings if each not in _DECODED), None)
        if unknown is not None or len(codings) > _MAX_CODINGS:
            raise Undecodable(
                f"it is in an encoding that was not requested ({unknown or 'of many layers'})"
            )
        self._layers = [_Inflater(coding) for coding in reversed(codings)]
        self._taken = self._given = 0

    def decode(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Decode the next bytes, a MiB at a time.

        Raises:
            Undecodable: The bytes are invalid, or grow beyond the limit.
        """
        self._taken += len(data)
        pieces: Iterator[bytes] = iter((bytes(data),))
        for layer in self._layers:
            pieces = layer.inflate(pieces)
        for piece in pieces:
            self._given += len(piece)
            if self._given > max(_HARMLESS, _GROWTH * self._taken):
                raise Undecodable(f"it grows to more than {_GROWTH} times its size when decoded")
            yield piece

    @property
    def complete(self) -> bool:
        """Return whether each coding is complete."""
        return all(layer.complete for layer in self._layers)


class _Inflater:
    """One gzip or deflate coding. Content that is labelled gzip but is not gzip is unchanged."""

    def __init__(self, coding: str) -> None:
        self._gzip = coding != "deflate"
        self._head = b""
        self._stream: Any = None
        self._plain = self._ended = False

    @property
    def complete(self) -> bool:
        return self._plain or self._ended

    def inflate(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            yield from self._inflated(piece)

    def _inflated(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._stream is None and not self._plain:
                data, self._head = self._head + data, b""
                if len(data) < len(GZIP):
                    self._head = data
                    return
                self._begin(data)
            if self._stream is None:
                if self._plain:
                    yield data
                return  # bytes after the end are not content
            try:
                piece = self._stream.decompress(data, _PIECE)
                while piece:
                    yield piece
                    piece = self._stream.decompress(self._stream.unconsumed_tail, _PIECE)
            except zlib.error as failure:
                raise Undecodable(f"it does not decode ({failure})") from None
            data = b""
            if self._stream.eof:
                data, self._stream, self._ended = self._stream.unused_data, None, True

    def _begin(self, data: bytes) -> None:
        """Start decoding at the first bytes; a gzip body may have several members."""
        if self._gzip:
            if data.startswith(GZIP):
                self._stream, self._ended = zlib.decompressobj(wbits=31), False
            else:
                self._plain = not self._ended
        elif not self._ended:
            # `deflate` should have the header of zlib, but often lacks it.
            headed = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0  # noqa: PLR2004
            self._stream = zlib.decompressobj(wbits=15 if headed else -15)
