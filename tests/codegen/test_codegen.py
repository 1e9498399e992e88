"""The generator: its output is up to date, and syntax without a rule stops it."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from diffio_async import AsyncDiffio
from diffio_async._codegen.__main__ import CLASSES, PACKAGE, main, outputs
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


def test_generated_files_are_up_to_date() -> None:
    """Each file exists with the expected text."""
    expected = outputs()
    assert len(expected) == 3
    for path, text in expected.items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run --write"
        assert len(text) > 10_000


def test_the_command_checks(tmp_path: Path) -> None:
    """`python -m` runs the generator without the package's dependencies."""
    command = [sys.executable, "-S", "-m", "diffio_async._codegen", "--check"]
    subprocess.run(command, cwd=PACKAGE.parent, check=True)


def test_check_and_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new keyword in a coroutine fails `--check` with a diff; `--write` updates the facades."""
    package = tmp_path / "diffio_async"
    ignored = shutil.ignore_patterns("__pycache__", "sandbox", "cli", "webhooks", "_*ing")
    shutil.copytree(PACKAGE, package, ignore=ignored)
    assert main(["--check"], package) == 0
    drift(package)
    assert main(["--check"], package) == 1
    stale = capsys.readouterr().err
    assert "+        deep: bool = False" in stale
    assert "--write" in stale
    assert main(["--write"], package) == 0
    assert main(["--check"], package) == 0


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
def test_type_checkers_detect_an_outdated_facade(tmp_path: Path) -> None:
    """Mypy reports a facade whose result differs from that of the coroutine."""
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
def test_signatures_and_docstrings_are_those_of_the_coroutines(name: str) -> None:
    """Compare names, kinds, defaults and docstrings of every public method with `inspect`."""
    homes = {AsyncDiffio.__name__: AsyncDiffio}
    for part in vars(AsyncDiffio("key")).values():
        homes[type(part).__name__] = type(part)
    coroutine, facade = homes[name], getattr(_generated, name.removeprefix("Async"))
    assert facade.__doc__ == coroutine.__doc__
    # Inherited methods are written out in the facade.
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


def test_the_client_has_the_same_constructor() -> None:
    """`Diffio(…)` accepts the arguments of `AsyncDiffio(…)`, and has its parts."""
    assert inspect.signature(Diffio) == inspect.signature(AsyncDiffio)
    client = Diffio("key")
    parts = {name for name in vars(AsyncDiffio("key")) if not name.startswith("_")}
    assert {name for name in vars(client) if not name.startswith("_")} == parts
    assert repr(client) == "Diffio(base_url='https://api.diffio.ai/v1')"


def test_every_rule_of_the_grammar_is_written(tmp_path: Path) -> None:
    """Coroutine, generator, context manager, plain method, property; not private methods."""
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
def test_unsupported_syntax_stops_with_file_and_line(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    """The grammar is closed: syntax without a rule raises an error."""
    assert old in SOURCE
    path = module(tmp_path, SOURCE.replace(old, new, 1))
    with pytest.raises(UnsupportedSyntax, match=words) as caught:
        read(path)
    assert f"{path}:" in str(caught.value)
