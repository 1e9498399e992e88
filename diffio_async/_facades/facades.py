"""Which classes have a facade, what it is called, and where it is written."""

from __future__ import annotations

from pathlib import Path

from diffio_async._facades.reading import read
from diffio_async._facades.writing import written

PACKAGE = Path(__file__).parents[1]

#: Where the coroutine classes are, below the package.
SOURCES = (
    "client.py",
    "restoration.py",
    "resources/account.py",
    "resources/api_keys.py",
    "resources/generations.py",
    "resources/projects.py",
    "resources/usage.py",
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
    names = {name: name.removeprefix("Async") for name in CLASSES}
    sync = written(
        modules, names, "The blocking client: the coroutine client's surface, line by line."
    )
    return {package / "sync" / "_generated.py": sync}
