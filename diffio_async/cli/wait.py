"""The work of `diffio-async wait`: follow generations that were started, each to its end."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from attrs import define, field, frozen

from diffio_async._polling.wait_display import NullDisplay, TextDisplay, make_display
from diffio_async._text import shell_line
from diffio_async.cli.console import console
from diffio_async.cli.environment import check_environment, connected, first_answer
from diffio_async.cli.exit_codes import FAILED, OK
from diffio_async.cli.interrupts import interruption_reported
from diffio_async.cli.resume_command import cli_message
from diffio_async.errors import (
    ConfigurationError,
    ConnectionFailed,
    DiffioError,
    GenerationFailed,
    NotFound,
)
from diffio_async.models.generations import COMPLETE
from diffio_async.models.generations import FAILED as FAILURES
from diffio_async.models.handles import ids_in
from diffio_async.models.outcomes import Outcome

if TYPE_CHECKING:
    from diffio_async.client import AsyncDiffio
    from diffio_async.models.generations import GenerationProgress

#: So many generations that go on are named by name; more would not fit into a line.
_NAMED = 20


@frozen
class NamedGeneration:
    """A generation, and what the user called it: every wait takes such a thing."""

    generation_id: str
    api_project_id: str | None
    name: str


@frozen(kw_only=True)
class WaitRequest:
    """What the user asked for: ids or handles, or all that run in projects; `timeout` in s."""

    generations: tuple[str, ...]
    projects: tuple[str, ...]
    timeout: float | None

    def check(self) -> list[NamedGeneration]:
        """The generations that are named, each once; none where projects are meant.

        Raises:
            ConfigurationError: Nothing can be sent as things are.
        """
        if not self.generations and not self.projects:
            raise ConfigurationError("name generations, by id or handle, or a --project")
        if not all(project.strip() for project in self.projects):
            raise ConfigurationError("the id given with --project is empty")
        if self.generations and len(self.projects) > 1:
            raise ConfigurationError(
                "with generations, name at most one --project, or give handles, which know theirs"
            )
        of = self.projects[0] if self.projects else None
        named: dict[str, NamedGeneration] = {}
        for name in self.generations:
            generation_id, api_project_id = ids_in(name, of)
            named.setdefault(generation_id, NamedGeneration(generation_id, api_project_id, name))
        check_environment()
        return list(named.values())

    def rerun_command(self, left: list[str]) -> str:
        """The line that waits for those that are left, by the names they were given."""
        words = ["diffio-async", "wait"]
        if self.generations:
            words += left if len(left) <= _NAMED else self.generations
        for project in self.projects:
            words += ["--project", project]
        return shell_line(words)


@define
class WaitReporter:
    """Tells how each ended: a line, or an object, each."""

    wanted: WaitRequest
    display: TextDisplay
    as_json: bool
    started_at: float = field(factory=time.monotonic)
    failed: bool = False
    #: What is still waited for, in the order it was named, with the name it was given.
    remaining: dict[str, str] = field(factory=dict)
    #: What the service was heard to know: only that is said to go on.
    seen: set[str] = field(factory=set)

    def progressed(self, progress: GenerationProgress) -> None:
        """A generation was heard of."""
        self.seen.add(progress.generation_id)
        self.display.progressed(progress)

    def ended(self, outcome: Outcome) -> None:
        """A generation's wait is over."""
        name = self.remaining.pop(outcome.generation_id, outcome.generation_id)
        self.display.ended(outcome)
        error = outcome.error
        self.failed = self.failed or error is not None
        goes_on = error is not None and not isinstance(error, (GenerationFailed, NotFound))
        again = self.wanted.rerun_command([name]) if goes_on else None
        seen = outcome.progress is not None or outcome.generation_id in self.seen
        if self.as_json:
            self._json(
                "complete" if error is None else "failed",
                generation_id=outcome.generation_id,
                api_project_id=outcome.api_project_id,
                handle=outcome.handle,
                status=outcome.status,
                seconds=round(time.monotonic() - self.started_at, 3),
                **({} if error is None else _why(error, again, seen=seen)),
            )
        elif error is None:
            console.result(f"{outcome.generation_id}: complete")
        else:
            console.note(f"{outcome.generation_id}: {cli_message(error, goes_on=goes_on and seen)}")

    def project_failed(self, project: str, error: DiffioError) -> None:
        """A project could not be asked for what runs in it."""
        self.failed = True
        if self.as_json:
            self._json("failed", api_project_id=project, **_why(error, None, seen=False))
        else:
            console.note(f"{project}: {cli_message(error, goes_on=False)}")

    def interrupted(self) -> None:
        """The user ended the command; the generations that were heard of go on without it."""
        again = self.wanted.rerun_command([*self.remaining.values()])
        go_on = [each for each in self.remaining if each in self.seen]
        unseen = [each for each in self.remaining if each not in self.seen]
        if self.as_json:
            self._json("interrupted", generation_ids=go_on, unseen=unseen, again=again)
            return
        said = []
        if go_on:
            said.append(f"{_counted(go_on)} {'goes' if len(go_on) == 1 else 'go'} on")
        if unseen:
            said.append(f"nothing was heard of {_counted(unseen)}")
        if said:
            console.note(f"interrupted; {'; '.join(said)}", f"  wait again: {again}")
        else:
            console.note("interrupted")

    def _json(self, event: str, **more: object) -> None:
        console.json({"event": event, **more})


