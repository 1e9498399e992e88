"""The workshop: what it writes is up to date, and what it does not understand stops it."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from diffio_async import AsyncDiffio
from diffio_async._codegen.__main__ import CLASSES, PACKAGE, outputs
from diffio_async._codegen.reading import MethodKind, UnsupportedSyntax, read
from diffio_async._codegen.writing import RENAMED, render_module
from diffio_async.sync import Diffio, _generated

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = '''"""A module."""
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class AsyncThings:
    """Things."""

    def __init__(self, sender: object) -> None:
        self._sender = sender

    async def fetch(self, name: str, *, on_progress: Callback[int] | None = None) -> bytes:
        """Fetch one."""
        return b""

    async def watch(
        self,
        *,
        every: float = 1.0,
    ) -> AsyncIterator[int]:
        """Follow."""
        yield 1

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[str]:
        """Open."""
        yield ""

    def plain(self, *, value: int) -> int:
        """Count."""
        return value

    @property
    def size(self) -> int:
        """How many."""
        return 1

    async def _private(self) -> None:
        pass
'''


def module(tmp_path: Path, source: str) -> Path:
    """A source file below a folder named as the package is."""
    path = tmp_path / "diffio_async" / "things.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(source, encoding="utf-8")
    return path


def test_what_is_written_is_up_to_date() -> None:
    """`--check` in words: every file is there, and is what the sources ask for."""
    due = outputs()
    assert due
    for path, text in due.items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run --write"
        assert len(text) > 10_000


def test_check_and_write_as_commands(tmp_path: Path) -> None:
    """A new keyword in a coroutine fails `--check` with a diff; `--write` mends it."""
    package = tmp_path / "diffio_async"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "diffio_async._codegen"]

    def run(mode: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, mode], cwd=tmp_path, capture_output=True, text=True, check=False
        )

    assert run("--check").returncode == 0
    drift(package)
    stale = run("--check")
    assert stale.returncode == 1
    assert "+        deep: bool = False" in stale.stderr
    assert "--write" in stale.stderr
    assert run("--write").returncode == 0
    assert run("--check").returncode == 0


def drift(package: Path) -> None:
    """Give a coroutine a keyword that its facade does not know, and another result."""
    path = package / "resources" / "generations.py"
    source = path.read_text(encoding="utf-8")
    seeded = source.replace(
        "        api_project_id: str | None = None,\n        options",
        "        api_project_id: str | None = None,\n        deep: bool = False,\n        options",
        1,
    ).replace("-> Download:", "-> Download | None:", 1)
    assert seeded.count("deep: bool") == 1
    assert seeded.count("Download | None:") == 1
    path.write_text(seeded, encoding="utf-8")


@pytest.mark.slow
def test_a_drift_is_caught_by_the_type_checker_alone(tmp_path: Path) -> None:
    """Without the workshop, mypy says that the facade's result is no longer the coroutine's."""
    package = tmp_path / "diffio_async"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    drift(package)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "diffio_async/sync"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 1
    assert "sync/_generated.py" in checked.stdout
    assert 'got "Download | None", expected "Download"' in checked.stdout


@pytest.mark.parametrize("name", CLASSES)
def test_signatures_and_docstrings_are_the_coroutines(name: str) -> None:
    """Names, kinds, defaults and words, by `inspect`, for every public method."""
    homes = {AsyncDiffio.__name__: AsyncDiffio}
    for part in vars(AsyncDiffio("key")).values():
        homes[type(part).__name__] = type(part)
    coroutine, facade = homes[name], getattr(_generated, name.removeprefix("Async"))
    assert facade.__doc__ == coroutine.__doc__
    # Those of the classes it is derived from are written out in the facade.
    named = {n for kind in coroutine.__mro__[:-1] for n in vars(kind)}
    public = {n for n in named if not n.startswith("_") or n in RENAMED}
    assert {n for n in vars(facade) if not n.startswith("_") or n in RENAMED.values()} == {
        RENAMED.get(n, n) for n in public
    }
    # Parts are visible on the class, as what they are.
    parts = {n for n in vars(AsyncDiffio("key")) if not n.startswith("_")} & public
    for part in parts:
        theirs = type(getattr(facade, part)).__name__
        assert type(getattr(coroutine, part)).__name__ == f"Async{theirs}"
    for method in public - parts:
        ours = getattr(coroutine, method)
        theirs = getattr(facade, RENAMED.get(method, method))
        due = re.sub(
            r"-> 'Async(Iterator|Generator)\[(\w+)(, None)?\]'",
            r"-> 'Iterator[\2]'",
            str(inspect.signature(ours)),
        )
        assert str(inspect.signature(theirs)) == due, method
        assert theirs.__doc__ == ours.__doc__, method
        assert not inspect.iscoroutinefunction(theirs)


def test_the_client_itself_is_made_with_the_same_words() -> None:
    """`Diffio(…)` takes what `AsyncDiffio(…)` takes, and has its parts."""
    assert inspect.signature(Diffio) == inspect.signature(AsyncDiffio)
    client = Diffio("key")
    parts = {name for name in vars(AsyncDiffio("key")) if not name.startswith("_")}
    assert {name for name in vars(client) if not name.startswith("_")} == parts
    assert repr(client) == "Diffio(base_url='https://api.diffio.ai/v1')"


def test_every_rule_of_the_grammar_is_written(tmp_path: Path) -> None:
    """Coroutine, generator, context manager, plain method, property; private ones are left."""
    things = read(module(tmp_path, SOURCE))
    kinds = {method.name: method.kind for method in things.nouns["AsyncThings"].methods}
    assert kinds == {
        "__init__": MethodKind.PLAIN,
        "fetch": MethodKind.COROUTINE,
        "watch": MethodKind.ITERATOR,
        "opened": MethodKind.CONTEXT,
        "plain": MethodKind.PLAIN,
        "size": MethodKind.PROPERTY,
    }
    text = render_module([things], {"AsyncThings": "Things"}, "Things.")
    assert "return bridge.run(self._aio.fetch, name, on_progress=bridge.hook(on_progress))" in text
    assert "every: float = 1.0,\n    ) -> Iterator[int]:" in text
    assert "return bridge.iterate(self._aio.watch, every=every)" in text
    assert "def opened(self) -> AbstractContextManager[str]:" in text
    assert "return bridge.enter(self._aio.opened)" in text
    assert "return self._aio.plain(value=value)" in text
    assert "    @property\n    def size(self) -> int:" in text
    assert "_private" not in text
    compile(text, "written", "exec")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("name: str, *, on", "*names: str, on", "are not carried over"),
        ("self, name: str", "self, name: str, /", "are not carried over"),
        ("self, name: str", "self, name", "name has no annotation"),
        (") -> bytes:", "):", "fetch has no return annotation"),
        ("    @property", "    @cached_property", "no rule for size"),
        ("    def plain", "    LIMIT = 5\n\n    def plain", "only methods are carried over"),
        ("self._sender = sender", "self.sender = sender", "a public attribute sender"),
        ('"""Things."""', "", "AsyncThings has no docstring"),
    ],
)
def test_what_is_not_understood_stops_with_file_and_line(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    """The grammar is closed: nothing is guessed."""
    assert old in SOURCE
    path = module(tmp_path, SOURCE.replace(old, new, 1))
    with pytest.raises(UnsupportedSyntax, match=words) as caught:
        read(path)
    assert f"{path}:" in str(caught.value)
