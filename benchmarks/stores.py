"""Objects of stores beside local files, and obstore beside s3fs.

    python benchmarks/stores.py [--s3fs PYTHON] [--size MIB] [--rounds 3] [--json FILE]

Reads and writes one large object, reads small ones, and lists keys. The server speaks the protocol
of S3 in another process, sends zeros and keeps nothing, so that the client is measured. `--s3fs`
names an interpreter that has s3fs. Each measurement runs in a process of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from argparse import SUPPRESS
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import MIB, Figures, compare, finish, metered, parser, process, report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

#: Number and bytes of small objects, how many are read at once, and number of listed keys.
SMALL, SMALL_BYTES, AT_ONCE, KEYS = 500, 16_000, 16, 100_000
_PAGE = 1000
_XML = '<?xml version="1.0" encoding="UTF-8"?>'
_DATE = "2026-01-01T00:00:00.000Z"


async def serve(size: int) -> None:
    """Serve a store whose bucket has `large`, `small/…` and `keys/…`, and print its address."""
    web = import_module("aiohttp.web")
    zeros, pages = bytes(8 * MIB), [_page(number) for number in range(KEYS // _PAGE)]

    async def handle(request: Any) -> Any:
        headers = {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
        if "list-type" in request.query:
            number = int(request.query.get("continuation-token", 0))
            return web.Response(text=pages[number], content_type="application/xml")
        if request.method == "POST":
            await request.read()
            name = "InitiateMultipartUpload" if "uploads" in request.query else "CompleteMultipart"
            body = f"<{name}Result><UploadId>1</UploadId><ETag>1</ETag></{name}Result>"
            return web.Response(text=_XML + body, content_type="application/xml")
        if request.method == "PUT":
            async for _ in request.content.iter_any():
                pass
            return web.Response(headers=headers)
        length = size if request.path.endswith("large") else SMALL_BYTES
        start, end = 0, length
        if "Range" in request.headers:
            first, last = request.headers["Range"].removeprefix("bytes=").split("-")
            start, end = int(first), min(int(last or length) + 1, length)
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{length}"
        headers["Content-Length"] = str(end - start)
        response = web.StreamResponse(status=206 if "Range" in request.headers else 200)
        response.headers.update(headers)
        await response.prepare(request)
        for left in range(end - start, 0, -len(zeros)) if request.method == "GET" else ():
            await response.write(zeros[:left])
        return response

    app = web.Application(client_max_size=2**31)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(json.dumps(f"http://127.0.0.1:{runner.addresses[0][1]}"), flush=True)
    await asyncio.Event().wait()


def _page(number: int) -> str:
    last = number == KEYS // _PAGE - 1
    more = "false" if last else f"true</IsTruncated><NextContinuationToken>{number + 1}"
    close = "</IsTruncated>" if last else "</NextContinuationToken>"
    entries = "".join(
        f"<Contents><Key>keys/{number:03}/{each:06}.wav</Key><LastModified>{_DATE}</LastModified>"
        f"<ETag>&quot;{each}&quot;</ETag><Size>16000</Size></Contents>"
        for each in range(_PAGE)
    )
    name = "<Name>bucket</Name><Prefix>keys/</Prefix>"
    start = f"{_XML}<ListBucketResult>{name}<IsTruncated>{more}{close}"
    return f"{start}{entries}</ListBucketResult>"


async def ours(what: str, file: Path) -> None:
    """Do one thing through diffio_async."""
    from diffio_async._store_url import parse_url
    from diffio_async._stores.writing import write_object
    from diffio_async._uploads.open_source import open_source

    limit = 2**40

    async def spool(key: str) -> None:
        async with open_source(f"s3://bucket/{key}", max_bytes=limit):
            pass

    if what == "read":
        await spool("large")
    elif what == "small":
        await at_once(spool)
    elif what == "write":
        url = parse_url("s3://bucket/out", "the target")
        async with open_source(file, max_bytes=limit) as source:
            await write_object(url, source.read, source.size, "overwrite", owner="-")
    else:
        from diffio_async.batch.store_sources import StoreScan

        scan = StoreScan(parse_url("s3://out/", "the target"), True, frozenset({".wav"}))
        url = parse_url("s3://bucket/keys/", "the source")
        found = sum(1 for _ in scan.expand(url))
        if found != KEYS:
            raise RuntimeError(f"{found} keys")


async def s3fs(what: str, file: Path) -> None:
    """Do one thing through s3fs."""
    store: Any = import_module("s3fs").S3FileSystem(asynchronous=True)
    session = await store.set_session()
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        if what == "read":
            await store._get_file("bucket/large", str(copy))  # noqa: SLF001
        elif what == "small":
            await at_once(lambda key: store._cat_file(f"bucket/{key}"))  # noqa: SLF001
        elif what == "write":
            await store._put_file(str(file), "bucket/out")  # noqa: SLF001
        elif len(await store._find("bucket/keys")) != KEYS:  # noqa: SLF001
            raise RuntimeError("not all keys were listed")
    await session.close()


async def local(what: str, file: Path) -> None:
    """Copy a local file of the same size, as the spool of an object is written."""
    from diffio_async._uploads.open_source import open_source

    if what not in {"read", "write"}:
        return
    with file.open("rb") as opened:
        blocks = iter(partial(opened.read, MIB), b"")

        async def read() -> AsyncIterator[bytes]:
            for block in blocks:
                yield block

        async with open_source(read(), max_bytes=2**40):
            pass


async def at_once(read: Callable[[str], Awaitable[object]]) -> None:
    """Read all small objects, some at once."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with slots:
            await read(f"small/{number}.wav")

    await asyncio.gather(*map(one, range(SMALL)))


