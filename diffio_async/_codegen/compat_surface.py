"""What the guide calls things: the public surface of the published package 0.3.10, as tables."""

from __future__ import annotations

from typing import NamedTuple


class CompatMethod(NamedTuple):
    """One method.

    `impl` is the module of the quirk that is its body; without one, the coroutine is called and
    its answer is read into `result`.
    """

    class_name: str
    name: str
    flat: str
    result: str
    coroutine: str
    parameters: str
    impl: str = ""


#: The classes whose methods are grouped by noun, and where the client has them.
NOUNS = {
    "AudioIsolationClient": "audio_isolation",
    "GenerationsClient": "generations",
    "ProjectsClient": "projects",
    "AccountClient": "account",
    "ApiKeysClient": "api_keys",
    "UsageClient": "usage",
    "WebhooksClient": "webhooks",
}

_FILE = "filePath contentType contentLength"
_ISOLATE = f"{_FILE} fileFormat model sampling projectParams generationParams"
_WAIT = "pollInterval timeout onProgress showProgress requestOptions"
_RESTORE = (
    f"{_ISOLATE} downloadType {_WAIT} progressRequestOptions downloadRequestOptions raiseOnError"
)
_CREATE = "apiProjectId model sampling params idempotencyKey"
_IDS = "generationId apiProjectId"

_AUDIO, _GENERATIONS, _PROJECTS = "AudioIsolationClient", "GenerationsClient", "ProjectsClient"
_KEYS, _HOOKS = "ApiKeysClient", "WebhooksClient"
_BYTES = "tuple[bytes | None, RestoreInfo]"
_BOTH = "tuple[CreateGenerationResponse, GenerationProgressResponse]"

#: Every method; a method without a noun is flat only.
ROWS = [
    CompatMethod("", "create_project", "create_project", "CreateProjectResponse",
        "AsyncProjects.create",
        f"{_FILE} params fileFormat requestOptions", "_quirks"),
    CompatMethod(_AUDIO, "convert", "", "AudioIsolationResult", "AsyncAudioIsolation.isolate",
        f"{_ISOLATE} requestOptions", "_quirks.isolate"),
    CompatMethod(_AUDIO, "isolate", "", "AudioIsolationResult", "AsyncAudioIsolation.isolate",
        f"{_ISOLATE} requestOptions", "_quirks"),
    CompatMethod(_AUDIO, "restore_audio", "restore_audio", _BYTES, "AsyncDiffio.restore", _RESTORE,
        "_restoring"),
    CompatMethod(_AUDIO, "restore", "", _BYTES, "AsyncDiffio.restore", _RESTORE,
        "_restoring.restore_audio"),
    CompatMethod(_GENERATIONS, "create", "create_generation", "CreateGenerationResponse",
        "AsyncGenerations.create", f"{_CREATE} requestOptions"),
    CompatMethod(_GENERATIONS, "get_progress", "get_generation_progress",
        "GenerationProgressResponse",
        "AsyncGenerations.get_progress", f"{_IDS} requestOptions"),
    CompatMethod(_GENERATIONS, "get_download", "get_generation_download",
        "GenerationDownloadResponse",
        "AsyncGenerations.get_download", f"{_IDS} downloadType requestOptions"),
    CompatMethod(_GENERATIONS, "download", "", "GenerationDownloadResponse",
        "AsyncGenerations.download",
        f"{_IDS} downloadFilePath downloadType requestOptions", "_quirks"),
    CompatMethod(_GENERATIONS, "wait_for_complete", "wait_for_generation",
        "GenerationProgressResponse",
        "AsyncGenerations.wait_for_complete", f"{_IDS} {_WAIT}", "_waiting"),
    CompatMethod(_GENERATIONS, "create_and_wait", "", _BOTH, "AsyncGenerations.create_and_wait",
        f"{_CREATE} {_WAIT} progressRequestOptions", "_waiting"),
    CompatMethod(_PROJECTS, "list", "list_projects", "ListProjectsResponse", "AsyncProjects.list",
        "requestOptions"),
    CompatMethod(_PROJECTS, "complete_upload", "complete_project_upload",
        "CompleteProjectUploadResponse",
        "AsyncProjects.complete_upload", "apiProjectId requestOptions"),
    CompatMethod(_PROJECTS, "list_generations", "list_project_generations",
        "ListProjectGenerationsResponse", "AsyncProjects.list_generations",
        "apiProjectId requestOptions"),
    CompatMethod("AccountClient", "get_settings", "get_account_settings", "AccountSettingsResponse",
        "AsyncAccounts.get_settings", "requestOptions"),
    CompatMethod("AccountClient", "update_settings", "update_account_settings",
        "AccountSettingsResponse",
        "AsyncAccounts.update_settings", "billingPolicy requestOptions"),
    CompatMethod(_KEYS, "create", "create_api_key", "ApiKeyResponse", "AsyncApiKeys.create",
        "label scopes resourceBounds requestOptions"),
    CompatMethod(_KEYS, "list", "list_api_keys", "ApiKeysListResponse", "AsyncApiKeys.list",
        "requestOptions"),
    CompatMethod(_KEYS, "rotate", "rotate_api_key", "ApiKeyResponse", "AsyncApiKeys.rotate",
        "keyId requestOptions"),
    CompatMethod(_KEYS, "revoke", "revoke_api_key", "ApiKeyResponse", "AsyncApiKeys.revoke",
        "keyId requestOptions"),
    CompatMethod("UsageClient", "summary", "get_usage_summary", "UsageSummaryResponse",
        "AsyncUsageReports.summary", "apiKeyId requestOptions"),
    CompatMethod(_HOOKS, "send_test_event", "send_webhook_test_event", "WebhookTestEventResponse",
        "AsyncWebhooks.send_test_event", "eventType mode apiKeyId samplePayload requestOptions"),
    CompatMethod(_HOOKS, "configure", "configure_webhook", "WebhookConfigureResponse",
        "AsyncWebhooks.configure", "mode url eventTypes apiKeyId requestOptions"),
    CompatMethod(_HOOKS, "verify_signature", "", "GenerationWebhookEvent",
        "AsyncWebhooks.verify_signature",
        "payload headers secret", "_quirks"),
]  # fmt: skip

