"""Digests in response headers, in each of their formats."""

import base64
import hashlib

import pytest

from diffio_async._downloads.ranges import Digest, digest_of, parse_digest

CONTENT = b"a result"


def _b64(name: str) -> str:
    return base64.b64encode(hashlib.new(name, CONTENT).digest()).decode()


SHA256 = Digest("sha256", hashlib.sha256(CONTENT).digest())
SHA512 = Digest("sha512", hashlib.sha512(CONTENT).digest())
MD5 = Digest("md5", hashlib.md5(CONTENT).digest())


@pytest.mark.parametrize(
    ("headers", "expected", "expected_of_range"),
    [
        ({"repr-digest": f"sha-256=:{_b64('sha256')}:"}, SHA256, SHA256),
        ({"repr-digest": f"sha-512=:{_b64('sha512')}:, unixsum=:AA==:"}, SHA512, SHA512),
        (
            {"repr-digest": f"md5=:{_b64('md5')}:, SHA-256=:{_b64('sha256')}:;q=1"},
            SHA256,
            SHA256,
        ),
        ({"content-digest": f"sha-256=:{_b64('sha256')}:"}, SHA256, None),
        (
            {"digest": f"SHA-256={_b64('sha256')},MD5={_b64('md5')}"},
            SHA256,
            None,
        ),
        ({"content-md5": _b64("md5")}, MD5, None),
        ({"x-goog-hash": f"crc32c=n03x6A==, md5={_b64('md5')}"}, MD5, MD5),
        (
            {
                "x-goog-hash": f"md5={_b64('md5')}",
                "x-goog-stored-content-encoding": "gzip",
            },
            None,
            None,
        ),
        ({"x-goog-hash": "crc32c=n03x6A=="}, None, None),
        ({"etag": f'"{MD5.value.hex()}"'}, None, None),
        ({"repr-digest": "sha-256=:AAAA:"}, None, None),
        ({"repr-digest": f"sha-256={_b64('sha256')}"}, None, None),
        ({"content-md5": "not base64 é"}, None, None),
        ({}, None, None),
    ],
)
def test_the_strongest_digest_of_the_complete_content_is_used(
    headers: dict[str, str], expected: Digest | None, expected_of_range: Digest | None
) -> None:
    """For a 206 response, headers that may describe the range alone are ignored."""
    assert digest_of(200, headers) == expected
    assert digest_of(206, headers) == expected_of_range


def test_a_digest_round_trips_through_text() -> None:
    assert parse_digest(str(SHA256)) == SHA256
    for text in ("", "sha256", "sha256:", "sha256:zz", f"sha1:{SHA256.value.hex()}", "None"):
        assert parse_digest(text) is None
