"""Write `compat`'s clients: the guide's names and parameters over the coroutine client."""

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
)
from diffio_async._codegen.docstrings import (
    Docstring,
    NameMapper,
    camel,
    parse_docstring,
    render_docstring,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from diffio_async._codegen.reading import MethodSpec, Module

_HEADER = '''\
# Written by `python -m diffio_async._codegen --write`; do not edit.
"""`DiffioClient` and its parts, in the guide's spelling."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from diffio_async.compat import _quirks, _restoring, _waiting
from diffio_async.compat._client_core import CompatClientCore
from diffio_async.compat.options import RequestOptionsLike
from diffio_async.compat.types import (
'''
_TYPING = """\
from diffio_async.models.generations import DEFAULT_MODEL, DownloadType
from diffio_async.models.webhooks import WebhookMode
from diffio_async.resources import declared
"""
_NOUN_WORDS = {
    "AudioIsolationClient": "One call from a recording to its generation, or to its result.",
}
_CLIENT = '''\
class DiffioClient:
    """A client of the Diffio API, for programs written after the guide.

    Made at import time or later, used by any number of threads. Files are sent in parts, several
    at a time; a call that fails is not repeated unless `maxRetries` says so, and one that would
    be done twice is not even then.

    Attributes:
        apiKey: The key.
        baseUrl: The address of the API, as it was given.
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
        """Make a client; nothing is sent.

        Args:
            apiKey: The key; `DIFFIO_API_KEY` where None.
            baseUrl: The API, with or without `/v1`; `DIFFIO_API_BASE_URL` where None, and the
                hosted service where that is unset.
            timeout: Seconds for one attempt of a call; None is no limit.
            timeoutInSeconds: `timeout` by its other name.
            httpClient: Not taken: no httpx is used here.
            requestOptions: Options of every call, an object or a dict.

        Raises:
            DiffioConfigurationError: The key is missing or cannot be one, the address is not
                secure, or an option cannot be right.
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
    """Knows the coroutine classes; writes the module."""

    def __init__(self, modules: Iterable[Module], spell: NameMapper) -> None:
        """Take the coroutine classes, and the spelling of names in docstrings."""
        self._nouns = {name: noun for module in modules for name, noun in module.nouns.items()}
        self._spell = spell

    def render(self) -> str:
        """The module's source."""
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
        return _NOUN_WORDS.get(noun) or parse_docstring(self._nouns[ours].docstring).summary

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
        yield from render_docstring(self._words(row, method, given), 8)
        yield from self._body(row, list(given), flat=flat)

    def _coroutine(self, row: CompatMethod) -> MethodSpec:
        noun, _, name = row.coroutine.partition(".")
        return next(method for method in self._nouns[noun].methods if method.name == name)

    def _parameter(self, row: CompatMethod, method: MethodSpec, name: str) -> CompatParameter:
        words = {
            RENAMED.get(ours, camel(ours)): said
            for ours, said in parse_docstring(method.docstring).args.items()
        }
        if name in PARAMETERS:
            return PARAMETERS[name]
        ours = {camel(p.name): p for p in method.parameters}.get(name)
        if ours is None:
            raise ValueError(f"{row.coroutine} has no parameter for {name}, and none is given")
        said = words.get(name) or self._said_elsewhere(name)
        return CompatParameter(ours.annotation, ours.default, self._spell(said))

    def _said_elsewhere(self, name: str) -> str:
        """What another coroutine says of a parameter of that name."""
        for noun in self._nouns.values():
            for method in noun.methods:
                for ours, said in parse_docstring(method.docstring).args.items():
                    if camel(ours) == name:
                        return said
        return ""

    def _words(
        self, row: CompatMethod, method: MethodSpec, given: dict[str, CompatParameter]
    ) -> Docstring:
        ours = parse_docstring(method.docstring)
        here = (row.class_name, row.name)
        raises = {**ours.raises, **RAISES.get(here, {})}
        return Docstring(
            self._spell(SUMMARIES.get(here, ours.summary)),
            {name: parameter.words for name, parameter in given.items() if parameter.words},
            {self._spell(n): self._spell(said) for n, said in raises.items() if said},
        )

    def _body(self, row: CompatMethod, names: list[str], *, flat: bool) -> Iterator[str]:
        same = [f"{name}={name}" for name in names]
        calls = "self._calls" if flat else "self._parent"
        if flat and row.class_name:
            yield from _fitted(
                f"        return self.{NOUNS[row.class_name]}.{row.name}(", same, ")"
            )
        elif row.impl:
            room, _, other = row.impl.partition(".")
            quirk = f"        return {room}.{other or row.name}("
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
    """One line where it fits, else one for each item."""
    line = f"{opening}{', '.join(items)}{closing}"
    if len(line) <= 100:  # noqa: PLR2004 - the line length
        yield line
        return
    margin = " " * (len(opening) - len(opening.lstrip()))
    yield opening
    yield from (f"{margin}    {item}," for item in items)
    yield f"{margin}{closing}"
