"""Projects and generations, as tables, as lines or as JSON."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, TypeVar

from diffio_async.cli import FAILED, OK
from diffio_async.cli.client import call_service
from diffio_async.cli.command import command_line, console, exit_code_after_output, print_event
from diffio_async.errors import ConfigurationError, DiffioError, NotFound, PermissionDenied
from diffio_async.models.generations import COMPLETE, ids_in
from diffio_async.models.generations import FAILED as FAILED_STATUSES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from diffio_async.models.generations import GenerationProgress, GenerationSummary


class Listed(Protocol):
    """A row of a listing."""

    @property
    def created_at(self) -> datetime | None:
        """When it was created."""
        ...

    def to_dict(self) -> dict[str, object]:
        """Return its fields as plain data."""
        ...


L = TypeVar("L", bound=Listed)
_OLDEST = datetime.min.replace(tzinfo=UTC)


def advice_for(
    scope: str, more: Mapping[type[DiffioError], str] | None = None
) -> dict[type[DiffioError], str]:
    """Return what to do about the errors of a call that needs `scope`; `more` by error."""
    return {
        PermissionDenied: f"Use an active key with the scope {scope}; a key with keys:write "
        f"creates one: {command_line('keys', 'create', '--help')}.",
        **(more or {}),
    }


def format_time(instant: datetime | None) -> str:
    """Return a time in UTC to the minute; `-` if unknown."""
    return "-" if instant is None else f"{instant.astimezone(UTC):%Y-%m-%d %H:%M}"


def or_dash(value: object) -> str:
    """Return a value as text; `-` if it is missing."""
    return "-" if value is None or value == "" else str(value)


def print_listing(
    event: str,
    found: Sequence[L],
    columns: Sequence[str],
    cells: Callable[[L], Sequence[str]],
    *,
    limit: int,
    empty: str,
    as_json: bool,
) -> int:
    """Print the newest rows of a listing as a table or as JSON. Return the exit code.

    Args:
        event: Name of the JSON objects.
        found: The rows, in any order.
        columns: Names of the table's columns.
        cells: Returns the cells of a row.
        limit: Maximum number of rows; 0 for all.
        empty: Note on standard error if there is no row.
        as_json: Whether to print JSON.
    """
    newest = sorted(found, key=lambda row: row.created_at or _OLDEST, reverse=True)
    rows = newest[: limit or None]
    if as_json:
        for row in rows:
            console.json({"event": event, **row.to_dict()})
            console.out.wait()
    elif rows:
        console.table(columns, [cells(row) for row in rows])
    else:
        console.note(empty)
    if len(rows) < len(found):
        console.note(f"only the newest {limit} of {len(found)} are listed; --limit 0 lists all")
    return exit_code_after_output(OK)


async def print_projects(limit: int, *, as_json: bool) -> int:
    """Print the projects of the account. Return the exit code."""
    found = await call_service(
        lambda client: client.projects.list(), as_json=as_json, advice=advice_for("projects:read")
    )
    if found is None:
        return FAILED
    return print_listing(
        "project",
        found,
        ("PROJECT", "STATE", " GENERATIONS", "CREATED (UTC)", "NAME"),
        lambda row: (
            row.api_project_id,
            or_dash(row.status),
            or_dash(row.generation_count),
            format_time(row.created_at),
            or_dash(row.original_file_name),
        ),
        limit=limit,
        empty=f"There are no projects yet; one is created by: {command_line('restore', 'FILE')}",
        as_json=as_json,
    )


async def print_generations(project: str, limit: int, *, as_json: bool) -> int:
    """Print the generations of a project. Return the exit code."""
    found = await call_service(
        lambda client: client.projects.list_generations(api_project_id=project),
        as_json=as_json,
        advice=advice_for(
            "generations:read",
            {NotFound: f"The ids are listed by: {command_line('projects', 'list')}"},
        ),
    )
    if found is None:
        return FAILED
    return print_listing(
        "generation",
        found,
        ("GENERATION", "STATE", "MODEL", "CREATED (UTC)"),
        lambda row: (
            row.generation_id,
            _state(row),
            or_dash(row.model_key),
            format_time(row.created_at),
        ),
        limit=limit,
        empty=f"No generation was started for {project}; generations.create of the library starts "
        "one without another upload.",
        as_json=as_json,
    )


def _state(row: GenerationSummary) -> str:
    if row.progress is None or row.status in {COMPLETE, *FAILED_STATUSES}:
        return or_dash(row.status)
    return f"{or_dash(row.status)}, {row.progress:.0f} %"


async def print_generation(generation: str, project: str | None, *, as_json: bool) -> int:
    """Print the state of one generation, named by its id or handle. Return the exit code."""
    generation_id, api_project_id = ids_in(generation, project)
    if not api_project_id:
        raise ConfigurationError("name the project of the generation with --project, or a handle")
    listing = command_line("generations", "list", "--project", api_project_id)
    found = await call_service(
        lambda client: client.generations.get_progress(
            generation_id=generation_id, api_project_id=api_project_id
        ),
        as_json=as_json,
        advice=advice_for(
            "generations:read", {NotFound: f"The ids of the project are listed by: {listing}"}
        ),
    )
    if found is None:
        return FAILED
    command = _next_command(found)
    event = {
        "event": "generation",
        **found.to_dict(),
        "handle": found.handle,
        "percent": found.percent,
        "reason": found.reason,
        "next_command": command,
    }
    lines = [*_progress_lines(found), ("next", command)]
    shown = (f"{name:<15} {value}" for name, value in lines if value)
    print_event(event, *shown, as_json=as_json)
    return exit_code_after_output(OK)


def _next_command(progress: GenerationProgress) -> str | None:
    """Return the command that downloads the result or waits for it; None after a failure."""
    if progress.complete:
        return command_line(
            "download", progress.generation_id, "--project", progress.api_project_id
        )
    return None if progress.failed else command_line("wait", progress.handle)


def _progress_lines(progress: GenerationProgress) -> list[tuple[str, str | None]]:
    lines: list[tuple[str, str | None]] = [
        ("generation", progress.generation_id),
        ("project", progress.api_project_id),
        ("handle", progress.handle),
        ("state", f"{progress.status}, {progress.percent:.0f} %"),
        ("reason", progress.reason),
    ]
    if progress.queue is not None:
        queue = progress.queue
        lines.append(("queue", " ".join(map(or_dash, (queue.position, queue.message)))))
    for name, stage in (
        ("pre-processing", progress.pre_processing),
        ("inference", progress.inference),
        ("restored video", progress.restored_video),
    ):
        if stage is not None:
            percent = "" if stage.progress is None else f"{stage.progress:.0f} %"
            words = (stage.status, percent, stage.status_message, stage.error)
            lines.append((name, ", ".join(word for word in words if word)))
    if progress.transcription is not None:
        lines.append(("transcript", progress.transcription.status))
    return lines
