"""The `doctor` command: what works in this environment, what does not, and what to do about it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

from attrs import frozen

from diffio_async.cli import FAILED, OK
from diffio_async.cli.command import (
    can_prompt,
    confirm,
    console,
    exit_code_after_output,
    print_event,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

Status = Literal["ok", "warning", "failure"]


@frozen
class Check:
    """The result of one check: one line, and what to do if it is not `ok`."""

    name: str
    status: Status
    text: str
    hint: str | None = None


@frozen
class DoctorRequest:
    """What to check.

    Attributes:
        output: The folder that results will be written to.
        upload: Whether to try an upload, which leaves a project.
    """

    output: str
    upload: bool


_STYLES = {"ok": None, "warning": "yellow", "failure": "red"}


async def examine(request: DoctorRequest, *, as_json: bool) -> int:
    """Run all checks and print each when it is done; return `FAILED` if any failed.

    No line contains a secret.
    """
    counts = {"ok": 0, "warning": 0, "failure": 0}
    async for check in _checks(request):
        counts[check.status] += 1
        lines = [f"{check.status:<8} {check.name}: {check.text}"]
        if check.hint is not None:
            lines.append(f"{'':<8} → {check.hint}")
        print_event(
            {
                "event": "check",
                "name": check.name,
                "status": check.status,
                "text": check.text,
                "hint": check.hint,
            },
            *lines,
            as_json=as_json,
            style=_STYLES[check.status],
        )
    print_event(
        {"event": "finished", **counts},
        f"{counts['ok']} ok, {_counted(counts, 'warning')}, {_counted(counts, 'failure')}",
        as_json=as_json,
    )
    return exit_code_after_output(FAILED if counts["failure"] else OK)


def _counted(counts: Mapping[str, int], status: Status) -> str:
    return f"{counts[status]} {status}{'' if counts[status] == 1 else 's'}"


async def _checks(request: DoctorRequest) -> AsyncIterator[Check]:
    from diffio_async.cli.doctor import local, network

    local_checks: Iterator[Check] = local.checks(request.output)
    # A folder may be on a network that hangs: the loop must remain able to handle Ctrl-C.
    while (check := await asyncio.to_thread(next, local_checks, None)) is not None:
        yield check
    async for check in network.checks(upload=request.upload):
        yield check


def confirm_upload() -> bool:
    """Return whether to try an upload: the choice of the user at a terminal, else False."""
    prompt = "Try an upload too? It is not billed, but leaves a project of 19 bytes."
    return console.out.isatty() and can_prompt() and confirm(prompt)
