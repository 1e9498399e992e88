"""Account, API keys, usage and webhooks, against the sandbox."""

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


async def test_the_billing_policy_is_read_and_updated(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """The policy is a free-form object, which is sent unchanged."""
    settings = await client.account.get_settings()
    assert settings.api_key_id
    assert settings.account.user_id
    policy = dict(settings.account.billing_policy or {})
    changed = await client.account.update_settings(billing_policy=policy)
    assert changed.account.billing_policy == policy
    assert requests_to(sandbox, "/v1/account/settings/update")[0].json == {"billingPolicy": policy}


async def test_the_life_cycle_of_an_api_key(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """It is created, listed without its secret, rotated and revoked; no repr has the secret."""
    created = await client.api_keys.create(label="worker", scopes=["projects:read"])
    assert created.key
    assert created.key not in repr(created)
    assert created.scopes == ("projects:read",)
    with_key = RequestOptions(api_key=created.key)
    assert await client.projects.list(options=with_key) == []
    with pytest.raises(PermissionDenied, match="scope"):
        await client.api_keys.list(options=with_key)
    listed = {key.key_id: key for key in await client.api_keys.list()}
    assert listed[created.key_id].key is None
    rotated = await client.api_keys.rotate(key_id=created.key_id)
    assert rotated.key not in {None, created.key}
    with pytest.raises(AuthenticationFailed):
        await client.projects.list(options=with_key)
    revoked = await client.api_keys.revoke(key_id=created.key_id)
    assert revoked.status == "revoked"
    with pytest.raises((AuthenticationFailed, PermissionDenied)):
        await client.projects.list(options=RequestOptions(api_key=rotated.key))


@pytest.mark.parametrize("action", [LoseResponse(), RespondWith(500)])
async def test_creating_and_rotating_keys_is_not_retried(
    client: AsyncDiffio, sandbox: Sandbox, action: LoseResponse | RespondWith
) -> None:
    """After a lost response, a retry would create another valid key unknown to the caller."""
    from diffio_async import ServerError

    for _ in range(3):
        sandbox.faults.add(Fault(path="/v1/api_keys/create", action=action))
    with pytest.raises((ResponseLost, ServerError)):
        await client.api_keys.create(label="x", scopes=["projects:read"])
    assert len(requests_to(sandbox, "/v1/api_keys/create")) == 1
    sandbox.faults.clear()
    created = await client.api_keys.create(label="y", scopes=["projects:read"])
    for _ in range(3):
        sandbox.faults.add(Fault(path="/v1/api_keys/rotate", action=action))
    with pytest.raises((ResponseLost, ServerError)):
        await client.api_keys.rotate(key_id=created.key_id)
    assert len(requests_to(sandbox, "/v1/api_keys/rotate")) == 1


def cents(summary: UsageSummary) -> float:
    """Return the total of all periods."""
    return sum(period.total_cents or 0.0 for period in summary.usage.periods)


async def test_a_generation_is_added_to_the_usage(client: AsyncDiffio) -> None:
    """At least a minute is billed for each generation."""
    before = cents(await client.usage.summary())
    await client.restore(b"speech")
    assert cents(await client.usage.summary()) > before


async def test_a_webhook_is_configured(client: AsyncDiffio, sandbox: Sandbox) -> None:
    """The response contains the endpoint that was requested."""
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


async def test_invalid_arguments_are_refused_before_a_request(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """The mode, the URL, the list or the label is invalid."""
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


async def test_errors_of_the_server_have_their_own_class_and_hint(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """The project, key or scope is unknown, or the model retired."""
    with pytest.raises(NotFound, match=r"Check the id"):
        await client.projects.list_generations(api_project_id="proj_none")
    with pytest.raises(NotFound):
        await client.api_keys.revoke(key_id="key_none")
    with pytest.raises(BadRequest):
        await client.api_keys.create(label="x", scopes=["no:such"])
    project = await uploaded(client)
    retired = {"error": "retired", "code": "model_retired"}
    sandbox.faults.add(
        Fault(path="/v1/diffio-2.0-generation", action=RespondWith(410, json=retired))
    )
    with pytest.raises(ModelRetired, match=r"diffio-4\.6-flash"):
        await client.generations.create(api_project_id=project, model="diffio-2")


async def test_a_listing_keeps_the_other_fields_of_its_response(
    client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """The page token is in `extra`; null is an empty list."""
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
