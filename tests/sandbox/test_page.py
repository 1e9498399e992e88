"""The web page of the sandbox: its routes, its updates, and who may use them."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from raw_caller import Caller, calling, echoing

from diffio_async.sandbox import Drop, Fault, Sandbox


async def page_token(caller: Caller) -> str:
    """Return the token that the page contains."""
    page = await caller.send("GET", caller.sandbox.page_url)
    assert page.status == 200
    found = re.search(r'name="page-token" content="([^"]+)"', page.body.decode())
    assert found is not None
    return found[1]


async def uploaded(caller: Caller, content: bytes, name: str, **headers: str) -> Any:
    """Upload a recording as the page does, and return the ids."""
    response = await caller.send(
        "POST",
        f"{caller.sandbox.page_url}page/upload",
        params={"name": name},
        data=content,
        headers={
            "X-Page-Token": await page_token(caller),
            "Content-Type": "audio/wav",
            **headers,
        },
    )
    assert response.status == 200, response.body
    return response.json


@asynccontextmanager
async def updates(caller: Caller) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
    """Yield the server-sent events as (section, content)."""
    async with caller.session.get(f"{caller.sandbox.page_url}page/updates") as response:
        assert response.content_type == "text/event-stream"

        async def events() -> AsyncIterator[tuple[str, Any]]:
            while line := (await response.content.readline()).decode():
                if line.startswith("event: "):
                    data = (await response.content.readline()).decode()
                    yield line[7:].strip(), json.loads(data[6:])

        yield events()


async def section(events: AsyncIterator[tuple[str, Any]], name: str) -> Any:
    """Return the next content of a section."""
    async with asyncio.timeout(60):
        async for got, content in events:
            if got == name:
                return content
    raise AssertionError("the updates ended")


async def test_the_page_has_a_strict_policy_and_a_token() -> None:
    """It may load its own files only, and no other page may show it in a frame."""
    async with calling(echoing()) as caller:
        page = await caller.send("GET", caller.sandbox.page_url)
        policy = page.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert page.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in page.headers
        assert len(await page_token(caller)) > 20
        assert caller.sandbox.api_key not in page.body.decode()


async def test_an_uploaded_recording_is_restored_and_played() -> None:
    """A POST of the bytes is enough; both sides can be read in ranges."""
    async with calling(echoing()) as caller:
        ids = await uploaded(caller, b"RIFFsound", "a.wav")
        await caller.ended({"generationId": ids["generationId"]})
        media = f"{caller.sandbox.page_url}page/media/{ids['generationId']}"
        for side in ("before", "audio"):
            whole = await caller.send("GET", f"{media}/{side}")
            assert (whole.status, whole.body) == (200, b"RIFFsound")
            part = await caller.send("GET", f"{media}/{side}", headers={"Range": "bytes=4-"})
            assert (part.status, part.body) == (206, b"sound")
        assert (await caller.send("GET", f"{media}/video")).status == 404
        assert (await caller.send("GET", f"{media}/../x")).status == 404


async def test_a_recording_is_never_served_as_a_document() -> None:
    """A file that its sender calls HTML is a download of bytes, with scripts forbidden."""
    async with calling(echoing()) as caller:
        ids = await uploaded(
            caller, b"<script>alert(1)</script>", "x.html", **{"Content-Type": "text/html"}
        )
        await caller.ended({"generationId": ids["generationId"]})
        for side in ("before", "audio"):
            url = f"{caller.sandbox.page_url}page/media/{ids['generationId']}/{side}"
            response = await caller.send("GET", url)
            assert response.headers["Content-Type"] == "application/octet-stream"
            assert "sandbox" in response.headers["Content-Security-Policy"]


@pytest.mark.slow
async def test_updates_show_progress_requests_deliveries_and_faults() -> None:
    """Each section is sent when it changes, and contains no secret."""
    async with calling(echoing(duration=0.5)) as caller, updates(caller) as events:
        assert await section(events, "recordings") == []
        await caller.generation(await caller.project(b"sound", name="<b>.wav"))
        states: list[str] = []
        rows: list[Any] = []
        while "restored" not in states:
            rows = await section(events, "recordings")
            states += [row["state"] for row in rows]
        assert "processing" in states
        assert rows[0]["name"] == "<b>.wav"
        caller.sandbox.faults.add(Fault(action=Drop(), path="/v1/list_projects"))
        assert (await section(events, "faults"))[0]["action"] == "drop"
        await caller.send("GET", f"{caller.sandbox.base_url}/nothing")
        requests = await section(events, "requests")
        assert {one["path"] for one in requests["requests"]} >= {
            "/v1/nothing",
            "/v1/create_project",
        }
        text = json.dumps(requests)
        assert caller.sandbox.api_key not in text
        assert "signature=" not in text


@pytest.mark.slow
async def test_an_unchanged_sandbox_sends_each_section_once() -> None:
    async with calling(echoing()) as caller:
        await caller.restored(b"sound")
        async with updates(caller) as events:
            received = [await anext(events) for _ in range(5)]
            assert {name for name, _ in received} == {
                "deliveries",
                "faults",
                "recordings",
                "requests",
                "server",
            }
            following = asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({following}, timeout=1.0)
            assert not done
            following.cancel()


async def test_faults_are_switched_on_and_off() -> None:
    """A plan is added; a position or all of them are removed; anything else is refused."""
    async with calling(echoing()) as caller:
        url = f"{caller.sandbox.page_url}page/faults"
        headers = {"X-Page-Token": await page_token(caller)}
        plan = {"faults": [{"action": {"delay": {"seconds": 0.1}}}, {"action": "drop"}]}
        assert (await caller.send("POST", url, json=plan, headers=headers)).json == {"active": 2}
        removed = await caller.send("POST", url, json={"remove": 0}, headers=headers)
        assert removed.json == {"active": 1}
        assert next(iter(caller.sandbox.faults)).action == Drop()
        # The page itself gets no faults: this one closes the connection of any client.
        for bad in ({"remove": 7}, {"remove": True}, {"faults": [{"action": "explode"}]}, {"a": 1}):
            refused = await caller.send("POST", url, json=bad, headers=headers)
            assert refused.status == 400, bad
        cleared = await caller.send("POST", url, json={"remove": "all"}, headers=headers)
        assert cleared.json == {"active": 0}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Page-Token": "guessed"},
        {"X-Page-Token": "gu\u00e9ssed"},
        {"Origin": "https://evil.example", "X-Page-Token": "TOKEN"},
        {"Sec-Fetch-Site": "cross-site", "X-Page-Token": "TOKEN"},
        {"Host": "evil.example", "X-Page-Token": "TOKEN"},
        {"Host": "sandbox", "X-Page-Token": "TOKEN"},
    ],
)
async def test_a_change_needs_the_token_and_the_page_itself(headers: dict[str, str]) -> None:
    """Nothing is stored for a request without the token, or of another site or host."""
    async with calling(echoing()) as caller:
        token = await page_token(caller)
        sent = {name: token if text == "TOKEN" else text for name, text in headers.items()}
        for path in ("page/upload", "page/faults"):
            url = caller.sandbox.page_url + path
            refused = await caller.send("POST", url, json={"remove": "all"}, headers=sent)
            assert refused.status in (403, 421), (path, refused.body)
        assert not caller.sandbox.state.projects


async def test_a_token_with_bytes_that_are_not_utf_8_is_refused() -> None:
    """A program may send any bytes in a header; the sandbox logs no error of its own."""
    async with calling(echoing()) as caller:
        port = caller.sandbox.page_url.rstrip("/").rpartition(":")[2]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        writer.write(
            b"POST /page/faults HTTP/1.1\r\nHost: 127.0.0.1:" + port.encode() + b"\r\n"
            b"X-Page-Token: gu\xe9ssed\r\nContent-Length: 2\r\n\r\n{}"
        )
        status = await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert status.split()[1] == b"403"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "sandbox"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Origin": "null"},
    ],
)
@pytest.mark.parametrize("path", ["", "page/updates", "page/assets/index.html"])
async def test_the_page_is_given_to_no_other_site(path: str, headers: dict[str, str]) -> None:
    async with calling(echoing()) as caller:
        response = await caller.send("GET", caller.sandbox.page_url + path, headers=headers)
        assert response.status in (403, 421)
        assert b"page-token" not in response.body


async def test_an_upload_that_is_cut_off_leaves_no_recording() -> None:
    async with calling(echoing(max_bytes=10)) as caller:
        headers = {"X-Page-Token": await page_token(caller)}
        url = f"{caller.sandbox.page_url}page/upload"
        refused = await caller.send("POST", url, data=b"x" * 11, headers=headers)
        assert refused.status == 400
        assert not caller.sandbox.state.projects


async def test_requests_of_the_page_are_not_recorded() -> None:
    """They are not those of a client; what they create is."""
    async with calling(echoing()) as caller:
        await uploaded(caller, b"sound", "a.wav")
        assert caller.sandbox.requests == []
        assert caller.sandbox.violations == []


async def test_separate_ports_have_the_page_on_the_port_of_the_api_only() -> None:
    async with calling(echoing(separate_ports=True)) as caller:
        assert (await caller.send("GET", caller.sandbox.page_url)).status == 200
        assert b"page-token" not in (await caller.send("GET", f"{caller.sandbox.edge_url}/")).body


SAMPLE = Path(__file__).parents[2] / "samples" / "noisy-speech.wav"


@pytest.mark.slow
async def test_a_restored_recording_is_compared_with_its_source(tmp_path: Path) -> None:
    """Numbers, pictures and media of both sides are served; no path of this machine is."""
    async with calling(Sandbox(tmp_path, workers=1)) as caller:
        ids = await uploaded(caller, SAMPLE.read_bytes(), "talk.wav")
        generation = ids["generationId"]
        base = f"{caller.sandbox.page_url}page/comparison/{generation}"
        assert (await caller.send("GET", base)).status == 409
        await caller.ended({"generationId": generation}, within=120)
        response = await caller.send("GET", base)
        assert response.status == 200, response.body
        row, scales = response.json["row"], response.json["scales"]
        assert str(tmp_path) not in response.body.decode()
        assert row["gain"] > 6
        assert row["before"]["duration"] == pytest.approx(10.6, abs=0.2)
        assert scales["frequency"]["scale"] == "mel"
        for side in ("before", "after"):
            media = await caller.send("GET", caller.sandbox.page_url + row[side]["media"]["href"])
            assert media.status == 200
            assert media.headers["Content-Type"].startswith("audio/")
        details = await caller.send("GET", caller.sandbox.page_url + row["details"]["href"])
        assert details.body.startswith(b'diffioDetails("r1", ')
        picture = await caller.send("GET", f"{base}/r1-after.png")
        assert picture.body.startswith(b"\x89PNG")
        assert str(tmp_path) not in details.body.decode()
        for name in ("row-1.json", "..%2f..%2fsandbox.sqlite3", "r1-after.exe"):
            assert (await caller.send("GET", f"{base}/{name}")).status == 404


@pytest.mark.slow
async def test_a_transcript_that_is_made_on_request_is_part_of_the_next_comparison() -> None:
    pytest.importorskip("pocketsphinx", reason="extra not installed")
    async with calling(Sandbox(workers=1)) as caller:
        ids = await uploaded(caller, SAMPLE.read_bytes(), "talk.wav")
        generation = ids["generationId"]
        await caller.ended({"generationId": generation}, within=120)
        base = f"{caller.sandbox.page_url}page/"
        row = (await caller.send("GET", f"{base}comparison/{generation}")).json["row"]
        details = (await caller.send("GET", caller.sandbox.page_url + row["details"]["href"])).body
        assert b'"words": null' in details
        headers, status = {"X-Page-Token": await page_token(caller)}, "pending"
        while status == "pending":  # after 15 seconds the response does not wait any longer
            made = await caller.send("POST", f"{base}transcript/{generation}", headers=headers)
            status = made.json["status"]
        assert status == "available"
        row = (await caller.send("GET", f"{base}comparison/{generation}")).json["row"]
        details = (await caller.send("GET", caller.sandbox.page_url + row["details"]["href"])).body
        assert b'"words": [[' in details


@pytest.mark.slow
async def test_a_comparison_of_a_client_that_went_away_is_not_made(tmp_path: Path) -> None:
    """Comparisons wait for each other; one that nobody waits for is left out."""
    async with calling(echoing(data=tmp_path)) as caller:
        ids = [await uploaded(caller, SAMPLE.read_bytes(), f"{n}.wav") for n in range(3)]
        for each in ids:
            await caller.ended({"generationId": each["generationId"]})

        def compare(each: dict[str, str]) -> asyncio.Task[Any]:
            url = f"{caller.sandbox.page_url}page/comparison/{each['generationId']}"
            return asyncio.create_task(caller.send("GET", url))

        first = compare(ids[0])
        await asyncio.sleep(0.1)
        gone = compare(ids[1])
        await asyncio.sleep(0.1)
        assert not first.done()
        gone.cancel()
        last = compare(ids[2])
        assert [(await task).status for task in (first, last)] == [200, 200]
        made = {path.parents[1].name for path in tmp_path.rglob("row-*.json")}
        assert made == {ids[0]["generationId"], ids[2]["generationId"]}


@pytest.mark.slow
async def test_an_upload_that_is_not_a_recording_is_shown_with_its_reason() -> None:
    """Its row has the reason, and a comparison of an echo of it names what cannot be played."""
    async with calling(echoing()) as caller:
        ids = await uploaded(caller, b"not a recording", "talk.wav")
        await caller.ended({"generationId": ids["generationId"]})
        url = f"{caller.sandbox.page_url}page/comparison/{ids['generationId']}"
        row = (await caller.send("GET", url)).json["row"]
        assert row["before"] is None
        assert any("cannot be played" in warning for warning in row["warnings"])