def _counted(generations: list[str]) -> str:
    """`generation gen_5f2c`, or `3 generations`."""
    count = len(generations)
    return f"generation {generations[0]}" if count == 1 else f"{count} generations"


def _why(error: DiffioError, again: str | None, *, seen: bool) -> dict[str, object]:
    message = cli_message(error, goes_on=again is not None and seen)
    return {"error": type(error).__name__, "message": message, "again": again}


async def wait(wanted: WaitRequest, *, as_json: bool) -> int:
    """Wait for all of them, and tell how each ended, as they end.

    Raises:
        ConfigurationError: Nothing can be sent as things are, and nothing was.
    """
    named = wanted.check()
    with NullDisplay(console) if as_json else make_display(console) as shown:
        teller = WaitReporter(wanted, shown, as_json)
        try:
            async with connected() as client:
                await _followed(client, teller, named)
        except asyncio.CancelledError:
            teller.interrupted()
            interruption_reported()
            raise
    return FAILED if teller.failed else OK


async def _followed(
    client: AsyncDiffio, teller: WaitReporter, named: list[NamedGeneration]
) -> None:
    if not named:
        for project in dict.fromkeys(teller.wanted.projects):
            named += await _running_generations(client, teller, project)
    for each in named:
        teller.remaining[each.generation_id] = each.name
        teller.display.started(each.generation_id)
    if teller.wanted.generations:
        try:
            await first_answer(
                client,
                generation_id=named[0].generation_id,
                api_project_id=named[0].api_project_id,
                timeout=teller.wanted.timeout,
            )
        except ConnectionFailed as error:
            for each in named:
                ids = each.generation_id, each.api_project_id
                teller.ended(Outcome(generation_id=ids[0], api_project_id=ids[1], error=error))
            return
    outcomes = client.generations.as_completed(
        named,
        timeout=teller.wanted.timeout,
        on_progress=teller.progressed,
        max_pending=max(1, len(named)),
    )
    async for outcome in outcomes:
        teller.ended(outcome)


async def _running_generations(
    client: AsyncDiffio, teller: WaitReporter, project: str
) -> list[NamedGeneration]:
    """What has not ended in a project."""
    try:
        rows = await client.projects.list_generations(api_project_id=project)
    except ConfigurationError:
        raise
    except DiffioError as error:
        teller.project_failed(project, error)
        return []
    running = [row.generation_id for row in rows if row.status not in {COMPLETE, *FAILURES}]
    if not running:
        teller.display.print_line(f"{project}: nothing runs")
    teller.seen.update(running)
    return [NamedGeneration(generation_id, project, generation_id) for generation_id in running]
