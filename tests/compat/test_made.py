"""Generated results and clients of compat, and the cost of importing them."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from diffio_async import compat
from diffio_async._codegen.__main__ import PACKAGE, outputs
from diffio_async._codegen.compat_results import SHAPES, ResultSpec
from diffio_async._codegen.compat_surface import camel, render_docstring
from diffio_async._codegen.reading import parse_docstring

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("source", "old", "new", "message"),
    [
        ("resources/account.py", "api_key_id", "key_id", "no parameter for apiKeyId"),
        ("models/projects.py", "original_file_name", "name", "no field for ProjectSummary"),
    ],
)
def test_a_name_that_went_away_stops_the_generator(
    tmp_path: Path, source: str, old: str, new: str, message: str
) -> None:
    """A name that compat needs and the coroutine client lacks is an error."""
    package = tmp_path / "diffio_async"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "sandbox"))
    assert len(outputs(package)) == 3
    path = package / source
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        outputs(package)


def test_importing_the_package_does_not_import_compat() -> None:
    program = "import sys, diffio_async; print('diffio_async.compat' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "False"


@pytest.mark.slow
def test_importing_compat_loads_neither_svix_nor_httpx() -> None:
    """They take most of the half second of the import of the published package."""
    program = "import sys, diffio_async.compat; print({'svix', 'httpx'} & set(sys.modules))"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "set()"


def test_public_names_are_sorted_and_there() -> None:
    assert compat.__all__ == sorted(compat.__all__)
    assert all(getattr(compat, name) is not None for name in compat.__all__)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_an_empty_response_gives_defaults_or_names_the_missing_field(shape: ResultSpec) -> None:
    """No KeyError and no TypeError: only ids are required, other fields have defaults."""
    kind = getattr(compat, shape.name)
    try:
        empty = kind.from_dict({})
    except compat.DiffioApiError as error:
        missing = error.message.split()[0]
    else:
        missing = ""
        assert empty == kind.from_dict(dict.fromkeys(shape.required.split()))
        assert hash(empty) == hash(kind.from_dict({}))
    assert missing in {"", "generationId", "apiProjectId", "keyId", *_REQUIRED}


#: Required fields other than ids.
_REQUIRED = {"edgeBaseUrl", "svixMessageId"}


def test_stages_may_be_absent_null_or_odd() -> None:
    """Each of these crashes the published package's decoder."""
    ids = {"generationId": "gen_1", "apiProjectId": "proj_1", "status": "processing"}
    stage = {"progress": "12.5", "status": None, "jobId": 5, "newField": 1}
    progress = compat.GenerationProgressResponse.from_dict(
        {**ids, "preProcessing": None, "inference": stage, "queue": {"position": 3}, "eta": 9}
    )
    assert (progress.preProcessing, progress.restoredVideo) == (None, None)
    assert progress.inference is not None
    assert (progress.inference.progress, progress.inference.status) == (12, "pending")
    assert progress.inference.jobId is None
    assert (progress.queue, progress.extra) == ({"position": 3}, {"eta": 9})
    assert progress.inference.extra == {"jobId": 5, "newField": 1}


def test_an_odd_value_is_kept_in_extra() -> None:
    """It does not fail the result, and it is not lost with the stand-in that takes its place."""
    odd = {"createdAt": 5, "hasVideo": "no", "status": ["x"], "generationCount": 10**400}
    row = {"apiProjectId": "p", "originalFileName": "a.wav"}
    found = compat.ListProjectsResponse.from_dict({"projects": [{**row, **odd}], "next": "t"})
    (project,) = found.projects
    assert (project.createdAt, project.hasVideo, project.status) == (None, False, "uploading")
    assert (project.originalFileName, project.generationCount) == ("a.wav", 0)
    assert (project.extra, found.extra) == (odd, {"next": "t"})
    created = compat.CreateProjectResponse.from_dict(
        {"apiProjectId": "p", "uploadUrl": "https://h/p", "upload": {"uploadToken": 5}}
    )
    assert created.upload is None
    assert created.extra == {"upload": {"uploadToken": 5}}


def test_docstrings_are_parsed_and_rendered() -> None:
    quoted = '"""Do it.\n\nMore.\n\nArgs:\n    api_key: A key\n        of yours.\n"""'
    words = parse_docstring(quoted)
    assert (words.summary, words.args) == ("Do it.\n\nMore.", {"api_key": "A key of yours."})
    lines = list(render_docstring(words, 4))
    assert lines[0] == '    """Do it.'
    assert lines[-2:] == ["        api_key: A key of yours.", '    """']
    assert camel("api_project_id") == "apiProjectId"