def measure(python: str, who: str, what: str, file: Path, address: str) -> Figures:
    """Measure in a process of its own."""
    variables = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "-",
        "AWS_SECRET_ACCESS_KEY": "-",
        "AWS_REGION": "us-east-1",
    }
    output, _ = finish(python, __file__, "--run", who, what, str(file), variables=variables)
    figures: Figures = json.loads(output)
    return figures


async def run(who: str, what: str, file: Path) -> None:
    """Run once, and print the figures."""
    work = {"diffio_async": ours, "s3fs": s3fs, "local file": local}[who]
    if who == "s3fs":
        import_module("s3fs")
    else:
        import_module("obstore.store")
    with metered() as found:
        await work(what, file)
    print(json.dumps(found))


def main() -> None:
    """Run all measurements and print them."""
    given = parser(__doc__, rounds=3)
    given.add_argument("--s3fs", metavar="PYTHON", help="interpreter with s3fs")
    given.add_argument("--size", type=int, default=1024, help="MiB of the large object (1,024)")
    given.add_argument("--run", nargs=3, help=SUPPRESS)
    given.add_argument("--serve", type=int, help=SUPPRESS)
    options = given.parse_args()
    if options.run:
        asyncio.run(run(options.run[0], options.run[1], Path(options.run[2])))
        return
    if options.serve is not None:
        asyncio.run(serve(options.serve))
        return
    rows: list[Figures] = []
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.wav"
        with file.open("wb") as opened:
            os.truncate(opened.fileno(), options.size * MIB)
        serving = (sys.executable, __file__, "--serve", str(options.size * MIB))
        with process(*serving) as server:
            address = server.read()
            for what in ("read", "write", "small", "list"):
                contenders = {
                    who: partial(measure, python, who, what, file, address)
                    for who, python in {
                        "diffio_async": sys.executable,
                        "s3fs": options.s3fs,
                        "local file": sys.executable if what in {"read", "write"} else None,
                    }.items()
                    if python
                }
                rows += compare(what, contenders, rounds=options.rounds, against="diffio_async")
    report(rows, options)


if __name__ == "__main__":
    main()
