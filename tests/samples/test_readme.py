"""The README of `samples/`: what to install for each program."""

from __future__ import annotations

import ast
import re
import sys
from importlib.metadata import packages_distributions

import pytest

from tests.samples.programs import SAMPLES

#: Needed to start a program, which does not import it.
STARTS_WITH = {"fastapi_service": "uvicorn", "django_service": "uvicorn"}
WITH_THE_PACKAGE = {"aiohttp", "anyio", "diffio_async"}
#: Installed with the one named.
COMES_WITH = {"pydantic": "fastapi", "taskiq": "taskiq-redis"}


def lines() -> dict[str, set[str]]:
    """Return the packages that the README installs, by program."""
    text = (SAMPLES / "README.md").read_text(encoding="utf-8")
    found = re.findall(r"^pip install ([\w -]+?) +# ([\w.]+)", text, re.MULTILINE)
    return {program: set(packages.split()) for packages, program in found}


@pytest.mark.parametrize(
    "program", ["fastapi_service", "django_service", "taskiq_service", "celery_worker.py"]
)
def test_the_packages_that_a_program_imports_are_installed(program: str) -> None:
    """A user who follows the README gets no ModuleNotFoundError."""
    path = SAMPLES / program
    modules = [path] if path.is_file() else sorted(path.rglob("*.py"))
    imported = set()
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {name.name.partition(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    own = {module.stem for module in modules} | {"service"}
    needed = imported - sys.stdlib_module_names - WITH_THE_PACKAGE - own
    if program == "fastapi_service":
        needed.discard("starlette")  # FastAPI depends on it
    names = packages_distributions()
    packages = {names[module][0].lower() for module in needed}
    packages = {COMES_WITH.get(name, name) for name in packages}
    packages |= {STARTS_WITH[program]} if program in STARTS_WITH else set()
    assert lines()[program] == packages
