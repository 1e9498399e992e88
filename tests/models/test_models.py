"""Models pickle, hash and compare, and do not show secrets."""

from __future__ import annotations

import copy
import json
import os
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffio_async import events
from diffio_async.models import account, generations, projects
from diffio_async.models.batches import LeftOut
from diffio_async.models.generations import GenerationProgress, StageProgress

MODULES = (account, generations, projects, events)
MODELS = sorted(
    {
        model
        for module in MODULES
        for model in vars(module).values()
        if isinstance(model, type) and attrs.has(model)
    },
    key=lambda model: model.__name__,
)
SAMPLES: dict[str, object] = {
    "str": "text",
    "int": 7,
    "float": 1.5,
    "bool": True,
    "datetime": datetime(2026, 1, 1, tzinfo=UTC),
    "Path": Path("a.mp3"),
    "bytes": b"SECRET",
    "object": {"free": ["shape"]},
    "Json": {"free": ["shape"]},
    "DiffioError": None,  # errors are compared by identity
    "Mapping[int, str]": {1: "etag"},
}
SECRET = {"upload_token", "upload_url", "download_url", "key"}


def made(model: type[Any]) -> Any:
    """Return the model with all fields set."""
    # The source text: `field.type` is a type once something was decoded into the model.
    kinds: dict[str, str] = {}
    for base in reversed(model.__mro__):
        kinds |= vars(base).get("__annotations__", {})
    return model(**{name: value(name, kinds[name]) for name in attrs.fields_dict(model)})


def value(name: str, written: str) -> object:
    if name in SECRET:
        return "https://store/o?sig=SECRET"
    if name == "extra":
        return {"token": "SECRET", "list": [1]}
    kind = written.removesuffix(" | None")
    inner = kind.removeprefix("tuple[").removesuffix(", ...]")
    found = {model.__name__: model for model in MODELS}.get(inner)
    sample = SAMPLES[inner] if found is None else made(found)
    return (sample, sample) if inner != kind else sample


@pytest.mark.parametrize("model", MODELS)
def test_a_model_pickles_hashes_compares_and_shows_no_secret(model: type[Any]) -> None:
    one, other = made(model), made(model)
    assert one == other
    assert one is not other
    assert hash(one) == hash(other)
    assert {one: 1}[other] == 1
    for again in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one)):
        assert again == one
        assert repr(again) == repr(one)
    assert "SECRET" not in repr(one)
    assert repr(one).startswith(f"{model.__name__}(")
    assert one != object()


@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_frozen_and_slotted(model: type[Any]) -> None:
    one = made(model)
    name = attrs.fields(model)[0].name
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        setattr(one, name, None)
    assert not hasattr(one, "__dict__")


def test_unknown_fields_take_part_in_equality() -> None:
    """A change of an unknown field is a change of progress."""
    one = StageProgress(status="x", extra={"a": 1})
    assert one != attrs.evolve(one, extra={"a": 2})


def progress(status: str, *stages: float | None) -> GenerationProgress:
    names = ("pre_processing", "inference", "restored_video")
    named = {n: StageProgress(progress=p) for n, p in zip(names, stages, strict=False)}
    return GenerationProgress(
        generation_id="g",
        api_project_id="p",
        status=status,
        pre_processing=named.get("pre_processing"),
        inference=named.get("inference"),
        restored_video=named.get("restored_video"),
    )


@pytest.mark.parametrize(
    ("status", "complete", "failed"),
    [
        ("queued", False, False),
        ("processing", False, False),
        ("complete", True, False),
        ("failed", False, True),
        ("error", False, True),
        ("cancelled", False, True),
        ("canceled", False, True),
        ("expired", False, True),
        ("a word yet to come", False, False),
        ("", False, False),
    ],
)
def test_only_words_that_are_known_end_a_generation(
    status: str, complete: bool, failed: bool
) -> None:
    found = progress(status, 100, 100, 100)
    assert (found.complete, found.failed) == (complete, failed)
    assert (found.percent == 100) == complete


@given(stages=st.lists(st.none() | st.floats(-1e9, 1e9), max_size=3))
def test_percent_is_from_0_to_99_until_complete(stages: list[float | None]) -> None:
    assert 0 <= progress("processing", *stages).percent <= 99
    assert progress("complete", *stages).percent == 100


def test_percent_is_the_mean_of_the_stages_named() -> None:
    assert progress("processing", 100, 20).percent == 60
    assert progress("processing", 100, None).percent == 50
    assert progress("queued").percent == 0


def test_transfers_know_how_far_they_are() -> None:
    assert events.UploadProgress(5, 10).percent == 50
    assert events.UploadProgress(0, 0).percent == 100
    assert events.DownloadProgress(5, None).percent is None
    assert events.DownloadProgress(5, 20).percent == 25
    assert events.DownloadProgress(0, 0).percent == 100


def test_plain_data_of_a_path_that_is_not_utf_8_can_be_encoded() -> None:
    path = Path(os.fsdecode(b"/a/\xff.wav"))
    found = LeftOut(path=path, reason="ending").to_dict()
    assert json.dumps(found, ensure_ascii=False).encode().decode() == (
        '{"path": "/a/\ufffd.wav", "reason": "ending"}'
    )
