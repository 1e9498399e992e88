"""Public surface of the published package 0.3.10: methods, names and docstrings."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from diffio_async._codegen.reading import Docstring


class CompatMethod(NamedTuple):
    """One method.

    `impl` is the module of the hand-written function that is its body. Without one, the coroutine
    is called and its response is parsed into `result`.
    """

    class_name: str
    name: str
    flat: str
    result: str
    coroutine: str
    parameters: str
    impl: str = ""


#: The classes of the parts of the client, and their attributes.
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

#: All methods. `flat` is the name on the client itself; a method without a class has only that.
ROWS = [
    CompatMethod("", "create_project", "create_project", "CreateProjectResponse",
        "AsyncProjects.create",
        f"{_FILE} params fileFormat requestOptions", "_calls"),
    CompatMethod(_AUDIO, "convert", "", "AudioIsolationResult", "AsyncAudioIsolation.isolate",
        f"{_ISOLATE} requestOptions", "_calls.isolate"),
    CompatMethod(_AUDIO, "isolate", "", "AudioIsolationResult", "AsyncAudioIsolation.isolate",
        f"{_ISOLATE} requestOptions", "_calls"),
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
        f"{_IDS} downloadFilePath downloadType requestOptions", "_calls"),
    CompatMethod(_GENERATIONS, "wait_for_complete", "wait_for_generation",
        "GenerationProgressResponse",
        "AsyncGenerations.wait_for_complete", f"{_IDS} {_WAIT}", "_restoring"),
    CompatMethod(_GENERATIONS, "create_and_wait", "", _BOTH, "AsyncGenerations.create_and_wait",
        f"{_CREATE} {_WAIT} progressRequestOptions", "_restoring"),
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
        "payload headers secret", "_calls"),
]  # fmt: skip

#: Parameters with another name, apart from camelCase.
RENAMED = {"source": "filePath", "options": "requestOptions"}


class CompatParameter(NamedTuple):
    """A parameter that differs from the coroutine's: its type, default and description."""

    annotation: str
    default: str | None
    description: str


_OPTIONS = "RequestOptionsLike"
PARAMETERS = {
    "filePath": CompatParameter("str | os.PathLike[str]", None, "The recording's path."),
    "contentLength": CompatParameter(
        "int | None", "None", "Accepted and ignored: the size of the file is sent."
    ),
    "downloadFilePath": CompatParameter(
        "str | os.PathLike[str]", None, "The file to write; an existing file is replaced."
    ),
    "pollInterval": CompatParameter("float", "2.0", "Seconds between polls."),
    "timeout": CompatParameter(
        "float", "600.0", "Seconds to wait for the generation; 0 polls once."
    ),
    "onProgress": CompatParameter(
        "Callable[[GenerationProgressResponse], object] | None", "None",
        "Called when the progress changed, in the calling thread.",
    ),
    "showProgress": CompatParameter("bool", "False", "Print progress changes to standard error."),
    "requestOptions": CompatParameter(
        _OPTIONS, "None", "Options of this call: an object or a dict."
    ),
    "progressRequestOptions": CompatParameter(
        _OPTIONS, "None", "Options of the wait, if they differ."
    ),
    "downloadRequestOptions": CompatParameter(
        _OPTIONS, "None", "Options of the download, if they differ."
    ),
    "keyId": CompatParameter("str", None, "The id of the key, not the key."),
    "raiseOnError": CompatParameter(
        "bool", "False", "Raise the error, with the dict as its `restoreInfo`."
    ),
    "headers": CompatParameter(
        "Mapping[str, Any]", None, "The headers of the request; lists are joined."
    ),
}  # fmt: skip

#: Arguments that are not passed on as they are.
ARGUMENT_EXPR = {
    ("GenerationsClient", "model"): "_calls.served(model)",
    ("GenerationsClient", "params"): "params or None",
    ("ApiKeysClient", "resourceBounds"): "resourceBounds or {}",
}

_RESTORE_SUMMARY = """Restore one recording: upload it, generate, wait, download.

Returns the bytes and a dict with the state of the restoration. After a failure, the bytes are None
and `error` in the dict has the reason; with `raiseOnError`, the error is raised. Arguments are
checked before the first byte is sent."""

#: Docstrings of methods that differ from the coroutine.
SUMMARIES = {
    (_AUDIO, "convert"): "Another name for `isolate`.",
    (_AUDIO, "restore_audio"): _RESTORE_SUMMARY,
    (_AUDIO, "restore"): _RESTORE_SUMMARY,
    (_GENERATIONS, "download"): (
        "Download a result to a file, which has its name only when it is complete."
    ),
    (_GENERATIONS, "create_and_wait"): (
        "Call `create`, then `wait_for_complete`; return both results."
    ),
}  # fmt: skip

#: Errors with another reason than those of the coroutine; an empty one is not raised.
RAISES = {
    (_GENERATIONS, "download"): {
        "InvalidTarget": "Before any request: the folder is missing or not writable. "
        "Later: the disk is full."
    },
    (_AUDIO, "restore_audio"): {"InvalidTarget": ""},
    (_AUDIO, "restore"): {"InvalidTarget": ""},
}

_WIDTH = 100
#: Names in docstrings that camelCase alone does not map.
_IRREGULAR = {
    "projects.create": "create_project",
    "math.inf": "float('inf')",
    "DiffioError": "DiffioApiError",
    "ApiError": "DiffioApiError",
}


def camel(name: str) -> str:
    """`api_project_id` -> `apiProjectId`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


class NameMapper:
    """Mapping of names in a text to those of the compat facade."""

    def __init__(self, names: Iterable[str], errors: Iterable[str]) -> None:
        """Create a mapping of the names of parameters, fields and errors."""
        self._mapped = {
            **{name: camel(name) for name in names if "_" in name},
            **{name: f"Diffio{name}" for name in errors},
            **_IRREGULAR,
        }
        longest_first = sorted(self._mapped, key=len, reverse=True)
        self._pattern = re.compile(rf"(?<![\w.])(?:{'|'.join(map(re.escape, longest_first))})\b")

    def __call__(self, text: str) -> str:
        """Return the text with its names mapped."""
        return self._pattern.sub(lambda found: self._mapped[found[0]], text)


def render_docstring(doc: Docstring, indent: int) -> Iterator[str]:
    """Return the lines of the docstring."""
    paragraphs = [" ".join(block.split()) for block in doc.summary.split("\n\n")]
    blocks = [textwrap.fill(block, _WIDTH - indent) for block in paragraphs if block]
    for title, entries in (("Args", doc.args), ("Raises", doc.raises)):
        if entries:
            lines = [
                _entry(name, description, _WIDTH - indent) for name, description in entries.items()
            ]
            blocks.append("\n".join([f"{title}:", *lines]))
    text = "\n\n".join(blocks)
    margin = " " * indent
    if "\n" not in text and len(text) + indent + 6 <= _WIDTH:
        yield f'{margin}"""{text}"""'
        return
    first, *rest = text.split("\n")
    yield f'{margin}"""{first}'
    yield from (f"{margin}{line}".rstrip() for line in rest)
    yield f'{margin}"""'


def _entry(name: str, description: str, width: int) -> str:
    return textwrap.fill(
        f"{name}: {description}", width, initial_indent=" " * 4, subsequent_indent=" " * 8
    )
