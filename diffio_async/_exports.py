"""Where each public name lives; kept equal to what type checkers are told by a test."""

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
        "DownloadProgress DownloadResumed Event GenerationStarted PartUploaded PollingPaused "
        "ProgressUpdated RequestFailed RequestSent ResponseReceived RetryScheduled "
        "UploadProgress UploadRestarted UploadResumed"
    ),
    "diffio_async.models.account": (
        "Account AccountSettings ApiKey Billing Usage UsagePeriod UsageSummary"
    ),
    "diffio_async.models.batches": "BatchItem BatchProgress FileOutcome LeftOut",
    "diffio_async.models.generations": (
        "Download DownloadType DownloadResult Generation GenerationProgress GenerationSummary "
        "QueuePosition StageProgress TranscriptionState"
    ),
    "diffio_async.models.lists": "ListResponse",
    "diffio_async.models.outcomes": "Isolation Outcome Restoration",
    "diffio_async.models.projects": "Project ProjectSummary",
    "diffio_async.models.uploads": "UploadConfirmation UploadRecord UploadStore",
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
EXPORTS = {name: home for home, names in _MODULES.items() for name in names.split()}
