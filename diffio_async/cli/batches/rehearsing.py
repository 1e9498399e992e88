"""The work of `diffio-async batch --dry-run`."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

from diffio_async.batch.joining import LEAST_BILLED
from diffio_async.batch.rehearsal import rehearsed
from diffio_async.cli.console import after_output, console
from diffio_async.cli.exit_codes import FAILED, OK
from diffio_async.cli.formatting import size

if TYPE_CHECKING:
    from diffio_async.batch.rehearsal import Planned
    from diffio_async.cli.batches.asking import Asked


async def rehearse(asked: Asked, *, as_json: bool) -> int:
    """List what would be done; nothing is sent and nothing written.

    Raises:
        ConfigurationError: The batch would be refused.
        DatabaseUnusable: The journal cannot be used.
    """
    files = generations = total = bad = 0
    plans = rehearsed(asked.order())
    async with aclosing(plans):
        async for planned in plans:
            files += 1
            generations += planned.billed
            total += planned.size_bytes
            bad += planned.problem is not None
            _tell(planned, as_json=as_json)
            console.out.wait()
    least = generations * LEAST_BILLED
    if as_json:
        said = {"files": files, "size_bytes": total, "generations": generations, "bad": bad}
        console.json({"event": "planned", **said, "billed_seconds": least})
    else:
        console.result(
            f"{files} to restore, {size(total)}; {generations} generations, {least:g} seconds "
            "billed at least (60 for each; equal contents are paid once)"
        )
    return after_output(FAILED if bad else OK)


def _tell(planned: Planned, *, as_json: bool) -> None:
    paths = [str(path) for path in planned.paths]
    if as_json:
        said = {"file": str(planned.source), "paths": paths, "size_bytes": planned.size_bytes}
        more = {"billed": planned.billed, "problem": planned.problem}
        console.json({"event": "plan", **said, **more})
    elif planned.problem is not None:
        console.result(f"{planned.source}: {planned.problem}")
    else:
        console.result(f"{planned.source} -> {', '.join(paths)} ({size(planned.size_bytes)})")
