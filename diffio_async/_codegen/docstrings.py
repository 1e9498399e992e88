"""Docstrings in the guide's spelling: read ours apart, write them anew."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_WIDTH = 100
#: Names of ours in running text, and what they are called in the guide.
_CALLED = {
    "projects.create": "create_project",
    "math.inf": "float('inf')",
    "DiffioError": "DiffioApiError",
    "ApiError": "DiffioApiError",
}


@dataclass
class Docstring:
    """A docstring's parts; `args` and `raises` are by name."""

    summary: str = ""
    args: dict[str, str] = field(default_factory=dict)
    raises: dict[str, str] = field(default_factory=dict)


def parse_docstring(quoted: str | None) -> Docstring:
    """Take a docstring, as it stands in the source, apart."""
    if quoted is None:
        return Docstring()
    text = inspect.cleandoc(ast.literal_eval(quoted))
    summary, *sections = re.split(r"^(Args|Raises):\n", text, flags=re.MULTILINE)
    words = Docstring(summary.strip())
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        # Indented text after a section is that section's; anything else would be lost.
        entries = re.split(r"^ {4}(\w+): ", body, flags=re.MULTILINE)
        into = words.args if title == "Args" else words.raises
        for name, said in zip(entries[1::2], entries[2::2], strict=True):
            into[name] = " ".join(said.split())
    return words


def camel(name: str) -> str:
    """`api_project_id` -> `apiProjectId`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class NameMapper:
    """Turns names of ours in a text into the guide's."""

    def __init__(self, names: Iterable[str], errors: Iterable[str]) -> None:
        """Take the names of parameters and fields, and those of errors."""
        self._called = {
            **{name: camel(name) for name in names if "_" in name},
            **{name: f"Diffio{name}" for name in errors},
            **_CALLED,
        }
        longest_first = sorted(self._called, key=len, reverse=True)
        self._pattern = re.compile(rf"(?<![\w.])(?:{'|'.join(map(re.escape, longest_first))})\b")

    def __call__(self, text: str) -> str:
        """The text, in the guide's spelling."""
        return self._pattern.sub(lambda found: self._called[found[0]], text)


def render_docstring(words: Docstring, indent: int) -> Iterator[str]:
    """The docstring's lines."""
    blocks = [textwrap.fill(" ".join(b.split()), _WIDTH - indent) for b in _blocks(words.summary)]
    for title, entries in (("Args", words.args), ("Raises", words.raises)):
        if entries:
            lines = [_entry(name, said, _WIDTH - indent) for name, said in entries.items()]
            blocks.append("\n".join([f"{title}:", *lines]))
    text = "\n\n".join(blocks)
    margin = " " * indent
    if "\n" not in text and len(text) + indent + 6 <= _WIDTH:
        yield f'{margin}"""{text}"""'
        return
    first, *rest = [*_first_line(text), ""]
    yield f'{margin}"""{first}'
    yield from (f"{margin}{line}".rstrip() for line in rest[:-1])
    yield f'{margin}"""'


def _blocks(summary: str) -> list[str]:
    return [block for block in summary.split("\n\n") if block.strip()]


def _first_line(text: str) -> list[str]:
    """Lines, the quotes' own width given to the first."""
    return text.split("\n")


def _entry(name: str, said: str, width: int) -> str:
    return textwrap.fill(
        f"{name}: {said}", width, initial_indent=" " * 4, subsequent_indent=" " * 8
    )
