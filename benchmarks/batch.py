"""Many small recordings: `restore_many` against the published SDK in a pool of threads.

    python benchmarks/batch.py [--files 200] [--seconds 2] [--delay 0.03] [--threads 32]
                               [--published PYTHON] [--bare] [--rounds 1] [--json FILE]
    python benchmarks/batch.py --one [--rounds 20] [--published PYTHON]

The service is a sandbox in another process. Each generation takes the given seconds, plus or minus
half of them, and each response of the API is delayed. Each contender runs in another process too,
after one run that is not counted, so that its bytecode is cached. `--bare` adds bare aiohttp,
without and with the journal. The service counts the polls, and measures the delay from the end of
a generation to the response of the first poll that reports it.

`--one` measures one small file: `restore`, and `restore_many` with a new journal, in turn, with a
new client each. The generation ends at once, and no response is delayed. The first round imports
modules, and is not counted.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from harness import HERE, Figures, compare, finish, parser, process, report, sandbox

if TYPE_CHECKING:
    import argparse

    from harness import Process

OURS = """
import asyncio, sys
from diffio_async import AsyncDiffio

async def main():
    count = 0
    async with AsyncDiffio() as client:
        async for outcome in client.restore_many(sys.argv[1], sys.argv[2]):
            assert outcome.state == "done", outcome
            count += 1
    print(count)

asyncio.run(main())
"""

PUBLISHED = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from diffio import DiffioClient

client = DiffioClient()
to = Path(sys.argv[2])
to.mkdir()

def restore(path):
    content, info = client.audio_isolation.restore_audio(
        filePath=str(path), raiseOnError=True
    )
    (to / f"{path.stem}.restored.mp3").write_bytes(content)
    return 1

with ThreadPoolExecutor(int(sys.argv[3])) as pool:
    print(sum(pool.map(restore, sorted(Path(sys.argv[1]).iterdir()))))
"""


ONE = """
import asyncio, json, sys
from pathlib import Path
from harness import metered
from diffio_async import AsyncDiffio

async def restore(name, source):
    async with AsyncDiffio() as client:
        with metered() as found:
            if name == "restore":
                await client.restore(source, source.with_suffix(".mp3"))
            else:
                async for outcome in client.restore_many(source, source.with_suffix("")):
                    assert outcome.state == "done", outcome
    return found

for line in sys.stdin:
    print(json.dumps(asyncio.run(restore(sys.argv[1], Path(json.loads(line))))), flush=True)
"""

ONE_PUBLISHED = """
import json, sys
from pathlib import Path
from harness import metered
from diffio import DiffioClient

for line in sys.stdin:
    source, client = Path(json.loads(line)), DiffioClient()
    with metered() as found:
        content, info = client.audio_isolation.restore_audio(
            filePath=str(source), raiseOnError=True
        )
        source.with_suffix(".mp3").write_bytes(content)
    print(json.dumps(found), flush=True)
"""


def many(options: argparse.Namespace) -> list[Figures]:
    """Return a row for each contender."""
    python, threads = sys.executable, str(options.threads)
    commands: dict[str, tuple[tuple[str, ...], str]] = {
        "restore_many": ((python, "-c", OURS), threads)
    }
    if options.published:
        commands[f"published, {threads} threads"] = ((options.published, "-c", PUBLISHED), threads)
    if options.bare:
        bare = (python, str(HERE / "batch_bare.py"))
        commands["bare aiohttp"] = (bare, "none")
        commands["bare aiohttp, journal"] = (bare, "journal")
    settings = {"duration": options.seconds, "duration_spread": 0.5, "keep_requests": 1_000_000}
    with sandbox(settings, delay=options.delay) as (environment, service):

        def run(command: tuple[str, ...], last: str, files: int) -> Figures:
            with tempfile.TemporaryDirectory() as folder:
                source, to = Path(folder, "in"), Path(folder, "out")
                source.mkdir()
                for number in range(files):
                    (source / f"{number:05}.wav").write_bytes(f"{number:08}".encode() * 2048)
                printed, cost = finish(*command, str(source), str(to), last, variables=environment)
            if int(printed) != files:
                raise RuntimeError(f"{printed} files are complete, of {files}")
            return {**cost, **service.request(None)}

        for command, last in commands.values():
            run(command, last, 1)
        contenders = {
            name: partial(run, command, last, options.files)
            for name, (command, last) in commands.items()
        }
        what = f"{options.files:,} files"
        return compare(what, contenders, rounds=options.rounds or 1, against="restore_many")


def one_file(options: argparse.Namespace) -> list[Figures]:
    """Return a row for each way to restore one file."""
    commands: dict[str, tuple[str, ...]] = {
        name: (sys.executable, "-c", ONE, name) for name in ("restore", "restore_many")
    }
    if options.published:
        commands["published"] = (options.published, "-c", ONE_PUBLISHED)
    with ExitStack() as stack:
        environment, service = stack.enter_context(sandbox({"duration": 0}))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

        def run(running: Process) -> Figures:
            number = len(list(folder.glob("*.wav")))
            source = folder / f"{number}.wav"
            source.write_bytes(f"{number:32}".encode() * 512)
            return {**running.request(str(source)), "requests": service.request(None)["requests"]}

        contenders = {
            name: partial(run, stack.enter_context(process(*command, variables=environment)))
            for name, command in commands.items()
        }
        for contender in contenders.values():
            contender()
        return compare("one small file", contenders, rounds=options.rounds or 20, against="restore")


def main() -> None:
    """Measure, and print a table."""
    given = parser(__doc__, rounds=0, published=True)
    given.add_argument("--files", type=int, default=200)
    given.add_argument("--seconds", type=float, default=2.0)
    given.add_argument("--delay", type=float, default=0.03)
    given.add_argument("--threads", type=int, default=32)
    given.add_argument("--one", action="store_true", help="one file instead of a batch")
    given.add_argument("--bare", action="store_true", help="compare with bare aiohttp too")
    options = given.parse_args()
    report(one_file(options) if options.one else many(options), options)


if __name__ == "__main__":
    main()
