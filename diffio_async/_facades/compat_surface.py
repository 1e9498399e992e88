"""What the guide calls things: the public surface of the published package 0.3.10, as tables."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One method.

    `room` is the module of the quirk that is its body; without one, the coroutine is called and
    its answer is read into `answer`.
    """

    noun: str
    name: str
    flat: str
    answer: str
    coroutine: str
    parameters: str
    room: str = ""


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
    Row("", "create_project", "create_project", "CreateProjectResponse", "AsyncProjects.create",
        f"{_FILE} params fileFormat requestOptions", "_quirks"),
    Row(_AUDIO, "convert", "", "AudioIsolationResult", "AsyncAudioIsolation.isolate",
        f"{_ISOLATE} requestOptions", "_quirks.isolate"),
    Row(_AUDIO, "isolate", "", "AudioIsolationResult", "AsyncAudioIsolation.isolate",
        f"{_ISOLATE} requestOptions", "_quirks"),
    Row(_AUDIO, "restore_audio", "restore_audio", _BYTES, "AsyncDiffio.restore", _RESTORE,
        "_restoring"),
    Row(_AUDIO, "restore", "", _BYTES, "AsyncDiffio.restore", _RESTORE,
        "_restoring.restore_audio"),
    Row(_GENERATIONS, "create", "create_generation", "CreateGenerationResponse",
        "AsyncGenerations.create", f"{_CREATE} requestOptions"),
    Row(_GENERATIONS, "get_progress", "get_generation_progress", "GenerationProgressResponse",
        "AsyncGenerations.get_progress", f"{_IDS} requestOptions"),
    Row(_GENERATIONS, "get_download", "get_generation_download", "GenerationDownloadResponse",
        "AsyncGenerations.get_download", f"{_IDS} downloadType requestOptions"),
    Row(_GENERATIONS, "download", "", "GenerationDownloadResponse", "AsyncGenerations.download",
        f"{_IDS} downloadFilePath downloadType requestOptions", "_quirks"),
    Row(_GENERATIONS, "wait_for_complete", "wait_for_generation", "GenerationProgressResponse",
        "AsyncGenerations.wait_for_complete", f"{_IDS} {_WAIT}", "_waiting"),
    Row(_GENERATIONS, "create_and_wait", "", _BOTH, "AsyncGenerations.create_and_wait",
        f"{_CREATE} {_WAIT} progressRequestOptions", "_waiting"),
    Row(_PROJECTS, "list", "list_projects", "ListProjectsResponse", "AsyncProjects.list",
        "requestOptions"),
    Row(_PROJECTS, "complete_upload", "complete_project_upload", "CompleteProjectUploadResponse",
        "AsyncProjects.complete_upload", "apiProjectId requestOptions"),
    Row(_PROJECTS, "list_generations", "list_project_generations",
        "ListProjectGenerationsResponse", "AsyncProjects.list_generations",
        "apiProjectId requestOptions"),
    Row("AccountClient", "get_settings", "get_account_settings", "AccountSettingsResponse",
        "AsyncAccounts.get_settings", "requestOptions"),
    Row("AccountClient", "update_settings", "update_account_settings", "AccountSettingsResponse",
        "AsyncAccounts.update_settings", "billingPolicy requestOptions"),
    Row(_KEYS, "create", "create_api_key", "ApiKeyResponse", "AsyncApiKeys.create",
        "label scopes resourceBounds requestOptions"),
    Row(_KEYS, "list", "list_api_keys", "ApiKeysListResponse", "AsyncApiKeys.list",
        "requestOptions"),
    Row(_KEYS, "rotate", "rotate_api_key", "ApiKeyResponse", "AsyncApiKeys.rotate",
        "keyId requestOptions"),
    Row(_KEYS, "revoke", "revoke_api_key", "ApiKeyResponse", "AsyncApiKeys.revoke",
        "keyId requestOptions"),
    Row("UsageClient", "summary", "get_usage_summary", "UsageSummaryResponse",
        "AsyncUsageReports.summary", "apiKeyId requestOptions"),
    Row(_HOOKS, "send_test_event", "send_webhook_test_event", "WebhookTestEventResponse",
        "AsyncWebhooks.send_test_event", "eventType mode apiKeyId samplePayload requestOptions"),
    Row(_HOOKS, "configure", "configure_webhook", "WebhookConfigureResponse",
        "AsyncWebhooks.configure", "mode url eventTypes apiKeyId requestOptions"),
    Row(_HOOKS, "verify_signature", "", "GenerationWebhookEvent", "AsyncWebhooks.verify_signature",
        "payload headers secret", "_quirks"),
]  # fmt: skip

#: The guide's words for parameters of ours that it does not merely spell in its own way.
RENAMED = {"source": "filePath", "options": "requestOptions"}


class Given(NamedTuple):
    """A parameter that differs from ours: its type, its default, and its words for the user."""

    annotation: str
    default: str | None
    words: str


_OPTIONS = "RequestOptionsLike"
GIVEN = {
    "filePath": Given("str | os.PathLike[str]", None, "The recording's path."),
    "contentLength": Given("int | None", "None", "Accepted; what is sent is the file's own size."),
    "downloadFilePath": Given(
        "str | os.PathLike[str]", None, "The file to write; one that exists is replaced."
    ),
    "pollInterval": Given("float", "2.0", "Seconds between questions."),
    "timeout": Given(
        "float", "600.0", "Seconds the generation is waited for; 0 asks once."
    ),
    "onProgress": Given(
        "Callable[[GenerationProgressResponse], object] | None", "None",
        "Told of progress that changed, in the calling thread.",
    ),
    "showProgress": Given("bool", "False", "Write progress that changed to standard error."),
    "requestOptions": Given(_OPTIONS, "None", "Options of this call, an object or a dict."),
    "progressRequestOptions": Given(_OPTIONS, "None", "Those of the wait, where they differ."),
    "downloadRequestOptions": Given(_OPTIONS, "None", "Those of the download, where they differ."),
    "keyId": Given("str", None, "The key's id, not the key."),
    "raiseOnError": Given(
        "bool", "False", "Raise what went wrong, with the dict as its `restoreInfo`."
    ),
    "headers": Given(
        "Mapping[str, Any]", None, "The request's headers, in any case; lists are joined."
    ),
}  # fmt: skip

#: What is handed on where the value itself is not.
HANDED_ON = {
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
        "TargetUnusable": "Before anything is asked: the folder is missing or not writable. "
        "Later: the disk is full."
    },
    (_AUDIO, "restore_audio"): {"TargetUnusable": ""},
    (_AUDIO, "restore"): {"TargetUnusable": ""},
}
