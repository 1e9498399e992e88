"""Examples in the pages: every `python` and `bash` block is run, with the sandbox.

The blocks of a page run in order and in one folder, like by one reader; `sh` blocks are
only shown (installing, or needing a key), and `json` blocks are fault plans. `sh` blocks that name
a terminal are typed into it, see `tests.terminals`.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import wave
from pathlib import Path
from typing import TYPE_CHECKING, get_type_hints

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream

from diffio_async import _MODULE_OF, AsyncDiffio, errors
from diffio_async.sandbox import Sandbox, read_plan
from tests.terminals import flow

if TYPE_CHECKING:
    from anyio.abc import Process

HERE = Path(__file__).parents[1]
PAGES = [
    HERE / "README.md",
    *sorted((HERE / "docs").glob("*.md")),
    *sorted((HERE / "docs" / "guide").glob("*.md")),
    *sorted((HERE / "docs" / "explanation").glob("*.md")),
]
REFERENCE = sorted((HERE / "docs" / "reference").glob("*.md"))
CONTRIBUTING = HERE / "CONTRIBUTING.md"
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: Runs blocks like `python -m asyncio`: one namespace, `await` at the top level, one loop.
READER = """
import ast, asyncio, inspect, json, sys

namespace = {"__name__": "__main__"}
with asyncio.Runner() as runner:
    for number, line in enumerate(sys.stdin, 1):
        name = f"<block {number}>"
        code = compile(json.loads(line), name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, namespace)
        if inspect.iscoroutine(result):
            runner.run(result)
        print("<done>", flush=True)
"""


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of one language, in order."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [text for kind, tags, text in found if kind == language and not tags]


def pages_with(language: str) -> list[object]:
    """Return the pages with blocks of a language, as parameters named after the pages."""
    return [pytest.param(page, id=page.stem) for page in PAGES if blocks(page, language)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with three seconds of the sample."""
    (tmp_path / "samples").mkdir()
    with (
        wave.open(str(HERE / "samples" / "noisy-speech.wav")) as whole,
        wave.open(str(tmp_path / "samples" / "noisy-speech.wav"), "wb") as part,
    ):
        part.setparams(whole.getparams())
        part.writeframes(whole.readframes(3 * whole.getframerate()))
    return tmp_path


def environment(**more: str) -> dict[str, str]:
    """Return this environment with `diffio-async` first in PATH and without its settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DIFFIO_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    return {**kept, "PATH": path, "COLUMNS": "100", **more}


class Python:
    """One interpreter for all the Python blocks of a page."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._lines = BufferedByteReceiveStream(process.stdout) if process.stdout else None

    async def run(self, block: str) -> None:
        """Run a block; fail if it raises."""
        assert self._process.stdin is not None
        assert self._lines is not None
        await self._process.stdin.send(json.dumps(block).encode() + b"\n")
        try:
            await self._lines.receive_until(b"<done>", 10**7)
        except anyio.IncompleteRead:
            pytest.fail(await self.errors())

    async def errors(self) -> str:
        """End the interpreter, and return what it wrote to standard error."""
        assert self._process.stdin is not None
        assert self._process.stderr is not None
        await self._process.stdin.aclose()
        return b"".join([piece async for piece in self._process.stderr]).decode()


async def succeed(command: list[str], folder: Path, **more: str) -> str:
    """Run a command in a folder and return its output; fail if the command fails."""
    done = await anyio.run_process(command, cwd=folder, env=environment(**more), check=False)
    assert done.returncode == 0, f"{command}: {done.stderr.decode()}"
    return done.stdout.decode()


async def run_shell(block: str, folder: Path, **more: str) -> None:
    """Run a bash block, which prints its result."""
    block = re.sub(r"^pip install .*\n", "", block)  # the package is installed here
    output = await succeed(["bash", "-euo", "pipefail", "-c", block], folder, **more)
    words = {"restore": "restored", "doctor": "failures", "usage": "billed", "": "rejected"}
    assert next(word for command, word in words.items() if command in block) in output


def _alone() -> list[str]:
    """Return a command prefix for a separate network namespace, where all ports are free."""
    command = ["unshare", "--net", "--map-root-user", "sh", "-c"]
    up = ['ip link set lo up && exec "$@"', "sh"]
    usable = all(map(shutil.which, ("unshare", "ip"))) and not subprocess.call(
        [*command, *up, "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return [*command, *up] if usable else []


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem)
        for page in PAGES
        if blocks(page, "python") or blocks(page, "bash") or flow(page)
    ],
)
async def test_the_blocks_of_a_page_run_in_order(page: Path, folder: Path) -> None:
    """Every block succeeds, in the order of the page and in one folder.

    Python runs with the sandbox, without warnings. The commands in terminals run together where
    the first one is: each in its terminal, ended by Ctrl-C as the page describes.
    """
    with anyio.fail_after(240):
        if page.stem == "README":
            await run_shell(blocks(page, "sh")[0].rpartition("&& .venv/bin/")[2], folder)
        async with (
            Sandbox(engine="echo") as sandbox,
            await anyio.open_process(
                [sys.executable, "-W", "error", "-c", READER],
                cwd=folder,
                env=environment(**sandbox.environment),
            ) as process,
        ):
            python, flowing = Python(process), bool(flow(page))
            for kind, tags, block in FENCE.findall(page.read_text(encoding="utf-8")):
                if kind == "python":
                    await python.run(block)
                elif kind == "bash":
                    await run_shell(block, folder, **sandbox.environment)
                elif "terminal=" in tags and flowing:
                    flowing = False
                    command = [sys.executable, "-m", "tests.terminals", str(page)]
                    await succeed([*_alone(), *command], folder, PYTHONPATH=str(HERE))
            assert await python.errors() == ""
            assert sandbox.violations == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_install_from_a_clone_and_use_models_that_are_served(page: Path) -> None:
    """The package is not on an index, and most models are retired: no page uses them."""
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"pip install [^\n&]*diffio[-_]async", text)
    served = {"diffio-4.6-flash", "diffio-4.6-pro"}
    assert set(re.findall(r"diffio-\d[\w.-]*[a-z\d]", text)) <= served


