"""Credentials by host: the key for the API, the token for the edge, none for media hosts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async._protocol.endpoints import (
    complete_project_upload,
    create_project,
    get_generation_progress,
    list_projects,
    put_part,
    require_json_object,
    start_upload,
)
from diffio_async._protocol.requests import (
    Request,
    build_api_headers,
    build_request,
    signed_url_request,
)
from diffio_async.errors import ConfigurationError
from diffio_async.models.projects import EdgeUpload
from diffio_async.options import CREDENTIAL_HEADERS, ClientOptions, RequestOptions, resolve_options

if TYPE_CHECKING:
    from diffio_async._protocol.requests import ApiRequest

BASE = "https://api.diffio.ai/v1"
OFFER = EdgeUpload(
    upload_session_id="s",
    edge_base_url="https://edge.diffio.ai/",
    upload_token="TOKEN-TOKEN",
    part_size_bytes=1,
)


def request(
    call: ApiRequest[Any] | None = None,
    *,
    client: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    api_key: str | None = None,
) -> Request:
    under = resolve_options(
        ClientOptions(headers=client or {}), RequestOptions(headers=headers, api_key=api_key)
    )
    built: ApiRequest[Any] = call if call is not None else list_projects()
    return build_request(
        built, base_url=BASE, api_headers=build_api_headers("KEY-OF-CLIENT", under)
    )


def credentials(built: Request) -> dict[str, str]:
    found = [(name.lower(), value) for name, value in built.headers.items()]
    assert len(dict(found)) == len(found), "a header twice"
    return {name: value for name, value in found if name in CREDENTIAL_HEADERS}


def test_an_api_request_is_a_json_post_with_the_key() -> None:
    call = create_project(file_name="é.wav", content_type="audio/wav", content_length=3)
    built = request(call)
    assert (built.method, built.url) == ("POST", f"{BASE}/create_project")
    assert built.headers["Content-Type"] == "application/json"
    assert built.headers["X-Diffio-SDK-Language"] == "python"
    assert credentials(built) == {"authorization": "Bearer KEY-OF-CLIENT"}
    assert json.loads(built.content or b"")["fileName"] == "é.wav"
    assert request().content == b"{}"


def test_an_edge_request_has_the_token_and_no_headers_of_the_user() -> None:
    users = {"X-Api-Key": "MINE", "X-Trace": "1", "Cookie": "c"}
    for call in (start_upload(OFFER), put_part(OFFER, "u", 1)):
        built = request(call, client=users, headers=users, api_key="KEY-OF-CALL")
        assert credentials(built) == {"authorization": "Bearer TOKEN-TOKEN"}
        assert not {"x-trace", "cookie"} & {name.lower() for name in built.headers}
        assert "KEY" not in str(built.headers)
        assert built.url.startswith("https://edge.diffio.ai/v1/uploads/")


def test_a_signed_url_request_has_no_credential() -> None:
    link = "https://store/o?X-Goog-Signature=abcdefabcdef"
    built = signed_url_request("PUT", link, {"Content-Type": "audio/wav"})
    assert built.url == link
    assert credentials(built) == {}
    assert set(built.headers) == {"User-Agent", "Content-Type", "Accept-Encoding"}
    assert "abcdefabcdef" in built.secrets


def test_urls_from_a_server_are_checked() -> None:
    """A server cannot make the client send a token or a recording over plain HTTP."""
    offer = EdgeUpload(
        upload_session_id="s", edge_base_url="http://edge", upload_token="T", part_size_bytes=1
    )
    with pytest.raises(ConfigurationError):
        request(start_upload(offer))
    with pytest.raises(ConfigurationError):
        signed_url_request("GET", "http://store/o?sig=abc", {})


@pytest.mark.parametrize(
    ("client", "headers", "api_key", "sent"),
    [
        ({}, {}, "OTHER", {"authorization": "Bearer OTHER"}),
        ({"X-Api-Key": "A"}, {}, None, {"x-api-key": "A"}),
        ({}, {"xi-api-key": "A"}, None, {"xi-api-key": "A"}),
        ({}, {"authorization": "Bearer A"}, None, {"authorization": "Bearer A"}),
        ({"Authorization": "A"}, {"authorization": "B"}, None, {"authorization": "B"}),
        ({"authorization": "A"}, {"AUTHORIZATION": "B"}, None, {"authorization": "B"}),
        # The key of a call replaces every credential of the client.
        ({"X-Api-Key": "A"}, {}, "OTHER", {"authorization": "Bearer OTHER"}),
        ({"X-Api-Key": "A"}, {"X-Api-Key": "B"}, "OTHER", {"x-api-key": "B"}),
        # Both are set explicitly: a gateway in front of the API requires its own.
        (
            {"Authorization": "Basic g", "X-Api-Key": "A"},
            {"X-Api-Key": "B"},
            None,
            {"authorization": "Basic g", "x-api-key": "B"},
        ),
    ],
)
def test_a_credential_header_of_the_user_replaces_the_key(
    client: dict[str, str], headers: dict[str, str], api_key: str | None, sent: dict[str, str]
) -> None:
    assert credentials(request(client=client, headers=headers, api_key=api_key)) == sent


def test_header_names_are_case_insensitive() -> None:
    built = request(headers={"authorization": "A", "Authorization": "B", "user-agent": "mine"})
    assert credentials(built) == {"authorization": "B"}
    agents = [v for name, v in built.headers.items() if name.lower() == "user-agent"]
    assert agents == ["mine"]


@pytest.mark.parametrize("key", ["", "SECRET\n", "SEC RET"])
def test_an_invalid_key_of_a_call_is_refused(key: str) -> None:
    """An empty key (an unset variable) must not fall back to the client's account."""
    with pytest.raises(ConfigurationError) as caught:
        request(api_key=key)
    assert "SEC" not in str(caught.value)


