"""Check a release that was built, and print what publishes it; nothing is uploaded.

Usage: python prepare_release.py DIST PYTHON [--draft]

PYTHON is the interpreter of an environment in which only the wheel and its dependencies are
installed. With `--draft`, the section of unreleased changes is that of the version.
`DIST/diffio_async-VERSION.cdx.json` is written, the CycloneDX SBOM of that environment.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: Bytes of the wheel and its core dependencies, installed.
MAX_INSTALLED = 32 * 2**20
#: Files that are not modules; each suffix is in the wheel.
ASSETS = {".html", ".js", ".css", ".typed"}


class NotReady(Exception):
    """The release cannot be published; the message is the reason."""


def declared_version(root: Path) -> str:
    """Return the version of the package's sources."""
    text = (root / "diffio_async" / "_version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)
    if found is None:
        raise NotReady("diffio_async/_version.py has no __version__")
    return found[1]


def changelog_section(changelog: str, version: str) -> str:
    """Return the section of a version in the changelog.

    Raises:
        NotReady: There is no section with text for it.
    """
    pattern = rf"^## \[{re.escape(version)}\](?: - [\d-]+)?\n(.*?)(?=^## \[|^\[[^]]+\]: |\Z)"
    found = re.search(pattern, changelog, re.MULTILINE | re.DOTALL)
    if found is None or not found[1].strip():
        raise NotReady(
            f"CHANGELOG.md has no section for {version}: rename '## [Unreleased]' to "
            f"'## [{version}] - YYYY-MM-DD', and add an empty '## [Unreleased]' above it"
        )
    return found[1].strip()


def tag_message(version: str, section: str) -> str:
    """Return the message of the annotated tag: a subject, then the changelog as plain text."""
    text = re.sub(r"^#+ *(.+)$", r"\1:", section, flags=re.MULTILINE).replace("**", "")
    return f"diffio-async {version}\n\n{text}\n"


def check_wheel(wheel: Path, root: Path, version: str) -> None:
    """Check the version and the files of a wheel.

    Raises:
        NotReady: The version is another, or a file that is not a module is missing.
    """
    names = set(zipfile.ZipFile(wheel).namelist())
    if f"diffio_async-{version}.dist-info/METADATA" not in names:
        raise NotReady(f"{wheel.name} is not version {version}: remove the folder and build again")
    wanted = {
        path.relative_to(root).as_posix()
        for path in (root / "diffio_async").rglob("*")
        if path.suffix in ASSETS
    }
    missing = sorted(wanted - names)
    if missing or not wanted:
        raise NotReady(f"{wheel.name} lacks {', '.join(missing) or 'pages'}")


def check_size(sizes: dict[str, int]) -> None:
    """Check the installed size, in bytes, of the wheel with its core dependencies.

    Raises:
        NotReady: It is too large.
    """
    total = sum(sizes.values())
    if total > MAX_INSTALLED:
        largest = sorted(sizes, key=lambda name: -sizes[name])[:5]
        parts = ", ".join(f"{name} {sizes[name] / 2**20:.1f}" for name in largest)
        raise NotReady(
            f"the core dependencies take {total / 2**20:.1f} MiB (at most "
            f"{MAX_INSTALLED / 2**20:.0f}); the largest: {parts}"
        )


_SIZES = """
import importlib.metadata, json
print(json.dumps({
    each.metadata["Name"]: sum(
        file.locate().stat().st_size
        for file in each.files or ()
        if file.suffix != ".pyc" and file.locate().is_file()
    )
    for each in importlib.metadata.distributions()
    if each.metadata["Name"] not in {"pip", "setuptools", "wheel"}
}))
"""


def installed_sizes(python: str) -> dict[str, int]:
    """Return the size in bytes of each distribution of an environment, without bytecode."""
    run = subprocess.run([python, "-I", "-c", _SIZES], capture_output=True, text=True, check=True)
    sizes: dict[str, int] = json.loads(run.stdout)
    return sizes


def write_sbom(python: str, file: Path) -> int:
    """Write the SBOM of an environment; return the number of its components."""
    project = str(ROOT / "pyproject.toml")
    command = ["cyclonedx-py", "environment", python, "--pyproject", project, "--output-file"]
    subprocess.run([*command, str(file), "--output-reproducible"], check=True)
    return len(json.loads(file.read_text(encoding="utf-8"))["components"])


def main(dist: Path, python: str, *, draft: bool = False) -> None:
    """Run the checks, write the SBOM, and print the changelog, the tag and the next steps."""
    version = declared_version(ROOT)
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    (wheel,) = dist.glob("*.whl")
    check_wheel(wheel, ROOT, version)
    sizes = installed_sizes(python)
    check_size(sizes)
    components = write_sbom(python, dist / f"diffio_async-{version}.cdx.json")
    message = dist / "tag-message.txt"
    section = changelog_section(changelog, "Unreleased" if draft else version)
    message.write_text(tag_message(version, section), encoding="utf-8")
    sys.stdout.write(
        f"{tag_message(version, section)}\n"
        f"{wheel.name} and {len(sizes) - 1} dependencies take {sum(sizes.values()) / 2**20:.1f} MiB"
        f" installed, without byte code; the SBOM has {components} components.\n"
        "Nothing was uploaded. To publish:\n"
        f"  git tag --annotate v{version} --cleanup=verbatim --file {message}\n"
        f"  twine upload {dist}/*.whl {dist}/*.tar.gz\n"
    )


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), sys.argv[2], draft="--draft" in sys.argv[3:])
    except NotReady as reason:
        sys.exit(f"not ready: {reason}")
