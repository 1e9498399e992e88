"""What the page of the sandbox shows, as JSON: recordings, requests, deliveries and faults.

No key, token, signature or header of a client is part of it.
"""

import time
from collections.abc import Sequence
from itertools import islice
from typing import Any

from attrs import asdict

from diffio_async.sandbox.api import ServerContext
from diffio_async.sandbox.faults import FaultPlan
from diffio_async.sandbox.request_log import RequestLog
from diffio_async.sandbox.state import Generation, Project, iso
from diffio_async.sandbox.webhooks import DeliveryAttempt, masked_url

#: The newest entries of each section that are shown.
_MAX_RECORDINGS, _MAX_ENTRIES = 300, 200

_STATES = {"complete": "restored"}


class PageState:
    """The sections of the page, computed from the services of a running sandbox."""

    def __init__(self, context: ServerContext, faults: FaultPlan) -> None:
        self._context = context
        self._faults = faults
        # The logs have times of the monotonic clock, the page shows those of the wall clock.
        self._clock_offset = context.state.now() - time.monotonic()

    def sections(self) -> dict[str, Any]:
        """Return the sections by name; equal states have equal sections."""
        return {
            "server": _server(self._context),
            "recordings": _recordings(self._context),
            "requests": _requests(self._context.request_log, self._clock_offset),
            "deliveries": _deliveries(self._context.deliveries.attempts, self._clock_offset),
            "faults": _faults(self._faults),
        }


def _server(context: ServerContext) -> dict[str, Any]:
    settings, state = context.settings, context.state
    return {
        "apiUrl": f"{context.addresses.base('api')}/v1",
        "engine": settings.engine,
        "models": None if settings.models is None else sorted(settings.models),
        "maxBytes": settings.max_bytes,
        "recordings": len(state.projects),
        "shown": _MAX_RECORDINGS,
    }


def _recordings(context: ServerContext) -> list[dict[str, Any]]:
    """Return a row for each generation, and for each project without one; newest first."""
    newest = sorted(
        context.state.projects.values(), key=lambda project: project.created_at, reverse=True
    )
    rows: list[dict[str, Any]] = []
    for project in islice(newest, _MAX_RECORDINGS):
        generations = context.state.generations_of(project.id)
        rows += [_generation(context, project, generation) for generation in reversed(generations)]
        if not generations:
            rows.append(
                {
                    "id": project.id,
                    "name": project.file_name,
                    "state": "uploaded" if project.received else "uploading",
                    "created": iso(project.created_at),
                }
            )
    return rows


def _generation(context: ServerContext, project: Project, generation: Generation) -> dict[str, Any]:
    jobs = context.jobs
    restoration = generation.restoration or {}
    running = generation.status == "processing"
    return {
        "id": generation.id,
        "name": project.file_name,
        "state": _STATES.get(generation.status, generation.status),
        "created": iso(generation.created_at),
        "model": generation.model_key,
        "percent": jobs.percent(generation),
        "stage": next(reversed(jobs.stages(generation)), None) if running else None,
        "position": jobs.position(generation) if generation.status == "queued" else None,
        "seconds": restoration.get("seconds"),
        "warnings": restoration.get("warnings", []),
        "engine": restoration.get("engine"),
        "error": generation.error,
        "errorDetails": generation.error_details,
        "files": sorted(generation.files),
        "hasVideo": generation.has_video,
        "transcription": generation.transcription,
    }


def _requests(log: RequestLog, offset: float) -> dict[str, Any]:
    return {
        "requests": [
            {
                "id": request.request_id,
                "at": round(request.at + offset, 2),
                "origin": request.origin,
                "method": request.method,
                "path": request.path,
                "status": request.status,
                "fault": request.fault,
                "bytes": request.bytes_received,
                "milliseconds": None
                if request.responded_at is None
                else round((request.responded_at - request.at) * 1000),
            }
            for request in islice(reversed(log.requests), _MAX_ENTRIES)
        ],
        "violations": list(islice(reversed(log.violations), _MAX_ENTRIES)),
    }


def _deliveries(attempts: Sequence[DeliveryAttempt], offset: float) -> list[dict[str, Any]]:
    return [
        {
            "message": attempt.message_id,
            "type": attempt.event_type,
            "url": masked_url(attempt.url),
            "status": attempt.status,
            "at": round(attempt.at + offset, 2),
            "fault": attempt.fault,
            "refused": attempt.refused,
        }
        for attempt in islice(reversed(attempts), _MAX_ENTRIES)
    ]


def _faults(faults: FaultPlan) -> list[dict[str, Any]]:
    return [
        {
            "action": fault.name,
            "parameters": asdict(fault.action),
            "origin": fault.origin,
            "method": fault.method,
            "path": fault.path,
            "times": fault.times,
            "rate": fault.rate,
            "hits": hits,
        }
        for fault, hits in faults.with_hits()
    ]
