"""Source reader: coroutine classes with verbatim signatures and docstrings, models and errors.

The grammar is closed: syntax without a rule stops the generator with file and line.
"""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class MethodKind(Enum):
    """Kind of a method, which decides the body of its blocking counterpart."""

    COROUTINE = "coroutine"
    ITERATOR = "async generator"
    CONTEXT = "async context manager"
    PLAIN = "plain"
    PROPERTY = "property"


class UnsupportedSyntax(SyntaxError):
    """The source contains syntax that no rule covers."""

    def __init__(self, path: Path, node: ast.AST, what: str) -> None:
        line = getattr(node, "lineno", 0)
        super().__init__(f"{path}:{line}: {what}")


@dataclass(frozen=True)
class Parameter:
    """One parameter; annotation and default are source text."""

    name: str
    keyword_only: bool
    annotation: str
    default: str | None


@dataclass(frozen=True)
class MethodSpec:
    """One method; `signature` is the text from `(` to the colon, `docstring` that with quotes."""

    name: str
    kind: MethodKind
    parameters: tuple[Parameter, ...]
    signature: str
    returns: str
    docstring: str | None


@dataclass(frozen=True)
class ClassSpec:
    """One class; `parts` are its public attributes that are built from other classes."""

    name: str
    docstring: str
    methods: tuple[MethodSpec, ...]
    parts: dict[str, str]
    bases: tuple[str, ...] = ()


@dataclass
class Module:
    """One source file: its classes, and the import of each name."""

    path: Path
    nouns: dict[str, ClassSpec] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)


def read(path: Path) -> Module:
    """Read one source file."""
    source = path.read_bytes()
    tree = ast.parse(source, str(path))
    module = Module(path)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                module.imports[alias.asname or alias.name] = f"import {ast.unparse(alias)}"
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                module.imports[alias.asname or alias.name] = f"from {node.module} import"
    for node in tree.body:
        # The names of coroutine classes start with Async; other classes have no facade.
        if isinstance(node, ast.ClassDef) and node.name.startswith("Async"):
            module.nouns[node.name] = _Reader(path, source.splitlines(keepends=True)).noun(node)
    return module


def resolve_bases(modules: list[Module]) -> None:
    """Add inherited methods to each class, and their imports to its module."""
    known = {name: (noun, module) for module in modules for name, noun in module.nouns.items()}
    for module in modules:
        for name, noun in module.nouns.items():
            methods = {method.name: method for method in noun.methods}
            for base in noun.bases:
                if base not in known:
                    raise UnsupportedSyntax(
                        module.path, ast.Pass(), f"{name} is derived from {base}"
                    )
                above, home = known[base]
                methods = {**{method.name: method for method in above.methods}, **methods}
                for imported, origin in home.imports.items():
                    module.imports.setdefault(imported, origin)
            module.nouns[name] = replace(noun, methods=tuple(methods.values()))


