"""Member of a cluster, in a process of its own.

    python member.py scheduler|worker|coordinator|relay SETTINGS

Prints its address as JSON when it is ready, and for each line of the standard input what it used
and counted so far. The line `true` starts the coordinator. A member ends with its standard input.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import ssl
import sys
import time
from typing import TYPE_CHECKING, Any

from distributed import Scheduler, Security, Worker
from harness import cpu_seconds, resident

from diffio_async import AsyncDiffio, ClientOptions
from diffio_async.dask import DaskExecutor

if TYPE_CHECKING:
    from collections.abc import Callable

Settings = dict[str, Any]


async def serve(
    address: str,
    counted: Callable[[], Settings],
    start: Callable[[], None] | None = None,
) -> None:
    """Print the address; start, and print figures, as the lines of the standard input say."""
    print(json.dumps(address), flush=True)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        if json.loads(line) and start is not None:
            start()
        own = {"cpu_seconds": cpu_seconds(), "resident_mib": resident()}
        print(json.dumps({**own, "peak_mib": resident("VmHWM"), **counted()}), flush=True)


def security(settings: Settings) -> Security | None:
    """Return the certificates for Dask's connections, None without TLS."""
    if not settings["tls"]:
        return None
    files = {
        f"tls_{role}_{kind}": settings["tls"]["certificate"]
        for role in ("client", "scheduler", "worker")
        for kind in ("cert", "key")
    }
    return Security(require_encryption=True, tls_ca_file=settings["tls"]["authority"], **files)


async def scheduler(settings: Settings) -> None:
    """Run a scheduler, which counts the tasks that it remembers."""
    async with Scheduler(
        host=settings["host"],
        port=0,
        protocol="tls" if settings["tls"] else "tcp",
        dashboard=False,
        security=security(settings),
    ) as running:
        await serve(running.address, lambda: {"tasks": len(running.tasks)})


async def worker(settings: Settings) -> None:
    """Run a worker, which counts the orders that it has."""
    async with Worker(
        settings["scheduler"],
        nthreads=settings["threads"],
        host=settings["host"],
        local_directory=settings["folder"],
        memory_limit=0,
        security=security(settings),
    ) as running:
        await serve(running.address, lambda: {"tasks": len(running.state.tasks)})


async def coordinator(settings: Settings) -> None:
    """Restore all files of a folder, and count those that are done, and the generations."""
    counts: Settings = {"done": 0, "generating": 0, "seconds": 0.0, "failed": None}
    running = list[asyncio.Task[None]]()
    executor = None
    if settings["scheduler"]:
        executor = DaskExecutor(
            settings["scheduler"], security=security(settings), allow_insecure=True
        )

    async def restore() -> None:
        began = time.perf_counter()
        try:
            options = ClientOptions(allow_insecure_http=True)
            async with AsyncDiffio(options=options) as client:
                async for outcome in client.restore_many(
                    settings["source"],
                    settings["to"],
                    executor=executor,
                    salt="benchmark",
                    max_in_flight=settings["in_flight"],
                    on_progress=lambda now: counts.update(generating=now.generating),
                ):
                    if outcome.state != "done":
                        raise RuntimeError(f"{outcome.source}: {outcome.error}")  # noqa: TRY301
                    counts["done"] += 1
                    counts["seconds"] = time.perf_counter() - began
        except Exception as failure:
            counts["failed"] = f"{type(failure).__name__}: {failure}"
            raise

    await serve("", lambda: counts, lambda: running.append(asyncio.create_task(restore())))
    for task in running:
        task.cancel()
    await asyncio.wait(running)


async def relay(settings: Settings) -> None:
    """Decrypt connections, and forward them to a port of this machine."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(settings["tls"]["certificate"])

    async def copy(source: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(256 * 1024):
                to.write(data)
                await to.drain()
        to.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        near, far = await asyncio.open_connection("127.0.0.1", settings["port"])
        await asyncio.gather(copy(reader, far), copy(near, writer))

    async with await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context) as server:
        port = server.sockets[0].getsockname()[1]
        await serve(f"https://localhost:{port}", dict)


def main() -> None:
    """Run the member that the arguments name."""
    logging.getLogger("distributed").setLevel(logging.ERROR)
    roles = {"scheduler": scheduler, "worker": worker, "coordinator": coordinator, "relay": relay}
    asyncio.run(roles[sys.argv[1]](json.loads(sys.argv[2])))


if __name__ == "__main__":
    main()
