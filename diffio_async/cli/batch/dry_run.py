"""The work of `diffio-async batch --dry-run`."""

from __future__ import annotations

from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING

from diffio_async.batch.assignment import MIN_BILLED_SECONDS
from diffio_async.batch.dry_run import plan_batch
from diffio_async.batch.sources import in_words
from diffio_async.cli.console import after_output, console
from diffio_async.cli.exit_codes import FAILED, OK
from diffio_async.cli.formatting import size
from diffio_async.models.batches import LeftOut, LeftOutReason

if TYPE_CHECKING:
    from diffio_async.batch.dry_run import PlannedFile
    from diffio_async.cli.batch.options import BatchOptions


async def print_plan(asked: BatchOptions, *, as_json: bool) -> int:
    """List what would be done; nothing is sent and nothing written.

    Raises:
        ConfigurationError: The batch would be refused.
        DatabaseError: The journal cannot be used.
    """
    files = generations = total = bad = 0
    left_out = Counter[LeftOutReason]()
    plans = plan_batch(asked.order())
    async with aclosing(plans):
        async for planned in plans:
            if isinstance(planned, LeftOut):
                left_out[planned.reason] += 1
                _tell_left_out(planned, as_json=as_json)
                continue
            files += 1
            generations += planned.billed
            total += planned.size_bytes if planned.problem is None else 0
            bad += planned.problem is not None
            _print_planned(planned, as_json=as_json)
            console.out.wait()
    least = generations * MIN_BILLED_SECONDS
    if as_json:
        said = {"files": files, "size_bytes": total, "generations": generations, "bad": bad}
        counted = {"left_out": dict(left_out)} if left_out else {}
        console.json({"event": "planned", **said, **counted, "billed_seconds": least})
    else:
        console.result(
            f"{files - bad} to restore, {size(total)}; {generations} generations, "
            f"{least:g} seconds billed at least (60 for each; equal contents are paid once)"
        )
        if bad:
            console.result(f"{bad} cannot be restored")
        if left_out:
            console.result(f"left out: {in_words(left_out)}")
    return after_output(FAILED if bad else OK)


def _tell_left_out(name: LeftOut, *, as_json: bool) -> None:
    if as_json:
        console.json({"event": "left_out", "path": str(name.path), "reason": name.reason})
    else:
        console.result(f"left out {name.path}: {in_words({name.reason: 1})}")


def _print_planned(planned: PlannedFile, *, as_json: bool) -> None:
    paths = [str(path) for path in planned.paths]
    if as_json:
        said = {"file": str(planned.source), "paths": paths, "size_bytes": planned.size_bytes}
        more = {"billed": planned.billed, "problem": planned.problem}
        console.json({"event": "plan", **said, **more})
    elif planned.problem is not None:
        console.result(f"{planned.source}: {planned.problem}")
    else:
        console.result(f"{planned.source} -> {', '.join(paths)} ({size(planned.size_bytes)})")
