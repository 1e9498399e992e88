"""Origins of the sandbox: their ports and URLs, and refused hosts and pages."""

import asyncio
from typing import Any

import aiohttp
import pytest
from raw_caller import Caller, calling, echoing

from diffio_async.sandbox import Fault, LoseResponse


async def posted(caller: Caller, path: str = "/v1/create_project", **headers: str) -> Any:
    """POST to the port of the API with the given headers."""
    base = caller.sandbox.base_url.removesuffix("/v1")
    given = {"X-Api-Key": caller.sandbox.api_key, **headers}
    return await caller.send("POST", base + path, json={"fileName": "a"}, headers=given)


async def test_all_three_origins_are_on_one_port() -> None:
    """They differ by path; requests are still recorded, matched and checked by origin."""
    lost = Fault(origin="edge", path="/v1/uploads/start", action=LoseResponse())
    async with calling(echoing(faults=[lost])) as caller:
        base = caller.sandbox.base_url.removesuffix("/v1")
        assert caller.sandbox.edge_url == f"{base}/edge"
        assert caller.sandbox.media_url == f"{base}/media"
        ids = await caller.restored(b"sound")
        assert (await caller.send("GET", await caller.link(ids))).body == b"sound"
        project = await caller.ok("create_project", fileName="b")
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await caller.edge(project, "start")
        assert (await caller.edge(project, "start")).status == 200
        seen = {(one.origin, one.path.split("/")[1]) for one in caller.sandbox.requests}
        assert seen == {("api", "v1"), ("edge", "v1"), ("media", "diffio-sandbox")}
        assert caller.sandbox.violations == []


async def test_a_key_at_the_edge_and_a_token_at_the_media_origin_are_violations() -> None:
    """They are violations although all origins share a port."""
    async with calling(echoing()) as caller:
        made = await caller.ok("create_project", fileName="a")
        token = {"Authorization": f"Bearer {made['upload']['uploadToken']}"}
        key = {"Authorization": f"Bearer {caller.sandbox.api_key}"}
        start = f"{made['upload']['edgeBaseUrl']}/v1/uploads/start"
        assert (await caller.send("POST", start, json={}, headers=key)).status == 401
        link = await caller.link(await caller.restored())
        assert (await caller.send("GET", link, headers=token)).status == 200
        assert (await caller.api("list_projects", key=made["upload"]["uploadToken"])).status == 401
        message = [text.split(": ", 1)[1] for text in caller.sandbox.violations]
        assert [text.split(" ")[:4] for text in message] == [
            ["an", "API", "key", "was"],
            ["a", "credential", "was", "sent"],
            ["an", "upload", "token", "was"],
        ]


async def test_separate_ports_keep_the_origins_apart() -> None:
    async with calling(echoing(separate_ports=True)) as caller:
        sandbox = caller.sandbox
        urls = (sandbox.base_url, sandbox.edge_url, sandbox.media_url)
        assert len({url.split("/")[2] for url in urls}) == 3
        await caller.send("GET", await caller.link(await caller.restored()))
        assert (await posted(caller, "/edge/v1/uploads/start")).status == 404


