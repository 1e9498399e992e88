"""The API's names in camelCase and ours in snake_case, there and back."""

from __future__ import annotations

import re

import attrs
import pytest

from diffio_async.models import generations, projects
from diffio_async.models.json_values import camel


def words(text: str) -> list[str]:
    return text.split()


#: What the published SDK's responses and arguments are called.
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
#: Names of the contract that the published SDK does not have.
MORE = words("uploadUrl uploadMethod bucket uploadId etag position message")


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])[A-Z]", lambda found: f"_{found[0].lower()}", name)


def test_a_published_name_survives_the_way_to_snake_case_and_back() -> None:
    names = {*FIELDS, *PARAMETERS, *MORE}
    assert {name: camel(snake(name)) for name in names} == {name: name for name in names}


@pytest.mark.parametrize("module", [generations, projects])
def test_every_field_of_a_decoded_model_has_a_name_of_the_contract(module: object) -> None:
    """A mistyped field would be absent from every response, silently."""
    models = [m for m in vars(module).values() if isinstance(m, type) and attrs.has(m)]
    decoded = [m for m in models if "extra" in attrs.fields_dict(m)]
    assert decoded
    for model in decoded:
        names = {camel(field.name) for field in attrs.fields(model)} - {"extra"}
        assert names <= {*FIELDS, *MORE}, model.__name__
