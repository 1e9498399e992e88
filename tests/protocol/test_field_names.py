"""Conversion of field names between the API's camelCase and the package's snake_case."""

from __future__ import annotations

import re

import attrs
import pytest

from diffio_async.models import generations, projects
from diffio_async.models.json_values import camel


def words(text: str) -> list[str]:
    return text.split()


#: Names of fields and parameters in the published SDK.
FIELDS = words("""
account apiKeyId apiProjectId billing contentType createdAt downloadType downloadUrl edgeBaseUrl
error errorDetails eventId eventType expiresAt fileName generation generationCount generationId
generations hasVideo idempotentReplay inference jobId jobState key keyId keyPrefix keys label
maxBytes mimeType mode modelKey objectKey objectPath originalFileName parentKeyId partSizeBytes
permissions preProcessing progress project projects queue resourceBounds restoredVideo revokedAt
role rotatedAt scopes sizeBytes stage stageProgress status statusMessage storagePath svixMessageId
transcription updatedAt upload uploadCompletion uploadSessionId uploadToken usage webhook
""")
PARAMETERS = words("""
apiKey apiKeyId apiProjectId baseUrl billingPolicy contentLength contentType downloadFilePath
downloadRequestOptions downloadType eventType eventTypes fileFormat filePath generationId
generationParams headers httpClient idempotencyKey keyId label maxRetries mode model onProgress
params parent payload pollInterval progressRequestOptions projectParams raiseOnError requestOptions
resourceBounds retryBackoff retryStatusCodes samplePayload sampling scopes secret showProgress
timeout timeoutInSeconds url
""")
#: Names in the contract that the published SDK lacks.
OTHER = words("uploadUrl uploadMethod bucket uploadId etag position message")


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])[A-Z]", lambda found: f"_{found[0].lower()}", name)


def test_published_names_round_trip_through_snake_case() -> None:
    names = {*FIELDS, *PARAMETERS, *OTHER}
    assert {name: camel(snake(name)) for name in names} == {name: name for name in names}


@pytest.mark.parametrize("module", [generations, projects])
def test_every_model_field_exists_in_the_contract(module: object) -> None:
    """A misspelled field would silently be missing from every response."""
    models = [m for m in vars(module).values() if isinstance(m, type) and attrs.has(m)]
    decoded = [m for m in models if "extra" in attrs.fields_dict(m)]
    assert decoded
    for model in decoded:
        names = {camel(field.name) for field in attrs.fields(model)} - {"extra"}
        assert names <= {*FIELDS, *OTHER}, model.__name__
