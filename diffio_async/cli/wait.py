"""`diffio-async wait`: waits for generations that were started earlier."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from diffio_async._polling.wait_display import NullDisplay, TextDisplay, make_display
from diffio_async.cli import FAILED, OK
from diffio_async.cli.client import check_environment, check_generation, open_client
from diffio_async.cli.command import command_line, console, mark_interruption_reported, print_event
from diffio_async.cli.reporting import cli_message
from diffio_async.errors import (
    ConfigurationError,
    ConnectionFailed,
    DiffioError,
    GenerationFailed,
    NotFound,
)
from diffio_async.models.generations import COMPLETE, Outcome, ids_in
from diffio_async.models.generations import FAILED as FAILED_STATUSES

if TYPE_CHECKING:
    from diffio_async.client import AsyncDiffio
    from diffio_async.models.generations import GenerationProgress

#: Maximum number of names in a printed command; of more, the user's own arguments are repeated.
_MAX_NAMES = 20


@frozen
class NamedGeneration:
    """A generation and the name that the user gave it; every wait accepts such an object."""

    generation_id: str
    api_project_id: str | None
    name: str


@frozen(kw_only=True)
class WaitRequest:
    """Arguments of `wait`: ids or handles, or projects whose generations to wait for.

    `timeout` in seconds.
    """

    generations: tuple[str, ...]
    projects: tuple[str, ...]
    timeout: float | None

    def check(self) -> list[NamedGeneration]:
        """Check the request. Return the named generations, each once."""
        if not self.generations and not self.projects:
            raise ConfigurationError("name generations, by id or handle, or a --project")
        if not all(project.strip() for project in self.projects):
            raise ConfigurationError("the id given with --project is empty")
        if self.generations and len(self.projects) > 1:
            raise ConfigurationError(
                "with generations, name at most one --project, or use handles, which contain it"
            )
        project = self.projects[0] if self.projects else None
        named: dict[str, NamedGeneration] = {}
        for name in self.generations:
            generation_id, api_project_id = ids_in(name, project)
            named.setdefault(generation_id, NamedGeneration(generation_id, api_project_id, name))
        check_environment()
        return list(named.values())

    def rerun_command(self, remaining: list[str]) -> str:
        """Return the command that waits for the remaining generations, by their given names."""
        words = ["wait"]
        if self.generations:
            words += remaining if len(remaining) <= _MAX_NAMES else self.generations
        for project in self.projects:
            words += ["--project", project]
        return command_line(*words)


@define
class WaitReporter:
    """Prints the result of each wait, as a line or as JSON."""

    request: WaitRequest
    display: TextDisplay
    as_json: bool
    started_at: float = field(factory=time.monotonic)
    failed: bool = False
    #: Given name of each generation that has not ended, by id, in the given order.
    remaining: dict[str, str] = field(factory=dict)
    #: Ids that the service has reported; the others may not exist.
    confirmed: set[str] = field(factory=set)

    def on_progress(self, progress: GenerationProgress) -> None:
        """Display the progress of a generation."""
        self.confirmed.add(progress.generation_id)
        self.display.progressed(progress)

    def on_outcome(self, outcome: Outcome) -> None:
        """Print the outcome of a wait."""
        name = self.remaining.pop(outcome.generation_id, outcome.generation_id)
        self.display.ended(outcome)
        error = outcome.error
        event: dict[str, object] = {
            "event": "complete" if error is None else "failed",
            "generation_id": outcome.generation_id,
            "api_project_id": outcome.api_project_id,
            "handle": outcome.handle,
            "status": outcome.status,
            "seconds": round(time.monotonic() - self.started_at, 3),
        }
        if error is None:
            line = f"{outcome.generation_id}: complete"
            print_event(event, line, as_json=self.as_json)
            return
        resumable = not isinstance(error, (GenerationFailed, NotFound))
        confirmed = outcome.progress is not None or outcome.generation_id in self.confirmed
        rerun = self.request.rerun_command([name]) if resumable else None
        self._print_failure(event, outcome.generation_id, error, rerun, confirmed=confirmed)

    def on_project_failure(self, project: str, error: DiffioError) -> None:
        """Report that the generations of a project could not be listed."""
        self._print_failure({"event": "failed", "api_project_id": project}, project, error, None)

    def _print_failure(
        self,
        event: dict[str, object],
        subject: str,
        error: DiffioError,
        rerun: str | None,
        *,
        confirmed: bool = False,
    ) -> None:
        self.failed = True
        message = cli_message(error, continues=rerun is not None and confirmed)
        event |= {"error": type(error).__name__, "message": message, "rerun_command": rerun}
        print_event(event, f"{subject}: {message}", as_json=self.as_json, to_stderr=True)

    def on_interrupt(self) -> None:
        """Report which generations continue, and the command that waits for them."""
        rerun = self.request.rerun_command([*self.remaining.values()])
        continuing = [each for each in self.remaining if each in self.confirmed]
        unconfirmed = [each for each in self.remaining if each not in self.confirmed]
        parts = ["interrupted"]
        if continuing:
            verb = "continues" if len(continuing) == 1 else "continue"
            parts.append(f"{_describe(continuing)} {verb}")
        if unconfirmed:
            parts.append(f"the service has not confirmed {_describe(unconfirmed)}")
        lines = ["; ".join(parts), *([f"  wait again: {rerun}"] if self.remaining else [])]
        event = {
            "event": "interrupted",
            "generation_ids": continuing,
            "unconfirmed": unconfirmed,
            "rerun_command": rerun,
        }
        print_event(event, *lines, as_json=self.as_json, to_stderr=True)


def _describe(generations: list[str]) -> str:
    """Return `generation gen_5f2c`, or `3 generations`."""
    count = len(generations)
    return f"generation {generations[0]}" if count == 1 else f"{count} generations"


async def wait(request: WaitRequest, *, as_json: bool) -> int:
    """Wait for generations and print each outcome when it ends. Return the exit code."""
    generations = request.check()
    with NullDisplay(console) if as_json else make_display(console) as display:
        reporter = WaitReporter(request, display, as_json)
        try:
            async with open_client() as client:
                await _wait(client, reporter, generations)
        except asyncio.CancelledError:
            reporter.on_interrupt()
            mark_interruption_reported()
            raise
    return FAILED if reporter.failed else OK


async def _wait(
    client: AsyncDiffio, reporter: WaitReporter, generations: list[NamedGeneration]
) -> None:
    request = reporter.request
    if not generations:
        for project in dict.fromkeys(request.projects):
            generations += await _running_generations(client, reporter, project)
    for each in generations:
        reporter.remaining[each.generation_id] = each.name
        reporter.display.started(each.generation_id)
    if request.generations:
        try:
            await check_generation(
                client,
                generation_id=generations[0].generation_id,
                api_project_id=generations[0].api_project_id,
                timeout=request.timeout,
            )
        except ConnectionFailed as error:
            for each in generations:
                reporter.on_outcome(
                    Outcome(
                        generation_id=each.generation_id,
                        api_project_id=each.api_project_id,
                        error=error,
                    )
                )
            return
    outcomes = client.generations.as_completed(
        generations,
        timeout=request.timeout,
        on_progress=reporter.on_progress,
        max_pending=max(1, len(generations)),
    )
    async for outcome in outcomes:
        reporter.on_outcome(outcome)


async def _running_generations(
    client: AsyncDiffio, reporter: WaitReporter, project: str
) -> list[NamedGeneration]:
    """Return the generations of a project that have not ended."""
    try:
        rows = await client.projects.list_generations(api_project_id=project)
    except ConfigurationError:
        raise
    except DiffioError as error:
        reporter.on_project_failure(project, error)
        return []
    ended = {COMPLETE, *FAILED_STATUSES}
    running = [row.generation_id for row in rows if row.status not in ended]
    if not running:
        reporter.display.print_line(f"{project}: no generation is running")
    reporter.confirmed.update(running)
    return [NamedGeneration(generation_id, project, generation_id) for generation_id in running]
