"""The pytest plugin in suites of users: each is written to a folder and run by a new pytest."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_package import HEAVY, modules_after

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
LOOP = ["-o", "asyncio_default_fixture_loop_scope=function"]
#: The plugins of anyio and pytest-xdist are loaded too, unless they are blocked.
STYLES = {
    "asyncio-strict": LOOP,
    "asyncio-auto": [*LOOP, "--asyncio-mode=auto", "-p", "no:anyio", "-n", "2"],
    "anyio": ["-p", "no:asyncio", "-o", "anyio_mode=auto"],
}
CONFIGURATION = """
[pytest]
filterwarnings = error
addopts = --strict-markers --strict-config -p no:cacheprovider
"""
#: Fails the suite if a test leaves a socket, a thread or an object that warns.
NOTHING_LEFT = """
import gc, os, threading
import pytest
from pathlib import Path

@pytest.fixture(scope="session")
def anyio_backend():
    return "asyncio"

def opened():
    links = [entry for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return sorted(link for entry in links if "socket:" in (link := os.readlink(entry)))

@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left():
    before = opened()
    yield
    from diffio_async import _bridge
    _bridge.stop()
    gc.collect()
    assert opened() == before
    ours = ("diffio-sandbox", "diffio-webhooks")
    assert [each.name for each in threading.enumerate() if each.name.startswith(ours)] == []
"""


def run(folder: Path, *arguments: str, passed: int = 0, **files: str) -> str:
    """Run a suite in a folder; return its output, and fail unless that many tests passed."""
    (folder / "pytest.ini").write_text(CONFIGURATION)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    hidden = ("PYTEST", "DIFFIO_", "COV_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments],
        cwd=folder,
        env={**kept, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    output = done.stdout + done.stderr
    assert (f"{passed} passed" in output) == bool(passed), output
    if passed:
        assert done.returncode == bool(re.search(r"\d (failed|error)", output)), output
    return output


def examples() -> dict[str, str]:
    """Return the test files that the page shows."""
    found = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return {f"test_{number}": text for number, text in enumerate(found)}


def marked(text: str) -> str:
    """Return a test file with the marker that pytest-asyncio needs in strict mode."""
    marker = "@pytest.mark.asyncio\n"
    return "import pytest\n" + text.replace("async def test_", f"{marker}async def test_")


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
def test_the_files_of_the_page_pass_in_each_style(style: str, tmp_path: Path) -> None:
    """The same test files pass with each plugin; warnings are errors, and nothing is left open."""
    files = examples()
    if style == "asyncio-strict":
        files = {name: marked(text) for name, text in files.items()}
    output = run(tmp_path, *STYLES[style], passed=9, conftest=NOTHING_LEFT, **files)
    assert "failed" not in output
    assert "error" not in output


REUSED_KEY = """
import pytest
from diffio_async import IdempotencyConflict

def break_the_contract(client):
    for file_name in ("a.wav", "b.wav"):
        project = client.projects.create(b"sound", file_name=file_name).api_project_id
        client.generations.create(api_project_id=project, idempotency_key="same")

def test_violation(diffio_sync_client):
    with pytest.raises(IdempotencyConflict):
        break_the_contract(diffio_sync_client)

def test_failure_with_a_violation(diffio_sync_client):
    break_the_contract(diffio_sync_client)

@pytest.mark.diffio(allow_violations=True)
def test_intended(diffio_sync_client):
    with pytest.raises(IdempotencyConflict):
        break_the_contract(diffio_sync_client)

@pytest.mark.diffio(engin="echo")
def test_unknown_option(diffio_sandbox): ...

@pytest.mark.diffio("echo")
def test_option_without_a_name(diffio_sandbox): ...

@pytest.mark.diffio(duration=float("nan"))
def test_option_that_is_not_a_number(diffio_sandbox): ...

@pytest.mark.diffio(duration="fast")
def test_option_of_another_type(diffio_sandbox): ...

@pytest.mark.diffio(faults=[{"path": "*"}])
def test_fault_that_is_a_dict(diffio_sandbox): ...

@pytest.fixture
def no_extra(monkeypatch):
    import importlib.util
    found = importlib.util.find_spec
    hidden = ("av", "numpy")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in hidden else found(name)
    )

