"""Comparisons for the page: numbers, pictures and listening copies of a recording and its result.

They are made like the rows of a report, by the same process, which reads tasks as JSON lines.
"""

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from diffio_async.sandbox.api import ServerContext
from diffio_async.sandbox.messages import FileSlice, HttpError, Response, json_response
from diffio_async.sandbox.request_log import log
from diffio_async.sandbox.state import Generation

# Prints the scales of the pictures, and a row for each task on its standard input.
_BOOT = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from diffio_async.report.rows import main
from diffio_async.report.scales import SCALES
print(json.dumps(SCALES), flush=True)
main()
"""
#: The file of the complete row, and those that it refers to.
_ROW = "row-{files}.json"
_FILE = re.compile(r"r1(?:-(?:before|after))?\.(png|js|mp3)")
_TYPES = {"png": "image/png", "js": "text/javascript; charset=utf-8", "mp3": "audio/mpeg"}


class Comparisons:
    """The comparisons of complete generations; each is made once, when it is first requested."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context
        # One at a time: restorations need the cores.
        self._lock = asyncio.Lock()

    async def row(self, generation: Generation, is_wanted: Callable[[], bool]) -> Response:
        """Return what a report shows of a generation, and its scales, as JSON.

        `is_wanted` returns whether the client is still there when it is the next one.

        Raises:
            ConnectionError: The client has gone away.
            HttpError: 409 while there is no result, 503 if it cannot be compared.
        """
        if not generation.files:
            raise HttpError(409, "there is no result yet")
        # A transcript that was made meanwhile is part of a new comparison.
        file = self._folder(generation) / _ROW.format(files=len(generation.files))
        async with self._lock:
            if not await self._context.disk.run(file.exists):
                if not is_wanted():
                    raise ConnectionResetError
                await self._make(generation, file)
        return json_response(json.loads(await self._context.disk.run(file.read_bytes)))

    async def file(self, generation: Generation, name: str) -> Response:
        """Return a file that a row refers to.

        Raises:
            HttpError: 404.
        """
        match, path = _FILE.fullmatch(name), self._folder(generation) / name
        if match is None or not await self._context.disk.run(path.is_file):
            raise HttpError(404, "the comparison has no such file")
        status = await self._context.disk.run(path.stat)
        headers = {"Content-Type": _TYPES[match[1]]}
        return Response(200, headers, FileSlice(path, 0, status.st_size))

    def _folder(self, generation: Generation) -> Path:
        return self._context.state.results_path(generation) / "page"

    async def _make(self, generation: Generation, target: Path) -> None:
        disk, state = self._context.disk, self._context.state
        files, results = generation.files, state.results_path(generation)
        source = state.source_path(state.projects[generation.project_id])
        side = "video" if "video" in files else "audio"
        transcript = None if "text" in files.get("transcript", {}) else files.get("transcript")
        await disk.run(target.parent.mkdir, mode=0o700, parents=True, exist_ok=True)
        comparison = await _compare(
            {
                "number": 0,
                "before": str(source),
                "after": str(source if "echo" in files[side] else results / files[side]["name"]),
                "transcript": str(results / transcript["name"]) if transcript else None,
                "folder": str(target.parent),
                "href": f"page/comparison/{generation.id}",
                "page": str(target.parent),
            }
        )
        for name, media in (("before", "before"), ("after", side)):
            row = comparison["row"][name]
            if row is not None:
                del row["path"]  # a path of the server's data
                if not row.get("copy"):
                    row["media"] = {"href": f"page/media/{generation.id}/{media}"}
        written = target.with_suffix(".part")
        await disk.run(written.write_text, json.dumps(comparison), encoding="ascii")
        await disk.run(written.replace, target)


async def _compare(task: dict[str, Any]) -> dict[str, Any]:
    """Return `row` and `scales` of a task, made in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _BOOT, json.dumps(sys.path)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    scales: dict[str, Any] = {}
    try:
        output, _ = await process.communicate(json.dumps(task).encode() + b"\n")
        scales, row = map(json.loads, output.splitlines())
    except ValueError:
        row = {"crashed": "the measuring process ended without a result"}
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if failure := row.get("crashed") or row.get("failed"):
        log.warning("a recording could not be compared: %s", failure)
        raise HttpError(503, "the recording could not be measured: the sandbox has logged why")
    return {"row": row, "scales": scales}
