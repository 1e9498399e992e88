"""Account, keys, usage and webhooks against the sandbox."""

from __future__ import annotations

import copy
import pickle

import pytest

from diffio_async import (
    AsyncDiffio,
    AuthenticationFailed,
    BadRequest,
    ConfigurationError,
    InvalidResponse,
    ModelRetired,
    NotFound,
    PermissionDenied,
    RequestOptions,
    ResponseLost,
    UsageSummary,
)
from diffio_async.sandbox import Fault, LoseResponse, RespondWith, Sandbox
from tests.scripts import requests_to, uploaded


async def test_the_account_is_read_and_its_policy_changed(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """The policy is the API's own object, and stays what was set."""
    settings = await client.account.get_settings()
    assert settings.api_key_id
    assert settings.account.user_id
    policy = dict(settings.account.billing_policy or {})
    changed = await client.account.update_settings(billing_policy=policy)
    assert changed.account.billing_policy == policy
    assert requests_to(sandbox, "/v1/account/settings/update")[0].json == {"billingPolicy": policy}


async def test_a_key_lives_and_dies(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """Made, listed without its secret, rotated, revoked; the secret is in no repr."""
    made = await client.api_keys.create(label="worker", scopes=["projects:read"])
    assert made.key
    assert made.key not in repr(made)
    assert made.scopes == ("projects:read",)
    with_key = RequestOptions(api_key=made.key)
    assert await client.projects.list(options=with_key) == []
    with pytest.raises(PermissionDenied, match="scope"):
        await client.api_keys.list(options=with_key)
    listed = {key.key_id: key for key in await client.api_keys.list()}
    assert listed[made.key_id].key is None
    rotated = await client.api_keys.rotate(key_id=made.key_id)
    assert rotated.key not in {None, made.key}
    with pytest.raises(AuthenticationFailed):
        await client.projects.list(options=with_key)
    revoked = await client.api_keys.revoke(key_id=made.key_id)
    assert revoked.status == "revoked"
    with pytest.raises((AuthenticationFailed, PermissionDenied)):
        await client.projects.list(options=RequestOptions(api_key=rotated.key))


@pytest.mark.parametrize("action", [LoseResponse(), RespondWith(500)])
async def test_keys_are_never_made_twice_for_one_call(
    client: AsyncDiffio, sandbox: Sandbox, action: LoseResponse | RespondWith
) -> None:
    """A lost response is raised, not repeated: of several live keys nobody would know."""
    from diffio_async import ServerError

    for _ in range(3):
        sandbox.faults.add(Fault(path="/v1/api_keys/create", action=action))
    with pytest.raises((ResponseLost, ServerError)):
        await client.api_keys.create(label="x", scopes=["projects:read"])
    assert len(requests_to(sandbox, "/v1/api_keys/create")) == 1
    sandbox.faults.clear()
    made = await client.api_keys.create(label="y", scopes=["projects:read"])
    for _ in range(3):
        sandbox.faults.add(Fault(path="/v1/api_keys/rotate", action=action))
    with pytest.raises((ResponseLost, ServerError)):
        await client.api_keys.rotate(key_id=made.key_id)
    assert len(requests_to(sandbox, "/v1/api_keys/rotate")) == 1


def cents(summary: UsageSummary) -> float:
    """What all periods come to."""
    return sum(period.total_cents or 0.0 for period in summary.usage.periods)


async def test_usage_is_counted_once_a_generation(client: AsyncDiffio) -> None:
    """A minute at the least is billed for each."""
    before = cents(await client.usage.summary())
    await client.restore(b"speech")
    assert cents(await client.usage.summary()) > before


async def test_a_webhook_is_configured_and_tested(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """The endpoint comes back as it was set, and a test event has a message id."""
    endpoint = await client.webhooks.configure(
        mode="test",
        url="https://example.com/webhooks/diffio",
        event_types=["generation.completed", "generation.failed"],
    )
    assert endpoint.url == "https://example.com/webhooks/diffio"
    assert endpoint.event_types == ("generation.completed", "generation.failed")
    assert endpoint.signing == "svix"
    assert requests_to(sandbox, "/v1/webhooks/configure")[0].json == {
        "mode": "test",
        "url": "https://example.com/webhooks/diffio",
        "eventTypes": ["generation.completed", "generation.failed"],
    }


async def test_bad_words_are_refused_before_anything_is_sent(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """A mode, a URL, a list or a label that cannot be right."""
    url, types = "https://example.com/x", ["generation.completed"]
    for mode, address, events in (
        ("prod", url, types),
        ("live", "http://example.com/x", types),
        ("live", "example.com", types),
        ("live", url, "generation.completed"),
        ("live", url, []),
    ):
        with pytest.raises(ConfigurationError):
            await client.webhooks.configure(
                mode=mode,  # type: ignore[arg-type]
                url=address,
                event_types=events,
            )
    with pytest.raises(ConfigurationError, match="80"):
        await client.api_keys.create(label="x" * 81, scopes=["projects:read"])
    with pytest.raises(ConfigurationError, match="list"):
        await client.api_keys.create(label="x", scopes="projects:read")
    with pytest.raises(ConfigurationError, match="key_id"):
        await client.api_keys.revoke(key_id=" ")
    assert list(sandbox.requests) == []


async def test_what_the_server_refuses_has_its_own_class_and_advice(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """An unknown project, a retired model, an unknown key, a wrong scope."""
    with pytest.raises(NotFound, match=r"Check the id"):
        await client.projects.list_generations(api_project_id="proj_none")
    with pytest.raises(NotFound):
        await client.api_keys.revoke(key_id="key_none")
    with pytest.raises(BadRequest):
        await client.api_keys.create(label="x", scopes=["no:such"])
    project = await uploaded(client)
    gone = {"error": "gone", "code": "model_retired"}
    sandbox.faults.add(Fault(path="/v1/diffio-2.0-generation", action=RespondWith(410, json=gone)))
    with pytest.raises(ModelRetired, match=r"diffio-4\.6-flash"):
        await client.generations.create(api_project_id=project, model="diffio-2")


async def test_a_listing_keeps_what_its_response_says_beside_the_rows(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """A list like any other, in which a page token has not vanished; null is no rows."""
    page = {"nextPageToken": "t2"}
    for path, name, row in (
        ("list_projects", "projects", {"apiProjectId": "p", "createdAt": ""}),
        ("list_project_generations", "generations", {"generationId": "g", "status": 5}),
        ("api_keys/list", "keys", {"keyId": "k", "scopes": "all"}),
    ):
        for rows in ([row], None):
            sandbox.faults.add(
                Fault(path=f"/v1/{path}", action=RespondWith(json={name: rows, **page}))
            )
    for calls in (
        client.projects.list,
        lambda: client.projects.list_generations(api_project_id="p"),
        client.api_keys.list,
    ):
        found = await calls()
        assert isinstance(found, list)
        assert len(found) == 1
        assert found.extra == page
        assert copy.deepcopy(found).extra == pickle.loads(pickle.dumps(found)).extra == page
        empty = await calls()
        assert (empty, empty.extra) == ([], page)


async def test_a_new_key_without_its_secret_is_an_invalid_response(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    for path in ("create", "rotate"):
        response = RespondWith(json={"keyId": "k", "key": ""})
        sandbox.faults.add(Fault(path=f"/v1/api_keys/{path}", action=response))
    with pytest.raises(InvalidResponse, match="key is missing"):
        await client.api_keys.create(label="a", scopes=["keys:read"])
    with pytest.raises(InvalidResponse, match="key is missing"):
        await client.api_keys.rotate(key_id="k")
