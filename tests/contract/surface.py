"""One interface for three clients: async, sync and compat."""

from __future__ import annotations

import functools
import operator
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from diffio_async import AsyncDiffio, ClientOptions, RetryPolicy
from diffio_async.compat import DiffioClient, RequestOptions
from diffio_async.sync import Diffio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from diffio_async.sandbox import Sandbox

QUICK = RetryPolicy(initial_delay=0.01, max_delay=0.05)
NAMES = ("async", "sync", "compat")

#: Names of the compat client that differ by more than their case.
_COMPAT_CALLS = {"projects.create": "create_project"}
_COMPAT_ARGUMENTS = {"source": "filePath", "options": "requestOptions"}


class Surface:
    """One client, whose calls and results are named in snake_case."""

    def __init__(self, name: str, client: Any) -> None:
        self.name = name
        self._client = client

    async def call(self, path: str, **arguments: Any) -> Any:
        """Call a method such as `projects.list` with keyword arguments."""
        if self.name == "async":
            return await operator.attrgetter(path)(self._client)(**arguments)
        if self.name == "compat":
            path = _COMPAT_CALLS.get(path, path)
            arguments = {
                _COMPAT_ARGUMENTS.get(name, camel(name)): value for name, value in arguments.items()
            }
        method = operator.attrgetter(path)(self._client)
        # Use a thread, since a blocking call would block the loop of the sandbox.
        return await anyio.to_thread.run_sync(functools.partial(method, **arguments))

    async def items(self, path: str, **arguments: Any) -> list[Any]:
        """Return all items of an iterator such as `generations.watch`."""
        method = operator.attrgetter(path)(self._client)
        if self.name == "async":
            return [item async for item in method(**arguments)]
        return await anyio.to_thread.run_sync(lambda: list(method(**arguments)))

    def seen(self, result: Any, name: str) -> Any:
        """Return an attribute of a result."""
        return getattr(result, camel(name) if self.name == "compat" else name)

    def rows(self, result: Any, name: str) -> list[Any]:
        """Return the rows of a listing, which is a list, or in compat an object with a list."""
        return list(getattr(result, name) if self.name == "compat" else result)


def camel(name: str) -> str:
    """Convert `api_project_id` to `apiProjectId`."""
    return re.sub(r"_(\w)", lambda found: found[1].upper(), name)


@asynccontextmanager
async def surface(name: str, sandbox: Sandbox, key: str | None = None) -> AsyncIterator[Surface]:
    """Provide a client of the sandbox, with short retry delays."""
    key = key or sandbox.api_key
    if name == "async":
        options = ClientOptions(retry=QUICK)
        async with AsyncDiffio(key, base_url=sandbox.base_url, options=options) as client:
            yield Surface(name, client)
        return
    made: Any
    if name == "sync":
        made = Diffio(key, base_url=sandbox.base_url, options=ClientOptions(retry=QUICK))
    else:
        retries = RequestOptions(maxRetries=4, retryBackoff=0.01)
        made = DiffioClient(apiKey=key, baseUrl=sandbox.base_url, requestOptions=retries)
    try:
        yield Surface(name, made)
    finally:
        await anyio.to_thread.run_sync(made.close)
