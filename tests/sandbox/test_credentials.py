"""Authentication, scopes, and violations for secrets in wrong places."""

import io
import logging
from typing import Any

import pytest
from raw_caller import calling, echoing


async def test_a_key_is_accepted_in_any_of_three_headers() -> None:
    async with calling(echoing()) as caller:
        url = f"{caller.sandbox.base_url}/list_projects"
        key = caller.sandbox.api_key
        for headers in (
            {"Authorization": f"bearer {key}"},
            {"X-Api-Key": key},
            {"xi-api-key": key},
        ):
            assert (await caller.send("POST", url, json={}, headers=headers)).status == 200
        assert caller.sandbox.violations == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic ZGlmZmlvX3NhbmRib3hfa2V5"},
        {"X-Api-Key": ""},
    ],
)
async def test_without_a_known_key_it_is_a_401(headers: dict[str, str]) -> None:
    async with calling(echoing()) as caller:
        url = f"{caller.sandbox.base_url}/list_projects"
        got = await caller.send("POST", url, json={}, headers=headers)
        assert got.status == 401
        assert isinstance(got.json["error"], str)
        assert got.headers["x-request-id"] == caller.sandbox.requests[0].request_id


async def test_two_credentials_at_once_are_a_violation() -> None:
    async with calling(echoing()) as caller:
        url = f"{caller.sandbox.base_url}/list_projects"
        key = caller.sandbox.api_key
        headers = {"Authorization": f"Bearer {key}", "X-Api-Key": key}
        assert (await caller.send("POST", url, json={}, headers=headers)).status == 200
        headers = {"Authorization": f"Bearer {key}", "X-Api-Key": "other"}
        assert (await caller.send("POST", url, json={}, headers=headers)).status == 401
        assert len(caller.sandbox.violations) == 2
        assert "2 credentials at once: Authorization, X-Api-Key" in caller.sandbox.violations[0]


async def test_scopes_are_enforced_endpoint_by_endpoint() -> None:
    needed = {
        "create_project": "projects:write",
        "complete_project_upload": "projects:write",
        "list_projects": "projects:read",
        "list_project_generations": "generations:read",
        "diffio-4.6-flash-generation": "generations:write",
        "get_generation_progress": "generations:read",
        "get_generation_download": "artifacts:read",
        "account/settings/get": "account:read",
        "account/settings/update": "account:write",
        "api_keys/create": "keys:write",
        "api_keys/list": "keys:read",
        "api_keys/rotate": "keys:write",
        "api_keys/revoke": "keys:write",
        "usage/summary": "usage:read",
        "webhooks/configure": "webhooks:write",
        "webhooks/send_test_event": "webhooks:write",
    }
    async with calling(echoing()) as caller:
        none = await caller.ok("api_keys/create", label="none", scopes=["webhooks:read"])
        for endpoint, scope in needed.items():
            refused = await caller.api(endpoint, key=none["key"])
            assert (refused.status, refused.json["code"]) == (403, "missingScope"), endpoint
            assert scope in refused.json["error"]
            one = await caller.ok("api_keys/create", label="one", scopes=[scope])
            assert (await caller.api(endpoint, key=one["key"])).status in (200, 400), endpoint


async def test_the_life_cycle_of_a_key() -> None:
    async with calling(echoing()) as caller:
        made = await caller.ok("api_keys/create", label="worker", scopes=["projects:read"])
        assert made["key"].startswith(made["keyPrefix"])
        assert (made["status"], made["role"], made["parentKeyId"]) == (
            "active",
            "scoped",
            "key_sandbox",
        )
        listed = (await caller.ok("api_keys/list"))["keys"]
        assert [one["label"] for one in listed] == ["sandbox", "worker"]
        assert all("key" not in one for one in listed)

        turned = await caller.ok("api_keys/rotate", keyId=made["keyId"])
        assert turned["keyId"] == made["keyId"]
        assert turned["rotatedAt"] is not None
        assert (await caller.api("list_projects", key=made["key"])).status == 401
        assert (await caller.api("list_projects", key=turned["key"])).status == 200

        for _ in range(2):
            ended = await caller.ok("api_keys/revoke", keyId=made["keyId"])
            assert ended["status"] == "revoked"
        got = await caller.api("list_projects", key=turned["key"])
        assert (got.status, got.json["code"]) == (403, "keyNotActive")
        assert (await caller.api("api_keys/rotate", keyId=made["keyId"])).status == 409
        assert (await caller.api("api_keys/rotate", keyId="key_other")).status == 404


