"""What is irregular in the guide's package, and works here as there."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any, assert_type

import pytest

from diffio_async.compat import (
    CreateGenerationResponse,
    DiffioClient,
    GenerationProgressResponse,
    ProjectSummary,
    errors,
)
from diffio_async.sandbox import Fault, Truncate
from tests.compat.scenes import generated, raised
from tests.scripts import forever, progress_body, requests_to, scripted

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async.sandbox import Sandbox


def test_a_download_replaces_a_file_in_one_step(
    client: DiffioClient, sandbox: Sandbox, sample: Path, tmp_path: Path
) -> None:
    """A result that breaks off leaves yesterday's file as it was, and nothing beside it."""
    names = generated(client, sample)
    target = tmp_path / "restored.mp3"
    target.write_text("yesterday's")
    sandbox.faults.add(Fault(origin="media", times=None, action=Truncate(0.5)))
    error = raised(lambda: client.generations.download(**names, downloadFilePath=target))
    assert type(error) is errors.DiffioDownloadFailed
    assert target.read_text() == "yesterday's"
    sandbox.faults.clear()
    result = client.generations.download(**names, downloadFilePath=str(target), downloadType="mp3")
    assert target.read_bytes() == sample.read_bytes()
    assert (result.downloadType, list(tmp_path.iterdir())) == ("audio", [target])


def test_an_ending_that_does_not_fit_is_warned_of(
    client: DiffioClient, sample: Path, tmp_path: Path
) -> None:
    names = generated(client, sample)
    with pytest.warns(UserWarning, match=r"should end with \.mp3 for audio") as caught:
        client.generations.download(**names, downloadFilePath=tmp_path / "restored.wav")
    # The warning names the line of the caller's.
    assert caught[0].filename == __file__


def test_progress_is_reported_in_the_calling_thread_which_may_call_the_client(
    client: DiffioClient, sandbox: Sandbox, sample: Path
) -> None:
    names = generated(client, sample)
    stage = {"status": "processing", "progress": "12.5", "jobId": "job-1"}
    for fault in scripted(progress_body("queued"), progress_body("processing", inference=stage)):
        sandbox.faults.add(fault)
    seen: list[tuple[Any, ...]] = []

    def report(progress: GenerationProgressResponse) -> None:
        inference = progress.inference.progress if progress.inference else None
        seen.append((progress.status, inference, threading.get_ident()))
        assert client.projects.list().projects

    progress = client.wait_for_generation(**names, pollInterval=0, onProgress=report)
    here = threading.get_ident()
    assert seen == [("queued", None, here), ("processing", 12, here), ("complete", 100, here)]
    assert progress.status == "complete"


def test_a_wait_that_fails_keeps_the_last_progress(client: DiffioClient, sandbox: Sandbox) -> None:
    """It is a RuntimeError and a DiffioApiError, and its cause is ours."""
    sandbox.faults.add(forever(progress_body("failed", error="no speech")))
    error = raised(lambda: client.generations.wait_for_complete(generationId="gen_1"))
    assert isinstance(error, errors.DiffioGenerationFailed)
    assert isinstance(error, RuntimeError)
    assert "no speech" in str(error)
    assert error.progress is not None
    assert error.progress.error == "no speech"


@pytest.mark.slow
def test_a_wait_that_is_too_long_is_a_runtime_error_and_a_timeout(
    client: DiffioClient, sandbox: Sandbox
) -> None:
    sandbox.faults.add(forever(progress_body("processing")))
    wait = client.generations.wait_for_complete
    error = raised(lambda: wait(generationId="gen_1", timeout=1.0, pollInterval=0.1))
    assert isinstance(error, errors.DiffioWaitTimeout)
    assert isinstance(error, RuntimeError)
    assert isinstance(error, TimeoutError)
    assert error.progress is not None
    assert error.progress.status == "processing"


def test_restore_audio_that_fails_returns_its_state(
    client: DiffioClient, sandbox: Sandbox, sample: Path
) -> None:
    sandbox.faults.add(forever(progress_body("failed", error="no speech", errorDetails={"at": 1})))
    content, info = client.restore_audio(filePath=sample)
    assert content is None
    assert (info["ok"], info["stage"], info["status"]) == (False, "progress", "failed")
    assert (info["error"], info["errorDetails"]) == ("no speech", {"at": 1})
    assert info["exceptionType"] == "DiffioGenerationFailed"
    assert info["apiProjectId"] in sandbox.state.projects
    assert info["generationId"] in sandbox.state.generations