@dataclass(frozen=True)
class _Reader:
    path: Path
    lines: Sequence[bytes]

    def noun(self, node: ast.ClassDef) -> ClassSpec:
        methods = []
        parts: dict[str, str] = {}
        for item in node.body:
            if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)):
                if item.name == "__init__":
                    parts = self._parts(item)
                if not item.name.startswith("_") or item.name.startswith("__"):
                    methods.append(self._method(item))
            elif not (_is_docstring(item) or _is_declared(item)):
                raise UnsupportedSyntax(self.path, item, "only methods are carried over")
        docstring = self._docstring(node)
        if docstring is None:
            raise UnsupportedSyntax(self.path, node, f"{node.name} has no docstring")
        bases = tuple(self._text(base) for base in node.bases)
        return ClassSpec(node.name, docstring, tuple(methods), parts, bases)

    def _parts(self, init: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, str]:
        """Return the public attributes that are assigned as `self.projects = Projects(…)`."""
        parts = {}
        for node in init.body:
            match node:
                case ast.Assign(
                    targets=[ast.Attribute(value=ast.Name(id="self"), attr=name)],
                    value=ast.Call(func=ast.Name(id=kind)),
                ) if not name.startswith("_"):
                    parts[name] = kind
                case ast.Assign(targets=[ast.Attribute(attr=name)]) if not name.startswith("_"):
                    raise UnsupportedSyntax(
                        self.path, node, f"a public attribute {name} that is not a part"
                    )
                case _:
                    pass
        return parts

    def _method(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> MethodSpec:
        if node.returns is None:
            raise UnsupportedSyntax(self.path, node, f"{node.name} has no return annotation")
        return MethodSpec(
            name=node.name,
            kind=self._kind(node),
            parameters=self._parameters(node),
            signature=self._signature(node),
            returns=self._text(node.returns),
            docstring=self._docstring(node),
        )

    def _kind(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> MethodKind:
        decorators = [self._text(decorator).split(".")[-1] for decorator in node.decorator_list]
        yields = any(isinstance(inner, (ast.Yield, ast.YieldFrom)) for inner in ast.walk(node))
        is_async = isinstance(node, ast.AsyncFunctionDef)
        match decorators, is_async, yields:
            case [], True, False:
                return MethodKind.COROUTINE
            case [], True, True:
                return MethodKind.ITERATOR
            case ["asynccontextmanager"], True, True:
                return MethodKind.CONTEXT
            case [], False, False:
                return MethodKind.PLAIN
            case ["property"], False, False:
                return MethodKind.PROPERTY
        raise UnsupportedSyntax(self.path, node, f"no rule for {node.name} with {decorators}")

    def _parameters(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> tuple[Parameter, ...]:
        arguments = node.args
        if arguments.vararg or arguments.kwarg or arguments.posonlyargs:
            raise UnsupportedSyntax(
                self.path, node, f"{node.name}: * and ** and / are not carried over"
            )
        positional, keyword = arguments.args[1:], arguments.kwonlyargs
        missing = len(positional) - len(arguments.defaults)
        defaults = [None] * missing + list(arguments.defaults)
        both = [(p, d, False) for p, d in zip(positional, defaults, strict=True)]
        both += [(p, d, True) for p, d in zip(keyword, arguments.kw_defaults, strict=True)]
        found = []
        for parameter, default, keyword_only in both:
            if parameter.annotation is None:
                raise UnsupportedSyntax(self.path, parameter, f"{parameter.arg} has no annotation")
            text = None if default is None else self._text(default)
            annotation = self._text(parameter.annotation)
            found.append(Parameter(parameter.arg, keyword_only, annotation, text))
        return tuple(found)

    def _signature(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
        body = node.body[0]
        if body.lineno == node.lineno:
            raise UnsupportedSyntax(self.path, node, f"{node.name} is written on one line")
        header = b"".join(self.lines[node.lineno - 1 : body.lineno - 1]).decode()
        return header[header.index("(") :].rstrip().removesuffix(":")

    def _docstring(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> str | None:
        return self._text(node.body[0]) if _is_docstring(node.body[0]) else None

    def _text(self, node: ast.expr | ast.stmt) -> str:
        return source_text(self.lines, node)


def source_text(lines: Sequence[bytes], node: ast.expr | ast.stmt) -> str:
    """Return the source of a node. `ast.get_source_segment` splits the file on each call."""
    if node.end_lineno is None:
        raise ValueError("the node does not come from a parser")
    text = b"".join(lines[node.lineno - 1 : node.end_lineno])
    after = len(lines[node.end_lineno - 1]) - (node.end_col_offset or 0)
    return text[node.col_offset : len(text) - after].decode()


def _is_declared(node: ast.stmt) -> bool:
    """Return whether a statement declares a part: `projects: T = declared(T)`."""
    match node:
        case ast.AnnAssign(value=ast.Call(func=ast.Name(id="declared"))):
            return True
    return False


def _is_docstring(node: ast.stmt) -> bool:
    match node:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
    return False


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
    """Return the classes of one module by name, with their fields."""
    source = path.read_bytes()
    lines = source.splitlines(keepends=True)
    models = {}
    for node in ast.parse(source, str(path)).body:
        if not isinstance(node, ast.ClassDef):
            continue
        if not _is_docstring(node.body[0]):
            raise UnsupportedSyntax(path, node, f"{node.name} has no docstring")
        docstring = source_text(lines, node.body[0])
        fields = {}
        for item in node.body:
            match item:
                case ast.AnnAssign(target=ast.Name(id=name), annotation=kind, value=value):
                    fields[name] = Field(name, source_text(lines, kind), _is_secret(value))
                case _:
                    pass
        models[node.name] = Model(node.name, docstring, fields)
    return models


def _is_secret(value: ast.expr | None) -> bool:
    """Return whether a field is declared with `repr=False`."""
    match value:
        case ast.Call(func=ast.Name(id="field"), keywords=keywords):
            return any(
                word.arg == "repr" and isinstance(word.value, ast.Constant) and not word.value.value
                for word in keywords
            )
    return False


@dataclass
class Docstring:
    """A docstring's parts; `args` and `raises` are by name."""

    summary: str = ""
    args: dict[str, str] = field(default_factory=dict)
    raises: dict[str, str] = field(default_factory=dict)


def parse_docstring(quoted: str | None) -> Docstring:
    """Parse a docstring as it is in the source, with its quotes."""
    if quoted is None:
        return Docstring()
    text = inspect.cleandoc(ast.literal_eval(quoted))
    summary, *sections = re.split(r"^(Args|Raises):\n", text, flags=re.MULTILINE)
    doc = Docstring(summary.strip())
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        # Text after a section belongs to it if it is indented; other text would be lost.
        entries = re.split(r"^ {4}(\w+): ", body, flags=re.MULTILINE)
        into = doc.args if title == "Args" else doc.raises
        for name, description in zip(entries[1::2], entries[2::2], strict=True):
            into[name] = " ".join(description.split())
    return doc
