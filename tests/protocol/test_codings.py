"""Content codings: what is a coding is decoded within bounds, and what is not changes nothing."""

from __future__ import annotations

import contextlib
import gzip
import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._protocol import codings
from diffio_async._protocol.codings import Decoder, Undecodable, codings_of

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
def test_only_codings_are_codings(header: str, names: tuple[str, ...]) -> None:
    assert codings_of(header) == names


@pytest.mark.parametrize("step", [1, 2, 7, 1 << 20])
def test_each_coding_is_decoded_in_pieces_of_any_size(step: int) -> None:
    packed = gzip.compress(CONTENT)
    for body, names in (
        (packed, ["gzip"]),
        (packed[: len(packed)] + gzip.compress(b"second member"), ["x-gzip"]),
        (zlib.compress(CONTENT), ["deflate"]),
        (raw_deflate(CONTENT), ["deflate"]),
        (gzip.compress(zlib.compress(CONTENT)), ["deflate", "gzip"]),
        (CONTENT, []),
        (CONTENT, ["gzip"]),  # it was labelled so, and is not
    ):
        found, complete = decoded(body, *names, step=step)
        assert found == CONTENT + (b"second member" if names == ["x-gzip"] else b"")
        assert complete


def test_what_is_behind_the_end_is_left_out() -> None:
    assert decoded(gzip.compress(b"abc") + bytes(600), "gzip") == (b"abc", True)
    assert decoded(zlib.compress(b"abc") + b"rest", "deflate") == (b"abc", True)


def test_what_was_cut_off_is_not_complete() -> None:
    for at in (1, 20, len(gzip.compress(CONTENT)) - 1):
        assert not decoded(gzip.compress(CONTENT)[:at], "gzip")[1]


def test_what_cannot_be_decoded_says_so() -> None:
    for names in (["br"], ["zstd", "gzip"], ["gzip"] * 4):
        with pytest.raises(Undecodable, match="not requested"):
            Decoder(tuple(names))
    broken = bytearray(gzip.compress(CONTENT))
    broken[1000:1100] = bytes(100)
    with pytest.raises(Undecodable, match="does not decode"):
        decoded(bytes(broken), "gzip")


def test_a_decompression_bomb_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends when it has grown a hundredfold, with no more than a piece of it in memory."""
    monkeypatch.setattr(codings, "_HARMLESS", 1 << 20)
    bomb = gzip.compress(bytes(1 << 26), 9)
    given_out = 0
    with pytest.raises(Undecodable, match="grows"):  # noqa: PT012 - how far it came is asked
        for piece in Decoder(("gzip",)).decode(bomb):
            assert len(piece) <= 1 << 20
            given_out += len(piece)
    assert given_out <= 100 * len(bomb)
    with pytest.raises(Undecodable, match="grows"):
        decoded(gzip.compress(gzip.compress(bytes(1 << 24), 9), 9), "gzip", "gzip")


@given(body=st.binary(max_size=60), name=st.sampled_from(["gzip", "deflate"]))
def test_any_bytes_decode_or_do_not(body: bytes, name: str) -> None:
    with contextlib.suppress(Undecodable):
        decoded(body, name)