def test_restore_audio_whose_upload_fails_still_names_the_project(
    client: DiffioClient, sandbox: Sandbox, sample: Path
) -> None:
    sandbox.faults.add(forever(418, path="*/uploads/start"))
    _, info = client.audio_isolation.restore(filePath=sample)
    assert (info["stage"], info["statusCode"]) == ("isolate", 418)
    assert info["apiProjectId"] in sandbox.state.projects
    assert info["generation"] is None


def test_restore_audio_whose_download_fails_still_has_the_link(
    client: DiffioClient, sandbox: Sandbox, sample: Path
) -> None:
    sandbox.faults.add(Fault(origin="media", method="GET", times=None, action=Truncate(0.5)))
    _, info = client.restore_audio(filePath=sample)
    assert (info["stage"], info["status"]) == ("download", "complete")
    assert info["downloadUrl"]
    assert info["exceptionType"] == "DiffioDownloadFailed"


def test_restore_audio_raises_with_raise_on_error(
    client: DiffioClient, sandbox: Sandbox, sample: Path
) -> None:
    """With the dict on the error."""
    sandbox.faults.add(forever(402, path="/v1/create_project"))
    error = raised(lambda: client.restore_audio(filePath=sample, raiseOnError=True))
    assert isinstance(error, errors.DiffioPaymentRequired)
    assert error.restoreInfo is not None
    assert error.restoreInfo["stage"] == "isolate"


def test_restore_audio_hides_no_bug(client: DiffioClient) -> None:
    """The published package puts any exception into its dict, the caller's own bugs too."""
    odd: Any = 5
    with pytest.raises(TypeError):
        client.restore_audio(filePath=odd)


@pytest.mark.parametrize(
    "wrong",
    [{"downloadType": "flac"}, {"model": "../admin"}, {"timeout": -1}, {"pollInterval": -1}],
)
def test_restore_audio_refuses_before_it_sends(
    client: DiffioClient, sandbox: Sandbox, sample: Path, wrong: Any
) -> None:
    content, info = client.restore_audio(filePath=sample, **wrong)
    assert content is None
    assert info["exceptionType"] == "DiffioConfigurationError"
    assert sandbox.requests == []


def test_isolate_and_create_and_wait_return_both_results(
    client: DiffioClient, sample: Path
) -> None:
    isolated = client.audio_isolation.convert(filePath=str(sample), model="diffio-4.6-pro")
    project = isolated.project
    assert isolated.generation.modelKey == "diffio-4.6-pro"
    assert project.upload is not None
    assert project.uploadCompletion is not None
    assert project.uploadCompletion.sizeBytes == sample.stat().st_size
    assert project.upload.uploadToken not in repr(project)
    generation, progress = client.generations.create_and_wait(apiProjectId=project.apiProjectId)
    assert_type(generation, CreateGenerationResponse)
    assert_type(progress, GenerationProgressResponse)
    assert generation.generationId == progress.generationId
    assert progress.status == "complete"


def test_results_have_dicts_and_strings_with_the_keys_of_the_api(
    client: DiffioClient, sandbox: Sandbox, sample: Path
) -> None:
    generated(client, sample)
    (project,) = client.projects.list().projects
    assert_type(project, ProjectSummary)
    assert isinstance(project.createdAt, str)
    assert datetime.fromisoformat(project.createdAt).tzinfo is not None
    assert project.createdAt.endswith("Z")
    assert client.account.get_settings().account["billingPolicy"]["type"]
    usage = client.usage.summary()
    assert isinstance(usage.usage["periods"], list)
    assert "billingPolicy" in usage.billing
    hook = client.webhooks.configure(
        mode="live", url="https://example.com/hook", eventTypes=["generation.completed"]
    )
    assert hook.webhook["eventTypes"] == ["generation.completed"]


def test_many_threads_share_a_client(client: DiffioClient, sandbox: Sandbox) -> None:
    threads = [threading.Thread(target=client.projects.list) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(requests_to(sandbox, "/v1/list_projects")) == 20
