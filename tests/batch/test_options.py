"""The options of a batch apply to all its requests: upload, creation, polls, listing, download."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import AsyncDiffio, RequestOptions, RetryPolicy, Timeouts
from diffio_async.batch.request import RunOptions
from diffio_async.sandbox import Fault, RespondWith, Sandbox
from tests.batch.conftest import QUICK
from tests.batch.scenes import recordings, restored, rows, states

if TYPE_CHECKING:
    from pathlib import Path


async def _other_key(client: AsyncDiffio) -> str:
    made = await client.api_keys.create(
        label="other",
        scopes=[
            *("projects:read", "projects:write", "generations:read", "generations:write"),
            *("artifacts:read", "account:read"),
        ],
    )
    assert made.key is not None
    return made.key


@pytest.mark.slow
@pytest.mark.parametrize(
    ("types", "fault"), [(("audio",), 503), (("audio", "transcript"), None), (("video",), 429)]
)
async def test_a_key_and_headers_reach_every_request(
    types: tuple[Any, ...], fault: int | None, tmp_path: Path
) -> None:
    """Whatever the client's own key is, a batch with another key sends nothing with it."""
    async with Sandbox(engine="echo", duration=0.05) as sandbox:
        async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as root:
            key = await _other_key(root)
        if fault is not None:
            for path in ("create_project", "generation", "progress", "download", "account"):
                action = RespondWith(status=fault, json={"error": "later"})
                sandbox.faults.add(Fault(path=f"/v1/*{path}*", action=action, times=1))
        before = len(sandbox.requests)
        source = recordings(tmp_path / "in", *(f"{n}.mp4" for n in range(2)))
        options = RequestOptions(api_key=key, headers={"X-Mine": "yes"}, retry=QUICK.retry)
        async with AsyncDiffio("wrong_key", base_url=sandbox.base_url, options=QUICK) as stranger:
            outcomes = await restored(
                stranger, source, tmp_path / "out", download_types=types, options=options
            )
        assert set(states(outcomes).values()) == {"done"}
        sent = [seen for seen in sandbox.requests[before:] if seen.origin == "api"]
        assert {seen.headers.get("authorization") for seen in sent} == {f"Bearer {key}"}
        assert {seen.headers.get("x-mine") for seen in sent} == {"yes"}
        paths = {seen.path.rpartition("/")[2] for seen in sent}
        assert {"create_project", "get_generation_progress", "get_generation_download"} <= paths


async def test_timeouts_and_retries_of_a_call_are_those_of_the_batch(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A policy without retries applies to each call, and a timeout to the waits too."""
    source = recordings(tmp_path / "in", "a.wav")
    seen: list[str] = []

    def hook(failure: Exception) -> None:
        seen.append(str(failure))

    sandbox.faults.add(
        Fault(path="/v1/get_generation_download", action=RespondWith(status=503), times=1)
    )
    options = RequestOptions(
        retry=RetryPolicy(initial_delay=0.01, on=hook), timeout=Timeouts(total=5.0, connect=5.0)
    )
    outcomes = await restored(client, source, tmp_path / "out", options=options)
    assert states(outcomes) == {"a.wav": "done"}
    assert len(seen) == 1


#: Every option that is written down for later commands, with a value that is not its default.
KEPT: dict[str, Any] = {
    "on_conflict": "overwrite",
    "on_error": "stop",
    "max_in_flight": 3,
    "max_spend_seconds": 600.0,
    "timeout": 77.0,
    "project_params": {"tag": "keynote"},
}


async def test_options_for_later_commands_are_recorded(client: AsyncDiffio, tmp_path: Path) -> None:
    """The journal keeps each option of a run, and nothing of its keys and headers."""
    source = recordings(tmp_path / "in", "a.wav")
    secret = RequestOptions(headers={"X-Token": "very-secret"})
    journal = tmp_path / "j.sqlite"
    await restored(client, source, tmp_path / "out", journal=journal, options=secret, **KEPT)
    [(text,)] = rows(journal, "SELECT value FROM batch WHERE name = 'options'")
    assert RunOptions.read(text) == RunOptions(**KEPT)
    assert b"very-secret" not in journal.read_bytes()


async def test_every_option_takes_effect(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """Model, settings, params of projects and generations, and types are in the requests."""
    source = recordings(tmp_path / "in", "a.wav", "deep/b.flac", "c.xyz")
    await restored(
        client,
        source,
        tmp_path / "out",
        model="diffio-4.6-pro",
        sampling={"seed": 5},
        generation_params={"tag": "g"},
        project_params={"tag": "p"},
        download_types=("audio", "transcript"),
        recursive=False,
        suffixes={".wav", ".XYZ"},
        salt="mine",
    )
    projects = [*sandbox.state.projects.values()]
    assert {project.file_name for project in projects} == {"a.wav", "c.xyz"}
    assert [project.params for project in projects] == [{"tag": "p"}] * 2
    made = [*sandbox.state.generations.values()]
    assert {one.model_key for one in made} == {"diffio-4.6-pro"}
    assert [one.sampling for one in made] == [{"seed": 5}] * 2
    assert [one.params for one in made] == [{"tag": "g"}] * 2
