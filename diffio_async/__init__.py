"""The async-first Python SDK for Diffio, the speech restoration service.

    from diffio_async import AsyncDiffio

    async with AsyncDiffio() as client:
        await client.restore("interview.wav", "interview.mp3")

Names are loaded when first used: `import diffio_async` alone loads no HTTP library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from diffio_async._version import __version__

if TYPE_CHECKING:
    from diffio_async.client import AsyncDiffio
    from diffio_async.errors import (
        AnswerLost,
        ApiError,
        AuthenticationFailed,
        BadRequest,
        ClientClosed,
        ConfigurationError,
        DiffioError,
        DownloadFailed,
        GenerationFailed,
        ModelRetired,
        NotFound,
        NotReached,
        NotReady,
        PaymentRequired,
        PermissionDenied,
        RateLimited,
        ResponseInvalid,
        ServerError,
        SourceUnusable,
        SpendLimitExceeded,
        TargetUnusable,
        Timeout,
        TranscriptPending,
        TranscriptUnavailable,
        UploadFailed,
        WaitTimeout,
    )
    from diffio_async.events import (
        AnswerReceived,
        DownloadProgress,
        DownloadResumed,
        Event,
        PartSent,
        RequestSent,
        RetryScheduled,
        UploadProgress,
    )
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
    from diffio_async.models.projects import (
        Project,
        ProjectSummary,
    )
    from diffio_async.models.restorations import (
        Isolation,
        Restoration,
    )
    from diffio_async.models.uploads import UploadedProject
    from diffio_async.options import (
        ClientOptions,
        Observer,
        RequestOptions,
        RetryHook,
        RetryPolicy,
        Timeouts,
        WaitPolicy,
    )

_HOMES = {
    "diffio_async.client": ("AsyncDiffio",),
    "diffio_async.errors": (
        "AnswerLost",
        "ApiError",
        "AuthenticationFailed",
        "BadRequest",
        "ClientClosed",
        "ConfigurationError",
        "DiffioError",
        "DownloadFailed",
        "GenerationFailed",
        "ModelRetired",
        "NotFound",
        "NotReached",
        "NotReady",
        "PaymentRequired",
        "PermissionDenied",
        "RateLimited",
        "ResponseInvalid",
        "ServerError",
        "SourceUnusable",
        "SpendLimitExceeded",
        "TargetUnusable",
        "Timeout",
        "TranscriptPending",
        "TranscriptUnavailable",
        "UploadFailed",
        "WaitTimeout",
    ),
    "diffio_async.events": (
        "AnswerReceived",
        "DownloadProgress",
        "DownloadResumed",
        "Event",
        "PartSent",
        "RequestSent",
        "RetryScheduled",
        "UploadProgress",
    ),
    "diffio_async.models.generations": (
        "Download",
        "DownloadType",
        "Downloaded",
        "Generation",
        "GenerationProgress",
        "GenerationSummary",
        "QueuePlace",
        "StageProgress",
        "TranscriptionState",
    ),
    "diffio_async.models.projects": (
        "Project",
        "ProjectSummary",
    ),
    "diffio_async.models.restorations": (
        "Isolation",
        "Restoration",
    ),
    "diffio_async.models.uploads": ("UploadedProject",),
    "diffio_async.options": (
        "ClientOptions",
        "Observer",
        "RequestOptions",
        "RetryHook",
        "RetryPolicy",
        "Timeouts",
        "WaitPolicy",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AnswerLost",
    "AnswerReceived",
    "ApiError",
    "AsyncDiffio",
    "AuthenticationFailed",
    "BadRequest",
    "ClientClosed",
    "ClientOptions",
    "ConfigurationError",
    "DiffioError",
    "Download",
    "DownloadFailed",
    "DownloadProgress",
    "DownloadResumed",
    "DownloadType",
    "Downloaded",
    "Event",
    "Generation",
    "GenerationFailed",
    "GenerationProgress",
    "GenerationSummary",
    "Isolation",
    "ModelRetired",
    "NotFound",
    "NotReached",
    "NotReady",
    "Observer",
    "PartSent",
    "PaymentRequired",
    "PermissionDenied",
    "Project",
    "ProjectSummary",
    "QueuePlace",
    "RateLimited",
    "RequestOptions",
    "RequestSent",
    "ResponseInvalid",
    "Restoration",
    "RetryHook",
    "RetryPolicy",
    "RetryScheduled",
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
    "UploadProgress",
    "UploadedProject",
    "WaitPolicy",
    "WaitTimeout",
    "__version__",
]


def __getattr__(name: str) -> object:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
