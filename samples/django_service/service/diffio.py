"""The client and the inbox of webhooks: one of each in a process, made when first needed.

`asgi.py` closes them when the server stops.
"""

from functools import cache

from django.conf import settings

from diffio_async import AsyncDiffio, WebhookEvent, WebhookInbox, WebhookVerifier

from .models import Recording


@cache
def client() -> AsyncDiffio:
    """Return the client; its connections are opened on first use and reused by all requests."""
    return AsyncDiffio()


@cache
def verifier() -> WebhookVerifier:
    """Return the verifier of webhooks."""
    return WebhookVerifier(*settings.DIFFIO_WEBHOOK_SECRETS)


@cache
def inbox() -> WebhookInbox:
    """Return the inbox, with the handlers of its events."""
    made = WebhookInbox(settings.DIFFIO_INBOX)
    made.on("generation.completed")(fetch)
    made.on("generation.failed")(note_failure)
    return made


async def fetch(event: WebhookEvent) -> None:
    """Download a result. If that fails, or the server stops, it is called again later."""
    # By the project, which is stored before there can be an event.
    recording = await Recording.objects.filter(api_project_id=event.api_project_id).afirst()
    if recording is None or recording.restored or event.generation_id is None:
        return
    recording.generation_id = event.generation_id
    await client().generations.download(
        generation_id=recording.generation_id,
        api_project_id=recording.api_project_id,
        download_file_path=recording.target,
        on_conflict="overwrite",
    )
    recording.has_result()
    await recording.asave(update_fields=["generation_id", "restored"])


async def note_failure(event: WebhookEvent) -> None:
    """Store why a generation failed."""
    rows = Recording.objects.filter(api_project_id=event.api_project_id, restored="")
    await rows.aupdate(error=event.error or "the generation failed")
