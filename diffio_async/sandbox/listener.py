"""One port: it listens, and passes each request to the origin that its path names."""

import asyncio
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from diffio_async.sandbox.addresses import Addresses
from diffio_async.sandbox.origin import Origin


class Listener:
    """Serves one origin, or several by the first part of the path."""

    def __init__(self, origins: Mapping[str, Origin], addresses: Addresses) -> None:
        self._origins = origins
        self._addresses = addresses
        self._runner: web.ServerRunner | None = None
        self._serving: set[asyncio.Task[Any]] = set()

    async def open(self, host: str, port: int) -> None:
        """Listen; port 0 takes any free one.

        Raises:
            OSError: When the port cannot be had.
        """
        # Bodies are kept as sent: nothing is decompressed behind a client's back.
        server = web.Server(self._serve, access_log=None, auto_decompress=False, read_bufsize=2**18)
        runner = web.ServerRunner(server, shutdown_timeout=0.05)
        await runner.setup()
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner = runner
        for name in self._origins:
            self._addresses.ports[name] = runner.addresses[0][1]

    async def close(self) -> None:
        """Stop listening and cut what is still going on."""
        if self._runner is None:
            return
        for site in self._runner.sites:
            await site.stop()
        # A request that stalls on purpose would outlive the server; aiohttp cancels it, but does
        # not wait until it is gone.
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)
        await self._runner.cleanup()
        self._runner = None

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        task = asyncio.current_task()
        if task is not None:
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)
        name, path = self._addresses.split(self._origins, request.path)
        return await self._origins[name].serve(request, path)
