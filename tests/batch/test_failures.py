"""An invalid file fails alone, a rejected account stops the batch, other failures are retried."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from attrs import evolve

from diffio_async import (
    AsyncDiffio,
    AuthenticationFailed,
    BatchItem,
    BatchStopped,
    ClientClosed,
    PaymentRequired,
    RetryPolicy,
)
from diffio_async._downloads import part_file
from diffio_async.batch import failures
from diffio_async.sandbox import Delay, Drop, Fault, RespondWith, Sandbox
from tests.batch.conftest import QUICK
from tests.batch.scenes import (
    JOURNAL,
    below,
    content,
    generations,
    recordings,
    restored,
    rows,
    states,
)
from tests.scripts import GENERATION, PROGRESS, progress_body

if TYPE_CHECKING:
    from pathlib import Path


async def stopped(client: AsyncDiffio, sources: Any, to: Path, **how: Any) -> BatchStopped:
    """Return the error with which a batch stops."""
    with pytest.raises(BatchStopped) as caught:
        await restored(client, sources, to, **how)
    return caught.value


async def test_invalid_files_fail_alone(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Unreadable, empty and missing files are reported; the others are restored."""
    source = recordings(tmp_path / "in", "good.wav", "closed.wav", "empty.wav")
    (source / "empty.wav").write_bytes(b"")
    (source / "closed.wav").chmod(0)
    (source / "folder.wav").mkdir()
    (source / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    outcomes = await restored(
        client, [source, source / "none.wav", source / "folder.wav" / "x.wav"], tmp_path / "out"
    )
    found = states(outcomes)
    if os.geteuid() == 0:  # who may read everything
        found["closed.wav"] = "failed"
    assert found == {
        "closed.wav": "failed",
        "empty.wav": "failed",
        "gone.wav": "failed",
        "good.wav": "done",
        "none.wav": "failed",
        "x.wav": "failed",
    }
    assert "no file" in (outcomes["none.wav"].error or "")
    assert "empty" in (outcomes["empty.wav"].error or "")
    assert outcomes["empty.wav"].error_type == "InvalidSource"
    # Once corrected, it is restored by the next run, which leaves the others alone.
    (source / "empty.wav").write_bytes(content("corrected"))
    (source / "closed.wav").chmod(0o600)
    again = await restored(client, source, tmp_path / "out")
    assert states(again)["empty.wav"] == states(again)["closed.wav"] == "done"
    assert generations(sandbox) == 3


async def test_a_failed_generation_is_restarted_only_with_retry_failed(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The next run does not restart it; `retry_failed` does, with another key, and is billed."""
    source = recordings(tmp_path / "in", "a.wav", "b.wav")
    fault = Fault(
        path=PROGRESS, action=RespondWith(json=progress_body("failed", error="too noisy"))
    )
    sandbox.faults.add(fault)
    first = await restored(client, source, tmp_path / "out")
    [(name, failed)] = [(n, o) for n, o in first.items() if o.state == "failed"]
    assert failed.error_type == "GenerationFailed"
    assert "too noisy" in (failed.error or "")
    assert failed.retry_is_billed
    again = await restored(client, source, tmp_path / "out")
    assert again[name].state == "failed"
    assert again[name].from_earlier_run
    assert generations(sandbox) == 2
    retried = await restored(client, None, tmp_path / "out", retry_failed=True)
    assert retried[name].state == "done"
    assert not retried[name].from_earlier_run
    assert retried[name].idempotency_key != failed.idempotency_key
    assert generations(sandbox) == 3


@pytest.mark.slow
@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_rejected_account_stops_the_batch(
    status: int, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Running steps end, nothing new starts, and the next run resumes."""
    source = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(9)))
    fault = Fault(
        path=GENERATION, skip=3, times=None, action=RespondWith(status=status, json={"error": "no"})
    )
    sandbox.faults.add(fault)
    error = await stopped(client, source, tmp_path / "out", max_in_flight=4)
    assert isinstance(error.__cause__, (AuthenticationFailed, PaymentRequired)) or status == 403
    assert (error.remaining_files, generations(sandbox)) == (6, 3)
    assert len(below(tmp_path / "out")) == 3
    assert "run the same again" in str(error)
    assert len(sandbox.state.projects) < 9
    sandbox.faults.clear()
    outcomes = await restored(client, source, tmp_path / "out")
    assert set(states(outcomes).values()) == {"done"}
    assert generations(sandbox) == len(sandbox.state.projects) == 9


