"""The same calls with both packages: the same requests, the same results, the same errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from diffio_async.sandbox import Fault, RespondWith
from tests.compat.published.both import Scene, both, outcome, raised

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Packages = dict[str, Any]

PROGRESS = "/v1/get_generation_progress"


def _key(scene: Scene) -> Any:
    return scene.client.api_keys.create(label="worker", scopes=["projects:read"]).keyId


def _restored(scene: Scene) -> Any:
    restore = scene.client.audio_isolation.restore_audio
    return restore(filePath=str(scene.sample), downloadType="mp3", pollInterval=0.05)


def _list_after(scene: Scene, name: str) -> Any:
    project_id = scene.uploaded()
    if name == "projects":
        return scene.client.projects.list()
    return scene.client.projects.list_generations(apiProjectId=project_id)


def _configured(scene: Scene) -> Any:
    configure = scene.client.webhooks.configure
    return configure(
        mode="test", url="https://example.com/hook", eventTypes=["generation.completed"]
    )


def _tested(scene: Scene) -> Any:
    send = scene.client.webhooks.send_test_event
    return send(eventType="generation.completed", mode="test", samplePayload={"status": "error"})


#: What is played on both; every endpoint is among them.
SCENES: Mapping[str, Callable[[Scene], Any]] = {
    "create_project": lambda s: s.client.create_project(
        filePath=s.sample, params={"source": "guide"}, fileFormat="wav"
    ),
    "create_project, spare": lambda s: s.client.create_project(filePath=str(s.sample), params={}),
    "complete_upload": lambda s: s.client.projects.complete_upload(apiProjectId=s.uploaded()),
    "create, with a key": lambda s: s.client.generations.create(
        apiProjectId=s.uploaded(),
        model="diffio-4.6-pro",
        sampling={"preset": "balanced"},
        params={"tag": "docs"},
        idempotencyKey="job-1",
    ),
    "create, an old name": lambda s: s.client.create_generation(
        apiProjectId=s.uploaded(), model="diffio-4.5-flash", idempotencyKey="job-1", params={}
    ),
    "create_and_wait": lambda s: s.client.generations.create_and_wait(
        apiProjectId=s.uploaded(), idempotencyKey="job-1", pollInterval=0.05
    ),
    "get_progress": lambda s: s.client.generations.get_progress(**s.generated()),
    "wait_for_complete": lambda s: s.client.generations.wait_for_complete(**s.generated()),
    "get_download": lambda s: s.client.generations.get_download(**s.generated()),
    "get_download, mp3": lambda s: s.client.generations.get_download(
        **s.generated(), downloadType="mp3"
    ),
    "get_download, transcript": lambda s: s.client.get_generation_download(
        **s.generated(), downloadType="transcript"
    ),
    "list": lambda s: _list_after(s, "projects"),
    "list_generations": lambda s: _list_after(s, "generations"),
    "get_settings": lambda s: s.client.account.get_settings(),
    "update_settings": lambda s: s.client.account.update_settings(
        billingPolicy={"type": "payAsYouGo"}
    ),
    "keys, create": lambda s: s.client.api_keys.create(label="w", scopes=["projects:read"]),
    "keys, create with bounds": lambda s: s.client.api_keys.create(
        label="w", scopes=["projects:read"], resourceBounds={"projects": ["a"]}
    ),
    "keys, list": lambda s: (_key(s), s.client.api_keys.list()),
    "keys, rotate": lambda s: s.client.api_keys.rotate(keyId=_key(s)),
    "keys, revoke": lambda s: s.client.api_keys.revoke(keyId=_key(s)),
    "usage": lambda s: (s.generated(), s.client.usage.summary())[1],
    "usage of a key": lambda s: s.client.usage.summary(apiKeyId=_key(s)),
    "configure": _configured,
    "send_test_event": lambda s: (_configured(s), _tested(s))[1],
}


@pytest.mark.parametrize("name", SCENES)
def test_the_same_requests_and_the_same_results(
    packages: Packages, sample: Path, name: str
) -> None:
    published, ours = both(packages, sample, SCENES[name])
    assert ours.sent == published.sent
    assert ours.result == published.result
    assert ours.result not in (None, {}, [])


def test_restore_audio_gives_the_same_bytes_and_the_same_dict(
    packages: Packages, sample: Path
) -> None:
    published, ours = both(packages, sample, _restored)
    for each in ours.sent:
        if each[2].endswith("-generation"):
            assert each[3].pop("idempotencyKey")
    assert ours.sent == published.sent
    assert ours.result == published.result
    assert list(ours.result[1]) == list(published.result[1])
    assert ours.result[1]["stage"] == "complete"


REFUSED = {
    "400": {"error": "label is missing"},
    "401": {"error": "invalid api key"},
    "402": {"error": "the limit is reached", "code": "spendLimitExceeded"},
    "403": {"error": {"code": "scope", "message": "the key lacks a scope"}},
    "404": {"detail": "nothing here"},
    "409": {"error": "pending", "code": "TRANSCRIPT_PENDING"},
    "429": {"error": "slower"},
    "500": None,
    "503": {},
}


@pytest.mark.parametrize("status", REFUSED)
def test_an_error_response_raises_the_same_error(
    packages: Packages, sample: Path, status: str
) -> None:
    """Message, statusCode, responseBody and str are equal; ours is a kind of DiffioApiError."""

    def scene(s: Scene) -> Any:
        s.sandbox.faults.add(Fault(action=RespondWith(status=int(status), json=REFUSED[status])))
        error = outcome(s.client.projects.list)
        assert isinstance(error, s.sdk.DiffioApiError)
        return raised(error)

    published, ours = both(packages, sample, scene)
    if not REFUSED[status]:
        published.result["responseBody"] = ours.result["responseBody"] = None
        published.result["str"] = published.result["str"].partition(" (")[0]
        ours.result["str"] = ours.result["str"].partition(" (")[0]
    assert ours.result == published.result
    assert ours.sent == published.sent


MISTAKES: Mapping[str, Callable[[Scene], Any]] = {
    "no key": lambda s: s.sdk.DiffioClient(apiKey=""),
    "no path": lambda s: s.client.create_project(filePath=None),
    "an empty path": lambda s: s.client.create_project(filePath=""),
    "no project": lambda s: s.client.projects.complete_upload(apiProjectId=""),
    "a mode": lambda s: s.client.webhooks.send_test_event(eventType="e", mode="maybe"),
    "no url": lambda s: s.client.webhooks.configure(mode="live", url="", eventTypes=["e"]),
    "no types": lambda s: s.client.webhooks.configure(mode="live", url="https://e", eventTypes=[]),
    "a type": lambda s: s.client.generations.get_download(
        generationId="g", apiProjectId="p", downloadType="flac"
    ),
    "no label": lambda s: s.client.api_keys.create(label="", scopes=["projects:read"]),
    "no list": lambda s: s.client.api_keys.create(label="w", scopes="projects:read"),
    "no policy": lambda s: s.client.account.update_settings(billingPolicy="pay"),
    "odd options": lambda s: s.client.projects.list(requestOptions=5),
    "no target": lambda s: s.client.generations.download(
        generationId="g", apiProjectId="p", downloadFilePath=""
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_are_value_errors_before_anything_is_sent(
    packages: Packages, sample: Path, name: str
) -> None:
    def scene(s: Scene) -> Any:
        return isinstance(outcome(lambda: MISTAKES[name](s)), ValueError)

    published, ours = both(packages, sample, scene)
    assert published.result is True
    assert ours == published
    assert ours.sent == []


def test_a_missing_file_is_a_file_not_found_error(packages: Packages, sample: Path) -> None:
    def scene(s: Scene) -> Any:
        return isinstance(outcome(lambda: s.client.create_project(filePath="no.wav")), OSError)

    published, ours = both(packages, sample, scene)
    assert published.result is True
    assert ours == published


def test_a_wait_that_fails_or_is_too_long_is_a_runtime_error_that_begins_alike(
    packages: Packages, sample: Path
) -> None:
    def scene(s: Scene) -> Any:
        names = s.generated()
        failed = {**names, "status": "failed", "error": "no speech", "hasVideo": False}
        stage = {"preProcessing": {"status": "failed"}, "inference": {"status": "pending"}}
        s.sandbox.faults.add(Fault(path=PROGRESS, action=RespondWith(json={**failed, **stage})))
        running = {**failed, **stage, "status": "processing", "error": None}
        s.sandbox.faults.add(Fault(path=PROGRESS, times=None, action=RespondWith(json=running)))
        ends = []
        for _ in range(2):
            error = outcome(
                lambda: s.client.generations.wait_for_complete(
                    **names, timeout=0.3, pollInterval=0.1
                )
            )
            assert isinstance(error, RuntimeError)
            ends.append(" ".join(str(error).replace(":", " ").split()[:2]))
        return ends

    published, ours = both(packages, sample, scene)
    assert published.result == ["Generation failed", "Timed out"]
    assert ours.result == published.result
