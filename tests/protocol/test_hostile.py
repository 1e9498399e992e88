"""Work on hostile text is linear and bounded, and what is kept of it is a few KB."""

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
from diffio_async.batch.manifest import read_manifest
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
#: Pieces that look like the beginning of a secret, or of what is searched for around one.
PIECES = [
    *("-eyJaaaaaaaa", "eyJ", "eyJaaaaaaaaaaa.", "diffio_", "-diffio_a", "diffio_a_", "whsec_"),
    *("http://", "https://a@", "//", "?", "sig=", "x-amz-", "token", "&", "\\ud83d", "KEY-OF-"),
    *("\x00", "\u2028", "<", '"', "\\", "a", " ", "}{", "[", "1"),
]


def seconds(work: Callable[[], object], times: int = 3) -> float:
    """CPU seconds, the least of several measurements: noise only adds."""
    found = []
    for _ in range(times):
        began = time.thread_time()
        work()
        found.append(time.thread_time() - began)
    return min(found)


def failure(body: bytes) -> Exception:
    return error_from_response(400, {}, body, call="c", host=Host.API, now=NOW, secrets=SECRETS)


def hostile(piece: str, size: int) -> dict[str, bytes]:
    """Bodies of errors that consist of a piece: as text, and in several places of JSON."""
    text = piece * (size // len(piece))
    contents = {
        "json": json.dumps({"error": text}),
        "text": text,
        "names": json.dumps({text: {text: 1}}),
        "rows": json.dumps({"error": [piece] * (size // (len(piece) + 4))}),
    }
    return {form: content.encode("utf-8", "replace") for form, content in contents.items()}


@pytest.mark.parametrize("piece", PIECES)
def test_an_error_of_any_text_takes_time_in_proportion(piece: str) -> None:
    """Four times the size takes less than eight times as long."""
    small, large = hostile(piece, 25_000), hostile(piece, 100_000)
    for form in small:
        # Below a few milliseconds a ratio is not significant.
        once = seconds(lambda: failure(small[form]))  # noqa: B023 - called at once
        assert seconds(lambda: failure(large[form])) < max(8 * once, 0.1), form  # noqa: B023


@pytest.mark.parametrize("piece", PIECES)
def test_looking_for_secrets_takes_time_in_proportion(piece: str) -> None:
    """Even where texts were not cut: the patterns themselves are linear."""
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
def test_a_secret_at_the_cut_shows_in_no_part(
    before: int, secret: str, limit: int, around: str
) -> None:
    """Neither its beginning, though what stands before it shrinks when it is masked."""
    text = "https://h/p?" + "q" * before + " " + around + secret * 3 + around
    shown = redact(text, [secret], limit)
    assert len(shown) <= limit
    assert "KEY-" not in shown


def test_what_is_kept_of_a_body_is_a_few_kilobytes() -> None:
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


def test_the_code_and_the_text_of_an_error_are_found_behind_much_else() -> None:
    """What is kept is cut; what is looked for is not."""
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
def test_json_nested_too_deep_is_an_error_of_ours(body: bytes, tmp_path: Path) -> None:
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


def test_as_deep_as_may_be_is_read() -> None:
    body = b'{"generationId": "g", "apiProjectId": "p", "status": "x", "more": '
    body += b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}"
    found = decode(body, GenerationProgress, call="c", status=200)
    assert json.dumps(found.extra)


def test_json_of_too_many_values_is_an_error_of_ours() -> None:
    for piece in (b"[],", b"1,", b'"",', b"{},"):
        body = b'{"projects": [' + piece * 2_000_001 + b"1]}"
        with pytest.raises(InvalidResponse, match="not a JSON object"):
            decode(body, ProjectList, call="c", status=200)


def test_numbers_without_end_are_read_in_time() -> None:
    """Python itself takes quadratic time for them; they stay the text that they are."""
    body = b'{"n": ' + b"9" * 10**6 + b', "f": 1' + b"0" * 10**6 + b'.5, "e": 1e999999999}'
    assert seconds(lambda: json_of(body), 1) < 2
    found = json_of(body)
    assert isinstance(found, dict)
    assert found["n"] == "9" * 10**6
    json.dumps(found, allow_nan=False)


def test_files_without_end_are_not_read_whole(tmp_path: Path) -> None:
    """A manifest or a plan of gigabytes is refused by its first line, or its size."""
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


def test_a_handle_without_end_is_refused() -> None:
    with pytest.raises(ConfigurationError) as caught:
        ids_of("dgh1." + "a" * 10**7)
    assert len(str(caught.value)) < 1000


def test_masks_cover_tokens_that_were_cut() -> None:
    assert redact("see eyJhbGciOiJIUzI1NiJ9", limit=24) == f"see {MASK}"
    assert redaction.MAX_TEXT >= 2000
