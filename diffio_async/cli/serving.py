"""The work of `diffio-async sandbox`: a local Diffio until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import TYPE_CHECKING

from diffio_async.cli.exit_codes import OK
from diffio_async.sandbox import Sandbox, read_plan
from diffio_async.sandbox.running import environment_lines

if TYPE_CHECKING:
    from pathlib import Path


async def serve(
    *,
    port: int,
    host: str,
    allow_remote: bool,
    data: Path | None,
    plan: Path | None,
    webhook_pace: float,
    webhook_duplicates: float,
    webhook_shuffle: float,
) -> int:
    """Serve until cancelled; the environment goes to stdout, the log to stderr.

    Raises:
        SandboxError: It cannot start, and the message says what to do.
        PlanError: The plan of faults is wrong, and the message says where.
        OSError: The plan cannot be read.
    """
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    faults = read_plan(plan) if plan is not None else ()
    async with Sandbox(
        data,
        host=host,
        port=port,
        faults=faults,
        allow_remote=allow_remote,
        webhook_pace=webhook_pace,
        webhook_duplicates=webhook_duplicates,
        webhook_shuffle=webhook_shuffle,
    ) as sandbox:
        sys.stdout.write("\n".join(environment_lines(sandbox)) + "\n")
        sys.stdout.flush()
        sys.stderr.write("The sandbox runs until Ctrl-C.\n")
        await asyncio.Event().wait()
    return OK