async def test_a_key_cannot_grant_scopes_that_it_lacks() -> None:
    async with calling(echoing()) as caller:
        parent = await caller.ok("api_keys/create", label="p", scopes=["keys:write"])
        got = await caller.api(
            "api_keys/create", key=parent["key"], label="c", scopes=["projects:read"]
        )
        assert got.status == 403
        wrongs: tuple[dict[str, Any], ...] = (
            {"label": "x" * 81, "scopes": []},
            {"label": "x", "scopes": ["nonsense"]},
            {"label": "x", "scopes": "projects:read"},
            {"label": "x"},
            {"scopes": []},
        )
        for wrong in wrongs:
            assert (await caller.api("api_keys/create", **wrong)).status == 400


async def test_an_api_key_at_the_edge_is_refused_and_a_violation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with calling(echoing(api_key="diffio_live_very_secret")) as caller:
        made = await caller.ok("create_project", fileName="a")
        url = f"{made['upload']['edgeBaseUrl']}/v1/uploads/start"
        key = caller.sandbox.api_key
        with caplog.at_level(logging.WARNING, "diffio_async.sandbox"):
            wrong = {"Authorization": f"Bearer {key}"}
            got = await caller.send("POST", url, json={}, headers=wrong)
            assert (got.status, got.json["error"]["code"]) == (401, "unauthorized")
            beside = {"Authorization": f"Bearer {made['upload']['uploadToken']}", "X-Custom": key}
            assert (await caller.send("POST", url, json={}, headers=beside)).status == 200
        assert [text.split(": ")[1] for text in caller.sandbox.violations] == [
            "an API key was sent to the edge host in Authorization",
            "an API key was sent to the edge host in X-Custom",
        ]
        assert key not in caplog.text


async def test_any_credential_at_the_media_host_is_a_violation() -> None:
    async with calling(echoing()) as caller:
        link = await caller.link(await caller.restored())
        for name in ("Authorization", "X-Api-Key", "Xi-Api-Key", "Cookie"):
            got = await caller.send("GET", link, headers={name: "some-secret-of-theirs"})
            assert got.status == 200
            assert f"in {name}: some-s…" in caller.sandbox.violations[-1]
        before = len(caller.sandbox.violations)
        assert (await caller.send("GET", f"{link}&key={caller.sandbox.api_key}")).status == 200
        assert len(caller.sandbox.violations) == before + 1


async def test_an_upload_token_at_the_api_is_refused_and_a_violation() -> None:
    async with calling(echoing()) as caller:
        made = await caller.ok("create_project", fileName="a")
        got = await caller.api("list_projects", key=made["upload"]["uploadToken"])
        assert got.status == 401
        assert "an upload token was sent to the API" in caller.sandbox.violations[0]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"data": b"{}", "headers": {"Content-Type": "text/plain"}}, 400),
        ({"data": b"", "headers": {"Content-Type": "application/json"}}, 400),
        ({"data": b"{", "headers": {"Content-Type": "application/json"}}, 400),
        ({"json": []}, 400),
        (
            {
                "data": b'{"params":' + b"[" * 200_000,
                "headers": {"Content-Type": "application/json"},
            },
            400,
        ),
        ({"json": "text"}, 400),
        ({"data": io.BytesIO(b" " * 1_100_000)}, 413),
    ],
)
async def test_a_body_that_is_not_a_json_object_is_refused(
    sent: dict[str, Any], status: int
) -> None:
    async with calling(echoing(api_key="k" * 20)) as caller:
        caller.session.headers["X-Api-Key"] = caller.sandbox.api_key
        url = f"{caller.sandbox.base_url}/list_projects"
        got = await caller.send("POST", url, **sent)
        assert got.status == status
        assert got.json["error"]
        assert len(caller.sandbox.violations) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"fileName": ""},
        {"fileName": 5},
        {"fileName": "a", "contentLength": -1},
        {"fileName": "a", "contentLength": 1.5},
        {"fileName": "a", "contentLength": True},
        {"fileName": "a", "contentType": 3},
        {"fileName": "a", "params": []},
        {"fileName": "a", "fileFormat": None},
        {"fileName": "half \ud83d"},
    ],
)
async def test_a_mistyped_field_is_a_400_that_names_it(body: dict[str, Any]) -> None:
    async with calling(echoing()) as caller:
        got = await caller.api("create_project", **body)
        assert got.status == 400
        field = list(body)[-1] if body else "fileName"
        assert field in got.json["error"]


async def test_unknown_methods_and_paths() -> None:
    async with calling(echoing()) as caller:
        base = caller.sandbox.base_url
        assert (await caller.send("GET", f"{base}/list_projects")).status == 405
        assert (await caller.send("POST", f"{base}/nothing", json={})).status == 404
        assert (
            await caller.send("POST", base.removesuffix("/v1") + "/list_projects")
        ).status == 404
        got = await caller.api("list_projects", api_project_id="x")
        assert got.status == 200
        assert "unknown fields: api_project_id" in caller.sandbox.violations[-1]