async def test_a_key_that_is_rejected_after_the_batch_has_stopped_ends_it(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Downloads that cannot succeed are not requested again and again."""
    source = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(3)))
    reject = RespondWith(status=401, json={"error": "no"})
    sandbox.faults.add(Fault(path="*get_generation_download", times=None, action=reject))
    with anyio.fail_after(60):
        error = await stopped(client, source, tmp_path / "out", max_spend_seconds=100)
    assert error.remaining_files == 3
    requests = [each for each in sandbox.requests if each.path.endswith("get_generation_download")]
    assert 1 <= len(requests) <= 8
    sandbox.faults.clear()
    await restored(client, source, tmp_path / "out", max_spend_seconds=180)
    assert generations(sandbox) == 3


async def test_the_spending_limit_stops_the_batch(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The minimum cost of all generations of a journal stays within the limit, over all runs."""
    source = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(3)))
    for _ in range(2):
        error = await stopped(client, source, tmp_path / "out", max_spend_seconds=100)
        assert "max_spend_seconds" in str(error)
        assert (error.remaining_files, generations(sandbox)) == (2, 1)
    await restored(client, source, tmp_path / "out", max_spend_seconds=180)
    assert generations(sandbox) == 3


async def test_on_error_stop_starts_nothing_after_a_failure(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """No file starts after the first bad one."""
    source = recordings(tmp_path / "in", *(f"{n:02}.wav" for n in range(20)))
    error = await stopped(
        client, [tmp_path / "none.wav", source], tmp_path / "out", on_error="stop", max_in_flight=2
    )
    assert "none.wav" in str(error)
    assert generations(sandbox) < 10
    assert error.remaining_files > 10


async def test_throttling_slows_all_files_and_fails_none(sandbox: Sandbox, tmp_path: Path) -> None:
    """More responses with 429 than the retry policy allows only take time."""
    source = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(6)))
    fault = Fault(
        path="*/create_project", times=8, action=RespondWith(429, headers={"Retry-After": "0.05"})
    )
    sandbox.faults.add(fault)
    options = evolve(QUICK, retry=RetryPolicy(attempts=2, initial_delay=0.01))
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=options) as client:
        outcomes = await restored(client, source, tmp_path / "out")
    assert set(states(outcomes).values()) == {"done"}
    assert sandbox.faults.hits(fault) == 8
    assert generations(sandbox) == len(sandbox.state.projects) == 6


@pytest.mark.slow
async def test_a_broken_connection_pauses_the_batch(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """While all requests fail, no file fails."""
    source = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(4)))
    sandbox.faults.add(Fault(origin="api", times=16, action=Drop()))
    outcomes = await restored(client, source, tmp_path / "out")
    assert set(states(outcomes).values()) == {"done"}
    assert generations(sandbox) == 4


@pytest.mark.slow
async def test_a_long_outage_stops_the_batch(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a time without success the batch stops, and can be resumed."""
    monkeypatch.setattr(failures, "GIVE_UP_SECONDS", 0.15)
    source = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(4)))
    sandbox.faults.add(Fault(origin="api", times=None, action=RespondWith(503)))
    error = await stopped(client, source, tmp_path / "out")
    assert error.remaining_files == 4
    sandbox.faults.clear()
    assert set(states(await restored(client, source, tmp_path / "out")).values()) == {"done"}


async def test_a_full_disk_stops_downloads_and_keeps_the_rest(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Generations end; the next run downloads their results when the disk has space."""
    source = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(3)))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(part_file.PartFile, "write_at", full)
        error = await stopped(client, source, tmp_path / "out")
    assert "No space left" in str(error)
    assert error.remaining_files == 3
    assert generations(sandbox) == 3
    journal = tmp_path / "out" / JOURNAL
    assert rows(journal, "SELECT DISTINCT state FROM job") == [("complete",)]
    outcomes = await restored(client, source, tmp_path / "out")
    assert set(states(outcomes).values()) == {"done"}
    assert generations(sandbox) == 3
    assert len(below(tmp_path / "out")) == 3


