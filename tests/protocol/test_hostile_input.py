"""Hostile input takes linear, bounded time, and a few KB of it are kept."""

from __future__ import annotations

import json
import time
import tracemalloc
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._polling.job_timeline import parse_rows
from diffio_async._protocol import redaction
from diffio_async._protocol.api_errors import error_from_response
from diffio_async._protocol.codec import MAX_DEPTH, NotJson, decode, json_of, parse_body
from diffio_async._protocol.redaction import MASK, Scrubber, redact, redacted_excerpt
from diffio_async._protocol.requests import Host
from diffio_async.batch.selection import read_manifest
from diffio_async.errors import ConfigurationError, InvalidResponse, WebhookRejected
from diffio_async.models.generations import GenerationProgress, ids_of
from diffio_async.models.projects import ProjectList
from diffio_async.sandbox.faults import PlanError, read_plan
from diffio_async.webhooks.verifier import parse_event

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECRETS = ["KEY-OF-CLIENT" * 3, "Bearer " + "KEY-OF-CLIENT" * 3]
#: Beginnings of secrets, and of the patterns that are searched for around them.
PIECES = [
    *("-eyJaaaaaaaa", "eyJ", "eyJaaaaaaaaaaa.", "diffio_", "-diffio_a", "diffio_a_", "whsec_"),
    *("http://", "https://a@", "//", "?", "sig=", "x-amz-", "token", "&", "\\ud83d", "KEY-OF-"),
    *("\x00", "\u2028", "<", '"', "\\", "a", " ", "}{", "[", "1"),
]


def seconds(work: Callable[[], object], times: int = 3) -> float:
    """Return the minimum CPU time of several runs, in seconds: noise only adds to it."""
    found = []
    for _ in range(times):
        began = time.thread_time()
        work()
        found.append(time.thread_time() - began)
    return min(found)


def failure(body: bytes) -> Exception:
    return error_from_response(400, {}, body, call="c", host=Host.API, now=NOW, secrets=SECRETS)


