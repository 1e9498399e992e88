"""Three clients behind one handle: coroutines, blocking calls, and the guide's spelling."""

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

#: What the guide's spelling calls differently, beyond the letters.
_COMPAT_CALLS = {"projects.create": "create_project"}
_COMPAT_WORDS = {"source": "filePath", "options": "requestOptions"}


class Surface:
    """One client; calls and results are spoken of in snake_case, whatever it speaks itself."""

    def __init__(self, name: str, client: Any) -> None:
        self.name = name
        self._client = client

    async def call(self, path: str, **words: Any) -> Any:
        """Call `projects.list`, say, with these keywords."""
        if self.name == "async":
            return await operator.attrgetter(path)(self._client)(**words)
        if self.name == "compat":
            path = _COMPAT_CALLS.get(path, path)
            words = {_COMPAT_WORDS.get(word, camel(word)): value for word, value in words.items()}
        method = operator.attrgetter(path)(self._client)
        # In a thread: the sandbox runs on this loop, which a blocking call would stop.
        return await anyio.to_thread.run_sync(functools.partial(method, **words))

    async def items(self, path: str, **words: Any) -> list[Any]:
        """What an iterator such as `generations.watch` gives, to its end."""
        method = operator.attrgetter(path)(self._client)
        if self.name == "async":
            return [item async for item in method(**words)]
        return await anyio.to_thread.run_sync(lambda: list(method(**words)))

    def seen(self, result: Any, name: str) -> Any:
        """An attribute of a result."""
        return getattr(result, camel(name) if self.name == "compat" else name)

    def rows(self, result: Any, name: str) -> list[Any]:
        """The rows of a listing: a list, or the guide's object that holds one."""
        return list(getattr(result, name) if self.name == "compat" else result)


def camel(name: str) -> str:
    """`api_project_id` -> `apiProjectId`."""
    return re.sub(r"_(\w)", lambda found: found[1].upper(), name)


@asynccontextmanager
async def surface(name: str, sandbox: Sandbox, key: str | None = None) -> AsyncIterator[Surface]:
    """A client of the sandbox, with retries on and quick."""
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
