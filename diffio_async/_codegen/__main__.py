"""Command line: `python -m diffio_async._codegen --write` or `--check`."""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from diffio_async._codegen.compat_clients import ClientsWriter
from diffio_async._codegen.compat_results import render_results
from diffio_async._codegen.compat_surface import NameMapper
from diffio_async._codegen.reading import read, read_models, resolve_bases
from diffio_async._codegen.writing import render_module

if TYPE_CHECKING:
    from diffio_async._codegen.reading import Module

PACKAGE = Path(__file__).parents[1]

#: The modules with coroutine classes.
SOURCES = (
    "client.py",
    "restoration.py",
    "resources/account.py",
    "resources/generation_waits.py",
    "resources/generations.py",
    "resources/projects.py",
)

#: The coroutine classes that have a facade; parts come before the client that has them.
CLASSES = (
    "AsyncProjects",
    "AsyncGenerations",
    "AsyncAudioIsolation",
    "AsyncAccounts",
    "AsyncApiKeys",
    "AsyncUsageReports",
    "AsyncWebhooks",
    "AsyncDiffio",
)


def outputs(package: Path = PACKAGE) -> dict[Path, str]:
    """Return the text of each generated file."""
    modules = [read(package / source) for source in SOURCES]
    resolve_bases(modules)
    names = {name: name.removeprefix("Async") for name in CLASSES}
    sync = render_module(modules, names, "Blocking client: the surface of the coroutine client.")
    return {package / "sync" / "_generated.py": sync, **_compat(package, modules)}


def _compat(package: Path, modules: list[Module]) -> dict[Path, str]:
    """Return the text of the compat modules: results, and the clients that return them."""
    models = {
        name: model
        for path in sorted((package / "models").glob("*.py"))
        for name, model in read_models(path).items()
    }
    errors = read_models(package / "_error_base.py") | read_models(package / "errors.py")
    names = {name for model in models.values() for name in model.fields}
    names |= {
        parameter.name
        for module in modules
        for noun in module.nouns.values()
        for method in noun.methods
        for parameter in method.parameters
    }
    spell = NameMapper(names, errors)
    return {
        package / "compat" / "_results_generated.py": render_results(models, spell),
        package / "compat" / "_generated.py": ClientsWriter(modules, spell).render(),
    }


def main(arguments: list[str] | None = None, package: Path = PACKAGE) -> int:
    """Write the facades, or print how they differ and return 1."""
    parser = argparse.ArgumentParser(prog="python -m diffio_async._codegen", description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="write the facades")
    mode.add_argument("--check", action="store_true", help="fail if they are out of date")
    writes = parser.parse_args(arguments).write
    stale = 0
    for path, expected in outputs(package).items():
        present = path.read_text(encoding="utf-8") if path.exists() else ""
        if present == expected:
            continue
        stale += 1
        if writes:
            path.write_text(expected, encoding="utf-8")
        else:
            lines = difflib.unified_diff(
                present.splitlines(),
                expected.splitlines(),
                f"{path} (present)",
                "expected",
                lineterm="",
            )
            sys.stderr.write("\n".join(lines) + "\n")
    if stale and not writes:
        sys.stderr.write("out of date: run python -m diffio_async._codegen --write\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
