"""The host selects the credential: the key to the API, the token to the edge, nothing to media."""

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
    made: ApiRequest[Any] = call if call is not None else list_projects()
    return build_request(made, base_url=BASE, api_headers=build_api_headers("KEY-OF-CLIENT", under))


def credentials(made: Request) -> dict[str, str]:
    found = [(name.lower(), value) for name, value in made.headers.items()]
    assert len(dict(found)) == len(found), "a header twice"
    return {name: value for name, value in found if name in CREDENTIAL_HEADERS}


def test_an_api_call_is_a_json_post_with_the_key() -> None:
    call = create_project(file_name="é.wav", content_type="audio/wav", content_length=3)
    made = request(call)
    assert (made.method, made.url) == ("POST", f"{BASE}/create_project")
    assert made.headers["Content-Type"] == "application/json"
    assert made.headers["X-Diffio-SDK-Language"] == "python"
    assert credentials(made) == {"authorization": "Bearer KEY-OF-CLIENT"}
    assert json.loads(made.content or b"")["fileName"] == "é.wav"
    assert request().content == b"{}"


def test_the_edge_gets_its_token_and_nothing_of_the_users() -> None:
    users = {"X-Api-Key": "MINE", "X-Trace": "1", "Cookie": "c"}
    for call in (start_upload(OFFER), put_part(OFFER, "u", 1)):
        made = request(call, client=users, headers=users, api_key="KEY-OF-CALL")
        assert credentials(made) == {"authorization": "Bearer TOKEN-TOKEN"}
        assert not {"x-trace", "cookie"} & {name.lower() for name in made.headers}
        assert "KEY" not in str(made.headers)
        assert made.url.startswith("https://edge.diffio.ai/v1/uploads/")


def test_a_signed_url_gets_no_credential() -> None:
    link = "https://store/o?X-Goog-Signature=abcdefabcdef"
    made = signed_url_request("PUT", link, {"Content-Type": "audio/wav"})
    assert made.url == link
    assert credentials(made) == {}
    assert set(made.headers) == {"User-Agent", "Content-Type", "Accept-Encoding"}
    assert "abcdefabcdef" in made.secrets


def test_addresses_of_the_servers_are_checked_too() -> None:
    """A server cannot make the client send a token or a recording in the clear."""
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
        # Another key for one call takes the place of whatever the client would send.
        ({"X-Api-Key": "A"}, {}, "OTHER", {"authorization": "Bearer OTHER"}),
        ({"X-Api-Key": "A"}, {"X-Api-Key": "B"}, "OTHER", {"x-api-key": "B"}),
        # Both given on purpose: a gateway before the API wants its own.
        (
            {"Authorization": "Basic g", "X-Api-Key": "A"},
            {"X-Api-Key": "B"},
            None,
            {"authorization": "Basic g", "x-api-key": "B"},
        ),
    ],
)
def test_a_credential_of_the_users_takes_the_keys_place(
    client: dict[str, str], headers: dict[str, str], api_key: str | None, sent: dict[str, str]
) -> None:
    assert credentials(request(client=client, headers=headers, api_key=api_key)) == sent


def test_two_spellings_of_one_header_are_one_header() -> None:
    made = request(headers={"authorization": "A", "Authorization": "B", "user-agent": "mine"})
    assert credentials(made) == {"authorization": "B"}
    agents = [v for name, v in made.headers.items() if name.lower() == "user-agent"]
    assert agents == ["mine"]


@pytest.mark.parametrize("key", ["", "SECRET\n", "SEC RET"])
def test_a_calls_own_key_is_checked_and_not_replaced(key: str) -> None:
    """An empty key (an unset variable) must not bill the client's account instead."""
    with pytest.raises(ConfigurationError) as caught:
        request(api_key=key)
    assert "SEC" not in str(caught.value)


def test_bad_headers_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(ConfigurationError):
        request(headers={"X-A": "a\r\nb"})


def test_text_that_cannot_be_encoded_is_refused_before_anything_is_sent() -> None:
    """Half of a surrogate pair, wherever the user wrote it; whole pairs are sent."""
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
    whole = request(complete_project_upload("proj_\U0001f3a4"))
    assert whole.content == b'{"apiProjectId": "proj_\\ud83c\\udfa4"}'


def test_what_must_not_be_quoted_is_known_to_the_request() -> None:
    made = request(headers={"authorization": "bearer ABC", "Cookie": "id=1", "X-My-Token": "t0"})
    assert {"KEY-OF-CLIENT", "bearer ABC", "ABC", "id=1", "t0"} <= set(made.secrets)
    assert request(start_upload(OFFER)).secrets.count("TOKEN-TOKEN") >= 1
    link = signed_url_request("GET", "https://s/o?X-Sig=ab%2Fcdefabcdef&n=1", {})
    assert {"ab/cdefabcdef", "X-Sig=ab%2Fcdefabcdef&n=1"} <= set(link.secrets)
    assert "1" not in link.secrets


def test_the_repr_of_a_request_and_a_call_holds_no_secret() -> None:
    call = start_upload(OFFER)
    made = (call, request(call), request(), signed_url_request("GET", "https://s/o?sig=SIGNED", {}))
    for each in made:
        assert not any(s in repr(each) for s in ("TOKEN-TOKEN", "KEY-OF-CLIENT", "SIGNED"))
