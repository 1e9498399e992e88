"""What calls answer with, and the words that the API knows."""

from typing import Final

from diffio_async.compat.types._generated import (
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
from diffio_async.compat.types.restore_info import RestoreInfo

#: The models that the hosted service serves; any other is asked for all the same, since another
#: server may serve it.
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
