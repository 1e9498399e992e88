"""Number of modules of the package that one call enters, which a reader has to follow.

    python benchmarks/walks.py [--list] [--json FILE]

Each path runs twice against a sandbox in another process, and the second run is counted: modules
that are only imported do not count, and neither do methods that attrs generates.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import diffio_async
from diffio_async import AsyncDiffio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from types import FrameType

PACKAGE = Path(diffio_async.__file__).parent
MIB = 1024 * 1024

#: A sandbox that takes uploads in parts of a MiB; a generation takes half a second.
SANDBOX = """
import asyncio, json
from diffio_async.sandbox import Sandbox

async def main():
    settings = {"uploads": ("edge",), "part_size": 1024 * 1024, "engine": "echo", "duration": 0.5}
    async with Sandbox(**settings) as box:
        print(json.dumps(dict(box.environment)), flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


class Walk:
    """The modules entered while a path runs, in the order in which they are first entered."""

    def __init__(self) -> None:
        self.modules: dict[str, None] = {}
        self.recording = False

    def profile(self, frame: FrameType, event: str, _: object) -> None:
        """Record the module of a function that is called; a profile function of any thread."""
        if not self.recording or event != "call" or frame.f_code.co_name == "<module>":
            return
        path = frame.f_code.co_filename
        if path.startswith(str(PACKAGE)):
            name = Path(path).relative_to(PACKAGE).with_suffix("").as_posix()
            self.modules.setdefault(name.removesuffix("/__init__").replace("/", "."))


@contextmanager
def sandbox() -> Iterator[dict[str, str]]:
    """Run a sandbox in a separate process; yield its environment."""
    command = [sys.executable, "-c", SANDBOX]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        if process.stdout is None:
            raise RuntimeError("the sandbox has no output")
        try:
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


async def measure(walk: Walk, folder: Path) -> dict[str, list[str]]:
    """Return the modules that each path enters."""
    found: dict[str, list[str]] = {}
    recording = folder / "talk.wav"
    recording.write_bytes(os.urandom(4 * MIB))
    small = folder / "word.wav"
    small.write_bytes(os.urandom(1000))

    async def record(name: str, call: Callable[[], Awaitable[object]]) -> None:
        await call()
        walk.modules.clear()
        walk.recording = True
        await call()
        walk.recording = False
        found[name] = list(walk.modules)

    async with AsyncDiffio() as client:
        project = await client.projects.create(small)
        project_id = project.api_project_id

        async def wait() -> None:
            walk.recording, recording = False, walk.recording
            generation = await client.generations.create(api_project_id=project_id)
            walk.recording = recording
            await client.generations.wait_for_complete(
                generation_id=generation.generation_id, api_project_id=project_id
            )

        async def restore() -> None:
            with tempfile.TemporaryDirectory(dir=folder) as results:
                async for outcome in client.restore_many([small], results):
                    if outcome.error is not None:
                        raise RuntimeError(f"the batch failed: {outcome}")

        await record(
            "generations.create", lambda: client.generations.create(api_project_id=project_id)
        )
        await record("generations.wait_for_complete", wait)
        await record("one file through restore_many", restore)
        await record("an upload in four parts", lambda: client.projects.create(recording))
    return found


AIMS = {
    "generations.create": 10,
    "generations.wait_for_complete": 18,
    "one file through restore_many": 55,
    "an upload in four parts": 16,
}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="name the modules of each path")
    parser.add_argument("--json", type=Path, help="write the modules of each path to this file")
    options = parser.parse_args()
    walk = Walk()
    # Before the first thread starts, so that threads of the client are recorded too.
    threading.setprofile(walk.profile)
    with sandbox() as environment, tempfile.TemporaryDirectory() as folder:
        os.environ.update(environment)
        sys.setprofile(walk.profile)
        try:
            found = asyncio.run(measure(walk, Path(folder)))
        finally:
            sys.setprofile(None)
    for name, modules in found.items():
        print(f"{name:<32} {len(modules):>3} modules (aim {AIMS[name]})")
        if options.list:
            print(*(f"    {module}" for module in modules), sep="\n")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
