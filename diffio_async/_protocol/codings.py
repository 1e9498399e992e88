"""Content codings of a response: which it has, and their bounded decoding."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

from diffio_async.options import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What a gzip stream begins with.
GZIP = b"\x1f\x8b"
_DECODED = frozenset({"gzip", "x-gzip", "deflate"})
#: Real codings. Whatever else is in the header (`aws-chunked`, `UTF-8`, `none`) changes no byte.
_CODINGS = _DECODED | {"br", "zstd", "compress", "x-compress", "dcb", "dcz"}
_MOST = 3
#: Bytes of decoded content that are handed on at once.
_PIECE = MIB
#: A body that grows by more than this, beyond so many bytes, is a decompression bomb.
_GROWTH, _HARMLESS = 100, 64 * MIB


class Undecodable(ValueError):
    """The content cannot be decoded; the message says why."""


def codings_of(header: str) -> tuple[str, ...]:
    """The codings in a `Content-Encoding` header, in the order they were applied."""
    names = (each.strip().lower() for each in header.split(","))
    return tuple(name for name in names if name in _CODINGS)


class Decoder:
    """Decodes a body piece by piece."""

    def __init__(self, codings: tuple[str, ...]) -> None:
        """Decode what these codings were applied to.

        Raises:
            Undecodable: One of them is not known here.
        """
        unknown = next((each for each in codings if each not in _DECODED), None)
        if unknown is not None or len(codings) > _MOST:
            raise Undecodable(
                f"it is in an encoding that was not requested ({unknown or 'of many layers'})"
            )
        self._layers = [_Inflater(coding) for coding in reversed(codings)]
        self._taken = self._given = 0

    def decode(self, data: bytes | memoryview) -> Iterator[bytes]:
        """Decode the next bytes, a MiB at a time.

        Raises:
            Undecodable: They are not what the coding makes, or grow beyond all measure.
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
        """Whether each coding has come to its end."""
        return all(layer.complete for layer in self._layers)


class _Inflater:
    """One gzip or deflate coding. What is labelled gzip and is not gzip is passed through."""

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
                return  # what is behind the end is no content
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
        """Open a stream for the first bytes; a gzip body may be several, one after the other."""
        if self._gzip:
            if data.startswith(GZIP):
                self._stream, self._ended = zlib.decompressobj(wbits=31), False
            else:
                self._plain = not self._ended
        elif not self._ended:
            # `deflate` is meant to have zlib's header, and often has none.
            headed = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0  # noqa: PLR2004
            self._stream = zlib.decompressobj(wbits=15 if headed else -15)
