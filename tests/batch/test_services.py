"""A journal is bound to one service and one account; unknown projects are handled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from diffio_async import (
    AsyncDiffio,
    ClientOptions,
    ConfigurationError,
    RequestOptions,
)
from diffio_async.batch.journal import service_of
from diffio_async.sandbox import Fault, RespondWith, Sandbox
from tests.batch.scenes import JOURNAL, below, generations, recordings, restored, rows, states

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://api.diffio.ai", "https://api.diffio.ai/v1"),
        ("https://api.diffio.ai/", "https://api.diffio.ai/v1/"),
        ("https://API.Diffio.AI/v1", "https://api.diffio.ai/v1"),
        ("HTTPS://api.diffio.ai/v1", "https://api.diffio.ai/v1"),
        ("https://api.diffio.ai:443/v1", "https://api.diffio.ai"),
        ("https://api.diffio.ai./v1", "https://api.diffio.ai"),
        ("http://localhost:8490", "http://127.0.0.1:8490/v1/"),
        ("http://[::1]:8490", "http://LOCALHOST:8490"),
        ("http://localhost:80", "http://localhost"),
    ],
)
def test_base_urls_of_one_service_are_equal(one: str, other: str) -> None:
    """`/v1`, a slash, the default port and the case make no difference."""
    assert service_of(one) == service_of(other)


@pytest.mark.parametrize(
    "other",
    [
        "https://api.diffio.ai:8443",
        "https://eu.diffio.ai",
        "https://api.diffio.ai/staging",
        "http://localhost:8490",
        "http://localhost:8491",
    ],
)
def test_base_urls_of_different_services_differ(other: str) -> None:
    """Another host, port or path is another service."""
    assert service_of(other) not in {
        service_of("https://api.diffio.ai"),
        service_of("http://localhost:8492"),
    }


@pytest.mark.slow
async def test_a_journal_of_another_service_is_refused(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The journal of one service is refused by a client of another one."""
    source = recordings(tmp_path / "in", "a.wav")
    await restored(client, source, tmp_path / "out")
    async with (
        Sandbox(engine="echo") as elsewhere,
        AsyncDiffio(elsewhere.api_key, base_url=elsewhere.base_url) as other,
    ):
        with pytest.raises(ConfigurationError) as caught:
            await restored(other, source, tmp_path / "out")
        message = str(caught.value)
        assert service_of(sandbox.base_url) in message
        assert service_of(elsewhere.base_url) in message
        assert "another folder (-o) or journal (--journal)" in message
        assert elsewhere.requests == []
        outcomes = await restored(other, source, tmp_path / "out2")
        assert states(outcomes) == {"a.wav": "done"}
    async with AsyncDiffio(
        sandbox.api_key,
        base_url=sandbox.base_url.removesuffix("/v1").replace("127.0.0.1", "LocalHost"),
    ) as again:
        outcomes = await restored(again, source, tmp_path / "out")
    assert outcomes["a.wav"].from_earlier_run


def _account(user: str) -> Fault:
    body = {"apiKeyId": "key_x", "account": {"userId": user}}
    return Fault(path="/v1/account/settings/get", action=RespondWith(json=body), times=None)


