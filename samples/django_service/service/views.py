"""Views: uploads, results and webhooks. A real service authorizes the caller first."""

import asyncio
import logging
from collections.abc import AsyncIterator

import anyio
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import aget_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from diffio_async import DiffioError, InvalidSource, WebhookRejected

from .diffio import client, inbox, verifier
from .models import Recording

CHUNK = 256 * 1024
log = logging.getLogger(__name__)


@csrf_exempt
@require_POST
async def upload(request: HttpRequest) -> HttpResponse:
    """Store the file `recording` of a form, and start its restoration."""
    # Django parses the form when it is first read, which would block the other requests.
    files = await asyncio.to_thread(getattr, request, "FILES")
    file = files.get("recording")
    if file is None or not file.size:
        return JsonResponse({"error": "send a form with the file 'recording'"}, status=400)
    recording = await Recording.objects.acreate(original=file)
    try:
        project = await client().projects.create(recording.original.path, file_name=file.name)
        recording.api_project_id = project.api_project_id
        await recording.asave(update_fields=["api_project_id"])
        generation = await client().generations.create(
            api_project_id=project.api_project_id, idempotency_key=recording.idempotency_key
        )
    except InvalidSource as error:
        await asyncio.to_thread(recording.original.delete, save=False)
        await recording.adelete()
        return JsonResponse({"error": str(error)}, status=400)
    except DiffioError as error:
        # The row stays: `manage.py restore_recordings` continues from the step that it reached.
        # The reason may name the account, which is not the caller's business.
        log.warning("recording %s was not started: %s", recording.pk, error)
        return JsonResponse({"error": "the recording is stored, and restored later"}, status=502)
    recording.generation_id = generation.generation_id
    await recording.asave(update_fields=["generation_id"])
    return JsonResponse(generation.to_dict(), status=202)


@require_GET
async def result(request: HttpRequest, generation_id: str) -> HttpResponseBase:
    """Stream the result, or, until it is here, return the status."""
    recording = await aget_object_or_404(Recording, generation_id=generation_id)
    if recording.restored:
        return StreamingHttpResponse(
            chunks(recording.restored.path),
            content_type="audio/mpeg",
            headers={"Content-Length": str(recording.restored.size)},
        )
    if recording.error:
        return JsonResponse({"status": "failed", "error": recording.error})
    return JsonResponse({"status": "processing"}, status=202)


async def chunks(path: str) -> AsyncIterator[bytes]:
    """Yield a file in parts. Django would read all of it first if this were not asynchronous."""
    async with await anyio.open_file(path, "rb") as file:
        while chunk := await file.read(CHUNK):
            yield chunk


@csrf_exempt
@require_POST
async def webhook(request: HttpRequest) -> HttpResponse:
    """Store a genuine event for its handler. After an error here, Diffio delivers it again."""
    try:
        event = verifier().verify(request.body, request.headers)
    except WebhookRejected as rejected:
        return JsonResponse({"error": rejected.code}, status=400)
    await inbox().store(event, request.body)
    return HttpResponse(status=204)
