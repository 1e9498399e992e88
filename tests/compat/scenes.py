"""Words for tests of the guide's spelling."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from diffio_async.compat import DiffioApiError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from diffio_async.compat import DiffioClient


def raised(call: Callable[[], object]) -> DiffioApiError:
    """The DiffioApiError that a call raises."""
    try:
        call()
    except DiffioApiError as error:
        return error
    raise AssertionError("nothing was raised")


class Names(TypedDict):
    """The ids that most calls want."""

    generationId: str
    apiProjectId: str


def generated(client: DiffioClient, sample: Path) -> Names:
    """The names of a generation that is complete, as arguments."""
    project = client.create_project(filePath=sample)
    generation = client.generations.create(apiProjectId=project.apiProjectId)
    return Names(generationId=generation.generationId, apiProjectId=project.apiProjectId)