async def test_a_journal_of_another_account_is_refused(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """A key of another account uploads nothing, and the journal contains no key."""
    source = recordings(tmp_path / "in", "a.wav")
    journal = tmp_path / "j.sqlite"
    await restored(client, source, tmp_path / "out", journal=journal)
    assert rows(journal, "SELECT value FROM batch WHERE name = 'account'") == [("user_sandbox",)]
    assert sandbox.api_key.encode() not in journal.read_bytes()
    recordings(source, "b.wav")
    sandbox.faults.add(_account("user_other"))
    with pytest.raises(ConfigurationError, match="'user_other' here and 'user_sandbox' there"):
        await restored(client, source, tmp_path / "out", journal=journal)
    assert generations(sandbox) == 1
    sandbox.faults.clear()
    outcomes = await restored(client, source, tmp_path / "out", journal=journal)
    assert states(outcomes) == {"a.wav": "done", "b.wav": "done"}


@pytest.mark.parametrize("status", [403, 500])
async def test_a_key_without_access_to_the_account_can_run_a_batch(
    status: int, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """If the account cannot be read, only the service is compared."""
    path = "/v1/account/settings/get"
    sandbox.faults.add(Fault(path=path, action=RespondWith(status=status), times=None))
    source = recordings(tmp_path / "in", "a.wav")
    outcomes = await restored(client, source, tmp_path / "out")
    assert states(outcomes) == {"a.wav": "done"}


async def test_the_account_is_read_with_the_key_of_the_batch(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """`RequestOptions.api_key` determines the billed account, not the client's key."""
    source = recordings(tmp_path / "in", "a.wav")
    options = RequestOptions(api_key=sandbox.api_key)
    async with AsyncDiffio("wrong_key", base_url=sandbox.base_url) as client:
        await restored(client, source, tmp_path / "out", options=options)
    [request] = [seen for seen in sandbox.requests if seen.path.endswith("settings/get")]
    assert request.status == 200


GONE = RespondWith(status=404, json={"error": "there is no such generation"})


@pytest.mark.parametrize("path", ["/v1/get_generation_progress", "/v1/get_generation_download"])
async def test_an_unknown_generation_is_explained(
    path: str, client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The file fails with the id and the command to restore it again, which is billed."""
    source = recordings(tmp_path / "in", "a.wav", "b.wav")
    sandbox.faults.add(Fault(path=path, action=GONE))
    outcomes = await restored(client, source, tmp_path / "out")
    [failed] = [each for each in outcomes.values() if each.state == "failed"]
    assert failed.error_type == "NotFound"
    assert failed.error is not None
    assert failed.generation_id is not None
    assert f"no longer knows generation {failed.generation_id}" in failed.error
    assert "diffio-async batch retry" in failed.error
    assert "billed again" in failed.error
    assert generations(sandbox) == 2
    sandbox.faults.add(Fault(path=path, action=GONE))
    outcomes = await restored(client, source, tmp_path / "out")
    assert sorted(states(outcomes).values()) == ["done", "failed"]
    outcomes = await restored(client, source, tmp_path / "out", retry_failed=True)
    assert set(states(outcomes).values()) == {"done"}
    assert generations(sandbox) == 3
    assert below(tmp_path / "out") == ["a.restored.mp3", "b.restored.mp3"]


async def test_an_unknown_project_is_uploaded_again(
    client: AsyncDiffio, sandbox: Sandbox, tmp_path: Path
) -> None:
    """If the service lost a project, the recording is uploaded again; projects are not billed."""
    source = recordings(tmp_path / "in", "a.wav")
    sandbox.faults.add(Fault(path="/v1/diffio-4.6-flash-generation", action=GONE))
    outcomes = await restored(client, source, tmp_path / "out")
    assert states(outcomes) == {"a.wav": "done"}
    assert (len(sandbox.state.projects), generations(sandbox)) == (2, 1)


@pytest.mark.slow
async def test_a_journal_that_sent_nothing_takes_the_service_of_the_next_run(
    tmp_path: Path,
) -> None:
    """A run that sent nothing does not bind the journal to its service."""
    async with Sandbox(engine="echo") as one, Sandbox(engine="echo") as other:
        async with AsyncDiffio(one.api_key, base_url=one.base_url) as client:
            missing = await restored(client, tmp_path / "nosuch.wav", tmp_path / "out")
            assert states(missing) == {"nosuch.wav": "failed"}
        source = recordings(tmp_path / "in", "a.wav")
        async with AsyncDiffio(other.api_key, base_url=other.base_url) as client:
            outcomes = await restored(client, source, tmp_path / "out")
            assert states(outcomes)["a.wav"] == "done"
        async with AsyncDiffio(one.api_key, base_url=one.base_url) as client:
            with pytest.raises(ConfigurationError, match="another service"):
                await restored(client, source, tmp_path / "out")


async def test_an_insecure_address_that_was_allowed_is_allowed_to_a_batch(tmp_path: Path) -> None:
    """`http://` to another machine is accepted with the option, as for every other call."""
    allowed = ClientOptions(allow_insecure_http=True)
    async with AsyncDiffio("k", base_url="http://sandbox.invalid:1", options=allowed) as client:
        assert await restored(client, None, tmp_path / "out") == {}
    assert rows(tmp_path / "out" / JOURNAL, "SELECT value FROM batch WHERE name = 'service'") == [
        ("http://sandbox.invalid:1/v1",)
    ]