def test_invalid_headers_are_refused_when_the_request_is_built() -> None:
    with pytest.raises(ConfigurationError):
        request(headers={"X-A": "a\r\nb"})


def test_lone_surrogates_are_refused_when_the_request_is_built() -> None:
    """They are refused in any argument; complete surrogate pairs are sent."""
    half = "caf\udce9"
    with pytest.raises(ConfigurationError, match="half of a surrogate pair"):
        request(headers={"X-Note": half})
    with pytest.raises(ConfigurationError, match="an address"):
        signed_url_request("GET", f"https://host/{half}", {})
    with pytest.raises(ConfigurationError, match="params"):
        require_json_object({"note": [half]}, "params")
    for call in (get_generation_progress(half, None), complete_project_upload(half)):
        with pytest.raises(ConfigurationError, match=f"{call.name} cannot be sent"):
            request(call)
    complete = request(complete_project_upload("proj_\U0001f3a4"))
    assert complete.content == b'{"apiProjectId": "proj_\\ud83c\\udfa4"}'


def test_a_request_lists_its_secrets() -> None:
    built = request(headers={"authorization": "bearer ABC", "Cookie": "id=1", "X-My-Token": "t0"})
    assert {"KEY-OF-CLIENT", "bearer ABC", "ABC", "id=1", "t0"} <= set(built.secrets)
    assert request(start_upload(OFFER)).secrets.count("TOKEN-TOKEN") >= 1
    link = signed_url_request("GET", "https://s/o?X-Sig=ab%2Fcdefabcdef&n=1", {})
    assert {"ab/cdefabcdef", "X-Sig=ab%2Fcdefabcdef&n=1"} <= set(link.secrets)
    assert "1" not in link.secrets


def test_the_repr_of_a_request_contains_no_secret() -> None:
    call = start_upload(OFFER)
    built = (
        call,
        request(call),
        request(),
        signed_url_request("GET", "https://s/o?sig=SIGNED", {}),
    )
    for each in built:
        assert not any(s in repr(each) for s in ("TOKEN-TOKEN", "KEY-OF-CLIENT", "SIGNED"))