@pytest.mark.parametrize("page", pages_with("json"))
def test_the_fault_plans_of_a_page_are_accepted(page: Path) -> None:
    """Every JSON block of the page is a valid fault plan."""
    for block in blocks(page, "json"):
        assert read_plan(json.loads(block))


def test_the_readme_starts_with_its_two_commands() -> None:
    """The first two commands restore the sample and run the tests; CI takes them from here."""
    restore, tests = blocks(HERE / "README.md", "sh")[:2]
    assert "diffio-async restore --sandbox" in restore
    assert tests.rstrip().endswith("/pytest -n 2")
    assert (HERE / "samples" / "noisy-speech.wav").is_file()


def test_every_error_is_on_its_page() -> None:
    """The page of errors contains exactly the errors that this package raises."""
    text = (HERE / "docs" / "errors.md").read_text(encoding="utf-8")
    known = {
        name
        for name, thing in vars(errors).items()
        if isinstance(thing, type) and issubclass(thing, errors.DiffioError) and name[0] != "_"
    }
    in_tables = "\n".join(line for line in text.splitlines() if line.startswith("| "))
    named = set(re.findall(r"`([A-Z][A-Za-z]+)`", in_tables)) - {
        "ValueError",
        "TimeoutError",
        "ExceptionGroup",
    }
    assert named == known - {"DiffioError"}


def test_links_of_pages_exist() -> None:
    """Relative links in the pages lead to files of the repository."""
    links = {
        page.parent / target
        for page in [*PAGES, *REFERENCE, CONTRIBUTING]
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    }
    assert links
    assert [str(link) for link in sorted(links) if not link.exists()] == []


def test_every_public_name_is_in_the_reference() -> None:
    """A page of the reference documents the module that defines the name; Sphinx expands it.

    So does one for each other module that declares what is public in `__all__`.
    """
    pages = "".join(page.read_text(encoding="utf-8") for page in REFERENCE)
    documented = re.findall(r"^```{exported} (\S+)$", pages, re.MULTILINE)
    assert [
        name
        for name, module in _MODULE_OF.items()
        if not any(f"{module}.".startswith(f"{above}.") for above in documented)
    ] == []
    package = HERE / "diffio_async"
    declared = {
        ".".join(file.relative_to(HERE).with_suffix("").parts).removesuffix(".__init__")
        for file in package.rglob("*.py")
        if re.search(r"^__all__", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    public = {name for name in declared if not re.search(r"\._|\.audio$", name)}
    assert public - {"diffio_async"} <= set(documented)


@pytest.mark.slow
def test_the_service_of_the_guide_passes_the_test_of_the_guide(tmp_path: Path) -> None:
    """A reader who copies both blocks of the page has a service, and a test that passes."""
    page = HERE / "docs" / "guide" / "service.md"
    (tmp_path / "service.py").write_text(blocks(page, "python")[0], encoding="utf-8")
    (tmp_path / "test_service.py").write_text(blocks(page, "py")[0], encoding="utf-8")
    pytest_options = ["-q", "-p", "no:cacheprovider", "-p", "no:asyncio", "-o", "anyio_mode=auto"]
    command = [sys.executable, "-W", "error", "-m", "pytest", *pytest_options]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_every_option_of_a_command_is_described() -> None:
    """The page of the commands is made of them: each has a text, and each option a meaning."""
    specification = importlib.util.spec_from_file_location(
        "commands", HERE / "docs" / "commands.py"
    )
    assert specification is not None
    assert specification.loader is not None
    made = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(made)
    reference = made.command_reference()
    names = set()
    for name, command, context in made.commands():
        names.add(name)
        assert f"## {name}\n" in reference
        assert command.help, name
        for spelling, text in made.options(command, context):
            assert text.strip(), f"{name} {spelling}"
            assert f"| `{spelling.replace('|', chr(92) + '|')}` |" in reference
    assert {
        "diffio-async restore",
        "diffio-async batch run",
        "diffio-async webhooks inbox retry",
    } < names


@pytest.mark.parametrize(
    "owner", [AsyncDiffio, *get_type_hints(AsyncDiffio).values()], ids=lambda owner: owner.__name__
)
def test_every_call_describes_its_parameters_and_errors(owner: type) -> None:
    """The reference is made of the docstrings: parameters below Args, errors below Raises."""
    for name, call in vars(owner).items():
        if name.startswith("_") or not inspect.isfunction(call) or name == "aclose":
            continue
        text = inspect.getdoc(call) or ""
        arguments = text.partition("\nArgs:\n")[2].partition("\nRaises:\n")[0]
        described = re.findall(r"^    (\w+):", arguments, re.MULTILINE)
        parameters = [each for each in inspect.signature(call).parameters if each != "self"]
        assert described == parameters, f"{owner.__name__}.{name}"
        assert "\nRaises:\n" in text, f"{owner.__name__}.{name}"
