"""One suite over the published `diffio` and over `diffio_async.compat`.

It needs the published package, which the nox session `compat` installs beside ours, so it runs only
when it is named (`pytest tests/compat/published`).
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from tests.compat.published.both import Package, named

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave these tests out unless the command line names them."""
    named = (Path(argument.partition("::")[0]).resolve() for argument in config.args)
    if config.args_source is pytest.Config.ArgsSource.ARGS and any(
        path == HERE or HERE in path.parents for path in named
    ):
        return None
    return True


@pytest.fixture(scope="session")
def packages() -> dict[str, Package]:
    """The two packages, by what they are called here."""
    return {name: import_module(module) for name, module in named.items()}


@pytest.fixture
def _nothing_left_open() -> None:
    """Replace the check of open descriptors: the published package closes them when collected."""
