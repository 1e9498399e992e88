"""Ends of waits: complete, failed, and statuses that are neither."""

from __future__ import annotations

import pytest

from diffio_async import AsyncDiffio, GenerationFailed, GenerationProgress, NotFound, WaitTimeout
from diffio_async.sandbox import Fault, RespondWith, Sandbox
from tests.scripts import PROGRESS, forever, progress_body, requests_to, scripted, uploaded

#: Poll interval in seconds.
INTERVAL = 0.01


async def test_a_wait_ends_with_complete_progress(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """A real generation of the sandbox is followed to its end."""
    generation = await client.generations.create(api_project_id=await uploaded(client))
    progress = await client.generations.wait_for_complete(
        generation_id=generation.generation_id, api_project_id=generation.api_project_id
    )
    assert progress.complete
    assert progress.percent == 100
    assert requests_to(sandbox, PROGRESS)[-1].json == {
        "generationId": generation.generation_id,
        "apiProjectId": generation.api_project_id,
    }


@pytest.mark.parametrize("status", ["failed", "error", "cancelled", "canceled", "expired"])
async def test_every_terminal_status_without_a_result_is_generation_failed(
    client: AsyncDiffio, sandbox: Sandbox, status: str
) -> None:
    """`failed` and `error` alike end the wait at once, with the reason and the ids."""
    sandbox.faults.add(
        *scripted(progress_body("processing"), progress_body(status, error="no speech in it"))
    )
    with pytest.raises(GenerationFailed, match="no speech in it") as caught:
        await client.generations.wait_for_complete(generation_id="gen_1", poll_interval=INTERVAL)
    assert caught.value.progress is not None
    assert caught.value.progress.status == status
    assert caught.value.generation_id == "gen_1"
    assert caught.value.api_project_id == "proj_1"
    assert len(requests_to(sandbox, PROGRESS)) == 2


async def test_the_reason_of_a_failure_is_found_in_its_stage(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """If the response has no `error` of its own, that of the failed stage is shown."""
    sandbox.faults.add(*scripted(progress_body("failed", inference={"error": "out of memory"})))
    with pytest.raises(GenerationFailed, match="out of memory"):
        await client.generations.wait_for_complete(generation_id="gen_1")


@pytest.mark.parametrize("status", ["warming_up", "", "COMPLETE"])
async def test_a_status_never_seen_before_means_still_running(
    client: AsyncDiffio, sandbox: Sandbox, status: str
) -> None:
    """New statuses of the API do not end a wait."""
    sandbox.faults.add(*scripted(progress_body(status), progress_body("complete")))
    progress = await client.generations.wait_for_complete(
        generation_id="gen_1", poll_interval=INTERVAL
    )
    assert progress.complete


async def test_stages_at_100_do_not_end_the_wait(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """Only `status` decides whether it is complete."""
    full = {"progress": 100}
    sandbox.faults.add(
        *scripted(
            progress_body("processing", preProcessing=full, inference=full),
            progress_body("complete"),
        )
    )
    seen: list[GenerationProgress] = []
    await client.generations.wait_for_complete(
        generation_id="gen_1", poll_interval=INTERVAL, on_progress=seen.append
    )
    assert [progress.percent for progress in seen] == [99.0, 100.0]


async def test_unusual_stages_do_not_end_a_wait(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """Stage objects that are null or absent, numbers as strings, queues of a new shape."""
    sandbox.faults.add(
        *scripted(
            progress_body("processing", preProcessing=None, inference={"progress": "12.5"}),
            progress_body("processing", queue={"position": None, "ahead": [1, 2]}, stageProgress=7),
            progress_body("complete"),
        )
    )
    seen: list[GenerationProgress] = []
    await client.generations.wait_for_complete(
        generation_id="gen_1", poll_interval=INTERVAL, on_progress=seen.append
    )
    assert seen[0].inference is not None
    assert seen[0].inference.progress == 12.5
    assert seen[1].queue is not None
    assert seen[1].queue.extra == {"ahead": [1, 2]}


async def test_transient_failures_do_not_end_a_wait(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """Retryable statuses, dropped connections and the page of a proxy."""
    from diffio_async.sandbox import Drop, Truncate

    sandbox.faults.add(
        *scripted(500, 502, 503, 504, 408, 429),
        Fault(path=PROGRESS, action=Drop()),
        Fault(path=PROGRESS, action=RespondWith(text="<html>log in to the hotel's network</html>")),
        *scripted(progress_body("processing")),
        Fault(path=PROGRESS, action=RespondWith(status=502, text="<html>bad gateway</html>")),
        *scripted(progress_body("complete")),
        Fault(path=PROGRESS, action=Truncate()),
    )
    progress = await client.generations.wait_for_complete(
        generation_id="gen_1", poll_interval=INTERVAL
    )
    assert progress.complete


async def test_permanent_failures_end_the_wait(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """A generation that was deleted (404) is reported at once, with its id."""
    with pytest.raises(NotFound) as caught:
        await client.generations.wait_for_complete(generation_id="gen_gone")
    assert caught.value.generation_id == "gen_gone"
    assert len(requests_to(sandbox, PROGRESS)) == 1


async def test_an_api_that_only_sends_html_ends_the_wait(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """Five unreadable responses in a row are not transient."""
    from diffio_async import InvalidResponse

    sandbox.faults.add(Fault(path=PROGRESS, times=None, action=RespondWith(text="<html>")))
    with pytest.raises(InvalidResponse, match="captive portal"):
        await client.generations.wait_for_complete(generation_id="gen_1", poll_interval=INTERVAL)
    assert len(requests_to(sandbox, PROGRESS)) == 5


async def test_create_and_wait_creates_one_generation_and_follows_it(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """It has the result of both calls."""
    project = await uploaded(client)
    sandbox.faults.add(forever(progress_body("complete")))
    progress = await client.generations.create_and_wait(
        api_project_id=project, model="diffio-4.6-pro"
    )
    assert progress.complete
    assert len(await client.projects.list_generations(api_project_id=project)) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"queue": 0},
        {"hasVideo": "no", "error": {"code": "X"}, "stage": 7},
        {"inference": {"progress": 10**400, "error": ["a"]}, "createdAt": ""},
        {"transcription": [], "errorDetails": "\ud83d", "note": "\x00"},
    ],
)
async def test_an_unusual_field_does_not_affect_the_end(
    client: AsyncDiffio, sandbox: Sandbox, fields: dict[str, object]
) -> None:
    """`status` alone decides whether a generation is complete."""
    sandbox.faults.add(
        *scripted(progress_body("processing", **fields), progress_body("complete", **fields))
    )
    progress = await client.generations.wait_for_complete(
        generation_id="gen_1", poll_interval=INTERVAL
    )
    assert progress.complete


async def test_an_error_that_is_an_object_is_the_reason_of_the_failure(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """An error may have any shape."""
    sandbox.faults.add(*scripted(progress_body("failed", error={"code": "SILENT", "hint": 1})))
    with pytest.raises(GenerationFailed, match="'failed': SILENT") as caught:
        await client.generations.wait_for_complete(generation_id="gen_1")
    assert caught.value.progress is not None
    assert caught.value.progress.extra["error"] == {"code": "SILENT", "hint": 1}


SECRETS = "diffio_test_abcdefgh12345 https://user:pass@host/x?X-Amz-Signature=abc"


async def test_text_of_the_api_is_redacted_and_shortened_in_errors(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """Reasons and statuses may contain keys, passwords and signatures."""
    long = f"{SECRETS} {'x' * 1_000_000}"
    sandbox.faults.add(*scripted(progress_body("failed", error=long)))
    with pytest.raises(GenerationFailed, match=r"\[redacted\]") as failed:
        await client.generations.wait_for_complete(generation_id="gen_1", poll_interval=INTERVAL)
    sandbox.faults.clear()
    sandbox.faults.add(forever(progress_body(long)))
    with pytest.raises(WaitTimeout, match=r"\[redacted\]") as timeout:
        await client.generations.wait_for_complete(generation_id="gen_1", timeout=1)
    for error in (failed.value, timeout.value):
        assert len(str(error)) < 500
        assert not any(secret in repr(error) for secret in ("abcdefgh", "user:pass", "=abc"))
