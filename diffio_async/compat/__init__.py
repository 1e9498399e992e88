"""The surface of the published `diffio` 0.3.10, in camelCase.

    from diffio_async.compat import DiffioClient, RequestOptions

A program for the published package runs after this change of its import line. New programs should
use `diffio_async.Diffio`.
"""

from diffio_async._version import __version__
from diffio_async.compat._generated import (
    AccountClient,
    ApiKeysClient,
    AudioIsolationClient,
    DiffioClient,
    GenerationsClient,
    ProjectsClient,
    UsageClient,
    WebhooksClient,
)
from diffio_async.compat.errors import DiffioApiError
from diffio_async.compat.options import RequestOptions
from diffio_async.compat.types import (
    AccountSettingsResponse,
    ApiKeyResponse,
    ApiKeysListResponse,
    AudioIsolationResult,
    CompleteProjectUploadResponse,
    CreateGenerationResponse,
    CreateProjectResponse,
    DownloadType,
    GenerationDownloadResponse,
    GenerationProgressResponse,
    GenerationProgressStage,
    GenerationTranscription,
    GenerationWebhookEvent,
    GenerationWebhookStatus,
    ListProjectGenerationsResponse,
    ListProjectsResponse,
    ModelKey,
    ProjectGenerationSummary,
    ProjectSummary,
    ProjectUploadSession,
    TranscriptionStatus,
    UsageSummaryResponse,
    WebhookConfigureResponse,
    WebhookEventType,
    WebhookMode,
    WebhookTestEventResponse,
)

__all__ = [
    "AccountClient",
    "AccountSettingsResponse",
    "ApiKeyResponse",
    "ApiKeysClient",
    "ApiKeysListResponse",
    "AudioIsolationClient",
    "AudioIsolationResult",
    "CompleteProjectUploadResponse",
    "CreateGenerationResponse",
    "CreateProjectResponse",
    "DiffioApiError",
    "DiffioClient",
    "DownloadType",
    "GenerationDownloadResponse",
    "GenerationProgressResponse",
    "GenerationProgressStage",
    "GenerationTranscription",
    "GenerationWebhookEvent",
    "GenerationWebhookStatus",
    "GenerationsClient",
    "ListProjectGenerationsResponse",
    "ListProjectsResponse",
    "ModelKey",
    "ProjectGenerationSummary",
    "ProjectSummary",
    "ProjectUploadSession",
    "ProjectsClient",
    "RequestOptions",
    "TranscriptionStatus",
    "UsageClient",
    "UsageSummaryResponse",
    "WebhookConfigureResponse",
    "WebhookEventType",
    "WebhookMode",
    "WebhookTestEventResponse",
    "WebhooksClient",
    "__version__",
]
