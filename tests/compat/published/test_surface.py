"""The published package's names, parameters and attributes are ours."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

from tests.compat.published.both import BEYOND

if TYPE_CHECKING:
    from collections.abc import Mapping

CLIENTS = [
    "DiffioClient",
    "AccountClient",
    "ApiKeysClient",
    "AudioIsolationClient",
    "GenerationsClient",
    "ProjectsClient",
    "UsageClient",
    "WebhooksClient",
]
RESULTS = [
    "AccountSettingsResponse",
    "ApiKeyResponse",
    "ApiKeysListResponse",
    "AudioIsolationResult",
    "CompleteProjectUploadResponse",
    "CreateGenerationResponse",
    "CreateProjectResponse",
    "GenerationDownloadResponse",
    "GenerationProgressResponse",
    "GenerationProgressStage",
    "GenerationTranscription",
    "GenerationWebhookEvent",
    "ListProjectGenerationsResponse",
    "ListProjectsResponse",
    "ProjectGenerationSummary",
    "ProjectSummary",
    "ProjectUploadSession",
    "UsageSummaryResponse",
    "WebhookConfigureResponse",
    "WebhookTestEventResponse",
]
WORDS = ["DownloadType", "GenerationWebhookStatus", "ModelKey", "TranscriptionStatus"]
WORDS += ["WebhookEventType", "WebhookMode"]
REST = ["DiffioApiError", "RequestOptions"]


def signature(function: Any) -> list[tuple[str, str, object]]:
    """Names, kinds and defaults, in order."""
    parameters = inspect.signature(function).parameters.values()
    return [(p.name, p.kind.description, p.default) for p in parameters]


def public(kind: type) -> dict[str, Any]:
    """The methods of a class that a program may call."""
    shown = {"__init__", "__enter__", "__exit__"}
    return {
        name: thing
        for name, thing in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") or name in shown
    }


def test_every_public_name_is_there(packages: Mapping[str, Any]) -> None:
    names = packages["published"].__all__
    assert len(names) == 36
    assert set(names) == {*CLIENTS, *RESULTS, *WORDS, *REST}
    assert set(packages["ours"].__all__) == {*names, "__version__"}


@pytest.mark.parametrize("name", CLIENTS)
def test_methods_have_the_same_parameters_in_the_same_order(
    packages: Mapping[str, Any], name: str
) -> None:
    """Names, order, kinds and defaults, of every method that is public."""
    published, ours = (public(getattr(packages[each], name)) for each in ("published", "ours"))
    assert set(published) == set(ours)
    assert len(published) > 1
    for method, function in published.items():
        assert signature(ours[method]) == signature(function), method


def test_options_and_errors_are_made_in_the_same_way(packages: Mapping[str, Any]) -> None:
    for name in REST:
        published, ours = (getattr(packages[each], name) for each in ("published", "ours"))
        assert signature(ours.__init__) == signature(published.__init__)


@pytest.mark.parametrize("name", RESULTS)
def test_results_are_made_by_hand_in_the_same_way(packages: Mapping[str, Any], name: str) -> None:
    """Difference: `extra` and what only one upload era has may be added by keyword."""
    published, ours = (getattr(packages[each], name) for each in ("published", "ours"))
    mine = [each for each in signature(ours.__init__) if each[0] not in BEYOND]
    assert mine == signature(published.__init__)
    beyond = [each for each in signature(ours.__init__) if each[0] in BEYOND]
    assert all(kind == "keyword-only" for _, kind, _ in beyond)


@pytest.mark.parametrize("name", WORDS)
def test_the_tuples_of_words_are_the_same(packages: Mapping[str, Any], name: str) -> None:
    assert getattr(packages["ours"], name) == getattr(packages["published"], name)


def test_difference_results_compare_show_themselves_and_do_not_change(
    packages: Mapping[str, Any],
) -> None:
    """The published results have no equality and no repr, and can be written to."""
    made = {
        each: [packages[each].GenerationTranscription("available") for _ in range(2)]
        for each in packages
    }
    first, second = made["published"]
    assert first != second
    first.status = "pending"
    first, second = made["ours"]
    assert first == second
    assert hash(first) == hash(second)
    assert repr(first) == "GenerationTranscription(status='available')"
    with pytest.raises(AttributeError):
        first.status = "pending"
    assert vars(first)["status"] == "available"
