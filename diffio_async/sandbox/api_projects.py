"""Projects: offered uploads, their completion, and lists."""

import secrets
from typing import Any

from diffio_async.sandbox.addresses import EDGE, MEDIA
from diffio_async.sandbox.api_call import ApiCall
from diffio_async.sandbox.credentials import UPLOAD_TOKEN_PREFIX
from diffio_async.sandbox.records import Generation, Project, hashed, iso, new_id
from diffio_async.sandbox.responses import HttpError

BUCKET = "diffio-sandbox"


async def create(call: ApiCall) -> dict[str, Any]:
    """Make a project and offer the uploads that the settings name."""
    fields, house, world = call.fields, call.context, call.state
    params = fields.mapping("params") or {}
    file_format = fields.optional_text("fileFormat")
    if file_format is not None:
        params.setdefault("fileFormat", file_format)
    token = UPLOAD_TOKEN_PREFIX + secrets.token_urlsafe(32)
    now = world.now()
    project = Project(
        id=new_id("proj"),
        key_id=call.key.id,
        file_name=fields.text("fileName", longest=1024),
        content_type=fields.optional_text("contentType") or "application/octet-stream",
        content_length=fields.count("contentLength"),
        params=params,
        session_id=new_id("session"),
        token_hash=hashed(token),
        expires_at=now + house.settings.link_ttl,
        created_at=now,
        updated_at=now,
    )
    project.has_video = project.content_type.startswith("video/")
    world.add_project(project)
    house.jobs.warm_up()
    return {
        "apiProjectId": project.id,
        "objectPath": _object_key(project),
        "expiresAt": iso(project.expires_at),
        **_offers(call, project, token),
    }


def _offers(call: ApiCall, project: Project, token: str) -> dict[str, Any]:
    house = call.context
    headers = call.incoming.headers
    offers: dict[str, Any] = {}
    if "signed" in house.settings.uploads:
        path = f"/{BUCKET}/{_object_key(project)}"
        query = house.links.sign("PUT", path, content_type=project.content_type)
        offers["uploadUrl"] = f"{house.addresses.base(MEDIA, headers)}{path}?{query}"
        offers["uploadMethod"] = "PUT"
        offers["bucket"] = BUCKET
    if "edge" in house.settings.uploads:
        offers["upload"] = {
            "uploadSessionId": project.session_id,
            "edgeBaseUrl": house.addresses.base(EDGE, headers),
            "uploadToken": token,
            "objectKey": _object_key(project),
            "partSizeBytes": house.settings.part_size,
            "maxBytes": house.settings.max_bytes,
            "expiresAt": iso(project.expires_at),
        }
    return offers


def _object_key(project: Project) -> str:
    return f"uploads/{project.id}"


async def complete_upload(call: ApiCall) -> dict[str, Any]:
    """Confirm that the bytes have landed; asking again changes nothing."""
    project = call.project()
    if not project.received:
        raise HttpError(409, "the upload has not landed yet", code="uploadNotLanded")
    if project.content_length not in (None, project.size):
        call.violation(f"declared {project.content_length} bytes and uploaded {project.size}")
    if project.status != "uploaded":
        project.status = "uploaded"
        project.updated_at = call.state.now()
        call.state.save(project)
    return {"apiProjectId": project.id, "status": project.status, "sizeBytes": project.size}


async def list_all(call: ApiCall) -> dict[str, Any]:
    """List the projects this key made, newest first."""
    mine = (one for one in call.state.projects.values() if one.key_id == call.key.id)
    newest_first = sorted(mine, key=lambda one: one.created_at, reverse=True)
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
    """List every generation of a project with its status, newest first."""
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
