"""Writer of the result classes of compat: the models with the names and order of 0.3.10."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from diffio_async._codegen.compat_surface import NameMapper, camel, render_docstring
from diffio_async._codegen.reading import parse_docstring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffio_async._codegen.reading import Model


class ResultSpec(NamedTuple):
    """One result class; `optional` fields have defaults in its constructor.

    `model` is the model with its types and docstring, `more` has fields that 0.3.10 lacks.
    """

    name: str
    model: str
    required: str
    optional: str = ""
    more: str = ""


SHAPES = [
    ResultSpec(
        "ProjectUploadSession", "EdgeUpload",
        "uploadSessionId edgeBaseUrl uploadToken objectKey partSizeBytes maxBytes expiresAt",
    ),
    ResultSpec(
        "CompleteProjectUploadResponse", "UploadConfirmation", "apiProjectId status sizeBytes"
    ),
    ResultSpec(
        "CreateProjectResponse", "CreatedProject",
        "apiProjectId upload objectPath expiresAt", "uploadCompletion",
        "uploadUrl uploadMethod bucket",
    ),
    ResultSpec(
        "ProjectSummary", "ProjectSummary",
        "apiProjectId status originalFileName contentType hasVideo generationCount createdAt "
        "updatedAt",
    ),
    ResultSpec("ListProjectsResponse", "ProjectList", "projects"),
    ResultSpec(
        "CreateGenerationResponse", "Generation",
        "generationId apiProjectId modelKey status", "idempotentReplay",
    ),
    ResultSpec(
        "ProjectGenerationSummary", "GenerationSummary",
        "generationId status modelKey progress createdAt updatedAt",
    ),
    ResultSpec("ListProjectGenerationsResponse", "GenerationList", "apiProjectId generations"),
    ResultSpec(
        "GenerationProgressStage", "StageProgress",
        "jobId jobState status progress statusMessage error errorDetails",
    ),
    ResultSpec("GenerationTranscription", "TranscriptionState", "status"),
    ResultSpec(
        "GenerationProgressResponse", "GenerationProgress",
        "generationId apiProjectId status hasVideo preProcessing inference restoredVideo error "
        "errorDetails",
        "transcription stage stageProgress queue",
    ),
    ResultSpec(
        "GenerationDownloadResponse", "Download",
        "generationId apiProjectId downloadType downloadUrl fileName storagePath mimeType",
        more="bucket",
    ),
    ResultSpec(
        "WebhookTestEventResponse", "SentTestEvent",
        "svixMessageId eventId eventType mode", "apiKeyId",
    ),
    ResultSpec("AccountSettingsResponse", "AccountSettings", "account", "apiKeyId"),
    ResultSpec(
        "ApiKeyResponse", "ApiKey",
        "keyId label status keyPrefix role scopes resourceBounds",
        "key parentKeyId createdAt rotatedAt revokedAt permissions",
    ),
    ResultSpec("ApiKeysListResponse", "ApiKeyList", "keys"),
    ResultSpec("UsageSummaryResponse", "UsageSummary", "usage billing"),
    ResultSpec("WebhookConfigureResponse", "ConfiguredWebhook", "webhook"),
    ResultSpec(
        "GenerationWebhookEvent", "WebhookEvent",
        "eventType eventId createdAt apiKeyId apiProjectId generationId status hasVideo modelKey "
        "error errorDetails",
        "transcription",
    ),
    ResultSpec("AudioIsolationResult", "Isolation", "project generation"),
]  # fmt: skip

#: Models whose result class has another name in nested fields.
ALSO = {"Project": "CreateProjectResponse"}

#: Fields that the model does not have.
ADDED = {("CreateProjectResponse", "uploadCompletion"): "UploadConfirmation | None"}

#: Defaults of strings that are absent or empty.
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
    # A delivery may lack even this.
    ("GenerationWebhookEvent", "eventType"): "",
}

#: Other places of a field in a response.
ELSEWHERE = {
    ("CreateProjectResponse", "objectPath"): "upload.objectKey",
    ("CreateProjectResponse", "expiresAt"): "upload.expiresAt",
}

#: Dicts with the keys of the API, which are models elsewhere; an absent one is empty.
DICTS = {"account", "usage", "billing", "webhook", "resourceBounds"}
#: The same, but an absent one is None.
MAYBE_DICTS = {"queue", "stageProgress", "permissions"}

#: Fields that are False or 0 if they are absent.
ASSUMED = {
    ("ProjectSummary", "hasVideo"),
    ("ProjectSummary", "generationCount"),
    ("GenerationProgressStage", "progress"),
    ("GenerationProgressResponse", "hasVideo"),
}


_HEADER = '''\
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
'''
_OBJECT = "dict[str, Any]"
_NUMBERS = {"int", "float", "int | None", "float | None"}
_FLAGS = {"bool", "bool | None"}
_STRINGS = {"str | None", "datetime | None"}


def render_results(models: dict[str, Model], spell: NameMapper) -> str:
    """Return the source of the module."""
    lines = [_HEADER.rstrip()]
    for shape in SHAPES:
        lines += ["", "", *_class(shape, models[shape.model], spell)]
    return "\n".join([*lines, ""])


def _class(shape: ResultSpec, model: Model, spell: NameMapper) -> Iterator[str]:
    required, optional, more = (names.split() for names in shape[2:])
    fields = {camel(f.name): f for f in model.fields.values()}
    kinds: dict[str, str] = {}
    reads: dict[str, str] = {}
    for name in [*required, *optional, *more]:
        added = ADDED.get((shape.name, name))
        if added is None and name not in fields:
            raise ValueError(f"{model.name} has no field for {shape.name}.{name}")
        ours = added if added is not None else fields[name].annotation
        kinds[name], reads[name] = _kind(shape.name, name, ours)
    yield "@frozen(slots=False)"
    yield f"class {shape.name}:"
    doc = parse_docstring(model.docstring)
    # The first paragraph: later ones describe what 0.3.10 does not have.
    doc.summary = spell(doc.summary.partition("\n\n")[0])
    yield from render_docstring(doc, 4)
    yield ""
    for name in [*required, *optional, *more]:
        settings = []
        if name not in required:
            settings.append("default=None")
        if name in more:
            settings.append("kw_only=True")
        if not re.fullmatch(r"(str|int|bool)( \| None)?|[A-Z]\w*( \| None)?", kinds[name]):
            settings.append("hash=False")
        if name in fields and fields[name].secret:
            settings.append("repr=False")
        ending = "" if not settings else f" = field({', '.join(settings)})"
        yield f"    {name}: {kinds[name]}{' = None' if settings == ['default=None'] else ending}"
    extra = "field(factory=dict, kw_only=True, hash=False, repr=False)"
    yield f"    extra: Mapping[str, object] = {extra}"
    yield ""
    yield "    @classmethod"
    yield "    def from_dict(cls, data: read.Json) -> Self:"
    yield '        """Parse a response, or a part of one."""'
    yield "        found = cls("
    for name, how in reads.items():
        line = f"            {name}={how},"
        if len(line) > 100:  # noqa: PLR2004 - the line length
            opening, _, arguments = line.removesuffix("),").partition("(")
            line = f"{opening}(\n                {arguments}\n            ),"
        yield line
    yield "        )"
    yield "        return read.with_rest(found, data)"


def _kind(shape: str, name: str, ours: str) -> tuple[str, str]:
    """Return the type of a field, and the expression that parses it."""
    here = (shape, name)
    if name in DICTS:
        return _OBJECT, f'read.dict_(data, "{name}")'
    if name in MAYBE_DICTS:
        return f"{_OBJECT} | None", f'read.opt_dict(data, "{name}")'
    if here in FALLBACKS:
        return "str", f'read.text(data, "{name}", "{FALLBACKS[here]}")'
    if ours == "str":
        return "str", f'read.text(data, "{name}")'
    if ours in _STRINGS:
        elsewhere = f', "{ELSEWHERE[here]}"' if here in ELSEWHERE else ""
        return "str | None", f'read.opt_text(data, "{name}"{elsewhere})'
    if ours in _NUMBERS | _FLAGS:
        kind = "int" if ours in _NUMBERS else "bool"
        if here in ASSUMED or ours in {"int", "bool"}:
            return kind, f'read.{kind}_(data, "{name}")'
        return f"{kind} | None", f'read.opt_{kind}(data, "{name}")'
    if ours == "object":
        return "object", f'read.anything(data, "{name}")'
    if ours == "tuple[str, ...]":
        return "list[str]", f'read.list_of_text(data, "{name}")'
    return _nested(name, ours)


def _nested(name: str, ours: str) -> tuple[str, str]:
    theirs = {**{shape.model: shape.name for shape in SHAPES}, **ALSO}
    for pattern, kind, how in (
        (r"(\w+)", "{0}", '{0}.from_dict(read.dict_(data, "{1}"))'),
        (r"(\w+) \| None", "{0} | None", 'read.opt_object({0}.from_dict, data, "{1}")'),
        (r"tuple\[(\w+), \.\.\.\]", "list[{0}]", 'read.list_of({0}.from_dict, data, "{1}")'),
    ):
        found = re.fullmatch(pattern, ours)
        if found is not None and found[1] in theirs:
            return kind.format(theirs[found[1]]), how.format(theirs[found[1]], name)
    raise ValueError(f"no rule for {name}: {ours}")
