"""Intended differences from the published package; each test states the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffio_async.sandbox import Drop, Fault, RespondWith
from tests.compat.published.both import Scene, both, outcome

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

Packages = dict[str, Any]

PROGRESS = "/v1/get_generation_progress"


def test_difference_a_generation_always_has_a_key(packages: Packages, sample: Path) -> None:
    """Without a key of the caller's, a retry could be billed twice; ours makes one."""
    published, ours = both(
        packages, sample, lambda s: s.client.generations.create(apiProjectId=s.uploaded())
    )
    *before, (origin, method, path, body) = ours.sent
    assert len(body.pop("idempotencyKey")) == 36
    assert [*before, (origin, method, path, body)] == published.sent
    assert ours.result == published.result


def test_difference_an_error_status_ends_a_wait_and_one_502_does_not(
    packages: Packages, sample: Path
) -> None:
    """The published wait continues to poll at status `error`, and fails at a 502."""

    def scene(s: Scene) -> Any:
        names = s.generated()
        s.sandbox.faults.add(Fault(path=PROGRESS, action=RespondWith(status=502)))
        patient = outcome(
            lambda: s.client.generations.wait_for_complete(**names, pollInterval=0.05)
        )
        stages = {"preProcessing": {"status": "error"}, "inference": {"status": "pending"}}
        ended = {**names, **stages, "status": "error", "error": "no speech"}
        s.sandbox.faults.add(Fault(path=PROGRESS, times=None, action=RespondWith(json=ended)))
        error = outcome(
            lambda: s.client.generations.wait_for_complete(**names, timeout=1.0, pollInterval=0.05)
        )
        return [isinstance(patient, Exception), str(error)[:9]]

    published, ours = both(packages, sample, scene)
    assert published.result == [True, "Timed out"]
    assert ours.result == [False, "Generatio"]


def test_difference_any_model_can_be_requested(packages: Packages, sample: Path) -> None:
    """The API decides which models exist; the published package rejects that of its guide."""

    def scene(s: Scene) -> Any:
        project_id = s.uploaded()
        create = s.client.generations.create
        made = outcome(
            lambda: create(apiProjectId=project_id, model="diffio-3.5", idempotencyKey="k")
        )
        return isinstance(made, ValueError) or made.modelKey

    published, ours = both(packages, sample, scene)
    assert (published.result, ours.result) == (True, "diffio-3.5")
    assert ours.sent[-1][2] == "/v1/diffio-3.5-generation"


def test_difference_what_might_be_done_twice_is_not_repeated(
    packages: Packages, sample: Path
) -> None:
    """With retries and lost responses, the published package creates three keys."""

    def scene(s: Scene) -> Any:
        s.sandbox.faults.add(Fault(path="/v1/api_keys/create", times=2, action=Drop()))
        options = {"maxRetries": 2, "retryBackoff": 0.01}
        create = s.client.api_keys.create
        failed = outcome(
            lambda: create(label="w", scopes=["projects:read"], requestOptions=options)
        )
        return isinstance(failed, Exception)

    published, ours = both(packages, sample, scene)
    assert (published.result, ours.result) == (False, True)


def test_difference_a_wrong_download_type_is_refused_before_the_upload(
    packages: Packages, sample: Path
) -> None:
    """The published `restore_audio` finds out when the job is done and billed."""

    def scene(s: Scene) -> Any:
        restore = s.client.restore_audio
        content, info = restore(filePath=s.sample, downloadType="flac", pollInterval=0.05)
        return [content, info["ok"], bool(info["error"])]

    published, ours = both(packages, sample, scene)
    assert ours.result == published.result == [None, False, True]
    assert published.sent
    assert ours.sent == []


def test_difference_headers_for_the_api_stay_there(packages: Packages, sample: Path) -> None:
    """A header of the caller's goes to the upload and media hosts as well there."""

    def scene(s: Scene) -> Any:
        options = s.sdk.RequestOptions(headers={"X-Api-Key": s.sandbox.api_key})
        restore = s.client.restore_audio
        content, _ = restore(filePath=s.sample, pollInterval=0.05, requestOptions=options)
        origins = {r.origin for r in s.sandbox.requests if "x-api-key" in r.headers}
        return [content is not None, sorted(origins)]

    published, ours = both(packages, sample, scene)
    assert published.result[1] == ["api", "edge", "media"]
    assert ours.result == [True, ["api"]]


def test_difference_a_callback_that_raises_does_not_end_the_wait(
    packages: Packages, sample: Path
) -> None:
    """The generation continues and is billed; compat logs the exception of the callback."""

    def scene(s: Scene) -> Any:
        def report(_: Any) -> None:
            raise KeyError("a bug of the caller's")

        content, info = s.client.restore_audio(
            filePath=s.sample, onProgress=report, pollInterval=0.05
        )
        return [content is not None, info["stage"]]

    published, ours = both(packages, sample, scene)
    assert published.result == [False, "progress"]
    assert ours.result == [True, "complete"]


def test_difference_progress_is_reported_when_it_changes_and_on_standard_error(
    packages: Packages, sample: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The published wait reports each poll, changed or not, and writes to standard output."""

    def scene(s: Scene) -> Any:
        names = s.generated()
        stage = {"status": "processing", "progress": 10}
        running = {**names, "status": "processing", "preProcessing": stage, "inference": stage}
        s.sandbox.faults.add(Fault(path=PROGRESS, times=3, action=RespondWith(json=running)))
        reported: list[str] = []
        s.client.generations.wait_for_complete(
            **names,
            pollInterval=0.02,
            showProgress=True,
            onProgress=lambda p: reported.append(p.status),
        )
        shown = capsys.readouterr()
        return [reported, len(shown.out.splitlines()), len(shown.err.splitlines())]

    published, ours = both(packages, sample, scene)
    assert published.result == [["processing"] * 3 + ["complete"], 4, 0]
    assert ours.result == [["processing", "complete"], 0, 2]


def test_difference_the_length_that_is_sent_is_the_files(packages: Packages, sample: Path) -> None:
    """A `contentLength` that is wrong is sent as it is there."""
    published, ours = both(
        packages, sample, lambda s: s.client.create_project(filePath=s.sample, contentLength=7)
    )
    assert published.sent[0][3]["contentLength"] == 7
    assert ours.sent[0][3]["contentLength"] == sample.stat().st_size


def test_difference_a_wait_without_time_polls_once(packages: Packages, sample: Path) -> None:
    """The published wait does not poll and reports a time-out."""

    def scene(s: Scene) -> Any:
        names = s.generated()
        ended = outcome(lambda: s.client.generations.wait_for_complete(**names, timeout=0))
        return isinstance(ended, RuntimeError) or ended.status

    published, ours = both(packages, sample, scene)
    assert (published.result, ours.result) == (True, "complete")


def test_difference_network_failures_are_diffio_api_errors(
    packages: Packages, sample: Path
) -> None:
    """There they are the HTTP library's own."""

    def scene(s: Scene) -> Any:
        s.sandbox.faults.add(Fault(action=Drop()))
        return isinstance(outcome(s.client.projects.list), s.sdk.DiffioApiError)

    published, ours = both(packages, sample, scene)
    assert (published.result, ours.result) == (False, True)
