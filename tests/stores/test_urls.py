"""Addresses of objects: what is accepted, and what is refused before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffio_async import ConfigurationError
from diffio_async._store_url import StoreUrl, location_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("s3://b/in/a.wav", StoreUrl("s3", "b", "in/a.wav")),
        ("S3://b/in/a.wav", StoreUrl("s3", "b", "in/a.wav")),
        ("s3://b", StoreUrl("s3", "b", "")),
        ("gs://b/in/", StoreUrl("gs", "b", "in/")),
        ("az://c/What? 100%+.wav", StoreUrl("az", "c", "What? 100%+.wav")),
        ("memory://b/é.wav", StoreUrl("memory", "b", "é.wav")),
        ("https://h:1/a%20b.wav?sig=x#t", StoreUrl("https", "h:1", "a%20b.wav", "sig=x")),
        ("file:///tmp/a%20b.wav", "/tmp/a b.wav"),
        ("file://localhost/tmp/a.wav", "/tmp/a.wav"),
        ("talk.wav", "talk.wav"),
        ("./s3:/x", "./s3:/x"),
    ],
)
def test_locations_are_recognised(text: str, expected: StoreUrl | str) -> None:
    assert location_of(text, "the source") == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("s3://", "must name a bucket"),
        ("s3:///key", "must name a bucket"),
        ("s3://a b/key", "not the name of a bucket"),
        ("s3://b/../key", "'..' in its key"),
        ("s3://b/a//b", "an empty part"),
        ("s3://b//a", "an empty part"),
        ("s3://b/./a", "'.' or '..'"),
        ("s3://b/a\nb", "a control character"),
        ("s3://b/a\x7fb", "a control character"),
        ("s3://b/" + "é" * 513, "a key of 1,026 bytes"),
        ("s3://b/\ud800", "not valid Unicode"),
        ("s3://me:hush@b/a", "a password in it"),
        ("https://me:hush@h/a", "a password in it"),
        ("s3://b/a?X-Amz-Signature=hush", "with a query"),
        ("s3://b/a.wav?X-Amz-Signature=hush\n", "with a query"),
        ("s3://b/a.wav?sig=hush//x", "with a query"),
        ("s3://b/a.wav?X-Amz-Credential=hush&X-Amz-Security-Token=" + "a" * 1100, "with a query"),
        ("s3://b?X-Amz-Signature=hush", "with a query"),
        ("https:///a", "without a valid host"),
        ("https://h:port/a", "without a valid host"),
        ("file://host/a", "of another host"),
        ("ftp://h/a?token=hush", "only local paths, s3://, gs://"),
        (Path("s3://b/a"), "pass it as text"),
        (" s3://b/a", "pass it as text"),
    ],
)
def test_invalid_locations_are_refused(text: str | Path, reason: str) -> None:
    """The message has the reason, and no credential."""
    with pytest.raises(ConfigurationError) as caught:
        location_of(text, "the source")
    assert str(caught.value).startswith("the source")
    assert reason in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_key_of_1024_bytes_is_accepted() -> None:
    key = "é" * 512
    assert location_of(f"s3://b/{key}", "the source") == StoreUrl("s3", "b", key)


def test_a_query_is_not_displayed() -> None:
    """It may be the signature of a link."""
    url = location_of("https://h/a.wav?X-Amz-Signature=hush", "the source")
    assert isinstance(url, StoreUrl)
    assert "hush" not in f"{url} {url!r}"
    assert url.request_url == "https://h/a.wav?X-Amz-Signature=hush"


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("s3://b", "s3://b/a.mp3"), ("s3://b/o", "s3://b/o/a.mp3"), ("s3://b/o/", "s3://b/o/a.mp3")],
)
def test_an_object_in_a_folder(folder: str, expected: str) -> None:
    url = location_of(folder, "the target")
    assert isinstance(url, StoreUrl)
    assert str(url / "a.mp3") == expected


def test_an_object_does_not_leave_its_folder() -> None:
    url = location_of("s3://b/o/", "the target")
    assert isinstance(url, StoreUrl)
    for below in ("../a.mp3", "x/../../a.mp3", "/a.mp3", "a\n.mp3", "x" * 1100):
        with pytest.raises(ConfigurationError):
            _ = url / below