#: The guide's words for parameters of ours that it does not merely spell in its own way.
RENAMED = {"source": "filePath", "options": "requestOptions"}


class CompatParameter(NamedTuple):
    """A parameter that differs from ours: its type, its default, and its words for the user."""

    annotation: str
    default: str | None
    words: str


_OPTIONS = "RequestOptionsLike"
PARAMETERS = {
    "filePath": CompatParameter("str | os.PathLike[str]", None, "The recording's path."),
    "contentLength": CompatParameter(
        "int | None", "None", "Accepted and ignored: the size of the file is sent."
    ),
    "downloadFilePath": CompatParameter(
        "str | os.PathLike[str]", None, "The file to write; one that exists is replaced."
    ),
    "pollInterval": CompatParameter("float", "2.0", "Seconds between questions."),
    "timeout": CompatParameter(
        "float", "600.0", "Seconds the generation is waited for; 0 asks once."
    ),
    "onProgress": CompatParameter(
        "Callable[[GenerationProgressResponse], object] | None", "None",
        "Told of progress that changed, in the calling thread.",
    ),
    "showProgress": CompatParameter("bool", "False", "Print progress changes to standard error."),
    "requestOptions": CompatParameter(
        _OPTIONS, "None", "Options of this call: an object or a dict."
    ),
    "progressRequestOptions": CompatParameter(
        _OPTIONS, "None", "Options of the wait, where they differ."
    ),
    "downloadRequestOptions": CompatParameter(
        _OPTIONS, "None", "Options of the download, where they differ."
    ),
    "keyId": CompatParameter("str", None, "The key's id, not the key."),
    "raiseOnError": CompatParameter(
        "bool", "False", "Raise what went wrong, with the dict as its `restoreInfo`."
    ),
    "headers": CompatParameter(
        "Mapping[str, Any]", None, "The request's headers, in any case; lists are joined."
    ),
}  # fmt: skip

#: What is handed on where the value itself is not.
ARGUMENT_EXPR = {
    ("GenerationsClient", "model"): "_quirks.served(model)",
    ("GenerationsClient", "params"): "params or None",
    ("ApiKeysClient", "resourceBounds"): "resourceBounds or {}",
}

_RESTORE_WORDS = """Restore one recording: upload it, generate, wait, download.

With the bytes comes a dict that says how far it got. Where it failed, the bytes are None and the
dict's `error` says why; with `raiseOnError` it is raised. Whatever can be known to be wrong is
found before the first byte is sent."""

#: Words for methods that are not quite ours.
SUMMARIES = {
    (_AUDIO, "convert"): "`isolate` by its other name.",
    (_AUDIO, "restore_audio"): _RESTORE_WORDS,
    (_AUDIO, "restore"): _RESTORE_WORDS,
    (_GENERATIONS, "download"): (
        "Download a result to a file, which gets its name only when it is whole."
    ),
    (_GENERATIONS, "create_and_wait"): (
        "`create`, then `wait_for_complete`: the answers of both."
    ),
}  # fmt: skip

#: Errors that a method raises for other reasons than ours, or (without words) does not raise.
RAISES = {
    (_GENERATIONS, "download"): {
        "InvalidTarget": "Before anything is asked: the folder is missing or not writable. "
        "Later: the disk is full."
    },
    (_AUDIO, "restore_audio"): {"InvalidTarget": ""},
    (_AUDIO, "restore"): {"InvalidTarget": ""},
}