@pytest.mark.diffio(engine="restore")
def test_missing_extra(no_extra, diffio_sandbox): ...
"""


@pytest.mark.slow
def test_failures_name_what_to_do(tmp_path: Path) -> None:
    """Violations fail the test that sent the request, unless allowed; wrong options are named."""
    output = run(tmp_path, "-p", "no:asyncio", passed=1, test_failures=REUSED_KEY)
    assert "FAILED test_failures.py::test_violation - Failed: the test sent requests" in output
    assert "generation: an idempotency key was reused for a different generation" in output
    assert "@pytest.mark.diffio(allow_violations=True)" in output
    assert "FAILED test_failures.py::test_failure_with_a_violation - diffio_async" in output
    assert "violation of the API's contract: api POST" in output
    assert "ERROR test_failures.py::test_unknown_option - Failed: the sandbox cannot be" in output
    assert "unexpected keyword argument 'engin'" in output
    assert "has options by name only, such as engine='echo': ('echo',)" in output
    assert "install the extra 'sandbox'" in output
    assert "duration must be a number of at least 0, not nan" in output
    assert "duration must be a number of at least 0, not 'fast'" in output
    assert "faults must be Fault objects, and {'path': '*'} is not one" in output
    assert "2 failed, 1 passed, 6 errors" in output


SHARED = """
import pytest

@pytest.fixture(scope="session")
def diffio_options():
    return {"duration": 0.01, "failed_status": "error"}

@pytest.fixture(scope="session")
def service(diffio_sandbox):
    return {"url": diffio_sandbox.base_url}

def test_first(service, diffio_sync_client):
    assert diffio_sync_client.restore(b"sound", file_name="a.wav").content == b"sound"

def test_second(service, diffio_sandbox, diffio_environment):
    assert diffio_environment["DIFFIO_API_BASE_URL"] == service["url"]
    assert diffio_sandbox.settings.duration == 0.01
    assert len(diffio_sandbox.state.projects) == 1

@pytest.mark.diffio(duration=0.01)
def test_same_options(diffio_sandbox): ...

@pytest.mark.diffio(duration=0.5)
def test_other_options(diffio_sandbox): ...
"""


@pytest.mark.slow
def test_tests_share_a_sandbox_where_the_scope_is_wider(tmp_path: Path) -> None:
    """With `diffio_scope` one sandbox serves all tests; a marker that has no effect fails."""
    arguments = ["-p", "no:asyncio", "-o", "diffio_scope=session"]
    output = run(tmp_path, *arguments, passed=3, test_shared=SHARED)
    assert "test_other_options - Failed: @pytest.mark.diffio(duration=…) has no effect" in output
    assert "1 failed, 3 passed" in output


@pytest.mark.slow
def test_a_misspelled_scope_is_named(tmp_path: Path) -> None:
    output = run(tmp_path, "-o", "diffio_scope=sesion", test_one="def test_one(): ...")
    assert "ERROR: diffio_scope must be one of function, class, module" in output
    assert "not sesion" in output


def test_loading_the_plugin_imports_pytest_and_nothing_else() -> None:
    """A run of pytest that does not use the fixtures pays for one small module."""
    loaded = modules_after("import diffio_async.testing")
    own = {name for name in loaded if name.startswith("diffio_async")}
    assert own == {"diffio_async", "diffio_async._version", "diffio_async.testing"}
    assert {name.split(".")[0] for name in loaded} & HEAVY == set()


def test_without_pytest_the_error_names_the_extra(tmp_path: Path) -> None:
    """Importing the plugin where pytest is missing raises an error with the command to install."""
    code = "import sys\nsys.modules['pytest'] = None\nimport diffio_async.testing"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'diffio-async[testing]'" in done.stderr


@pytest.mark.slow
def test_the_package_can_be_imported_before_pytest_starts(tmp_path: Path) -> None:
    """An installed plugin is rewritten by pytest, which does not warn that it is loaded already."""
    (tmp_path / "conftest.py").write_text(
        "import pytest\n"
        "pytest.register_assert_rewrite('diffio_async')  # as for a plugin that is not editable\n"
    )
    (tmp_path / "test_one.py").write_text("def test_one(): ...")
    run_pytest = "pytest.main(['-W', 'error', '-p', 'no:asyncio'])"
    code = f"import sys, diffio_async, pytest; sys.exit({run_pytest})"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
