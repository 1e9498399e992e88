"""Generation endpoints: create (idempotent by key), progress and download."""

import posixpath
from pathlib import PurePosixPath
from typing import Any

from diffio_async.sandbox.addresses import MEDIA
from diffio_async.sandbox.api_account import require_payment
from diffio_async.sandbox.api_projects import BUCKET
from diffio_async.sandbox.context import ApiCall
from diffio_async.sandbox.jobs import STAGES
from diffio_async.sandbox.records import Generation, Project, new_id
from diffio_async.sandbox.responses import HttpError

_DOWNLOAD_TYPES = ("audio", "video", "transcript")
_MAX_KEY_LENGTH = 255


async def create(call: ApiCall) -> dict[str, Any]:
    """Create a generation, or return the one already created with this idempotency key."""
    project = call.project()
    sampling = call.fields.mapping("sampling") or {}
    params = call.fields.mapping("params") or {}
    idempotency_key = _idempotency_key(call)
    if not call.context.settings.serves(call.model):
        served = ", ".join(sorted(call.context.settings.models or ()))
        message = f"the model {call.model} is retired and no longer served"
        raise HttpError(
            410, f"{message}; served: {served}" if served else message, code="model_retired"
        )
    if idempotency_key is not None:
        earlier = call.state.generation_with_idempotency_key(call.key.id, idempotency_key)
        if earlier is not None:
            if (earlier.project_id, earlier.model_key) != (project.id, call.model):
                call.violation("an idempotency key was reused for a different generation")
            return {**_created(call, earlier), "idempotentReplay": True}
    if project.status != "uploaded":
        raise HttpError(409, "the project's upload is not complete yet", code="uploadNotLanded")
    require_payment(call.state)
    now = call.state.now()
    generation = Generation(
        id=new_id("gen"),
        project_id=project.id,
        key_id=call.key.id,
        model_key=call.model,
        created_at=now,
        updated_at=now,
        sampling=sampling,
        params=params,
        idempotency_key=idempotency_key,
        has_video=project.has_video,
    )
    call.state.add_generation(generation)
    response = _created(call, generation)
    call.context.jobs.submit(generation)
    return response


def _created(call: ApiCall, generation: Generation) -> dict[str, Any]:
    return {
        "generationId": generation.id,
        "apiProjectId": generation.project_id,
        "modelKey": generation.model_key,
        "status": call.context.jobs.status_of(generation),
    }


def _idempotency_key(call: ApiCall) -> str | None:
    key = call.fields.optional_text("idempotencyKey")
    if key is None:
        return None
    if len(key.strip()) > _MAX_KEY_LENGTH:
        raise HttpError(400, f"idempotencyKey must have 1 to {_MAX_KEY_LENGTH} characters")
    return key.strip()


async def progress(call: ApiCall) -> dict[str, Any]:
    """Return the status and progress of a generation."""
    generation = call.generation()
    jobs = call.context.jobs
    stages = jobs.stages(generation)
    running = generation.status == "processing"
    current_stage = next((name for name in reversed(STAGES) if name in stages), None)
    response: dict[str, Any] = {
        "generationId": generation.id,
        "apiProjectId": generation.project_id,
        "modelKey": generation.model_key,
        "status": jobs.status_of(generation),
        "progress": jobs.percent(generation),
        "hasVideo": generation.has_video,
        "error": generation.error,
        "errorDetails": generation.error_details,
        "transcription": {"status": generation.transcription},
        "stage": current_stage if running else None,
        "stageProgress": {"progress": int(stages[current_stage])}
        if running and current_stage
        else None,
        "queue": None,
    }
    for name in STAGES:
        if name != "restoredVideo" or generation.has_video:
            response[name] = _stage(generation, name, stages)
    if generation.status == "queued":
        position = jobs.position(generation)
        response["queue"] = {
            "position": position,
            "message": f"{position} generations are ahead of this one",
        }
    if generation.status == "complete":
        response["restoration"] = generation.restoration
    return response


def _stage(generation: Generation, name: str, stages: dict[str, float]) -> dict[str, Any]:
    started = name in stages
    later = any(other in stages for other in STAGES[STAGES.index(name) + 1 :])
    done = later or generation.status == "complete"
    failed = generation.status == "failed" and not later and started
    status = "failed" if failed else "complete" if done else "processing" if started else "pending"
    percent = 100 if done else int(stages.get(name, 0.0))
    return {
        "jobId": f"{generation.id}-{name}",
        "jobState": status,
        "status": status,
        "progress": percent,
        "statusMessage": f"{name}: {status}",
        "error": generation.error if failed else None,
        "errorDetails": generation.error_details if failed else None,
    }


async def download(call: ApiCall) -> dict[str, Any]:
    """Return a signed link to a result."""
    call.fields.text("apiProjectId")
    generation = call.generation()
    download_type = "video" if generation.has_video else "audio"
    if call.fields.has("downloadType"):
        download_type = call.fields.choice("downloadType", _DOWNLOAD_TYPES)
    if generation.status == "failed":
        raise HttpError(409, f"the generation failed: {generation.error}", code="generationFailed")
    _refuse_missing_result(generation, download_type)
    project = call.state.projects[generation.project_id]
    path = posixpath.join("/", BUCKET, "results", generation.id, download_type)
    query = call.context.links.sign("GET", path)
    return {
        "generationId": generation.id,
        "apiProjectId": generation.project_id,
        "downloadType": download_type,
        "downloadUrl": f"{call.context.addresses.base(MEDIA, call.incoming.headers)}{path}?{query}",
        "fileName": download_name(project, generation, download_type),
        "storagePath": path.removeprefix(f"/{BUCKET}/"),
        "mimeType": generation.files[download_type]["mime"],
        "bucket": BUCKET,
    }


def _refuse_missing_result(generation: Generation, download_type: str) -> None:
    if download_type == "transcript":
        if generation.transcription == "pending":
            raise HttpError(409, "the transcript is not ready yet", code="TRANSCRIPT_PENDING")
        if generation.transcription == "unavailable":
            raise HttpError(404, "there is no transcript", code="TRANSCRIPT_UNAVAILABLE")
    if generation.status != "complete":
        raise HttpError(409, "the generation is not complete yet", code="generationNotComplete")
    if download_type not in generation.files:
        raise HttpError(404, f"this generation has no {download_type}", code="downloadUnavailable")


def download_name(project: Project, generation: Generation, download_type: str) -> str:
    """Return the file name of a result, derived from that of the recording."""
    stem = PurePosixPath(project.file_name.replace("\\", "/")).stem or "recording"
    suffix = PurePosixPath(generation.files[download_type]["name"]).suffix
    return f"{stem}.restored{suffix}"
