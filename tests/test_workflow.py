"""The workflow of CI: it runs sessions that exist, on the Python versions of the classifiers."""

from __future__ import annotations

import ast
import tomllib
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
CLASSIFIER = "Programming Language :: Python :: 3."

if not WORKFLOW.is_file():
    pytest.skip("the sdist has no workflow", allow_module_level=True)


def jobs() -> dict[str, Any]:
    """Return the jobs of the workflow."""
    parsed = import_module("yaml").safe_load(WORKFLOW.read_text(encoding="utf-8"))
    found: dict[str, Any] = parsed["jobs"]
    return found


def project() -> dict[str, Any]:
    """Return the tables of pyproject.toml."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def versions() -> list[str]:
    """Return the Python versions that the package claims."""
    classifiers = project()["project"]["classifiers"]
    return [f"3.{each.removeprefix(CLASSIFIER)}" for each in classifiers if CLASSIFIER in each]


def noxfile() -> ast.Module:
    """Return the parsed noxfile."""
    return ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))


def noxfile_pythons() -> list[str]:
    """Return the constant `PYTHONS` of the noxfile."""
    for node in noxfile().body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PYTHONS":
            pythons: list[str] = ast.literal_eval(node.value)
            return pythons
    raise AssertionError("the noxfile has no PYTHONS")


def sessions() -> set[str]:
    """Return the names of the sessions, with those for each Python."""
    found = set[str]()
    for node in noxfile().body:
        decorators = node.decorator_list if isinstance(node, ast.FunctionDef) else []
        for decorator in decorators:
            assert isinstance(node, ast.FunctionDef)
            name, many = node.name, False
            for keyword in decorator.keywords if isinstance(decorator, ast.Call) else []:
                if keyword.arg == "name":
                    name = ast.literal_eval(keyword.value)
                many |= keyword.arg == "python" and ast.unparse(keyword.value) == "PYTHONS"
            found.update([f"{name}-{version}" for version in noxfile_pythons()] if many else [name])
    return found


def named_sessions() -> Iterator[str]:
    """Yield each session that a step runs, with the values of its matrix."""
    for job in jobs().values():
        matrix = job["strategy"]["matrix"]
        for step in job["steps"]:
            command, _, name = step.get("run", "").partition(" --session ")
            if not command.startswith("nox"):
                continue
            names = [name.partition(" -- ")[0]]
            for key, values in matrix.items():
                names = [
                    each.replace(f"${{{{ matrix.{key} }}}}", value)
                    for each in names
                    for value in values
                ]
            yield from names


def test_every_session_that_ci_runs_exists() -> None:
    """A renamed session is renamed in the workflow."""
    named = set(named_sessions())
    assert len(named) > 5
    assert named <= sessions()
    assert not [name for name in named if "$" in name]


def test_ci_runs_what_nox_runs_by_default() -> None:
    """`nox` without arguments, and CI, leave out nothing of each other."""
    default = {"lint", "types", "package", "docs"} | {f"tests-{each}" for each in versions()}
    assert default <= set(named_sessions())


def test_the_versions_are_those_of_the_classifiers() -> None:
    """The matrix, the noxfile and the classifiers name the same Python versions."""
    claimed = versions()
    assert claimed == sorted(claimed, key=lambda version: int(version.partition(".")[2]))
    assert jobs()["tests"]["strategy"]["matrix"]["python"] == claimed
    assert noxfile_pythons() == claimed
    assert project()["project"]["requires-python"] == f">={claimed[0]}"


def test_the_tests_run_on_three_systems() -> None:
    """Linux, macOS and Windows."""
    systems = {"ubuntu-latest", "macos-latest", "windows-latest"}
    assert set(jobs()["tests"]["strategy"]["matrix"]["system"]) == systems


def test_each_job_has_a_time_limit_and_the_pinned_nox() -> None:
    """A job that hangs ends, and the version of nox is that of contributors."""
    pinned = [each for each in project()["dependency-groups"]["types"] if each.startswith("nox==")]
    for name, job in jobs().items():
        assert job["timeout-minutes"] <= 60, name
        installs = [step["run"] for step in job["steps"] if "pip install" in step.get("run", "")]
        assert installs, name
        assert all(pinned[0] in command for command in installs), name