async def test_an_existing_result_is_not_replaced(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """By default the file fails before it is billed; `skip` keeps it; `overwrite` replaces it."""
    source = recordings(tmp_path / "in", "a.wav", "b.wav")
    target = recordings(tmp_path / "out", "a.restored.mp3") / "a.restored.mp3"
    before = target.read_bytes()
    outcomes = await restored(client, source, tmp_path / "out")
    assert states(outcomes) == {"a.wav": "failed", "b.wav": "done"}
    assert outcomes["a.wav"].error_type == "InvalidTarget"
    assert generations(sandbox) == 1
    outcomes = await restored(client, source, tmp_path / "out", on_conflict="skip")
    assert states(outcomes) == {"a.wav": "skipped", "b.wav": "done"}
    assert target.read_bytes() == before
    other = tmp_path / "other.sqlite"
    outcomes = await restored(
        client, source, tmp_path / "out", on_conflict="overwrite", journal=other
    )
    assert states(outcomes) == {"a.wav": "done", "b.wav": "done"}
    assert target.read_bytes() == content("a.wav")


async def test_a_changed_file_is_restored_again(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A new content is a new job, which the outcome reports; a new time stamp is not."""
    source = recordings(tmp_path / "in", "a.wav", "b.wav")
    await restored(client, source, tmp_path / "out")
    (source / "a.wav").write_bytes(content("new"))
    os.utime(source / "b.wav", (1, 1))
    outcomes = await restored(client, source, tmp_path / "out")
    assert {name: outcome.source_changed for name, outcome in outcomes.items()} == {
        "a.wav": True,
        "b.wav": False,
    }
    assert states(outcomes) == {"a.wav": "done", "b.wav": "done"}
    assert generations(sandbox) == 3
    assert (tmp_path / "out" / "a.restored.mp3").read_bytes() == content("new")


async def test_the_same_salt_elsewhere_is_not_billed_again(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A second journal with the same salt uses the generations of the first."""
    source = recordings(tmp_path / "in", "a.wav", "b.wav")
    first = await restored(client, source, tmp_path / "one", salt="ours")
    second = await restored(client, source, tmp_path / "two", salt="ours")
    assert generations(sandbox) == 2
    assert {o.generation_id for o in first.values()} == {o.generation_id for o in second.values()}
    assert (tmp_path / "two" / "a.restored.mp3").read_bytes() == content("a.wav")
    # The uploads of the second were not needed, and are recorded.
    known = rows(tmp_path / "two" / JOURNAL, "SELECT project FROM orphan")
    paid = {o.api_project_id for o in first.values()}
    assert {project for (project,) in known} == sandbox.state.projects.keys() - paid
    # The sandbox minds a key that is used for another project; here that is the point.
    assert len(sandbox.violations) == 2
    sandbox.context.request_log.violations.clear()


@pytest.mark.slow
async def test_a_timed_out_wait_is_resumed_by_the_next_run(tmp_path: Path) -> None:
    """A generation that takes longer fails its file but continues; the next run waits again."""
    source = recordings(tmp_path / "in", "a.wav")
    async with (
        Sandbox(engine="echo", duration=2.0) as sandbox,
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=QUICK) as client,
    ):
        first = await restored(client, source, tmp_path / "out", timeout=0.1)
        assert first["a.wav"].error_type == "WaitTimeout"
        assert not first["a.wav"].retry_is_billed
        second = await restored(client, source, tmp_path / "out")
        assert second["a.wav"].state == "done"
        assert generations(sandbox) == 1


async def test_closing_the_client_ends_the_batch(sandbox: Sandbox, tmp_path: Path) -> None:
    """The iteration raises `ClientClosed`; a new client resumes the batch."""
    source = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(5)))
    client = AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=QUICK)
    # The third upload has not begun when the first outcome is there.
    sandbox.faults.add(Fault(path="*/create_project", skip=2, times=None, action=Delay(5)))

    async def closing_early() -> None:
        async for _ in client.restore_many(source, tmp_path / "out", max_in_flight=2):
            await client.aclose()

    with pytest.raises(ClientClosed):
        await closing_early()
    sandbox.faults.clear()
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=QUICK) as other:
        outcomes = await restored(other, source, tmp_path / "out")
    assert set(states(outcomes).values()) == {"done"}
    assert generations(sandbox) == 5


async def test_a_name_that_no_file_can_have_fails_alone(
    client: AsyncDiffio, tmp_path: Path
) -> None:
    """The name is a source path, the source of an item, or the name of a result."""
    source = recordings(tmp_path / "in", "ok.wav") / "ok.wav"
    names = ("a\0.wav", "a\ud83d.wav", f"{'y' * 300}.wav", "/dev/null")
    for to, odd in (("1", names), ("2", [BatchItem(source=name) for name in names])):
        outcomes = client.restore_many([*odd, source], tmp_path / to)
        states = [outcome.state async for outcome in outcomes]
        assert sorted(states) == ["done", "failed", "failed", "failed", "failed"]
    named = [
        BatchItem(source=source, to=name, params={"tag": name[0]}) for name in (names[2], "null")
    ]
    outcomes = client.restore_many(named, tmp_path / "named")
    assert [outcome.state async for outcome in outcomes] == ["done", "done"]


async def test_a_result_that_cannot_be_written_is_not_billed(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A file in the place of a folder is found before the upload; a long name is shortened."""
    source = recordings(tmp_path / "in", "a.wav", f"{'x' * 245}.wav", "sub/b.wav")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "sub").write_text("no folder")
    outcomes = await restored(client, source, tmp_path / "out")
    assert [states(outcomes)[name] for name in ("a.wav", "b.wav")] == ["done", "failed"]
    assert outcomes[f"{'x' * 245}.wav"].paths["audio"].name == f"{'x' * 242}.restored.mp3"
    assert outcomes["b.wav"].error_type == "InvalidTarget"
    assert len(sandbox.state.projects) == 2


@pytest.mark.slow
async def test_a_timed_out_wait_is_not_restarted_in_the_same_run(tmp_path: Path) -> None:
    """A generation that takes too long is left while the other files continue."""
    source = recordings(tmp_path / "in", *(f"{n}.wav" for n in range(4)))
    async with (
        Sandbox(engine="echo", duration=5.0) as sandbox,
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client,
    ):
        outcomes = await restored(client, source, tmp_path / "out", timeout=0.1, max_in_flight=2)
        assert {outcome.error_type for outcome in outcomes.values()} == {"WaitTimeout"}
        polls = [seen for seen in sandbox.requests if seen.path.endswith("progress")]
        assert len(polls) <= 12
