"""The entry point: version, help, completion, and the error for a missing extra."""

from __future__ import annotations

import subprocess
import sys

import pytest

from diffio_async._version import __version__


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a new interpreter to its end."""
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments], capture_output=True, text=True, check=False
    )


def test_the_version_is_printed_without_loading_the_client() -> None:
    """`--version` prints the version, and loads no HTTP library to do so."""
    code = (
        "import sys; sys.argv[1:] = ['--version']\n"
        "from diffio_async.cli import main\n"
        "try:\n    main()\n"
        "finally:\n    print(sorted({'aiohttp', 'svix', 'cattrs', 'av'} & set(sys.modules)))"
    )
    run = python("-c", code)
    assert run.stdout == f"diffio-async {__version__}\n[]\n"
    assert run.returncode == 0


def test_the_package_can_be_run() -> None:
    """`python -m diffio_async` is the same command."""
    run = python("-m", "diffio_async", "--version")
    assert run.stdout == f"diffio-async {__version__}\n"


def test_help_lists_the_exit_codes() -> None:
    """`restore --help` explains the exit codes."""
    run = python("-m", "diffio_async", "restore", "--help")
    assert run.returncode == 0
    assert "130 interrupted" in " ".join(run.stdout.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete(shell: str) -> None:
    """The completion script for a shell is printed on request."""
    program = (
        "import os, sys; sys.argv = ['diffio-async']\n"
        f"os.environ['_DIFFIO_ASYNC_COMPLETE'] = 'source_{shell}'\n"
        "from diffio_async.cli import main; main()"
    )
    run = python("-c", program)
    assert run.returncode == 0, run.stderr
    assert "diffio" in run.stdout


def test_a_command_is_completed() -> None:
    """The completion of `re` is `restore`."""
    program = (
        "import os, sys; sys.argv = ['diffio-async']\n"
        "os.environ |= {'_DIFFIO_ASYNC_COMPLETE': 'complete_bash',"
        " 'COMP_WORDS': 'diffio-async re', 'COMP_CWORD': '1'}\n"
        "from diffio_async.cli import main; main()"
    )
    run = python("-c", program)
    assert run.stdout.split() == ["restore"], run.stderr


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_extra_is_named(missing: str) -> None:
    """Without its extra, the command prints what to install instead of a traceback."""
    code = f"import sys; sys.modules[{missing!r}] = None; from diffio_async.cli import main; main()"
    run = python("-c", code)
    assert run.returncode == 2
    assert "pip install 'diffio-async[cli]'" in run.stderr
    assert "Traceback" not in run.stderr


def test_another_missing_module_is_not_blamed_on_the_extra() -> None:
    """Another missing module is reported as a traceback that names it."""
    code = (
        "import sys; sys.modules['attrs'] = None\n"
        "from diffio_async.cli import main; sys.argv[1:] = ['restore', 'x']; main()"
    )
    run = python("-c", code)
    assert "'diffio-async[cli]'" not in run.stderr
    assert "attrs" in run.stderr
