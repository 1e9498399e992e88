"""Decoding of content codings, with a limit on the expansion."""

from __future__ import annotations

import contextlib
import gzip
import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._http import bodies
from diffio_async._http.bodies import Decoder, Undecodable, codings_of

CONTENT = os.urandom(3000) + bytes(5000) + b"speech " * 3000


def raw_deflate(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


def decoded(body: bytes, *names: str, step: int = 1 << 20) -> tuple[bytes, bool]:
    decoder = Decoder(names)
    pieces = [body[at : at + step] for at in range(0, len(body), step)]
    return b"".join(each for piece in pieces for each in decoder.decode(piece)), decoder.complete


@pytest.mark.parametrize(
    ("header", "names"),
    [
        *(
            (odd, ())
            for odd in ("", "identity", "Identity", "none", "UTF-8", "aws-chunked", "binary")
        ),
        *((odd, ()) for odd in (",", " , identity", "aws-chunked,identity", "utf-8, none", "null")),
        ("GZIP", ("gzip",)),
        ("aws-chunked, gzip", ("gzip",)),
        ("deflate,, X-Gzip", ("deflate", "x-gzip")),
        ("br", ("br",)),
    ],
)
def test_unknown_words_are_not_content_codings(header: str, names: tuple[str, ...]) -> None:
    assert codings_of(header) == names


@pytest.mark.parametrize("step", [1, 2, 7, 1 << 20])
def test_each_coding_is_decoded_in_chunks_of_any_size(step: int) -> None:
    packed = gzip.compress(CONTENT)
    for body, names in (
        (packed, ["gzip"]),
        (packed[: len(packed)] + gzip.compress(b"second member"), ["x-gzip"]),
        (zlib.compress(CONTENT), ["deflate"]),
        (raw_deflate(CONTENT), ["deflate"]),
        (gzip.compress(zlib.compress(CONTENT)), ["deflate", "gzip"]),
        (CONTENT, []),
        (CONTENT, ["gzip"]),  # wrongly labelled
    ):
        found, complete = decoded(body, *names, step=step)
        assert found == CONTENT + (b"second member" if names == ["x-gzip"] else b"")
        assert complete


def test_bytes_after_the_end_of_the_stream_are_ignored() -> None:
    assert decoded(gzip.compress(b"abc") + bytes(600), "gzip") == (b"abc", True)
    assert decoded(zlib.compress(b"abc") + b"rest", "deflate") == (b"abc", True)


def test_truncated_content_is_not_complete() -> None:
    for at in (1, 20, len(gzip.compress(CONTENT)) - 1):
        assert not decoded(gzip.compress(CONTENT)[:at], "gzip")[1]


def test_undecodable_content_raises() -> None:
    for names in (["br"], ["zstd", "gzip"], ["gzip"] * 4):
        with pytest.raises(Undecodable, match="not requested"):
            Decoder(tuple(names))
    broken = bytearray(gzip.compress(CONTENT))
    broken[1000:1100] = bytes(100)
    with pytest.raises(Undecodable, match="does not decode"):
        decoded(bytes(broken), "gzip")


def test_a_decompression_bomb_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding stops at a hundredfold expansion, with at most one chunk in memory."""
    monkeypatch.setattr(bodies, "_HARMLESS", 1 << 20)
    bomb = gzip.compress(bytes(1 << 26), 9)
    decoded_size = 0
    with pytest.raises(Undecodable, match="grows"):  # noqa: PT012 - the size before the error is checked
        for chunk in Decoder(("gzip",)).decode(bomb):
            assert len(chunk) <= 1 << 20
            decoded_size += len(chunk)
    assert decoded_size <= 100 * len(bomb)
    with pytest.raises(Undecodable, match="grows"):
        decoded(gzip.compress(gzip.compress(bytes(1 << 24), 9), 9), "gzip", "gzip")


@given(body=st.binary(max_size=60), name=st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_decode_or_raise_undecodable(body: bytes, name: str) -> None:
    with contextlib.suppress(Undecodable):
        decoded(body, name)
