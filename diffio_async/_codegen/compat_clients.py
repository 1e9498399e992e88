"""Writer of the clients of compat: names and parameters of 0.3.10 over the coroutine client."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from diffio_async._codegen.compat_surface import (
    ARGUMENT_EXPR,
    NOUNS,
    PARAMETERS,
    RAISES,
    RENAMED,
    ROWS,
    SUMMARIES,
    CompatMethod,
    CompatParameter,
    NameMapper,
    camel,
    render_docstring,
)
from diffio_async._codegen.reading import Docstring, parse_docstring

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from diffio_async._codegen.reading import MethodSpec, Module

_HEADER = '''\
# Written by `python -m diffio_async._codegen --write`; do not edit.
"""`DiffioClient` and its parts, in camelCase."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from diffio_async.compat import _calls, _restoring
from diffio_async.compat._calls import CompatClientCore
from diffio_async.compat.options import RequestOptionsLike
from diffio_async.compat.types import (
'''
_TYPING = """\
from diffio_async.models.generations import DEFAULT_MODEL, DownloadType
from diffio_async.models.webhooks import WebhookMode
from diffio_async.resources import declared
"""
_NOUN_SUMMARIES = {
    "AudioIsolationClient": "From a recording to its generation, or to its result, in one call.",
}
_CLIENT = '''\
class DiffioClient:
    """Client of the Diffio API with the surface of the published package 0.3.10.

    It can be created at import time and shared by threads. A failed call is retried only if
    `maxRetries` is set, and never if it might be executed twice.

    Attributes:
        apiKey: The key.
        baseUrl: The URL of the API.
NOUNS
    """

DECLARED

    def __init__(
        self,
        *,
        apiKey: str | None = None,
        baseUrl: str | None = None,
        timeout: float | None = 60.0,
        timeoutInSeconds: float | None = None,
        httpClient: object = None,
        requestOptions: RequestOptionsLike = None,
    ) -> None:
        """Create a client; nothing is sent.

        Args:
            apiKey: The key; `DIFFIO_API_KEY` if None.
            baseUrl: The API, with or without `/v1`; `DIFFIO_API_BASE_URL` if None, and the
                hosted service if that is not set.
            timeout: Seconds for one attempt of a call; None means unlimited.
            timeoutInSeconds: Another name for `timeout`.
            httpClient: Not supported: httpx is not used.
            requestOptions: Options of all calls: an object or a dict.

        Raises:
            DiffioConfigurationError: The key is missing or invalid, the URL is not secure, or an
                option is invalid.
        """
        self._calls = CompatClientCore(
            apiKey=apiKey,
            baseUrl=baseUrl,
            timeout=timeout,
            timeoutInSeconds=timeoutInSeconds,
            httpClient=httpClient,
            requestOptions=requestOptions,
        )
        self.apiKey = self._calls.api_key
        self.baseUrl = self._calls.base_url
PARTS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"DiffioClient(baseUrl={self.baseUrl!r})"

    def close(self) -> None:
        """Close the connections; later calls raise `DiffioClientClosed`."""
        self._calls.close()
'''


class ClientsWriter:
    """Writer of the module with the clients."""

    def __init__(self, modules: Iterable[Module], spell: NameMapper) -> None:
        """Create a writer with the coroutine classes and the mapping of names in docstrings."""
        self._nouns = {name: noun for module in modules for name, noun in module.nouns.items()}
        self._spell = spell

    def render(self) -> str:
        """Return the source of the module."""
        results = sorted({n for row in ROWS for n in re.findall(r"[A-Z]\w+", row.result)})
        results.remove("None")
        lines = [_HEADER + "".join(f"    {name},\n" for name in results) + ")\n" + _TYPING]
        for noun in NOUNS:
            lines += ["", *self._noun(noun), ""]
        nouns = (f"        {part}: {self._summary(noun)}" for noun, part in NOUNS.items())
        parts = (f"        self.{part} = {noun}(self._calls)" for noun, part in NOUNS.items())
        shown = (f"    {part}: {noun} = declared({noun})" for noun, part in NOUNS.items())
        client = _CLIENT.replace("NOUNS", "\n".join(nouns)).replace("PARTS", "\n".join(parts))
        client = client.replace("DECLARED", "\n".join(shown))
        lines += ["", client.rstrip()]
        for row in ROWS:
            if row.flat:
                lines += ["", *self._method(row, flat=True)]
        return "\n".join([*lines, ""])

    def _summary(self, noun: str) -> str:
        ours = next(row.coroutine.partition(".")[0] for row in ROWS if row.class_name == noun)
        return _NOUN_SUMMARIES.get(noun) or parse_docstring(self._nouns[ours].docstring).summary

    def _noun(self, noun: str) -> Iterator[str]:
        yield f"class {noun}:"
        yield f'    """{self._summary(noun)}"""'
        yield ""
        yield "    def __init__(self, parent: CompatClientCore) -> None:"
        yield "        self._parent = parent"
        for row in ROWS:
            if row.class_name == noun:
                yield ""
                yield from self._method(row, flat=False)

    def _method(self, row: CompatMethod, *, flat: bool) -> Iterator[str]:
        method = self._coroutine(row)
        given = {name: self._parameter(row, method, name) for name in row.parameters.split()}
        arguments = ["self", "*"]
        for name, (annotation, default, _) in given.items():
            arguments.append(f"{name}: {annotation}" + (f" = {default}" if default else ""))
        name = row.flat if flat else row.name
        yield from _fitted(f"    def {name}(", arguments, f") -> {row.result}:")
        yield from render_docstring(self._docstring(row, method, given), 8)
        yield from self._body(row, list(given), flat=flat)

    def _coroutine(self, row: CompatMethod) -> MethodSpec:
        noun, _, name = row.coroutine.partition(".")
        return next(method for method in self._nouns[noun].methods if method.name == name)

    def _parameter(self, row: CompatMethod, method: MethodSpec, name: str) -> CompatParameter:
        descriptions = {
            RENAMED.get(ours, camel(ours)): description
            for ours, description in parse_docstring(method.docstring).args.items()
        }
        if name in PARAMETERS:
            return PARAMETERS[name]
        ours = {camel(p.name): p for p in method.parameters}.get(name)
        if ours is None:
            raise ValueError(f"{row.coroutine} has no parameter for {name}; add it to PARAMETERS")
        description = descriptions.get(name) or self._description_elsewhere(name)
        return CompatParameter(ours.annotation, ours.default, self._spell(description))

    def _description_elsewhere(self, name: str) -> str:
        """Return the description that another coroutine has for a parameter of that name."""
        for noun in self._nouns.values():
            for method in noun.methods:
                for ours, description in parse_docstring(method.docstring).args.items():
                    if camel(ours) == name:
                        return description
        return ""

    def _docstring(
        self, row: CompatMethod, method: MethodSpec, given: dict[str, CompatParameter]
    ) -> Docstring:
        ours = parse_docstring(method.docstring)
        here = (row.class_name, row.name)
        raises = {**ours.raises, **RAISES.get(here, {})}
        return Docstring(
            self._spell(SUMMARIES.get(here, ours.summary)),
            {
                name: parameter.description
                for name, parameter in given.items()
                if parameter.description
            },
            {
                self._spell(n): self._spell(description)
                for n, description in raises.items()
                if description
            },
        )

    def _body(self, row: CompatMethod, names: list[str], *, flat: bool) -> Iterator[str]:
        same = [f"{name}={name}" for name in names]
        calls = "self._calls" if flat else "self._parent"
        if flat and row.class_name:
            yield from _fitted(
                f"        return self.{NOUNS[row.class_name]}.{row.name}(", same, ")"
            )
        elif row.impl:
            module, _, other = row.impl.partition(".")
            quirk = f"        return {module}.{other or row.name}("
            yield from _fitted(quirk, [calls, *same], ")")
        else:
            part = f"{calls}.aio.{NOUNS[row.class_name]}.{row.name}"
            handed = [f"{row.result}.from_dict", part]
            for ours in self._coroutine(row).parameters:
                name = RENAMED.get(ours.name, camel(ours.name))
                value = ARGUMENT_EXPR.get((row.class_name, name), name)
                value = f"{calls}.options(requestOptions)" if ours.name == "options" else value
                handed.append(f"{ours.name}={value}")
            yield from _fitted(f"        return {calls}.call(", handed, ")")


def _fitted(opening: str, items: list[str], closing: str) -> Iterator[str]:
    """Yield one line if it fits, otherwise one for each item."""
    line = f"{opening}{', '.join(items)}{closing}"
    if len(line) <= 100:  # noqa: PLR2004 - the line length
        yield line
        return
    margin = " " * (len(opening) - len(opening.lstrip()))
    yield opening
    yield from (f"{margin}    {item}," for item in items)
    yield f"{margin}{closing}"
