"""Status of an event, and the order of two statuses."""

from __future__ import annotations

import pytest

from diffio_async import WebhookEvent
from diffio_async.models.webhooks import event_rank, progress_from_event, status_of


@pytest.mark.parametrize(
    ("event_type", "status", "meant", "standing"),
    [
        ("generation.queued", "queued", "queued", 0),
        ("generation.processing", "processing", "processing", 1),
        ("generation.completed", "complete", "complete", 2),
        ("generation.failed", "error", "error", 2),
        ("generation.failed", "failed", "failed", 2),
        # Only the type is terminal, or the status is behind it.
        ("generation.completed", None, "complete", 2),
        ("generation.completed", "processing", "complete", 2),
        ("generation.failed", None, "error", 2),
        ("generation.queued", None, "queued", 0),
        # Only the status is terminal, whatever the type.
        ("generation.updated", "complete", "complete", 2),
        ("generation.updated", "cancelled", "cancelled", 2),
        ("generation.polishing", "polishing", "polishing", 1),
        ("", None, "", 1),
    ],
)
def test_status_or_type_makes_an_event_terminal(
    event_type: str, status: str | None, meant: str, standing: int
) -> None:
    """Unknown statuses count as running."""
    event = WebhookEvent(event_type=event_type, status=status, generation_id="gen_1")
    assert (status_of(event), event_rank(event)) == (meant, standing)
    progress = progress_from_event(event)
    assert progress is not None
    assert progress.complete == (meant == "complete")


def test_an_event_without_a_generation_has_no_progress() -> None:
    """Events of projects are an example."""
    assert progress_from_event(WebhookEvent(event_type="project.archived")) is None