def hostile(piece: str, size: int) -> dict[str, bytes]:
    """Return error bodies that repeat `piece`: as text, and in several positions of JSON."""
    text = piece * (size // len(piece))
    contents = {
        "json": json.dumps({"error": text}),
        "text": text,
        "names": json.dumps({text: {text: 1}}),
        "rows": json.dumps({"error": [piece] * (size // (len(piece) + 4))}),
    }
    return {form: content.encode("utf-8", "replace") for form, content in contents.items()}


@pytest.mark.parametrize("piece", PIECES)
def test_an_error_body_is_processed_in_linear_time(piece: str) -> None:
    """Four times the size takes less than eight times as long."""
    small, large = hostile(piece, 25_000), hostile(piece, 100_000)
    for form in small:
        # Below a few milliseconds a ratio is not significant.
        once = seconds(lambda: failure(small[form]))  # noqa: B023 - called at once
        assert seconds(lambda: failure(large[form])) < max(8 * once, 0.1), form  # noqa: B023


@pytest.mark.parametrize("piece", PIECES)
def test_redaction_takes_linear_time(piece: str) -> None:
    """The patterns themselves are linear, even for text that is not truncated."""
    text = piece * (100_000 // len(piece))
    scrubber = Scrubber(SECRETS)
    once = seconds(lambda: scrubber.text(text[:25_000], 10**9))
    assert seconds(lambda: scrubber.text(text, 10**9)) < max(8 * once, 0.1)


@given(
    before=st.integers(0, 60),
    secret=st.sampled_from(SECRETS),
    limit=st.integers(1, 80),
    around=st.text(alphabet="ab -", max_size=5),
)
def test_no_part_of_a_truncated_secret_is_shown(
    before: int, secret: str, limit: int, around: str
) -> None:
    """Masking shortens the text before it, which moves the position of the cut."""
    text = "https://h/p?" + "q" * before + " " + around + secret * 3 + around
    shown = redact(text, [secret], limit)
    assert len(shown) <= limit
    assert "KEY-" not in shown


def test_a_kept_body_has_at_most_a_few_kilobytes() -> None:
    bodies: list[object] = [
        {"error": "x" * 10**6},
        {"projects": [{}] * 30_000},
        {str(n): n for n in range(20_000)},
        {"n" * 10**6: 1},
        [["x" * 100] * 1000] * 50,
        {"error": 10**4000},
        "x" * 10**6,
    ]
    for body in bodies:
        assert len(repr(redacted_excerpt(body))) < 40_000
        error = failure(json.dumps(body).encode())
        assert len(str(error)) < 1000
        assert len(repr(vars(error))) < 40_000


def test_code_and_message_are_found_at_the_end_of_a_large_body() -> None:
    """The body is truncated only after they have been extracted."""
    body = {"a": ["x" * 1000] * 100, "error": {"message": "no", "code": "spendLimitExceeded"}}
    error = error_from_response(
        402, {}, json.dumps(body).encode(), call="c", host=Host.API, now=NOW
    )
    assert type(error).__name__ == "SpendLimitExceeded"
    assert "402 spendLimitExceeded: no" in str(error)


def test_a_listing_of_empty_rows_stops_at_the_first() -> None:
    """Decoding stops early: decoding all rows would take seconds and hundreds of MiB."""
    body = b'{"projects": [' + b", ".join([b"{}"] * 65_536) + b"]}"
    tracemalloc.start()
    began = time.thread_time()
    with pytest.raises(InvalidResponse, match="apiProjectId is missing") as caught:
        decode(body, ProjectList, call="list_projects", status=200)
    took, (_, peak) = time.thread_time() - began, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert took < 1
    assert peak < 25 * 2**20
    assert len(repr(caught.value.body)) < 40_000


DEEP = [
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"[" * 900 + b"]" * 900,
    b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
    b'{"projects": [], "generations": [], "x": ' + b"[" * 5000 + b"]" * 5000 + b"}",
]


@pytest.mark.parametrize("body", DEEP, ids=range(len(DEEP)))
def test_json_nested_too_deeply_raises_an_error_of_the_package(body: bytes, tmp_path: Path) -> None:
    with pytest.raises(NotJson):
        json_of(body)
    assert isinstance(parse_body(body), str)
    assert len(str(failure(body))) < 1000
    for read in (
        lambda: decode(body, ProjectList, call="c", status=200),
        lambda: list(parse_rows(body)),
    ):
        with pytest.raises(InvalidResponse):
            read()
    with pytest.raises(WebhookRejected) as caught:
        parse_event(body, "msg_1")
    assert caught.value.code == "not_json"
    (tmp_path / "plan.json").write_bytes(body)
    with pytest.raises(PlanError):
        read_plan(tmp_path / "plan.json")
    (tmp_path / "m.jsonl").write_bytes(body)
    with pytest.raises(ConfigurationError, match=r"m\.jsonl"):
        list(read_manifest(str(tmp_path / "m.jsonl")))


def test_json_of_the_maximum_depth_is_read() -> None:
    body = b'{"generationId": "g", "apiProjectId": "p", "status": "x", "more": '
    body += b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
    found = decode(body, GenerationProgress, call="c", status=200)
    assert json.dumps(found.extra)


def test_json_of_too_many_values_raises_an_error_of_the_package() -> None:
    for piece in (b"[],", b"1,", b'"",', b"{},"):
        body = b'{"projects": [' + piece * 2_000_001 + b"1]}"
        with pytest.raises(InvalidResponse, match="not a JSON object"):
            decode(body, ProjectList, call="c", status=200)


def test_very_long_numbers_are_read_in_linear_time() -> None:
    """Python's own conversion takes quadratic time; the numbers stay text."""
    body = b'{"n": ' + b"9" * 10**6 + b', "f": 1' + b"0" * 10**6 + b'.5, "e": 1e999999999}'
    assert seconds(lambda: json_of(body), 1) < 2
    found = json_of(body)
    assert isinstance(found, dict)
    assert found["n"] == "9" * 10**6
    json.dumps(found, allow_nan=False)


def test_very_large_files_are_not_read_completely(tmp_path: Path) -> None:
    """A manifest or a fault plan of gigabytes is refused by its first line or its size."""
    for name in ("m.csv", "m.jsonl", "plan.json"):
        with (tmp_path / name).open("wb") as file:
            file.write(b'{"source": "')
            file.truncate(3 * 2**30)
    tracemalloc.start()
    for name in ("m.csv", "m.jsonl"):
        with pytest.raises(ConfigurationError, match="line 1"):
            list(read_manifest(str(tmp_path / name)))
    with pytest.raises(PlanError, match="more than"):
        read_plan(tmp_path / "plan.json")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100 * 2**20


def test_a_handle_file_that_is_too_large_is_refused() -> None:
    with pytest.raises(ConfigurationError) as caught:
        ids_of("dgh1." + "a" * 10**7)
    assert len(str(caught.value)) < 1000


def test_truncated_tokens_are_masked() -> None:
    assert redact("see eyJhbGciOiJIUzI1NiJ9", limit=24) == f"see {MASK}"
    assert redaction.MAX_TEXT >= 2000
