"""pytest plugin: a sandbox, clients of it and signed webhook events, for programs under test.

It is loaded by pytest when the package is installed (extra `testing`). The fixtures serve plain
tests and those of pytest-asyncio and anyio alike, because the sandbox has a thread of its own.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Literal, cast

try:
    import pytest
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "diffio_async.testing needs pytest; install it with pip install 'diffio-async[testing]'",
        name=error.name,
    ) from error

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping

    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox
    from diffio_async.sync import Diffio
    from diffio_async.testing.running import RunningSandbox
    from diffio_async.testing.webhooks import SignedEvent, WebhookResponse, WebhookTester

__all__ = ["SignedEvent", "WebhookResponse", "WebhookTester"]

_SCOPES = ("function", "class", "module", "package", "session")


# pytest loads this module in every run. Everything else is loaded by the fixtures that need it.
if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.webhooks"), name)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting `diffio_scope`."""
    parser.addini(
        "diffio_scope",
        f"scope of the sandbox of the tests: {', '.join(_SCOPES)}",
        default="function",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker `diffio`, and check the setting `diffio_scope`."""
    if config.getini("diffio_scope") not in _SCOPES:
        raise pytest.UsageError(
            f"diffio_scope must be one of {', '.join(_SCOPES)}, not {config.getini('diffio_scope')}"
        )
    config.addinivalue_line(
        "markers",
        "diffio(engine='echo', duration=0.2, faults=[...], allow_violations=True): "
        "options of the sandbox of a test, a class or a module",
    )


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Fail a test whose requests broke the contract of the API."""
    if "_diffio_running" not in pyfuncitem.funcargs:
        return (yield)
    running = cast("RunningSandbox", pyfuncitem.funcargs["_diffio_running"])
    options = {**running.options, **_marked(pyfuncitem)}
    running.require_same(options)
    try:
        result = yield
    except BaseException as error:
        for violation in running.take_violations():
            error.add_note(f"violation of the API's contract: {violation}")
        raise
    running.check(options)
    return result


def _marked(node: pytest.Item | pytest.Collector) -> dict[str, Any]:
    """Return the options of the markers of a node and of those around it; the nearest wins."""
    options: dict[str, Any] = {}
    for marker in reversed(list(node.iter_markers("diffio"))):
        if marker.args:
            pytest.fail(
                f"@pytest.mark.diffio has options by name only, such as engine='echo': "
                f"{marker.args!r}",
                pytrace=False,
            )
        options.update(marker.kwargs)
    return options


def _scope(
    fixture_name: str,  # noqa: ARG001 - pytest passes both by name
    config: pytest.Config,
) -> Literal["session", "package", "module", "class", "function"]:
    scope: Literal["session", "package", "module", "class", "function"]
    scope = config.getini("diffio_scope")
    return scope


@pytest.fixture(scope=_scope)
def diffio_options() -> Mapping[str, Any]:
    """Options of `Sandbox` for all tests, and `allow_violations`; override it in a conftest.py."""
    return {}


@pytest.fixture(scope=_scope)
def _diffio_running(
    request: pytest.FixtureRequest, diffio_options: Mapping[str, Any]
) -> Iterator[RunningSandbox]:
    from diffio_async.testing.running import run_sandbox

    options = {"engine": "echo", **diffio_options, **_marked(request.node)}
    with run_sandbox(options) as running:
        yield running
    # Requests after the body of the last test, and before the sandbox ended.
    running.check(options)


@pytest.fixture(scope=_scope)
def diffio_sandbox(_diffio_running: RunningSandbox) -> Sandbox:
    """Run a sandbox; its results are the uploads, unless `engine="restore"` is an option."""
    return _diffio_running.sandbox


@pytest.fixture
def diffio_client(_diffio_running: RunningSandbox) -> Iterator[AsyncDiffio]:
    """Return an `AsyncDiffio` for the sandbox, closed after the test."""
    from diffio_async import AsyncDiffio

    sandbox = _diffio_running.sandbox
    client = AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url)
    yield client
    _diffio_running.close_client(client)


@pytest.fixture
def diffio_sync_client(diffio_sandbox: Sandbox) -> Iterator[Diffio]:
    """Return a `Diffio` for the sandbox, closed after the test."""
    from diffio_async.sync import Diffio

    with Diffio(diffio_sandbox.api_key, base_url=diffio_sandbox.base_url) as client:
        yield client


@pytest.fixture
def diffio_environment(
    diffio_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> Mapping[str, str]:
    """Set the environment variables of clients and webhook receivers for the test."""
    variables = {**diffio_sandbox.environment, **diffio_sandbox.webhook_environment}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


@pytest.fixture
def diffio_webhooks(diffio_sandbox: Sandbox) -> Iterator[WebhookTester]:
    """Return a `WebhookTester`, which signs events with the secret of the sandbox."""
    from diffio_async.testing.webhooks import run_tester

    with run_tester(diffio_sandbox.settings.webhook_secret) as tester:
        yield tester
