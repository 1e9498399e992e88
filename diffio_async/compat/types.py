"""Results of calls, and the values that the API accepts."""

from typing import Any, Final, TypedDict

from diffio_async.compat._results_generated import (
    AccountSettingsResponse,
    ApiKeyResponse,
    ApiKeysListResponse,
    AudioIsolationResult,
    CompleteProjectUploadResponse,
    CreateGenerationResponse,
    CreateProjectResponse,
    GenerationDownloadResponse,
    GenerationProgressResponse,
    GenerationProgressStage,
    GenerationTranscription,
    GenerationWebhookEvent,
    ListProjectGenerationsResponse,
    ListProjectsResponse,
    ProjectGenerationSummary,
    ProjectSummary,
    ProjectUploadSession,
    UsageSummaryResponse,
    WebhookConfigureResponse,
    WebhookTestEventResponse,
)

#: The models of the hosted service. Other names are sent too, since another server may have them.
ModelKey: Final = ("diffio-4.6-flash", "diffio-4.6-pro")
DownloadType: Final = ("audio", "mp3", "video", "transcript")
WebhookMode: Final = ("test", "live")
WebhookEventType: Final = (
    "generation.queued",
    "generation.processing",
    "generation.failed",
    "generation.completed",
)
GenerationWebhookStatus: Final = ("queued", "processing", "error", "complete")
TranscriptionStatus: Final = ("pending", "available", "unavailable")

__all__ = [
    "AccountSettingsResponse",
    "ApiKeyResponse",
    "ApiKeysListResponse",
    "AudioIsolationResult",
    "CompleteProjectUploadResponse",
    "CreateGenerationResponse",
    "CreateProjectResponse",
    "DownloadType",
    "GenerationDownloadResponse",
    "GenerationProgressResponse",
    "GenerationProgressStage",
    "GenerationTranscription",
    "GenerationWebhookEvent",
    "GenerationWebhookStatus",
    "ListProjectGenerationsResponse",
    "ListProjectsResponse",
    "ModelKey",
    "ProjectGenerationSummary",
    "ProjectSummary",
    "ProjectUploadSession",
    "RestoreInfo",
    "TranscriptionStatus",
    "UsageSummaryResponse",
    "WebhookConfigureResponse",
    "WebhookEventType",
    "WebhookMode",
    "WebhookTestEventResponse",
]


class RestoreInfo(TypedDict):
    """State of a restoration when it ended; values that were not reached are None.

    `stage` is `isolate`, `progress`, `download_info`, `download` or `complete`; `ok` is true for
    `complete` only. `error` is the service's reason, or the text of the exception.
    """

    ok: bool
    stage: str
    apiProjectId: str | None
    generationId: str | None
    project: CreateProjectResponse | None
    generation: CreateGenerationResponse | None
    progress: GenerationProgressResponse | None
    download: GenerationDownloadResponse | None
    downloadType: str
    downloadUrl: str | None
    fileName: str | None
    mimeType: str | None
    status: str | None
    error: str | None
    errorDetails: object
    exceptionType: str | None
    exceptionMessage: str | None
    statusCode: int | None
    responseBody: Any
