"""Read models and errors from their source: names, types, words."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from diffio_async._codegen.reading import UnsupportedSyntax

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Field:
    """One field of a model; `secret` ones are left out of its repr."""

    name: str
    annotation: str
    secret: bool


@dataclass(frozen=True)
class Model:
    """One model: its docstring with its quotes, and its fields by name."""

    name: str
    docstring: str
    fields: dict[str, Field]


def read_models(path: Path) -> dict[str, Model]:
    """The classes of one module by name; methods and properties are not of interest."""
    source = path.read_text(encoding="utf-8")
    models = {}
    for node in ast.parse(source, str(path)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        docstring = ast.get_source_segment(source, node.body[0])
        if ast.get_docstring(node) is None or docstring is None:
            raise UnsupportedSyntax(path, node, f"{node.name} has no docstring")
        fields = {}
        for item in node.body:
            match item:
                case ast.AnnAssign(target=ast.Name(id=name), annotation=kind, value=value):
                    annotation = ast.get_source_segment(source, kind) or ""
                    fields[name] = Field(name, annotation, _is_secret(value))
                case _:
                    pass
        models[node.name] = Model(node.name, docstring, fields)
    return models


def _is_secret(value: ast.expr | None) -> bool:
    """`extra` is no secret, but long; it is not carried over as a field."""
    match value:
        case ast.Call(func=ast.Name(id="field"), keywords=keywords):
            return any(
                word.arg == "repr" and isinstance(word.value, ast.Constant) and not word.value.value
                for word in keywords
            )
    return False