@pytest.mark.parametrize(
    ("options", "host", "base"),
    [
        ({}, "localhost:18490", "http://localhost:18490"),
        ({}, "127.0.0.1:18490", "http://127.0.0.1:18490"),
        ({}, "[::1]:18490", "http://[::1]:18490"),
        ({}, "sandbox.localhost", "http://sandbox.localhost"),
        ({}, "sandbox:8490", "http://sandbox:8490"),
        ({"allow_remote": True, "host": "0.0.0.0"}, "10.1.2.3:8490", "http://10.1.2.3:8490"),
        (
            {"allow_remote": True, "host": "0.0.0.0"},
            "d.svc.cluster.local",
            "http://d.svc.cluster.local",
        ),
        ({"allow_hosts": ["Docker.Example"]}, "docker.example:80", "http://docker.example:80"),
        ({"public_url": "https://s.example/d/v1/"}, "s.example", "https://s.example/d"),
        ({"public_url": "http://sandbox:8490"}, "localhost:1", "http://sandbox:8490"),
    ],
)
async def test_urls_have_the_host_of_the_request(
    options: dict[str, Any], host: str, base: str
) -> None:
    """They have its port too, for published ports; or they start with `public_url`."""
    async with calling(echoing(**options)) as caller:
        url = f"http://127.0.0.1:{caller.sandbox.context.addresses.ports['api']}/v1/create_project"
        headers = {"X-Api-Key": caller.sandbox.api_key, "Host": host}
        made = await caller.send("POST", url, json={"fileName": "a"}, headers=headers)
        assert made.json["upload"]["edgeBaseUrl"] == f"{base}/edge"
        assert made.json["uploadUrl"].startswith(f"{base}/media/")


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8490", "203.0.113.7", "127.0.0.1.nip.io"],
)
@pytest.mark.parametrize("origin", ["api", "edge", "media"])
async def test_a_foreign_host_is_refused_on_every_origin(host: str, origin: str) -> None:
    """The name may resolve here by DNS rebinding; credentials are not checked."""
    async with calling(echoing(separate_ports=origin == "edge")) as caller:
        link = await caller.link(await caller.restored())
        made = await caller.ok("create_project", fileName="a")
        edge = f"{made['upload']['edgeBaseUrl']}/v1/uploads/start"
        method, url, shape = {
            "api": ("POST", f"{caller.sandbox.base_url}/list_projects", ("error",)),
            "edge": ("POST", edge, ("error", "message")),
            "media": ("GET", link, ()),
        }[origin]
        headers = {"Host": host, "X-Api-Key": caller.sandbox.api_key}
        got = await caller.send(method, url, headers=headers)
        assert got.status == 421
        text: Any = got.json
        for name in shape:
            text = text[name]
        assert host in (text or got.body.decode())
        assert caller.sandbox.requests[-1].status == 421


async def test_beyond_loopback_a_public_name_is_still_refused() -> None:
    async with calling(echoing(host="0.0.0.0", allow_remote=True, api_key="k")) as caller:
        assert (await posted(caller, Host="evil.example")).status == 421
        assert (await posted(caller, Host="192.168.7.7:8490")).status == 200


@pytest.mark.parametrize("host", ["localhost, evil.example", "a@localhost", "localhost/x", "[::1"])
async def test_a_malformed_host_is_refused(host: str) -> None:
    async with calling(echoing()) as caller:
        assert (await posted(caller, Host=host)).status == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_page_of_another_site_is_refused(headers: dict[str, str]) -> None:
    """It is refused on every origin, also with the right key."""
    async with calling(echoing()) as caller:
        for path in ("/v1/webhooks/configure", "/edge/v1/uploads/start", "/media/x"):
            assert (await posted(caller, path, **headers)).status == 403
        link = await caller.link(await caller.restored())
        assert (await caller.send("GET", link, headers=headers)).status == 403


async def test_its_own_page_and_an_opened_link_are_served() -> None:
    """A page served under the same host may call, and a signed link may be clicked anywhere."""
    async with calling(echoing()) as caller:
        own = caller.sandbox.base_url.removesuffix("/v1")
        assert (await posted(caller, Origin=own)).status == 200
        assert (await posted(caller, **{"Sec-Fetch-Site": "same-origin"})).status == 200
        link = await caller.link(await caller.restored())
        clicked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        assert (await caller.send("GET", link, headers=clicked)).status == 200


async def test_a_request_without_a_host_is_served() -> None:
    """HTTP/1.0 has none; no browser sends such a request."""
    async with calling(echoing()) as caller:
        port = caller.sandbox.context.addresses.ports["api"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /v1/list_projects HTTP/1.0\r\n\r\n")
        assert (await reader.readline()).split()[1] == b"405"
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "url", ["sandbox:8490", "ftp://sandbox", "http://", "http://s/?a", "http://u@s"]
)
def test_an_invalid_public_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="public_url must be like"):
        echoing(public_url=url)
    with pytest.raises(ValueError, match="separate_ports"):
        echoing(public_url="http://sandbox", separate_ports=True)


@pytest.mark.parametrize(
    ("host", "begins"), [("0.0.0.0", "http://localhost:"), ("127.0.0.2", "http://127.0.0.2:")]
)
async def test_the_base_url_has_the_listening_address(host: str, begins: str) -> None:
    async with calling(echoing(host=host, allow_remote=True, api_key="k")) as caller:
        assert caller.sandbox.base_url.startswith(begins)
        assert (await caller.api("list_projects")).status == 200
