"""Async Python SDK for Diffio, the speech restoration service.

    from diffio_async import AsyncDiffio

    async with AsyncDiffio() as client:
        await client.restore("interview.wav", "interview.mp3")

Names are loaded on first use: `import diffio_async` alone does not load an HTTP library.

(PYTEST_DONT_REWRITE: pytest would warn if it starts after the import of this package.)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from diffio_async._version import __version__

if TYPE_CHECKING:
    from diffio_async.client import AsyncDiffio
    from diffio_async.errors import (
        ApiError,
        AuthenticationFailed,
        BadRequest,
        BatchFailed,
        BatchStopped,
        ClientClosed,
        ConfigurationError,
        ConnectionFailed,
        DatabaseError,
        DiffioError,
        DownloadFailed,
        GenerationFailed,
        IdempotencyConflict,
        InvalidResponse,
        InvalidSource,
        InvalidTarget,
        ModelRetired,
        NotFound,
        NotReady,
        PaymentRequired,
        PermissionDenied,
        RateLimited,
        ResponseLost,
        ResponseTimeout,
        ResumeFileError,
        ServerError,
        SpendLimitExceeded,
        TranscriptPending,
        TranscriptUnavailable,
        UploadFailed,
        UploadIncomplete,
        WaitTimeout,
        WebhookRejected,
    )
    from diffio_async.events import (
        DownloadProgress,
        DownloadResumed,
        Event,
        GenerationEnded,
        GenerationStarted,
        OperationEnded,
        OperationStarted,
        PartUploaded,
        PollingPaused,
        PollRateChanged,
        ProgressUpdated,
        RequestFailed,
        RequestSent,
        ResponseReceived,
        RetryScheduled,
        UploadProgress,
        UploadRestarted,
        UploadResumed,
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
        DownloadResult,
        DownloadType,
        Generation,
        GenerationProgress,
        GenerationSummary,
        Isolation,
        Outcome,
        QueuePosition,
        Restoration,
        StageProgress,
        TranscriptionState,
    )
    from diffio_async.models.json_values import ListResponse
    from diffio_async.models.projects import (
        Project,
        ProjectSummary,
        UploadConfirmation,
        UploadRecord,
        UploadStore,
    )
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
    "ConnectionFailed",
    "DatabaseError",
    "Diffio",
    "DiffioError",
    "Download",
    "DownloadFailed",
    "DownloadProgress",
    "DownloadResult",
    "DownloadResumed",
    "DownloadType",
    "Event",
    "FileOutcome",
    "Generation",
    "GenerationEnded",
    "GenerationFailed",
    "GenerationProgress",
    "GenerationStarted",
    "GenerationSummary",
    "IdempotencyConflict",
    "InboxEntry",
    "InboxState",
    "InvalidResponse",
    "InvalidSource",
    "InvalidTarget",
    "Isolation",
    "LeftOut",
    "ListResponse",
    "ModelRetired",
    "NotFound",
    "NotReady",
    "Observer",
    "OperationEnded",
    "OperationStarted",
    "Outcome",
    "PartUploaded",
    "PaymentRequired",
    "PermissionDenied",
    "PollRateChanged",
    "PollingPaused",
    "ProgressUpdated",
    "Project",
    "ProjectSummary",
    "QueuePosition",
    "RateLimited",
    "RequestFailed",
    "RequestOptions",
    "RequestSent",
    "ResponseLost",
    "ResponseReceived",
    "ResponseTimeout",
    "Restoration",
    "ResumeFileError",
    "RetryHook",
    "RetryPolicy",
    "RetryScheduled",
    "SentTestEvent",
    "ServerError",
    "SpendLimitExceeded",
    "StageProgress",
    "Timeouts",
    "TranscriptPending",
    "TranscriptUnavailable",
    "TranscriptionState",
    "UploadConfirmation",
    "UploadFailed",
    "UploadIncomplete",
    "UploadProgress",
    "UploadRecord",
    "UploadRestarted",
    "UploadResumed",
    "UploadStore",
    "Usage",
    "UsagePeriod",
    "UsageSummary",
    "WaitPolicy",
    "WaitTimeout",
    "WebhookEndpoint",
    "WebhookEvent",
    "WebhookEventType",
    "WebhookInbox",
    "WebhookMode",
    "WebhookRejected",
    "WebhookVerifier",
    "__version__",
]


#: The module of each public name.
_MODULES = {
    "diffio_async.client": "AsyncDiffio",
    "diffio_async.errors": (
        "ApiError AuthenticationFailed BadRequest BatchFailed BatchStopped ClientClosed "
        "ConfigurationError ConnectionFailed DatabaseError DiffioError DownloadFailed "
        "GenerationFailed IdempotencyConflict InvalidResponse InvalidSource InvalidTarget "
        "ModelRetired NotFound NotReady PaymentRequired PermissionDenied RateLimited "
        "ResponseLost ResumeFileError ServerError SpendLimitExceeded ResponseTimeout "
        "TranscriptPending TranscriptUnavailable UploadFailed UploadIncomplete WaitTimeout "
        "WebhookRejected"
    ),
    "diffio_async.events": (
        "DownloadProgress DownloadResumed Event GenerationEnded GenerationStarted OperationEnded "
        "OperationStarted PartUploaded PollRateChanged PollingPaused ProgressUpdated RequestFailed "
        "RequestSent ResponseReceived RetryScheduled "
        "UploadProgress UploadRestarted UploadResumed"
    ),
    "diffio_async.models.account": (
        "Account AccountSettings ApiKey Billing Usage UsagePeriod UsageSummary"
    ),
    "diffio_async.models.batches": "BatchItem BatchProgress FileOutcome LeftOut",
    "diffio_async.models.generations": (
        "Download DownloadType DownloadResult Generation GenerationProgress GenerationSummary "
        "Isolation Outcome QueuePosition Restoration StageProgress TranscriptionState"
    ),
    "diffio_async.models.json_values": "ListResponse",
    "diffio_async.models.projects": (
        "Project ProjectSummary UploadConfirmation UploadRecord UploadStore"
    ),
    "diffio_async.models.webhooks": (
        "InboxEntry InboxState SentTestEvent WebhookEndpoint WebhookEvent WebhookEventType "
        "WebhookMode"
    ),
    "diffio_async.options": (
        "ClientOptions Observer RequestOptions RetryHook RetryPolicy Timeouts WaitPolicy"
    ),
    "diffio_async.sync": "Diffio",
    "diffio_async.webhooks.inbox": "WebhookInbox",
    "diffio_async.webhooks.verifier": "WebhookVerifier",
}
_MODULE_OF = {name: home for home, names in _MODULES.items() for name in names.split()}


if not TYPE_CHECKING:  # to type checkers, every attribute would exist

    def __getattr__(name: str) -> object:
        home = _MODULE_OF.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(importlib.import_module(home), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
