"""Generations: made once per idempotency key, watched, and fetched."""

import posixpath
from pathlib import PurePosixPath
from typing import Any

from diffio_async.sandbox.addresses import MEDIA
from diffio_async.sandbox.api_call import ApiCall
from diffio_async.sandbox.api_projects import BUCKET
from diffio_async.sandbox.billing import refuse_unpaid
from diffio_async.sandbox.records import Generation, Project, new_id
from diffio_async.sandbox.responses import HttpError
from diffio_async.sandbox.stages import STAGES

_DOWNLOAD_TYPES = ("audio", "video", "transcript")
_LONGEST_KEY = 255


async def create(call: ApiCall) -> dict[str, Any]:
    """Start a generation, or answer with the one this idempotency key has already made."""
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
        earlier = call.state.replay_of(call.key.id, idempotency_key)
        if earlier is not None:
            if (earlier.project_id, earlier.model_key) != (project.id, call.model):
                call.violation("an idempotency key was used again for another generation")
            return {**_created(call, earlier), "idempotentReplay": True}
    if project.status != "uploaded":
        raise HttpError(409, "the project's upload is not complete yet", code="uploadNotLanded")
    refuse_unpaid(call.state)
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
    answer = _created(call, generation)
    call.context.jobs.submit(generation)
    return answer


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
    if len(key.strip()) > _LONGEST_KEY:
        raise HttpError(400, f"idempotencyKey must have 1 to {_LONGEST_KEY} characters")
    return key.strip()


async def progress(call: ApiCall) -> dict[str, Any]:
    """Tell how far a generation is."""
    generation = call.generation()
    jobs = call.context.jobs
    stages = jobs.stages(generation)
    running = generation.status == "processing"
    now_at = next((name for name in reversed(STAGES) if name in stages), None)
    answer: dict[str, Any] = {
        "generationId": generation.id,
        "apiProjectId": generation.project_id,
        "modelKey": generation.model_key,
        "status": jobs.status_of(generation),
        "progress": jobs.percent(generation),
        "hasVideo": generation.has_video,
        "error": generation.error,
        "errorDetails": generation.error_details,
        "transcription": {"status": generation.transcription},
        "stage": now_at if running else None,
        "stageProgress": {"progress": int(stages[now_at])} if running and now_at else None,
        "queue": None,
    }
    for name in STAGES:
        if name != "restoredVideo" or generation.has_video:
            answer[name] = _stage(generation, name, stages)
    if generation.status == "queued":
        place = jobs.position(generation)
        answer["queue"] = {"position": place, "message": f"{place} to go before this one"}
    if generation.status == "complete":
        answer["restoration"] = generation.restoration
    return answer


def _stage(generation: Generation, name: str, stages: dict[str, float]) -> dict[str, Any]:
    begun = name in stages
    later = any(other in stages for other in STAGES[STAGES.index(name) + 1 :])
    done = later or generation.status == "complete"
    broken = generation.status == "failed" and not later and begun
    status = "failed" if broken else "complete" if done else "processing" if begun else "pending"
    percent = 100 if done else int(stages.get(name, 0.0))
    return {
        "jobId": f"{generation.id}-{name}",
        "jobState": status,
        "status": status,
        "progress": percent,
        "statusMessage": f"{name}: {status}",
        "error": generation.error if broken else None,
        "errorDetails": generation.error_details if broken else None,
    }


async def download(call: ApiCall) -> dict[str, Any]:
    """Hand out a signed link to a result."""
    call.fields.text("apiProjectId")
    generation = call.generation()
    kind = "video" if generation.has_video else "audio"
    if call.fields.has("downloadType"):
        kind = call.fields.choice("downloadType", _DOWNLOAD_TYPES)
    if generation.status == "failed":
        raise HttpError(409, f"the generation failed: {generation.error}", code="generationFailed")
    _refuse_missing_result(generation, kind)
    project = call.state.projects[generation.project_id]
    path = posixpath.join("/", BUCKET, "results", generation.id, kind)
    query = call.context.links.sign("GET", path)
    return {
        "generationId": generation.id,
        "apiProjectId": generation.project_id,
        "downloadType": kind,
        "downloadUrl": f"{call.context.addresses.base(MEDIA, call.incoming.headers)}{path}?{query}",
        "fileName": download_name(project, generation, kind),
        "storagePath": path.removeprefix(f"/{BUCKET}/"),
        "mimeType": generation.files[kind]["mime"],
        "bucket": BUCKET,
    }


def _refuse_missing_result(generation: Generation, kind: str) -> None:
    if kind == "transcript":
        if generation.transcription == "pending":
            raise HttpError(409, "the transcript is not ready yet", code="TRANSCRIPT_PENDING")
        if generation.transcription == "unavailable":
            raise HttpError(404, "there is no transcript", code="TRANSCRIPT_UNAVAILABLE")
    if generation.status != "complete":
        raise HttpError(409, "the generation is not complete yet", code="generationNotComplete")
    if kind not in generation.files:
        raise HttpError(404, f"this generation has no {kind}", code="downloadUnavailable")


def download_name(project: Project, generation: Generation, kind: str) -> str:
    """Name a result after the recording it was made from."""
    stem = PurePosixPath(project.file_name.replace("\\", "/")).stem or "recording"
    suffix = PurePosixPath(generation.files[kind]["name"]).suffix
    return f"{stem}.restored{suffix}"
