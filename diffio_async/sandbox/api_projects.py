"""Endpoints of projects and generations."""

import posixpath
import secrets
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from diffio_async.sandbox.access import EDGE, MEDIA, UPLOAD_TOKEN_PREFIX
from diffio_async.sandbox.api import GENERATION, ApiCall, Route
from diffio_async.sandbox.api_account import require_payment
from diffio_async.sandbox.jobs import STAGES
from diffio_async.sandbox.messages import HttpError
from diffio_async.sandbox.state import Generation, Project, hash_secret, iso, new_id

BUCKET = "diffio-sandbox"


async def create_project(call: ApiCall) -> dict[str, Any]:
    """Create a project, with the upload offers that the settings specify."""
    fields, context, state = call.fields, call.context, call.state
    params = fields.mapping("params") or {}
    file_format = fields.optional_text("fileFormat")
    if file_format is not None:
        params.setdefault("fileFormat", file_format)
    token = UPLOAD_TOKEN_PREFIX + secrets.token_urlsafe(32)
    now = state.now()
    project = Project(
        id=new_id("proj"),
        key_id=call.key.id,
        file_name=fields.text("fileName", max_length=1024),
        content_type=fields.optional_text("contentType") or "application/octet-stream",
        content_length=fields.count("contentLength"),
        params=params,
        session_id=new_id("session"),
        token_hash=hash_secret(token),
        expires_at=now + context.settings.link_ttl,
        created_at=now,
        updated_at=now,
    )
    project.has_video = project.content_type.startswith("video/")
    state.save(project)
    context.jobs.warm_up()
    return {
        "apiProjectId": project.id,
        "objectPath": _object_key(project),
        "expiresAt": iso(project.expires_at),
        **_offers(call, project, token),
    }


def _offers(call: ApiCall, project: Project, token: str) -> dict[str, Any]:
    context = call.context
    headers = call.incoming.headers
    offers: dict[str, Any] = {}
    if "signed" in context.settings.uploads:
        path = f"/{BUCKET}/{_object_key(project)}"
        query = context.links.sign("PUT", path, content_type=project.content_type)
        offers["uploadUrl"] = f"{context.addresses.base(MEDIA, headers)}{path}?{query}"
        offers["uploadMethod"] = "PUT"
        offers["bucket"] = BUCKET
    if "edge" in context.settings.uploads:
        offers["upload"] = {
            "uploadSessionId": project.session_id,
            "edgeBaseUrl": context.addresses.base(EDGE, headers),
            "uploadToken": token,
            "objectKey": _object_key(project),
            "partSizeBytes": context.settings.part_size,
            "maxBytes": context.settings.max_bytes,
            "expiresAt": iso(project.expires_at),
        }
    return offers


def _object_key(project: Project) -> str:
    return f"uploads/{project.id}"


async def complete_upload(call: ApiCall) -> dict[str, Any]:
    """Confirm that the upload was received; idempotent."""
    project = call.project()
    if not project.received:
        raise HttpError(409, "the upload was not received yet", code="uploadNotLanded")
    if project.content_length not in (None, project.size):
        call.violation(f"declared {project.content_length} bytes and uploaded {project.size}")
    if project.status != "uploaded":
        project.status = "uploaded"
        project.updated_at = call.state.now()
        call.state.save(project)
    return {"apiProjectId": project.id, "status": project.status, "sizeBytes": project.size}


async def list_projects(call: ApiCall) -> dict[str, Any]:
    """List the projects of this key, newest first."""
    own_projects = (
        project for project in call.state.projects.values() if project.key_id == call.key.id
    )
    newest_first = sorted(own_projects, key=lambda project: project.created_at, reverse=True)
    return {
        "projects": [
            {
                "apiProjectId": project.id,
                "status": project.status,
                "originalFileName": project.file_name,
                "contentType": project.content_type,
                "hasVideo": project.has_video,
                "generationCount": len(call.state.generations_of(project.id)),
                "params": project.params,
                "createdAt": iso(project.created_at),
                "updatedAt": iso(project.updated_at),
            }
            for project in newest_first
        ]
    }


async def list_generations(call: ApiCall) -> dict[str, Any]:
    """List the generations of a project with their status, newest first."""
    project = call.project()
    generations = reversed(call.state.generations_of(project.id))
    return {
        "apiProjectId": project.id,
        "generations": [_summary(call, generation) for generation in generations],
    }


def _summary(call: ApiCall, generation: Generation) -> dict[str, Any]:
    return {
        "generationId": generation.id,
        "status": call.context.jobs.status_of(generation),
        "modelKey": generation.model_key,
        "progress": call.context.jobs.percent(generation),
        "createdAt": iso(generation.created_at),
        "updatedAt": iso(generation.updated_at),
    }


_DOWNLOAD_TYPES = ("audio", "video", "transcript")
_MAX_KEY_LENGTH = 255


async def create_generation(call: ApiCall) -> dict[str, Any]:
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
    call.state.save(generation)
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


async def generation_progress(call: ApiCall) -> dict[str, Any]:
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


async def generation_download(call: ApiCall) -> dict[str, Any]:
    """Return a signed link to a result."""
    call.fields.text("apiProjectId")
    generation = call.generation()
    # The picture of a video may be in a format that cannot be copied.
    download_type = "video" if "video" in generation.files else "audio"
    if call.fields.has("downloadType"):
        download_type = call.fields.choice("downloadType", _DOWNLOAD_TYPES)
    if generation.status == "failed":
        raise HttpError(409, f"the generation failed: {generation.error}", code="generationFailed")
    if (
        download_type == "transcript"
        and generation.transcription == "pending"
        and generation.status == "complete"
    ):
        await call.context.jobs.transcribe(generation)
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
        missing = f"this generation has no {download_type}"
        if download_type == "video" and generation.has_video:
            missing = "the picture of the recording cannot be copied into a video"
        elif download_type == "video":
            missing = "the recording has no picture"
        raise HttpError(404, missing, code="downloadUnavailable")


def download_name(project: Project, generation: Generation, download_type: str) -> str:
    """Return the file name of a result, derived from that of the recording."""
    stem = PurePosixPath(project.file_name.replace("\\", "/")).stem or "recording"
    suffix = PurePosixPath(generation.files[download_type]["name"]).suffix
    return f"{stem}.restored{suffix}"


ROUTES: Mapping[str, Route] = {
    "create_project": Route(
        create_project,
        ("projects:write",),
        ("fileName", "contentType", "contentLength", "fileFormat", "params"),
    ),
    "complete_project_upload": Route(complete_upload, ("projects:write",), ("apiProjectId",)),
    "list_projects": Route(list_projects, ("projects:read",)),
    "list_project_generations": Route(list_generations, ("generations:read",), ("apiProjectId",)),
    GENERATION: Route(
        create_generation,
        ("generations:write",),
        ("apiProjectId", "sampling", "params", "idempotencyKey"),
    ),
    "get_generation_progress": Route(
        generation_progress, ("generations:read",), ("generationId", "apiProjectId")
    ),
    "get_generation_download": Route(
        generation_download,
        ("artifacts:read", "generations:read"),
        ("generationId", "apiProjectId", "downloadType"),
    ),
}
