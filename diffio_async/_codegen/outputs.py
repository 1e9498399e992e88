"""Which classes have a facade, what it is called, and where it is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from diffio_async._codegen.compat_clients import ClientsWriter
from diffio_async._codegen.compat_results import render_results
from diffio_async._codegen.docstrings import NameMapper
from diffio_async._codegen.models_reading import read_models
from diffio_async._codegen.reading import read, resolve_bases
from diffio_async._codegen.writing import render_module

if TYPE_CHECKING:
    from diffio_async._codegen.reading import Module

PACKAGE = Path(__file__).parents[1]

#: Where the coroutine classes are, below the package.
SOURCES = (
    "client.py",
    "restoration.py",
    "resources/account.py",
    "resources/generation_waits.py",
    "resources/generations.py",
    "resources/projects.py",
    "resources/webhooks.py",
)

#: The coroutine classes, parts before the whole. One name has one colour: `Async` says which.
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
    """Every file the workshop writes, and what is due in it."""
    modules = [read(package / source) for source in SOURCES]
    resolve_bases(modules)
    names = {name: name.removeprefix("Async") for name in CLASSES}
    sync = render_module(
        modules, names, "The blocking client: the coroutine client's surface, line by line."
    )
    return {package / "sync" / "_generated.py": sync, **_compat(package, modules)}


def _compat(package: Path, modules: list[Module]) -> dict[Path, str]:
    """The guide's spelling: results, and the clients that answer with them."""
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
        package / "compat" / "types" / "_generated.py": render_results(models, spell),
        package / "compat" / "_generated.py": ClientsWriter(modules, spell).render(),
    }
