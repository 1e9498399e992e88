"""Rows of a project's listing: status and percentage of each generation, without models."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from diffio_async._protocol.codec import parse_body
from diffio_async.errors import InvalidResponse
from diffio_async.models.generations import COMPLETE, FAILED, GenerationProgress
from diffio_async.models.json_values import number, reason

if TYPE_CHECKING:
    from collections.abc import Iterator


class GenerationRow(NamedTuple):
    """One generation in a listing; `percent` is 0 to 100."""

    generation_id: str
    status: str
    percent: float | None
    error: str | None


def parse_rows(body: bytes) -> Iterator[GenerationRow]:
    """Yield the rows of a response to `list_project_generations`; invalid rows are left out.

    Raises:
        InvalidResponse: The response is not a listing.
    """
    content = parse_body(body)
    if isinstance(content, dict) and "generations" in content:
        found = content["generations"]
        if found is None or isinstance(found, list):
            return _checked_rows(found or [])
    raise InvalidResponse("the response to list_project_generations has no list of generations")


def _checked_rows(found: list[object]) -> Iterator[GenerationRow]:
    for each in found:
        if not isinstance(each, dict):
            continue
        generation_id, status = each.get("generationId"), each.get("status")
        if isinstance(generation_id, str) and isinstance(status, str):
            percent, error = each.get("progress"), each.get("error")
            yield GenerationRow(generation_id, status, number(percent), reason(error))


def status_rank(status: str) -> int:
    """Return the position of a status in the life of a job: 0 queued, 1 running, 2 ended."""
    if status == COMPLETE or status in FAILED:
        return 2
    return 0 if status == "queued" else 1


def progress_from_row(row: GenerationRow, api_project_id: str) -> GenerationProgress:
    """Return the progress in a row: without stages, with the percentage in `extra`."""
    return GenerationProgress(
        generation_id=row.generation_id,
        api_project_id=api_project_id,
        status=row.status,
        error=row.error,
        extra={} if row.percent is None else {"progress": row.percent},
    )
