"""Writer of the sync facade: the same surface, with bodies of one line."""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING

from diffio_async._codegen.reading import MethodKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from diffio_async._codegen.reading import ClassSpec, MethodSpec, Module

#: Names of asynchronous methods and of their blocking counterparts.
RENAMED = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__"}
_VERBS = {MethodKind.COROUTINE: "run", MethodKind.ITERATOR: "iterate", MethodKind.CONTEXT: "enter"}
_RETURNS = {
    MethodKind.ITERATOR: {"AsyncIterator": "Iterator", "AsyncGenerator": "Iterator"},
    MethodKind.CONTEXT: {"AsyncIterator": "AbstractContextManager"},
}
_OWN = {
    "Iterator": "from collections.abc import",
    "AbstractContextManager": "from contextlib import",
}
#: Methods without a counterpart: the inner client warns if it is left open.
_LEFT_OUT = {"__del__"}


def render_module(modules: Iterable[Module], wanted: dict[str, str], title: str) -> str:
    """Return the source of the facade.

    Args:
        modules: The modules with the classes.
        wanted: Names of coroutine classes, in order, with the names of their facades.
        title: The docstring of the generated module.
    """
    found = {name: (noun, module) for module in modules for name, noun in module.nouns.items()}
    lines: list[str] = []
    needed = {
        "_bridge as bridge": "from diffio_async import",
        "declared": "from diffio_async.resources import",
    }
    for name, facade in wanted.items():
        noun, module = found[name]
        needed[name] = _home(module)
        lines += ["", "", *_class(noun, facade, wanted, module, needed)]
    return "\n".join(
        [
            "# Written by `python -m diffio_async._codegen --write`; do not edit.",
            f'"""{title}"""',
            "",
            "from __future__ import annotations",
            "",
            # Imported at run time, for frameworks that resolve annotations.
            *_imports(needed),
            *lines,
            "",
        ]
    )


def _home(module: Module) -> str:
    parts = module.path.with_suffix("").parts
    package = len(parts) - 1 - parts[::-1].index("diffio_async")
    return f"from {'.'.join(parts[package:])} import"


def _imports(names: dict[str, str]) -> Iterator[str]:
    """Return import lines in isort order: standard library, third party, this package."""

    def section(home: str) -> int:
        top = home.split()[1].partition(".")[0]
        return 0 if top in sys.stdlib_module_names else 2 if top == "diffio_async" else 1

    by_home: dict[str, list[str]] = {}
    for name, home in names.items():
        by_home.setdefault(home, []).append(name)
    last: int | None = None
    for home in sorted(by_home, key=lambda h: (section(h), h.startswith("from"), h.split()[1])):
        if last is not None and section(home) != last:
            yield ""
        last = section(home)
        if home.startswith("import"):
            yield home
            continue
        joined = ", ".join(sorted(by_home[home], key=_isort_key))
        if len(home) + len(joined) + 5 <= 100:  # noqa: PLR2004 - the line length
            yield f"{home} {joined}"
        else:
            yield f"{home} ("
            yield from (f"    {name}," for name in sorted(by_home[home], key=_isort_key))
            yield ")"


def _isort_key(name: str) -> tuple[int, str]:
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name.lower())


def _class(
    noun: ClassSpec, facade: str, wanted: dict[str, str], module: Module, needed: dict[str, str]
) -> Iterator[str]:
    yield f"class {facade}:"
    yield f"    {noun.docstring}"
    if noun.parts:
        yield ""
    for part, kind in noun.parts.items():
        yield f"    {part}: {wanted[kind]} = declared({wanted[kind]})"
    if not any(method.name == "__init__" and noun.parts for method in noun.methods):
        yield ""
        yield f"    def __init__(self, aio: {noun.name}) -> None:"
        yield "        self._aio = aio"
    for method in noun.methods:
        if method.name in _LEFT_OUT or (method.name == "__init__" and not noun.parts):
            continue
        _collect(method, module, needed)
        yield ""
        yield from _method(method, noun, wanted)


def _collect(method: MethodSpec, module: Module, needed: dict[str, str]) -> None:
    """Add the import of every name in a signature to `needed`."""
    returns = _returns(method)
    texts = [returns, *(p.annotation for p in method.parameters)]
    texts += [p.default for p in method.parameters if p.default is not None]
    for text in texts:
        for node in ast.walk(ast.parse(f"({text})", mode="eval")):
            if isinstance(node, ast.Name) and node.id in module.imports:
                needed[node.id] = module.imports[node.id]
            elif isinstance(node, ast.Name) and node.id in _OWN:
                needed[node.id] = _OWN[node.id]


def _returns(method: MethodSpec) -> str:
    text = method.returns
    for old, new in _RETURNS.get(method.kind, {}).items():
        if text.startswith(f"{old}["):
            inner = text[len(old) + 1 : -1].split(", None")[0]
            return f"{new}[{inner}]"
    if method.kind in _RETURNS:
        raise ValueError(f"{method.name} is an {method.kind.value} that returns {text}")
    return text


def _method(method: MethodSpec, noun: ClassSpec, wanted: dict[str, str]) -> Iterator[str]:
    signature = method.signature
    returns = _returns(method)
    if returns != method.returns:
        signature = f"{signature[: signature.rindex('->')]}-> {returns}"
    if method.kind is MethodKind.PROPERTY:
        yield "    @property"
    yield f"    def {RENAMED.get(method.name, method.name)}{signature}:"
    if method.docstring is not None:
        yield f"        {method.docstring}"
    yield from (f"        {line}" for line in _body(method, noun, wanted))


def _body(method: MethodSpec, noun: ClassSpec, wanted: dict[str, str]) -> Iterator[str]:
    match method.name, method.kind:
        case "__init__", _:
            yield from _call(f"self._aio = {noun.name}", method, first=None)
            for part, kind in noun.parts.items():
                yield f"self.{part} = {wanted[kind]}(self._aio.{part})"
        case "__repr__", _:
            yield f'return repr(self._aio).replace("{noun.name}", "{wanted[noun.name]}", 1)'
        case "__aenter__", _:
            yield "bridge.run(self._aio.__aenter__)"
            yield "return self"
        case _, MethodKind.PROPERTY:
            yield f"return self._aio.{method.name}"
        case _, MethodKind.PLAIN:
            yield from _call(f"return self._aio.{method.name}", method, first=None)
        case _, kind:
            verb = f"return bridge.{_VERBS[kind]}"
            yield from _call(verb, method, first=f"self._aio.{method.name}")


def _call(function: str, method: MethodSpec, first: str | None) -> Iterator[str]:
    arguments = [] if first is None else [first]
    for parameter in method.parameters:
        name = parameter.name
        # Callbacks run in the calling thread, where they may call the client.
        hooked = parameter.annotation.startswith("Callback[") and first is not None
        value = f"bridge.hook({name})" if hooked else name
        arguments.append(f"{name}={value}" if parameter.keyword_only else value)
    line = f"{function}({', '.join(arguments)})"
    if len(line) <= 92:  # noqa: PLR2004 - the line length less the indentation
        yield line
        return
    yield f"{function}("
    yield from (f"    {argument}," for argument in arguments)
    yield ")"
