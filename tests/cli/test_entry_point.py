"""The entry point: version, help, completion, and the error for a missing extra."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from diffio_async._version import __version__

if TYPE_CHECKING:
    from tests.cli.conftest import Run


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a new interpreter to its end."""
    return subprocess.run(
        [sys.executable, "-W", "error", *arguments], capture_output=True, text=True, check=False
    )


def test_help_is_printed_without_loading_the_client() -> None:
    """`python -m diffio_async --help` lists the commands, and imports no HTTP library to do so."""
    done = python("-X", "importtime", "-m", "diffio_async", "--help")
    assert done.returncode == 0, done.stderr
    assert "restore" in done.stdout
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & {"aiohttp", "svix", "cattrs", "av", "diffio_async.client"}


async def test_the_version_is_printed(run: Run) -> None:
    """`--version` prints the version."""
    done = await run("--version")
    assert (done.returncode, done.stdout) == (0, f"diffio-async {__version__}\n")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("restore", "130 interrupted"),
        ("download", "130 interrupted"),
        ("wait", "130 interrupted"),
        ("batch", "See also: batch status"),
        ("batch retry", "its value in the previous run"),
        ("batch status", "2 it is not a journal"),
        ("batch report", "2 it is not a journal"),
        ("webhooks configure", "1 it failed"),
        ("webhooks test", "1 it failed"),
        ("webhooks verify", "1 rejected"),
        ("webhooks listen", "0 stopped by Ctrl-C"),
        ("webhooks inbox list", "1 it failed"),
        ("webhooks inbox retry", "1 it failed"),
        ("usage", "1 it failed"),
        ("projects list", "1 it failed"),
        ("generations show", "A failed generation was found"),
        ("keys create", "stores the secret in a variable"),
        ("keys revoke", "1 also if the prompt is declined"),
        ("sandbox", "until Ctrl-C"),
    ],
)
async def test_help_explains_the_exit_codes(run: Run, command: str, words: str) -> None:
    """`--help` of each command explains its exit codes, or how it ends."""
    done = await run(*command.split(), "--help")
    assert done.returncode == 0
    assert words in " ".join(done.stdout.split())


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_shells_can_complete(run: Run, shell: str) -> None:
    """The completion script for a shell is printed on request."""
    done = await run(env={"_DIFFIO_ASYNC_COMPLETE": f"source_{shell}"})
    assert done.returncode == 0, done.stderr
    assert "diffio" in done.stdout


async def test_a_command_is_completed(run: Run) -> None:
    """The completion of `rest` is `restore`."""
    words = {"COMP_WORDS": "diffio-async rest", "COMP_CWORD": "1"}
    done = await run(env={"_DIFFIO_ASYNC_COMPLETE": "complete_bash", **words})
    assert done.stdout.split() == ["restore"], done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_a_missing_extra_is_named(missing: str) -> None:
    """Without its extra, the command prints what to install instead of a traceback."""
    code = f"import sys; sys.modules[{missing!r}] = None; from diffio_async.cli import main; main()"
    run = python("-c", code)
    assert run.returncode == 2
    assert "pip install 'diffio-async[cli]'" in run.stderr
    assert "Traceback" not in run.stderr


@pytest.mark.slow
def test_another_missing_module_is_not_blamed_on_the_extra() -> None:
    """Another missing module is reported as a traceback that names it."""
    code = (
        "import sys; sys.modules['attrs'] = None\n"
        "from diffio_async.cli import main; sys.argv[1:] = ['restore', 'x']; main()"
    )
    run = python("-c", code)
    assert "'diffio-async[cli]'" not in run.stderr
    assert "attrs" in run.stderr
