"""Frameworks that look at us: annotations, class attributes and plain data, at run time."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
import typing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import attrs
import pytest

import diffio_async
from diffio_async import AsyncDiffio, Diffio, FileOutcome, events, models
from diffio_async.compat import DiffioClient
from diffio_async.models.account import ApiKey
from diffio_async.models.generations import Download, GenerationProgress, Outcome, StageProgress
from diffio_async.types import ProgressCallback, SourceLike

#: What is public: these modules, and what they name in `__all__` or define.
MODULES = (
    "",
    ".client",
    ".compat",
    ".compat.errors",
    ".compat.options",
    ".compat.types",
    ".errors",
    ".events",
    ".models.account",
    ".models.batches",
    ".models.generations",
    ".models.json_values",
    ".models.projects",
    ".models.webhooks",
    ".options",
    ".resources.account",
    ".resources.generation_waits",
    ".resources.generations",
    ".resources.projects",
    ".restoration",
    ".sandbox",
    ".sync",
    ".types",
    ".webhooks",
    ".webhooks.receiver",
    ".webhooks.taskiq",
)
SPECIAL = {"__init__", "__call__", "__aenter__", "__aexit__", "__enter__", "__exit__"}


def public() -> dict[str, Any]:
    """Every public class and function, by its full name."""
    found = {}
    for name in MODULES:
        module = importlib.import_module(f"diffio_async{name}")
        named = getattr(module, "__all__", None)
        for attribute in named or [each for each in vars(module) if not each.startswith("_")]:
            value = getattr(module, attribute)
            home = str(getattr(value, "__module__", ""))
            ours = home.startswith("diffio_async") if named else home == module.__name__
            if ours and (inspect.isclass(value) or inspect.isfunction(value)):
                found[f"{home}.{attribute}"] = value
    return found


PUBLIC = public()


def functions(value: Any) -> list[Any]:
    """The value, and the public methods and properties of a class of ours and of its bases."""
    if not inspect.isclass(value):
        return [value]
    found: list[Any] = [value]
    for kind in value.__mro__:
        if not kind.__module__.startswith("diffio_async"):
            continue
        for name, member in vars(kind).items():
            if name.startswith("_") and name not in SPECIAL:
                continue
            # Of class and static methods, properties, and cached ones.
            wrapped = (getattr(member, at, None) for at in ("__func__", "fget", "func"))
            function = next((each for each in wrapped if each is not None), member)
            if inspect.isfunction(function):
                found.append(inspect.unwrap(function))
    return found


def test_annotations_resolve_at_run_time() -> None:
    """`typing.get_type_hints` and `inspect.signature(eval_str=True)` accept all public names."""
    for name, value in PUBLIC.items():
        for each in functions(value):
            try:
                typing.get_type_hints(each)
                if inspect.isfunction(each):
                    inspect.signature(each, eval_str=True)
            except NameError as failure:
                failure.add_note(f"in {name}")
                raise


def test_there_is_much_that_is_public() -> None:
    assert len(PUBLIC) > 150


@pytest.mark.parametrize("module", ["errors", "events", "models.generations", "options", "types"])
def test_words_may_be_imported_first_and_load_no_http_library(module: str) -> None:
    """In any order: errors name models in their annotations, and models name errors."""
    check = (
        f"import sys, typing, diffio_async.{module}, diffio_async.errors as errors;"
        "[typing.get_type_hints(v) for v in vars(errors).values() if isinstance(v, type)];"
        "assert not {'aiohttp', 'cattrs', 'sqlite3', 'asyncio'} & {*sys.modules}"
    )
    subprocess.run([sys.executable, "-c", check], check=True)


@pytest.mark.parametrize("kind", [AsyncDiffio, Diffio, DiffioClient])
def test_resources_are_visible_on_the_class(kind: type[Any]) -> None:
    """`create_autospec` of the class has every resource, with the signatures of its methods."""
    for double in (create_autospec(kind), create_autospec(kind, instance=True)):
        with pytest.raises(TypeError, match=r"unexpected keyword|missing"):
            double.projects.list(nonsense=1)
        with pytest.raises(AttributeError):
            double.projects.nothing_like_it  # noqa: B018
    hints = typing.get_type_hints(kind)
    assert {"projects", "generations", "account", "webhooks"} <= {*hints}
    assert {"projects", "generations", "account", "webhooks"} <= {*dir(kind)}


async def test_a_double_of_the_client_is_awaited_like_the_client() -> None:
    double = create_autospec(AsyncDiffio, instance=True)
    double.projects.list.return_value = []
    assert await double.projects.list() == []
    double.projects.list.assert_awaited_once_with()
    with pytest.raises(TypeError):
        double.restore_many()


def test_pickling_and_copying_know_nothing_of_the_class_attributes() -> None:
    client = AsyncDiffio("key")
    assert client.projects is client.projects
    assert type(client.projects) is type(AsyncDiffio.projects)
    with pytest.raises(AttributeError, match="no 'projects' yet"):
        _ = AsyncDiffio.__new__(AsyncDiffio).projects


def test_types_of_parameters_can_be_imported() -> None:
    hints = typing.get_type_hints(AsyncDiffio.restore)
    assert hints["source"] == SourceLike
    assert hints["on_progress"] == typing.Optional[ProgressCallback]  # noqa: UP045 - at run time


def test_every_model_has_to_dict() -> None:
    """And every event, outcome and progress: what is frozen and public."""
    kinds = [each for each in PUBLIC.values() if inspect.isclass(each) and attrs.has(each)]
    kinds = [
        each for each in kinds if each.__module__.startswith((models.__name__, events.__name__))
    ]
    assert len(kinds) > 40
    assert [each.__name__ for each in kinds if not hasattr(each, "to_dict")] == []


def test_plain_data_is_ready_for_json() -> None:
    """Times are ISO 8601, paths are text; what `extra` has is at its own place."""
    outcome = FileOutcome(
        source=Path("in/a.wav"), state="done", paths={"audio": Path("out/a.mp3")}, seconds=1.5
    )
    data = outcome.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["source"] == str(Path("in/a.wav"))
    assert data["paths"] == {"audio": str(Path("out/a.mp3"))}
    progress = GenerationProgress(
        generation_id="g",
        api_project_id="p",
        status="running",
        pre_processing=StageProgress(progress=float("nan"), job_id="j"),
        extra={"newField": {"of": (1, 2)}, "queue": 0},
    )
    data = progress.to_dict()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert data["extra"] == {"newField": {"of": [1, 2]}, "queue": 0}
    stage = data["pre_processing"]
    assert isinstance(stage, dict)
    assert (stage["job_id"], stage["progress"]) == ("j", None)
    spelled = progress.to_dict(camel_case=True)
    assert spelled["apiProjectId"] == "p"
    assert spelled["newField"] == {"of": [1, 2]}
    # A value of another type than its field's, as the API sent it.
    assert spelled["queue"] == 0
    assert "extra" not in spelled
    at = ApiKey(key_id="k", created_at=datetime(2026, 1, 2, tzinfo=UTC)).to_dict()
    assert at["created_at"] == "2026-01-02T00:00:00+00:00"


def test_plain_data_holds_no_secret() -> None:
    """What `repr` hides is left out: keys, tokens, signed URLs."""
    secret = "s3cret-s3cret"
    download = Download(
        generation_id="g", api_project_id="p", download_type="audio", download_url=secret
    )
    for model in (ApiKey(key_id="k", key=secret), download):
        for camel_case in (False, True):
            assert secret not in json.dumps(model.to_dict(camel_case=camel_case))


def test_an_error_in_an_outcome_is_its_class_and_its_message() -> None:
    error = diffio_async.GenerationFailed("the server is out of air")
    data = Outcome(generation_id="g", error=error).to_dict()
    assert data["error"] == {"type": "GenerationFailed", "message": "the server is out of air"}
