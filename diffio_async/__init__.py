"""The async-first Python SDK for Diffio, the speech restoration service.

    from diffio_async import AsyncDiffio

    async with AsyncDiffio() as client:
        await client.restore("interview.wav", "interview.mp3")

Names are loaded when first used: `import diffio_async` alone loads no HTTP library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from diffio_async._homes import HOME_OF
from diffio_async._version import __version__

if TYPE_CHECKING:
    from diffio_async.client import AsyncDiffio
    from diffio_async.errors import (
        AnswerLost,
        ApiError,
        AuthenticationFailed,
        BadRequest,
        BatchFailed,
        BatchStopped,
        ClientClosed,
        ConfigurationError,
        DatabaseUnusable,
        DiffioError,
        DownloadFailed,
        GenerationFailed,
        IdempotencyConflict,
        ModelRetired,
        NotFound,
        NotReached,
        NotReady,
        PaymentRequired,
        PermissionDenied,
        RateLimited,
        ResponseInvalid,
        ResumeUnusable,
        ServerError,
        SourceUnusable,
        SpendLimitExceeded,
        TargetUnusable,
        Timeout,
        TranscriptPending,
        TranscriptUnavailable,
        UploadFailed,
        UploadIncomplete,
        WaitTimeout,
        WebhookRejected,
    )
    from diffio_async.events import (
        AnswerReceived,
        DownloadProgress,
        DownloadResumed,
        Event,
        GenerationStarted,
        PartSent,
        ProgressRead,
        RequestFailed,
        RequestSent,
        RetryScheduled,
        UploadProgress,
        UploadRestarted,
        UploadResumed,
        WaitsPaused,
    )
    from diffio_async.models.account import (
        Account,
        AccountSettings,
        ApiKey,
        Billing,
        Usage,
        UsagePeriod,
        UsageSummary,
    )
    from diffio_async.models.batches import BatchItem, BatchProgress, FileOutcome, LeftOut
    from diffio_async.models.generations import (
        Download,
        Downloaded,
        DownloadType,
        Generation,
        GenerationProgress,
        GenerationSummary,
        QueuePlace,
        StageProgress,
        TranscriptionState,
    )
    from diffio_async.models.lists import ListResponse
    from diffio_async.models.outcomes import Outcome
    from diffio_async.models.projects import (
        Project,
        ProjectSummary,
    )
    from diffio_async.models.restorations import (
        Isolation,
        Restoration,
    )
    from diffio_async.models.resuming import UploadRecord, UploadStore
    from diffio_async.models.uploads import UploadedProject
    from diffio_async.models.webhooks import (
        InboxEntry,
        InboxState,
        SentTestEvent,
        WebhookEndpoint,
        WebhookEvent,
        WebhookEventType,
        WebhookMode,
    )
    from diffio_async.options import (
        ClientOptions,
        Observer,
        RequestOptions,
        RetryHook,
        RetryPolicy,
        Timeouts,
        WaitPolicy,
    )
    from diffio_async.sync import Diffio
    from diffio_async.webhooks.inbox import WebhookInbox
    from diffio_async.webhooks.verifier import WebhookVerifier


__all__ = [
    "Account",
    "AccountSettings",
    "AnswerLost",
    "AnswerReceived",
    "ApiError",
    "ApiKey",
    "AsyncDiffio",
    "AuthenticationFailed",
    "BadRequest",
    "BatchFailed",
    "BatchItem",
    "BatchProgress",
    "BatchStopped",
    "Billing",
    "ClientClosed",
    "ClientOptions",
    "ConfigurationError",
    "DatabaseUnusable",
    "Diffio",
    "DiffioError",
    "Download",
    "DownloadFailed",
    "DownloadProgress",
    "DownloadResumed",
    "DownloadType",
    "Downloaded",
    "Event",
    "FileOutcome",
    "Generation",
    "GenerationFailed",
    "GenerationProgress",
    "GenerationStarted",
    "GenerationSummary",
    "IdempotencyConflict",
    "InboxEntry",
    "InboxState",
    "Isolation",
    "LeftOut",
    "ListResponse",
    "ModelRetired",
    "NotFound",
    "NotReached",
    "NotReady",
    "Observer",
    "Outcome",
    "PartSent",
    "PaymentRequired",
    "PermissionDenied",
    "ProgressRead",
    "Project",
    "ProjectSummary",
    "QueuePlace",
    "RateLimited",
    "RequestFailed",
    "RequestOptions",
    "RequestSent",
    "ResponseInvalid",
    "Restoration",
    "ResumeUnusable",
    "RetryHook",
    "RetryPolicy",
    "RetryScheduled",
    "SentTestEvent",
    "ServerError",
    "SourceUnusable",
    "SpendLimitExceeded",
    "StageProgress",
    "TargetUnusable",
    "Timeout",
    "Timeouts",
    "TranscriptPending",
    "TranscriptUnavailable",
    "TranscriptionState",
    "UploadFailed",
    "UploadIncomplete",
    "UploadProgress",
    "UploadRecord",
    "UploadRestarted",
    "UploadResumed",
    "UploadStore",
    "UploadedProject",
    "Usage",
    "UsagePeriod",
    "UsageSummary",
    "WaitPolicy",
    "WaitTimeout",
    "WaitsPaused",
    "WebhookEndpoint",
    "WebhookEvent",
    "WebhookEventType",
    "WebhookInbox",
    "WebhookMode",
    "WebhookRejected",
    "WebhookVerifier",
    "__version__",
]


if not TYPE_CHECKING:  # a type checker would take any name for one of ours

    def __getattr__(name: str) -> object:
        home = HOME_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(importlib.import_module(home), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
