"""Rows of listings, and handles of generations."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async._polling.job_timeline import (
    GenerationRow,
    parse_rows,
    progress_from_row,
    status_rank,
)
from diffio_async.errors import ConfigurationError, InvalidResponse
from diffio_async.models.generations import handle_of, ids_in, ids_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
IDS = st.text(min_size=1, max_size=40).filter(lambda text: text.strip() == text)


def test_rows_contain_id_status_percentage_and_reason() -> None:
    """The percentage is None unless it is a number, the reason if absent."""
    body = {
        "generations": [
            {"generationId": "a", "status": "processing", "progress": 12, "modelKey": "m"},
            {"generationId": "b", "status": "failed", "progress": None, "error": "silence"},
            {"generationId": "c", "status": "new", "progress": "12.5"},
        ]
    }
    assert list(parse_rows(json.dumps(body).encode())) == [
        GenerationRow("a", "processing", 12, None),
        GenerationRow("b", "failed", None, "silence"),
        GenerationRow("c", "new", 12.5, None),
    ]


@pytest.mark.slow
@given(st.lists(JSON, max_size=2))
def test_invalid_rows_are_skipped(invalid: list[object]) -> None:
    """The others are parsed."""
    valid = {"generationId": "a", "status": "complete", "progress": 100}
    rows = list(parse_rows(json.dumps({"generations": [*invalid, valid]}).encode()))
    assert rows[-1] == GenerationRow("a", "complete", 100, None)


@pytest.mark.parametrize(
    "number", ["1" + "0" * 400, "1" * 5000, "1e999", "NaN", "Infinity", "true", '"many"', "{}"]
)
def test_an_invalid_percentage_is_none(number: str) -> None:
    """The rest of the row is kept, as in `list_generations`, which has the same filter."""
    listing = f'{{"generationId": "a", "status": "processing", "progress": {number}}}'
    (row,) = parse_rows(f'{{"generations": [{listing}]}}'.encode())
    assert row == GenerationRow("a", "processing", None, None)
    assert progress_from_row(row, "p").percent == 0


def test_a_null_listing_is_empty() -> None:
    assert list(parse_rows(b'{"generations": null}')) == []


def test_an_error_object_is_a_reason() -> None:
    row = {"generationId": "a", "status": "failed", "error": {"code": "X"}}
    assert list(parse_rows(json.dumps({"generations": [row]}).encode())) == [
        GenerationRow("a", "failed", None, "X")
    ]


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"<html>", b'{"generations": {}}', b"{}"])
def test_other_bodies_are_rejected(body: bytes) -> None:
    """A portal's page must not look like a project without generations."""
    with pytest.raises(InvalidResponse, match="list_project_generations"):
        parse_rows(body)


def test_statuses_have_an_order() -> None:
    """An unknown status ranks as running."""
    assert [
        status_rank(status) for status in ("queued", "processing", "dreaming", "complete", "error")
    ] == [
        *(0, 1, 1),
        *(2, 2),
    ]
    assert progress_from_row(GenerationRow("a", "processing", 40, None), "p").percent == 40
    assert progress_from_row(GenerationRow("a", "complete", None, None), "p").percent == 100


@given(IDS, IDS)
def test_a_handle_contains_both_ids(generation_id: str, api_project_id: str) -> None:
    """Any characters are allowed in them, and a handle can be part of a URL as it is."""
    handle = handle_of(generation_id, api_project_id)
    assert ids_of(handle) == (generation_id, api_project_id)
    assert ids_in(f" {handle}\n", "another") == (generation_id, api_project_id)
    assert all(letter.isascii() and (letter.isalnum() or letter in "-._~") for letter in handle)


@given(st.text(max_size=30))
def test_other_text_is_not_accepted_as_a_handle(text: str) -> None:
    """The error explains what a handle is."""
    with pytest.raises(ConfigurationError, match="handle"):
        ids_of(text)
