"""Number of modules of the package that one call enters, which a reader has to follow.

    python benchmarks/walks.py [--list] [--json FILE]

Each path runs twice against a sandbox in another process, and the second run is counted: modules
that are only imported do not count, and neither do methods that attrs generates.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from harness import MIB, Figures, parser, report, sandbox

import diffio_async
from diffio_async import AsyncDiffio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import FrameType

PACKAGE = Path(diffio_async.__file__).parent

#: Settings of the sandbox: uploads in parts of a MiB, generations that take half a second.
SETTINGS = {"uploads": ["edge"], "part_size": MIB, "duration": 0.5}


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
    given = parser(__doc__)
    given.add_argument("--list", action="store_true", help="name the modules of each path")
    options = given.parse_args()
    walk = Walk()
    # Before the first thread starts, so that threads of the client are recorded too.
    threading.setprofile(walk.profile)
    with sandbox(SETTINGS) as (environment, _), tempfile.TemporaryDirectory() as folder:
        os.environ.update(environment)
        sys.setprofile(walk.profile)
        try:
            found = asyncio.run(measure(walk, Path(folder)))
        finally:
            sys.setprofile(None)
    rows: list[Figures] = [
        {"what": name, "modules": len(modules), "aim": AIMS[name]}
        for name, modules in found.items()
    ]
    report(rows, options)
    if options.list:
        for name, modules in found.items():
            print(name, *(f"    {module}" for module in modules), sep="\n")


if __name__ == "__main__":
    main()
