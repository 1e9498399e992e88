"""Attach the ids of paid work to the errors that end it."""

from __future__ import annotations

import asyncio
import contextlib
from itertools import islice
from typing import TYPE_CHECKING

from diffio_async._logging import log
from diffio_async.errors import DiffioError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

#: Exceptions that interrupt a call; the generations that it started continue at the service.
INTERRUPTIONS = (asyncio.CancelledError, KeyboardInterrupt, SystemExit)
#: Generations that one interruption names; more would hide the traceback.
_MAX_NAMED = 100
#: Log messages about a generation that an interrupted call started, or was starting.
STARTED = "interrupted; generation %s of project %s may still run and be billed"
REQUESTED = (
    "interrupted while a generation of project %s was being started (idempotency key %s); it may "
    "run and be billed"
)


@contextlib.contextmanager
def attach_ids(**ids: str | None) -> Iterator[None]:
    """Attach the ids of uploaded or paid work to every exception of the body.

    Args:
        ids: `api_project_id`, `generation_id` or `idempotency_key`; None is omitted.
    """
    try:
        yield
    except DiffioError as error:
        for name, value in ids.items():
            # A key is useful with its project; before that exists, nothing was paid for.
            useful = name != "idempotency_key" or error.api_project_id is not None
            if value is not None and useful and getattr(error, name) is None:
                setattr(error, name, value)
                error.add_note(f"{name}={value}")
        raise
    except BaseException as error:
        noted = getattr(error, "__notes__", [])
        for name, value in ids.items():
            if value is not None and not any(note.startswith(f"{name}=") for note in noted):
                error.add_note(f"{name}={value}")
                if isinstance(error, INTERRUPTIONS):
                    setattr(error, name, value)
        raise


@contextlib.contextmanager
def attach_started(
    *, api_project_id: str, generation_id: str | None = None, idempotency_key: str | None = None
) -> Iterator[None]:
    """Attach the ids of a generation that this call starts, or has started.

    An interruption is also logged: `asyncio.TaskGroup` and `gather` drop the notes of a cancelled
    child. It gets the attribute `may_be_billed`.

    Args:
        api_project_id: The project.
        generation_id: The generation; None while it is requested.
        idempotency_key: The key of the request.
    """
    ids = {"api_project_id": api_project_id, "generation_id": generation_id}
    with attach_ids(**ids, idempotency_key=idempotency_key):
        try:
            yield
        except INTERRUPTIONS as error:
            vars(error)["may_be_billed"] = True
            if generation_id is None:
                log.warning(REQUESTED, api_project_id, idempotency_key)
            else:
                log.warning(STARTED, generation_id, api_project_id)
            raise


@contextlib.contextmanager
def concerning_many(running: Callable[[], Collection[tuple[str, str | None]]]) -> Iterator[None]:
    """Attach the generations that continue when the body is interrupted.

    Args:
        running: Returns their ids, each with that of its project, if known.
    """
    try:
        yield
    except INTERRUPTIONS as error:
        ids = running()
        for generation_id, api_project_id in islice(ids, _MAX_NAMED):
            error.add_note(f"generation_id={generation_id}")
            if api_project_id is not None:
                error.add_note(f"api_project_id={api_project_id}")
        if len(ids) > _MAX_NAMED:
            error.add_note(f"and {len(ids) - _MAX_NAMED} more generations")
        raise
