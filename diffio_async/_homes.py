"""Where each public name lives; kept equal to what type checkers are told by a test."""

_HOMES = {
    "diffio_async.client": "AsyncDiffio",
    "diffio_async.errors": (
        "AnswerLost ApiError AuthenticationFailed BadRequest BatchFailed BatchStopped ClientClosed "
        "ConfigurationError DatabaseUnusable DiffioError DownloadFailed GenerationFailed "
        "IdempotencyConflict ModelRetired NotFound NotReached NotReady PaymentRequired "
        "PermissionDenied RateLimited ResponseInvalid ResumeUnusable ServerError "
        "SourceUnusable SpendLimitExceeded TargetUnusable Timeout TranscriptPending "
        "TranscriptUnavailable UploadFailed UploadIncomplete WaitTimeout WebhookRejected"
    ),
    "diffio_async.events": (
        "AnswerReceived DownloadProgress DownloadResumed Event GenerationStarted PartSent "
        "ProgressRead RequestFailed RequestSent RetryScheduled UploadProgress UploadRestarted "
        "UploadResumed WaitsPaused"
    ),
    "diffio_async.models.account": (
        "Account AccountSettings ApiKey Billing Usage UsagePeriod UsageSummary"
    ),
    "diffio_async.models.batches": "BatchItem BatchProgress FileOutcome LeftOut",
    "diffio_async.models.generations": (
        "Download DownloadType Downloaded Generation GenerationProgress GenerationSummary "
        "QueuePlace StageProgress TranscriptionState"
    ),
    "diffio_async.models.lists": "ListResponse",
    "diffio_async.models.outcomes": "Outcome",
    "diffio_async.models.projects": "Project ProjectSummary",
    "diffio_async.models.restorations": "Isolation Restoration",
    "diffio_async.models.resuming": "UploadRecord UploadStore",
    "diffio_async.models.uploads": "UploadedProject",
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
HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}
