"""Project endpoints: create with upload offers, complete, and lists."""

import secrets
from typing import Any

from diffio_async.sandbox.addresses import EDGE, MEDIA
from diffio_async.sandbox.context import ApiCall
from diffio_async.sandbox.credentials import UPLOAD_TOKEN_PREFIX
from diffio_async.sandbox.records import Generation, Project, hash_secret, iso, new_id
from diffio_async.sandbox.responses import HttpError

BUCKET = "diffio-sandbox"


async def create(call: ApiCall) -> dict[str, Any]:
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
    state.add_project(project)
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


async def list_all(call: ApiCall) -> dict[str, Any]:
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
