"""Keep the ids of paid work in whatever error ends it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from diffio_async.errors import DiffioError

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def concerning(**ids: str | None) -> Iterator[None]:
    """Let no failure of the body lose the ids of what was uploaded or paid for.

    Args:
        ids: `api_project_id`, `generation_id` or `idempotency_key`; a None is left out.
    """
    try:
        yield
    except DiffioError as error:
        for name, value in ids.items():
            # A key is of use with its project; before there is one, nothing was paid for.
            useful = name != "idempotency_key" or error.api_project_id is not None
            if value is not None and useful and getattr(error, name) is None:
                setattr(error, name, value)
                error.add_note(f"{name}={value}")
        raise
    except BaseException as error:
        # A cancellation has no attributes of ours, and the job goes on all the same.
        noted = getattr(error, "__notes__", [])
        for name, value in ids.items():
            if value is not None and not any(note.startswith(f"{name}=") for note in noted):
                error.add_note(f"{name}={value}")
        raise
