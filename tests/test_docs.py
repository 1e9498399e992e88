"""The pages keep their word: every `python` and `bash` block in them is run, on the sandbox.

The blocks of a page run in order, as one reader would run them; `sh` blocks are only shown
(installing, or needing a key), and `json` blocks are fault plans. `sh` blocks that name a terminal
are typed into it, see `tests.terminals`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import anyio
import pytest

from diffio_async import errors
from diffio_async.sandbox import Sandbox, read_plan
from tests.terminals import flow

HERE = Path(__file__).parents[1]
PAGES = [HERE / "README.md", *sorted((HERE / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

#: Runs blocks as `python -m asyncio` would: one namespace, `await` at the top level, one loop.
READER = """
import ast, asyncio, inspect, json, sys

namespace = {"__name__": "__main__"}
with asyncio.Runner() as runner:
    for number, block in enumerate(json.load(sys.stdin), 1):
        name = f"<block {number}>"
        code = compile(block, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        result = eval(code, namespace)
        if inspect.iscoroutine(result):
            runner.run(result)
"""


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language, in order."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [text for kind, text in found if kind == language]


def pages_with(language: str) -> list[object]:
    """The pages that have such a block, as parameters named after them."""
    return [pytest.param(page, id=page.stem) for page in PAGES if blocks(page, language)]


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with the sample in it, where a reader tries things; three seconds will do."""
    (tmp_path / "samples").mkdir()
    with (
        wave.open(str(HERE / "samples" / "noisy-speech.wav")) as whole,
        wave.open(str(tmp_path / "samples" / "noisy-speech.wav"), "wb") as part,
    ):
        part.setparams(whole.getparams())
        part.writeframes(whole.readframes(3 * whole.getframerate()))
    return tmp_path


def environment(**more: str) -> dict[str, str]:
    """This environment, with the command `diffio-async` found first and no key but `more`'s."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DIFFIO_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", "")])
    return {**kept, "PATH": path, "COLUMNS": "100", **more}


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("python"))
async def test_the_python_of_a_page_runs(page: Path, desk: Path) -> None:
    """Every Python block of the page runs to its end against the sandbox, without a warning."""
    async with Sandbox(engine="echo") as sandbox:
        with anyio.fail_after(120):
            run = await anyio.run_process(
                [sys.executable, "-W", "error", "-c", READER],
                input=json.dumps(blocks(page, "python")).encode(),
                cwd=desk,
                env=environment(**sandbox.environment),
                check=False,
            )
        assert run.returncode == 0, run.stderr.decode()
        assert run.stderr == b""
        assert sandbox.violations == []


@pytest.mark.slow
@pytest.mark.parametrize("page", pages_with("bash"))
def test_the_shell_of_a_page_runs(page: Path, desk: Path) -> None:
    """Every bash block of the page succeeds as it stands, in a folder of its own."""
    for number, block in enumerate(blocks(page, "bash")):
        folder = desk / str(number)
        shutil.copytree(desk / "samples", folder / "samples")
        run = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=folder,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        assert ("restored" if "restore" in block else "rejected") in run.stdout


def _alone() -> list[str]:
    """What runs a program in a network of its own, where the ports of the pages are free."""
    command = ["unshare", "--net", "--map-root-user", "sh", "-c"]
    up = ['ip link set lo up && exec "$@"', "sh"]
    usable = all(map(shutil.which, ("unshare", "ip"))) and not subprocess.call(
        [*command, *up, "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return [*command, *up] if usable else []


@pytest.mark.slow
@pytest.mark.parametrize("page", [pytest.param(p, id=p.stem) for p in PAGES if flow(p)])
def test_the_flow_of_a_page_runs_in_its_terminals(page: Path, desk: Path) -> None:
    """Each block in its terminal, in the order of the page, ended by Ctrl-C as the page says."""
    done = subprocess.run(
        [*_alone(), sys.executable, "-m", "tests.terminals", str(page)],
        cwd=desk,
        env=environment(PYTHONPATH=str(HERE)),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_install_from_a_clone_and_use_models_that_are_served(page: Path) -> None:
    """The package is on no index, and most models are retired: a newcomer meets neither."""
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"pip install [^\n&]*diffio[-_]async", text)
    served = {"diffio-4.6-flash", "diffio-4.6-pro"}
    assert set(re.findall(r"diffio-\d[\w.-]*[a-z\d]", text)) <= served


@pytest.mark.parametrize("page", pages_with("json"))
def test_the_fault_plans_of_a_page_are_accepted(page: Path) -> None:
    """Every JSON block of the page is a plan the sandbox takes."""
    for block in blocks(page, "json"):
        assert read_plan(json.loads(block))


def test_the_readme_starts_with_its_two_commands() -> None:
    """The first two commands restore the sample and run the tests; CI takes them from here."""
    restore, tests = blocks(HERE / "README.md", "sh")[:2]
    assert "diffio-async restore --sandbox" in restore
    assert tests.rstrip().endswith("/pytest -n 2")
    assert (HERE / "samples" / "noisy-speech.wav").is_file()


def test_every_error_is_on_its_page() -> None:
    """The page of errors names each error this package raises, and none that it does not."""
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


def test_pages_link_to_what_is_there() -> None:
    """Relative links in the pages lead to files of the repository."""
    links = {
        page.parent / target
        for page in PAGES
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    }
    assert links
    assert [str(link) for link in sorted(links) if not link.exists()] == []
