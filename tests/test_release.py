"""The release: version, changelog, tag message, contents and size of the wheel."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import diffio_async

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".ci" / "prepare_release.py"

CHANGELOG = """# Changelog

## [Unreleased]

## [1.2.0] - 2026-01-31

### Added

- **Retries** of uploads.

## [1.1.0] - 2025-12-01

- Before.

[1.2.0]: https://example.com
"""


def load() -> ModuleType:
    """Import the script."""
    spec = importlib.util.spec_from_file_location("prepare_release", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release = load()


def test_the_version_is_written_in_one_place() -> None:
    """The version of the sources is that of the package, and no other file names it."""
    version = release.declared_version(ROOT)
    assert version == diffio_async.__version__
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{version}"' not in pyproject


def test_the_section_of_a_version_is_found() -> None:
    """It ends before the section of the version before, and has no links."""
    section = release.changelog_section(CHANGELOG, "1.2.0")
    assert section == "### Added\n\n- **Retries** of uploads."
    assert release.changelog_section(CHANGELOG, "1.1.0") == "- Before."


@pytest.mark.parametrize("version", ["1.3.0", "1.2"])
def test_a_version_without_a_section_is_not_ready(version: str) -> None:
    """The message contains what to write, and where."""
    with pytest.raises(release.NotReady, match=r"rename '## \[Unreleased\]'"):
        release.changelog_section(CHANGELOG, version)


def test_the_tag_message_has_no_markup() -> None:
    """Lines that start with `#` would be comments of git."""
    message = release.tag_message("1.2.0", release.changelog_section(CHANGELOG, "1.2.0"))
    assert message == "diffio-async 1.2.0\n\nAdded:\n\n- Retries of uploads.\n"


def test_a_large_installation_is_not_ready() -> None:
    """The message contains the size and the largest packages."""
    release.check_size({"diffio-async": 2**20, "aiohttp": 8 * 2**20})
    with pytest.raises(release.NotReady, match=r"take 41\.0 MiB .* the largest: scipy 40\.0"):
        release.check_size({"diffio-async": 2**20, "scipy": 40 * 2**20})


def wheel(path: Path, version: str, *, without: str = "") -> Path:
    """Write a wheel with the files of the package."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"diffio_async-{version}.dist-info/METADATA", "")
        for file in (ROOT / "diffio_async").rglob("*"):
            if file.is_file() and file.name != without:
                archive.write(file, file.relative_to(ROOT))
    return path


def test_a_wheel_with_all_files_is_ready(tmp_path: Path) -> None:
    """Modules, `py.typed`, and the files of the pages."""
    release.check_wheel(wheel(tmp_path / "x.whl", "1.2.0"), ROOT, "1.2.0")


@pytest.mark.parametrize("name", ["py.typed", "page.html", "sandbox.js", "sandbox.css"])
def test_a_wheel_without_a_file_is_not_ready(name: str, tmp_path: Path) -> None:
    """A type checker or a page would lack it."""
    made = wheel(tmp_path / "x.whl", "1.2.0", without=name)
    with pytest.raises(release.NotReady, match=rf"lacks diffio_async/.*{name}"):
        release.check_wheel(made, ROOT, "1.2.0")


def test_a_wheel_of_another_version_is_not_ready(tmp_path: Path) -> None:
    """It was left by an earlier build."""
    with pytest.raises(release.NotReady, match=r"x\.whl is not version 1\.2\.1"):
        release.check_wheel(wheel(tmp_path / "x.whl", "1.2.0"), ROOT, "1.2.1")


@pytest.mark.slow
def test_sizes_are_those_of_installed_files() -> None:
    """The sizes of the environment that runs this test."""
    sizes = release.installed_sizes(sys.executable)
    assert sizes["aiohttp"] > 2**20
    assert "pip" not in sizes
