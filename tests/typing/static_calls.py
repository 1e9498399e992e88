"""Calls of all three clients that mypy and pyright must accept, with their types; never run."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict, assert_type

from diffio_async import (
    AccountSettings,
    ApiKey,
    AsyncDiffio,
    ClientOptions,
    Diffio,
    Download,
    DownloadResult,
    FileOutcome,
    Generation,
    GenerationProgress,
    GenerationSummary,
    InboxEntry,
    Isolation,
    ListResponse,
    Outcome,
    Project,
    ProjectSummary,
    RequestOptions,
    Restoration,
    RetryPolicy,
    SentTestEvent,
    Timeouts,
    UploadConfirmation,
    UsageSummary,
    WaitPolicy,
    WebhookEndpoint,
    WebhookEvent,
    WebhookInbox,
    WebhookVerifier,
    compat,
)
from diffio_async.compat import types as results

OPTIONS = RequestOptions(headers={"X-Trace": "1"}, timeout=5, retry=RetryPolicy(attempts=1))
CLIENT = ClientOptions(
    timeouts=Timeouts(read=5), wait=WaitPolicy(timeout=None), observers=(print, repr)
)


class Ids(TypedDict):
    """Arguments of calls about one generation."""

    generation_id: str
    api_project_id: str


class PublishedIds(TypedDict):
    """The same in the published spelling."""

    generationId: str
    apiProjectId: str


IDS = Ids(generation_id="g", api_project_id="p")
PUBLISHED_IDS = PublishedIds(generationId="g", apiProjectId="p")


async def with_coroutines(client: AsyncDiffio) -> None:
    assert_type(await client.restore("a.wav", Path("b.mp3"), timeout=None), Restoration)
    async for file in client.restore_many(["a.wav", Path("b.wav")], "out", on_error="stop"):
        assert_type(file, FileOutcome)
    assert_type(await client.audio_isolation.isolate(b""), Isolation)
    assert_type(await client.projects.create(b"", resume="upload.state"), Project)
    assert_type(await client.projects.complete_upload(api_project_id="p"), UploadConfirmation)
    assert_type(await client.projects.list(options=OPTIONS), ListResponse[ProjectSummary])
    rows = await client.projects.list_generations(api_project_id="p")
    assert_type(rows, ListResponse[GenerationSummary])
    waits = client.generations
    assert_type(await waits.create(api_project_id="p", sampling={"seed": 1}), Generation)
    assert_type(await waits.attach("dgh1.g.p"), Generation)
    assert_type(await waits.get_progress(generation_id="g"), GenerationProgress)
    assert_type(await waits.create_and_wait(api_project_id="p"), GenerationProgress)
    assert_type(await waits.wait_for_complete(generation_id="g"), GenerationProgress)
    assert_type(await waits.wait_many(["g", rows[0]]), list[Outcome])
    async for progress in waits.watch("g", timeout=1.5):
        assert_type(progress, GenerationProgress)
    async for outcome in waits.as_completed(iter(["g"]), max_pending=5):
        assert_type(outcome, Outcome)
    assert_type(await waits.get_download(**IDS), Download)
    assert_type(await waits.download(**IDS, on_conflict="overwrite"), DownloadResult)
    assert_type(await client.account.get_settings(), AccountSettings)
    assert_type(await client.account.update_settings(billing_policy={}), AccountSettings)
    assert_type(await client.api_keys.create(label="l", scopes={"projects:read"}), ApiKey)
    assert_type(await client.api_keys.list(), ListResponse[ApiKey])
    assert_type(await client.api_keys.rotate(key_id="k"), ApiKey)
    assert_type(await client.api_keys.revoke(key_id="k"), ApiKey)
    assert_type(await client.usage.summary(api_key_id=None), UsageSummary)
    webhook = await client.webhooks.configure(mode="test", url="https://a", event_types=["e"])
    assert_type(webhook, WebhookEndpoint)
    sent = await client.webhooks.send_test_event(event_type="e", mode="live")
    assert_type(sent, SentTestEvent)


def with_blocking_calls(client: Diffio) -> None:
    assert_type(client.restore("a.wav", "b.mp3"), Restoration)
    for file in client.restore_many(Path("in"), "out", download_types=["audio"]):
        assert_type(file, FileOutcome)
    assert_type(client.audio_isolation.isolate(b""), Isolation)
    assert_type(client.projects.create(b""), Project)
    assert_type(client.projects.list(), ListResponse[ProjectSummary])
    rows = client.projects.list_generations(api_project_id="p")
    assert_type(rows, ListResponse[GenerationSummary])
    waits = client.generations
    assert_type(waits.create(api_project_id="p"), Generation)
    assert_type(waits.wait_for_complete(generation_id="g"), GenerationProgress)
    assert_type(waits.wait_many(["g"], raise_on_failure=True), list[Outcome])
    for progress in waits.watch("g"):
        assert_type(progress, GenerationProgress)
    for outcome in waits.as_completed(["g"]):
        assert_type(outcome, Outcome)
    assert_type(waits.get_download(**IDS), Download)
    assert_type(waits.download(**IDS, download_file_path=Path("b.mp3")), DownloadResult)
    assert_type(client.account.get_settings(), AccountSettings)
    assert_type(client.api_keys.list(), ListResponse[ApiKey])
    assert_type(client.usage.summary(), UsageSummary)
    event = client.webhooks.verify_signature(payload=b"", headers={}, secret="whsec_")
    assert_type(event, WebhookEvent)


def with_the_published_spelling(client: compat.DiffioClient) -> None:
    assert_type(client.create_project(filePath="a.wav"), results.CreateProjectResponse)
    assert_type(client.projects.list(), results.ListProjectsResponse)
    created = client.generations.create(apiProjectId="p", sampling={"seed": 1})
    assert_type(created, results.CreateGenerationResponse)
    progress = client.generations.wait_for_complete(**PUBLISHED_IDS)
    assert_type(progress, results.GenerationProgressResponse)
    link = client.generations.get_download(**PUBLISHED_IDS)
    assert_type(link, results.GenerationDownloadResponse)
    assert_type(client.audio_isolation.isolate(filePath="a.wav"), results.AudioIsolationResult)
    content, info = client.audio_isolation.restore(filePath="a.wav")
    assert_type(content, bytes | None)
    assert_type(info, results.RestoreInfo)
    assert_type(client.account.get_settings(), results.AccountSettingsResponse)
    assert_type(client.api_keys.rotate(keyId="k"), results.ApiKeyResponse)
    assert_type(client.usage.summary(apiKeyId="k"), results.UsageSummaryResponse)


async def with_an_inbox(path: Path) -> None:
    inbox = WebhookInbox(path, verifier=WebhookVerifier("whsec_", tolerance=60))
    AsyncDiffio("key", inbox=inbox, options=CLIENT)

    @inbox.on("generation.completed")
    async def completed(event: WebhookEvent) -> None: ...

    await completed(WebhookEvent())
    async for delivery in inbox.deliveries():
        async with delivery as event:
            assert_type(event, WebhookEvent)
    assert_type(await inbox.entries("leased", limit=5), tuple[InboxEntry, ...])
    assert_type(await inbox.state("g"), WebhookEvent | None)


async def what_is_refused(client: AsyncDiffio) -> None:
    await client.restore("a.wav", on_conflict="skip")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await client.projects.list_generations()  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]
    client.restore_many(["a.wav"], "out", on_error="ignore")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    await WebhookInbox("i").entries("taken")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
