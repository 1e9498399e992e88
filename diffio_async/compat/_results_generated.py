# Written by `python -m diffio_async._codegen --write`; do not edit.
"""Results of calls: frozen, comparable, with the attributes of the published package.

`from_dict` takes a response. Time stamps are strings, as in the response; `extra` has its unknown
fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from attrs import field, frozen

from diffio_async.compat import _parsing as read


@frozen(slots=False)
class ProjectUploadSession:
    """Offer of a multipart upload to the edge host, in the response of `create_project`."""

    uploadSessionId: str
    edgeBaseUrl: str
    uploadToken: str = field(repr=False)
    objectKey: str | None
    partSizeBytes: int
    maxBytes: int | None
    expiresAt: str | None
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            uploadSessionId=read.text(data, "uploadSessionId", ""),
            edgeBaseUrl=read.text(data, "edgeBaseUrl"),
            uploadToken=read.text(data, "uploadToken"),
            objectKey=read.opt_text(data, "objectKey"),
            partSizeBytes=read.int_(data, "partSizeBytes"),
            maxBytes=read.opt_int(data, "maxBytes"),
            expiresAt=read.opt_text(data, "expiresAt"),
        )
        return read.with_rest(found, data)


@frozen(slots=False)
class CompleteProjectUploadResponse:
    """Response of `complete_project_upload`."""

    apiProjectId: str
    status: str
    sizeBytes: int | None
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            apiProjectId=read.text(data, "apiProjectId"),
            status=read.text(data, "status", "uploaded"),
            sizeBytes=read.opt_int(data, "sizeBytes"),
        )
        return read.with_rest(found, data)


@frozen(slots=False)
class CreateProjectResponse:
    """Response of `create_project`: the project, and one or both of the upload offers."""

    apiProjectId: str
    upload: ProjectUploadSession | None
    objectPath: str | None
    expiresAt: str | None
    uploadCompletion: CompleteProjectUploadResponse | None = None
    uploadUrl: str | None = field(default=None, kw_only=True, repr=False)
    uploadMethod: str | None = field(default=None, kw_only=True)
    bucket: str | None = field(default=None, kw_only=True)
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            apiProjectId=read.text(data, "apiProjectId"),
            upload=read.opt_object(ProjectUploadSession.from_dict, data, "upload"),
            objectPath=read.opt_text(data, "objectPath", "upload.objectKey"),
            expiresAt=read.opt_text(data, "expiresAt", "upload.expiresAt"),
            uploadCompletion=read.opt_object(
                CompleteProjectUploadResponse.from_dict, data, "uploadCompletion"
            ),
            uploadUrl=read.opt_text(data, "uploadUrl"),
            uploadMethod=read.opt_text(data, "uploadMethod"),
            bucket=read.opt_text(data, "bucket"),
        )
        return read.with_rest(found, data)


@frozen(slots=False)
class ProjectSummary:
    """One row of `projects.list()`."""

    apiProjectId: str
    status: str
    originalFileName: str | None
    contentType: str | None
    hasVideo: bool
    generationCount: int
    createdAt: str | None
    updatedAt: str | None
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            apiProjectId=read.text(data, "apiProjectId"),
            status=read.text(data, "status", "uploading"),
            originalFileName=read.opt_text(data, "originalFileName"),
            contentType=read.opt_text(data, "contentType"),
            hasVideo=read.bool_(data, "hasVideo"),
            generationCount=read.int_(data, "generationCount"),
            createdAt=read.opt_text(data, "createdAt"),
            updatedAt=read.opt_text(data, "updatedAt"),
        )
        return read.with_rest(found, data)


@frozen(slots=False)
class ListProjectsResponse:
    """Response of `list_projects`."""

    projects: list[ProjectSummary] = field(hash=False)
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            projects=read.list_of(ProjectSummary.from_dict, data, "projects"),
        )
        return read.with_rest(found, data)


@frozen(slots=False)
class CreateGenerationResponse:
    """Response to the creation of a generation."""

    generationId: str
    apiProjectId: str
    modelKey: str | None
    status: str
    idempotentReplay: bool | None = None
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            generationId=read.text(data, "generationId"),
            apiProjectId=read.text(data, "apiProjectId"),
            modelKey=read.opt_text(data, "modelKey"),
            status=read.text(data, "status"),
            idempotentReplay=read.opt_bool(data, "idempotentReplay"),
        )
        return read.with_rest(found, data)


@frozen(slots=False)
class ProjectGenerationSummary:
    """One row of `projects.list_generations()`."""

    generationId: str
    status: str
    modelKey: str | None
    progress: int | None
    createdAt: str | None
    updatedAt: str | None
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            generationId=read.text(data, "generationId"),
            status=read.text(data, "status", "queued"),
            modelKey=read.opt_text(data, "modelKey"),
            progress=read.opt_int(data, "progress"),
            createdAt=read.opt_text(data, "createdAt"),
            updatedAt=read.opt_text(data, "updatedAt"),
        )
        return read.with_rest(found, data)


@frozen(slots=False)
class ListProjectGenerationsResponse:
    """Response of `list_project_generations`."""

    apiProjectId: str | None
    generations: list[ProjectGenerationSummary] = field(hash=False)
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            apiProjectId=read.opt_text(data, "apiProjectId"),
            generations=read.list_of(ProjectGenerationSummary.from_dict, data, "generations"),
        )
        return read.with_rest(found, data)


@frozen(slots=False)
class GenerationProgressStage:
    """One stage of a generation."""

    jobId: str | None
    jobState: str | None
    status: str
    progress: int
    statusMessage: str | None
    error: str | None
    errorDetails: object = field(hash=False)
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            jobId=read.opt_text(data, "jobId"),
            jobState=read.opt_text(data, "jobState"),
            status=read.text(data, "status", "pending"),
            progress=read.int_(data, "progress"),
            statusMessage=read.opt_text(data, "statusMessage"),
            error=read.opt_text(data, "error"),
            errorDetails=read.anything(data, "errorDetails"),
        )
        return read.with_rest(found, data)


@frozen(slots=False)
class GenerationTranscription:
    """State of a transcript."""

    status: str | None
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            status=read.opt_text(data, "status"),
        )
        return read.with_rest(found, data)


@frozen(slots=False)
class GenerationProgressResponse:
    """Progress of a generation. Only `status` shows whether it has ended."""

    generationId: str
    apiProjectId: str
    status: str
    hasVideo: bool
    preProcessing: GenerationProgressStage | None
    inference: GenerationProgressStage | None
    restoredVideo: GenerationProgressStage | None
    error: str | None
    errorDetails: object = field(hash=False)
    transcription: GenerationTranscription | None = None
    stage: str | None = None
    stageProgress: dict[str, Any] | None = field(default=None, hash=False)
    queue: dict[str, Any] | None = field(default=None, hash=False)
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            generationId=read.text(data, "generationId"),
            apiProjectId=read.text(data, "apiProjectId"),
            status=read.text(data, "status"),
            hasVideo=read.bool_(data, "hasVideo"),
            preProcessing=read.opt_object(GenerationProgressStage.from_dict, data, "preProcessing"),
            inference=read.opt_object(GenerationProgressStage.from_dict, data, "inference"),
            restoredVideo=read.opt_object(GenerationProgressStage.from_dict, data, "restoredVideo"),
            error=read.opt_text(data, "error"),
            errorDetails=read.anything(data, "errorDetails"),
            transcription=read.opt_object(GenerationTranscription.from_dict, data, "transcription"),
            stage=read.opt_text(data, "stage"),
            stageProgress=read.opt_dict(data, "stageProgress"),
            queue=read.opt_dict(data, "queue"),
        )
        return read.with_rest(found, data)


@frozen(slots=False)
class GenerationDownloadResponse:
    """Signed link to a result, which expires after some hours and needs no credential."""

    generationId: str
    apiProjectId: str
    downloadType: str
    downloadUrl: str = field(repr=False)
    fileName: str | None
    storagePath: str | None
    mimeType: str | None
    bucket: str | None = field(default=None, kw_only=True)
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            generationId=read.text(data, "generationId"),
            apiProjectId=read.text(data, "apiProjectId"),
            downloadType=read.text(data, "downloadType", ""),
            downloadUrl=read.text(data, "downloadUrl"),
            fileName=read.opt_text(data, "fileName"),
            storagePath=read.opt_text(data, "storagePath"),
            mimeType=read.opt_text(data, "mimeType"),
            bucket=read.opt_text(data, "bucket"),
        )
        return read.with_rest(found, data)


@frozen(slots=False)
class WebhookTestEventResponse:
    """Response of `webhooks/send_test_event`."""

    svixMessageId: str
    eventId: str | None
    eventType: str | None
    mode: str | None
    apiKeyId: str | None = None
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            svixMessageId=read.text(data, "svixMessageId"),
            eventId=read.opt_text(data, "eventId"),
            eventType=read.opt_text(data, "eventType"),
            mode=read.opt_text(data, "mode"),
            apiKeyId=read.opt_text(data, "apiKeyId"),
        )
        return read.with_rest(found, data)


@frozen(slots=False)
class AccountSettingsResponse:
    """Response of `account/settings`."""

    account: dict[str, Any] = field(hash=False)
    apiKeyId: str | None = None
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            account=read.dict_(data, "account"),
            apiKeyId=read.opt_text(data, "apiKeyId"),
        )
        return read.with_rest(found, data)


@frozen(slots=False)
class ApiKeyResponse:
    """An API key."""

    keyId: str
    label: str
    status: str
    keyPrefix: str
    role: str
    scopes: list[str] = field(hash=False)
    resourceBounds: dict[str, Any] = field(hash=False)
    key: str | None = field(default=None, repr=False)
    parentKeyId: str | None = None
    createdAt: str | None = None
    rotatedAt: str | None = None
    revokedAt: str | None = None
    permissions: dict[str, Any] | None = field(default=None, hash=False)
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            keyId=read.text(data, "keyId"),
            label=read.text(data, "label", ""),
            status=read.text(data, "status", "active"),
            keyPrefix=read.text(data, "keyPrefix", ""),
            role=read.text(data, "role", "scoped"),
            scopes=read.list_of_text(data, "scopes"),
            resourceBounds=read.dict_(data, "resourceBounds"),
            key=read.opt_text(data, "key"),
            parentKeyId=read.opt_text(data, "parentKeyId"),
            createdAt=read.opt_text(data, "createdAt"),
            rotatedAt=read.opt_text(data, "rotatedAt"),
            revokedAt=read.opt_text(data, "revokedAt"),
            permissions=read.opt_dict(data, "permissions"),
        )
        return read.with_rest(found, data)


@frozen(slots=False)
class ApiKeysListResponse:
    """Response of `api_keys/list`, without secrets."""

    keys: list[ApiKeyResponse] = field(hash=False)
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            keys=read.list_of(ApiKeyResponse.from_dict, data, "keys"),
        )
        return read.with_rest(found, data)


@frozen(slots=False)
class UsageSummaryResponse:
    """Response of `usage/summary`."""

    usage: dict[str, Any] = field(hash=False)
    billing: dict[str, Any] = field(hash=False)
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            usage=read.dict_(data, "usage"),
            billing=read.dict_(data, "billing"),
        )
        return read.with_rest(found, data)


@frozen(slots=False)
class WebhookConfigureResponse:
    """Response of `webhooks/configure`."""

    webhook: dict[str, Any] = field(hash=False)
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            webhook=read.dict_(data, "webhook"),
        )
        return read.with_rest(found, data)


@frozen(slots=False)
class GenerationWebhookEvent:
    """A delivered event. Unknown types and fields are accepted."""

    eventType: str
    eventId: str | None
    createdAt: str | None
    apiKeyId: str | None
    apiProjectId: str | None
    generationId: str | None
    status: str | None
    hasVideo: bool | None
    modelKey: str | None
    error: str | None
    errorDetails: object = field(hash=False)
    transcription: GenerationTranscription | None = None
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            eventType=read.text(data, "eventType", ""),
            eventId=read.opt_text(data, "eventId"),
            createdAt=read.opt_text(data, "createdAt"),
            apiKeyId=read.opt_text(data, "apiKeyId"),
            apiProjectId=read.opt_text(data, "apiProjectId"),
            generationId=read.opt_text(data, "generationId"),
            status=read.opt_text(data, "status"),
            hasVideo=read.opt_bool(data, "hasVideo"),
            modelKey=read.opt_text(data, "modelKey"),
            error=read.opt_text(data, "error"),
            errorDetails=read.anything(data, "errorDetails"),
            transcription=read.opt_object(GenerationTranscription.from_dict, data, "transcription"),
        )
        return read.with_rest(found, data)


@frozen(slots=False)
class AudioIsolationResult:
    """Result of `isolate`."""

    project: CreateProjectResponse
    generation: CreateGenerationResponse
    extra: Mapping[str, object] = field(factory=dict, kw_only=True, hash=False, repr=False)

    @classmethod
    def from_dict(cls, data: read.Json) -> Self:
        """Parse a response, or a part of one."""
        found = cls(
            project=CreateProjectResponse.from_dict(read.dict_(data, "project")),
            generation=CreateGenerationResponse.from_dict(read.dict_(data, "generation")),
        )
        return read.with_rest(found, data)
