"""Environments with a published SDK in each; they come from a package index.

These tests run only when they are named (`pytest tests/interop`).
"""

import importlib.util
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Skip these tests unless the command line names them."""
    request_fields = (Path(argument.partition("::")[0]).resolve() for argument in config.args)
    if config.args_source is pytest.Config.ArgsSource.ARGS and any(
        path == HERE or HERE in path.parents for path in request_fields
    ):
        return None
    return True


@pytest.fixture(scope="session")
def python_with(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function that returns the Python of an environment with a version of `diffio` alone."""
    made: dict[str, Path] = {}

    def python(version: str) -> Path:
        if version not in made:
            home = tmp_path_factory.mktemp("published") / version
            uv = [sys.executable, "-m", "uv"] if importlib.util.find_spec("uv") else []
            venv.create(home, with_pip=not uv)
            binary = home / ("Scripts" if os.name == "nt" else "bin") / Path(sys.executable).name
            if not binary.exists():
                binary = binary.with_name("python")
            pip = [*uv, "pip"] if uv else [str(binary), "-m", "pip"]
            target = ["--python", str(binary)] if uv else []
            install = [*pip, "install", "--quiet", *target, f"diffio=={version}"]
            subprocess.run(install, check=True)
            made[version] = binary
        return made[version]

    return python
