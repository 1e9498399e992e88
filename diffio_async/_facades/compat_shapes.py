"""The results of the published package 0.3.10: fields in order, and which of ours they are."""

from __future__ import annotations

from typing import NamedTuple


class Shape(NamedTuple):
    """One result class; `optional` fields may be left out when it is made by hand.

    `ours` is the model that its types and words come from, `more` what ours has beyond it.
    """

    name: str
    ours: str
    required: str
    optional: str = ""
    more: str = ""


SHAPES = [
    Shape(
        "ProjectUploadSession", "EdgeUpload",
        "uploadSessionId edgeBaseUrl uploadToken objectKey partSizeBytes maxBytes expiresAt",
    ),
    Shape("CompleteProjectUploadResponse", "UploadedProject", "apiProjectId status sizeBytes"),
    Shape(
        "CreateProjectResponse", "CreatedProject",
        "apiProjectId upload objectPath expiresAt", "uploadCompletion",
        "uploadUrl uploadMethod bucket",
    ),
    Shape(
        "ProjectSummary", "ProjectSummary",
        "apiProjectId status originalFileName contentType hasVideo generationCount createdAt "
        "updatedAt",
    ),
    Shape("ListProjectsResponse", "ProjectList", "projects"),
    Shape(
        "CreateGenerationResponse", "Generation",
        "generationId apiProjectId modelKey status", "idempotentReplay",
    ),
    Shape(
        "ProjectGenerationSummary", "GenerationSummary",
        "generationId status modelKey progress createdAt updatedAt",
    ),
    Shape("ListProjectGenerationsResponse", "GenerationList", "apiProjectId generations"),
    Shape(
        "GenerationProgressStage", "StageProgress",
        "jobId jobState status progress statusMessage error errorDetails",
    ),
    Shape("GenerationTranscription", "TranscriptionState", "status"),
    Shape(
        "GenerationProgressResponse", "GenerationProgress",
        "generationId apiProjectId status hasVideo preProcessing inference restoredVideo error "
        "errorDetails",
        "transcription stage stageProgress queue",
    ),
    Shape(
        "GenerationDownloadResponse", "Download",
        "generationId apiProjectId downloadType downloadUrl fileName storagePath mimeType",
        more="bucket",
    ),
    Shape(
        "WebhookTestEventResponse", "SentTestEvent",
        "svixMessageId eventId eventType mode", "apiKeyId",
    ),
    Shape("AccountSettingsResponse", "AccountSettings", "account", "apiKeyId"),
    Shape(
        "ApiKeyResponse", "ApiKey",
        "keyId label status keyPrefix role scopes resourceBounds",
        "key parentKeyId createdAt rotatedAt revokedAt permissions",
    ),
    Shape("ApiKeysListResponse", "ApiKeyList", "keys"),
    Shape("UsageSummaryResponse", "UsageSummary", "usage billing"),
    Shape("WebhookConfigureResponse", "ConfiguredWebhook", "webhook"),
    Shape(
        "GenerationWebhookEvent", "WebhookEvent",
        "eventType eventId createdAt apiKeyId apiProjectId generationId status hasVideo modelKey "
        "error errorDetails",
        "transcription",
    ),
    Shape("AudioIsolationResult", "Isolation", "project generation"),
]  # fmt: skip

#: Of ours to theirs, where the guide has one class for what is two with us, or the other way.
ALSO = {"Project": "CreateProjectResponse"}

#: Fields that ours has elsewhere.
ADDED = {("CreateProjectResponse", "uploadCompletion"): "UploadedProject | None"}

#: What stands in for a string that is absent or empty.
FALLBACKS = {
    ("ProjectUploadSession", "uploadSessionId"): "",
    ("CompleteProjectUploadResponse", "status"): "uploaded",
    ("ProjectSummary", "status"): "uploading",
    ("ProjectGenerationSummary", "status"): "queued",
    ("GenerationProgressStage", "status"): "pending",
    ("GenerationDownloadResponse", "downloadType"): "",
    ("ApiKeyResponse", "label"): "",
    ("ApiKeyResponse", "status"): "active",
    ("ApiKeyResponse", "keyPrefix"): "",
    ("ApiKeyResponse", "role"): "scoped",
    # Of a delivery not even this is sure.
    ("GenerationWebhookEvent", "eventType"): "",
}

#: Where else an answer may have it.
ELSEWHERE = {
    ("CreateProjectResponse", "objectPath"): "upload.objectKey",
    ("CreateProjectResponse", "expiresAt"): "upload.expiresAt",
}

#: Dicts with the API's own keys, where ours are models; an absent one is empty.
DICTS = {"account", "usage", "billing", "webhook", "resourceBounds"}
#: The same, but an absent one is None.
MAYBE_DICTS = {"queue", "stageProgress", "permissions"}

#: False or 0 where the answer does not say.
ASSUMED = {
    ("ProjectSummary", "hasVideo"),
    ("ProjectSummary", "generationCount"),
    ("GenerationProgressStage", "progress"),
    ("GenerationProgressResponse", "hasVideo"),
}
