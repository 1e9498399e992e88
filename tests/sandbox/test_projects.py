"""Projects, and the two upload modes."""

import asyncio
import io
from typing import Any
from urllib.parse import urlsplit

from raw_caller import calling, echoing


async def test_both_uploads_are_offered_at_once() -> None:
    async with calling(echoing()) as caller:
        made = await caller.ok("create_project", fileName="a.wav", contentLength=3)
    assert made["uploadMethod"] == "PUT"
    assert made["uploadUrl"].startswith("http://127.0.0.1:")
    assert made["upload"]["partSizeBytes"] == 32 * 1024 * 1024
    assert made["upload"]["maxBytes"] == 2 * 1024**3
    assert made["expiresAt"].endswith("Z")


async def test_an_upload_mode_can_be_omitted() -> None:
    async with calling(echoing(uploads=("signed",))) as caller:
        assert "upload" not in await caller.ok("create_project", fileName="a.wav")
    async with calling(echoing(uploads=("edge",))) as caller:
        assert "uploadUrl" not in await caller.ok("create_project", fileName="a.wav")


async def test_the_three_hosts_are_three_origins() -> None:
    async with calling(echoing()) as caller:
        sandbox = caller.sandbox
        assert len({sandbox.base_url[:-3], sandbox.edge_url, sandbox.media_url}) == 3


async def test_the_file_format_goes_into_params_when_it_is_missing_there() -> None:
    async with calling(echoing()) as caller:
        await caller.ok("create_project", fileName="a", fileFormat="wav")
        await caller.ok(
            "create_project", fileName="b", fileFormat="wav", params={"fileFormat": "x"}
        )
        listed = (await caller.ok("list_projects"))["projects"]
    assert [one["params"] for one in listed] == [{"fileFormat": "x"}, {"fileFormat": "wav"}]


async def test_an_edge_upload_takes_parts_in_any_order_and_again() -> None:
    async with calling(echoing(part_size=4)) as caller:
        project = await caller.ok("create_project", fileName="a.wav", contentLength=10)
        started = (await caller.edge(project, "start")).json
        assert started["partSizeBytes"] == 4
        upload_id = started["uploadId"]
        etags = {}
        for number, content in ((3, b"99"), (1, b"wron"), (2, b"5678"), (1, b"1234")):
            etags[number] = (await caller.part(project, upload_id, number, content)).json["etag"]
        assert upload_id in caller.sandbox.state.uploads
        parts = [{"partNumber": number, "etag": etags[number]} for number in (1, 2, 3)]
        assert (
            await caller.edge(project, "complete", uploadId=upload_id, parts=parts)
        ).status == 200
        assert caller.sandbox.state.uploads == {}

        again = await caller.edge(project, "complete", uploadId=upload_id, parts=parts)
        assert again.status == 404
        assert again.json["error"]["code"] == "upload_not_found"

        ids = {"apiProjectId": project["apiProjectId"]}
        done = {**ids, "status": "uploaded", "sizeBytes": 10}
        assert await caller.ok("complete_project_upload", **ids) == done
        assert await caller.ok("complete_project_upload", **ids) == done
        generation = await caller.generation(project)
        await caller.ended(generation)
        got = await caller.send("GET", await caller.link(generation))
        assert got.body == b"1234567899"
        assert caller.sandbox.violations == []


async def test_an_empty_file_is_one_empty_part() -> None:
    async with calling(echoing()) as caller:
        project = await caller.ok("create_project", fileName="a.wav", contentLength=0)
        upload_id = (await caller.edge(project, "start")).json["uploadId"]
        etag = (await caller.part(project, upload_id, 1, b"")).json["etag"]
        parts = [{"partNumber": 1, "etag": etag}]
        assert (
            await caller.edge(project, "complete", uploadId=upload_id, parts=parts)
        ).status == 200
        done = await caller.ok("complete_project_upload", apiProjectId=project["apiProjectId"])
        assert done["sizeBytes"] == 0


async def test_a_complete_that_does_not_match_the_parts_is_refused_and_changes_nothing() -> None:
    async with calling(echoing(part_size=4)) as caller:
        project = await caller.ok("create_project", fileName="a.wav")
        upload_id = (await caller.edge(project, "start")).json["uploadId"]
        first = (await caller.part(project, upload_id, 1, b"1234")).json["etag"]
        second = (await caller.part(project, upload_id, 2, b"56")).json["etag"]
        one = {"partNumber": 1, "etag": first}
        two = {"partNumber": 2, "etag": second}
        wrong: tuple[Any, ...] = (
            [],
            [two, one],
            [one],
            [one, two, {"partNumber": 3, "etag": "x"}],
            [one, {"partNumber": 2, "etag": "other"}],
            [{"partNumber": "1", "etag": first}, two],
            [{"partNumber": 1}, two],
            "parts",
        )
        for parts in wrong:
            got = await caller.edge(project, "complete", uploadId=upload_id, parts=parts)
            assert got.status == 400, parts
            assert got.json["error"]["message"]
        assert len(caller.sandbox.violations) == len(wrong)
        right = await caller.edge(project, "complete", uploadId=upload_id, parts=[one, two])
        assert right.status == 200


async def test_only_the_last_part_may_be_short() -> None:
    async with calling(echoing(part_size=4)) as caller:
        project = await caller.ok("create_project", fileName="a.wav")
        upload_id = (await caller.edge(project, "start")).json["uploadId"]
        parts = []
        for number, content in ((1, b"123"), (2, b"45")):
            etag = (await caller.part(project, upload_id, number, content)).json["etag"]
            parts.append({"partNumber": number, "etag": etag})
        got = await caller.edge(project, "complete", uploadId=upload_id, parts=parts)
        assert (got.status, got.json["error"]["code"]) == (400, "invalid_part_size")


async def test_a_part_over_its_size_and_a_file_over_the_limit_are_refused() -> None:
    async with calling(echoing(part_size=4, max_bytes=6)) as caller:
        project = await caller.ok("create_project", fileName="a.wav")
        upload_id = (await caller.edge(project, "start")).json["uploadId"]
        assert (await caller.part(project, upload_id, 1, b"12345")).status == 400
        assert (await caller.part(project, upload_id, 1, b"1234")).status == 200
        assert (await caller.part(project, upload_id, 2, b"567")).status == 400
        assert (await caller.part(project, upload_id, 0, b"")).status == 400
        headers = {"Content-Type": "application/octet-stream"}
        put = await caller.send("PUT", project["uploadUrl"], data=b"1234567", headers=headers)
        assert put.status == 400
        assert b"EntityTooLarge" in put.body


async def test_an_aborted_upload_is_gone() -> None:
    async with calling(echoing()) as caller:
        project = await caller.ok("create_project", fileName="a.wav")
        upload_id = (await caller.edge(project, "start")).json["uploadId"]
        await caller.part(project, upload_id, 1, b"1234")
        assert (await caller.edge(project, "abort", uploadId=upload_id)).status == 200
        assert caller.sandbox.state.uploads == {}
        assert not list((caller.sandbox.state.folder / "parts").iterdir())
        assert (await caller.edge(project, "abort", uploadId=upload_id)).status == 404
        assert (await caller.part(project, upload_id, 1, b"1234")).status == 404
        waiting = await caller.api("complete_project_upload", apiProjectId=project["apiProjectId"])
        assert waiting.status == 409


async def test_an_upload_token_is_valid_for_one_project() -> None:
    async with calling(echoing()) as caller:
        mine = await caller.ok("create_project", fileName="a.wav")
        other = await caller.ok("create_project", fileName="b.wav")
        upload_id = (await caller.edge(mine, "start")).json["uploadId"]
        assert (await caller.part(other, upload_id, 1, b"1")).status == 404
        other["upload"]["uploadToken"] = "nonsense"
        assert (await caller.edge(other, "start")).status == 401


async def test_a_signed_upload_requires_the_declared_content_type() -> None:
    async with calling(echoing()) as caller:
        made = await caller.ok("create_project", fileName="a.wav", contentType="audio/wav")
        wrong = {"Content-Type": "audio/mpeg"}
        put = await caller.send("PUT", made["uploadUrl"], data=b"x", headers=wrong)
        assert (put.status, b"SignatureDoesNotMatch" in put.body) == (403, True)
        right = {"Content-Type": "audio/wav"}
        put = await caller.send("PUT", made["uploadUrl"], data=b"x", headers=right)
        assert put.status == 200
        [listed] = (await caller.ok("list_projects"))["projects"]
        assert listed["status"] == "uploaded"
        assert listed["originalFileName"] == "a.wav"


async def test_a_wrong_declared_length_is_a_violation() -> None:
    async with calling(echoing()) as caller:
        project = await caller.project(b"12345", contentLength=4)
        await caller.ok("complete_project_upload", apiProjectId=project["apiProjectId"])
        assert "declared 4 bytes and uploaded 5" in caller.sandbox.violations[0]


async def test_a_disconnected_client_leaves_no_partial_file() -> None:
    async with calling(echoing()) as caller:
        made = await caller.ok("create_project", fileName="a.wav", contentType="audio/wav")
        url = urlsplit(made["uploadUrl"])
        _, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(
            f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\n"
            "Content-Length: 100\r\n\r\nhalf".encode()
        )
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()
        await writer.wait_closed()
        await asyncio.sleep(0.05)
        async with asyncio.timeout(60):
            while list((caller.sandbox.state.folder / "uploads").rglob("*.*")):
                await asyncio.sleep(0.01)
        got = await caller.api("complete_project_upload", apiProjectId=made["apiProjectId"])
        assert got.status == 409


async def test_a_large_body_is_read_after_100_continue() -> None:
    async with calling(echoing()) as caller:
        made = await caller.ok("create_project", fileName="a.wav", contentType="audio/wav")
        headers = {"Content-Type": "audio/wav"}
        put = await caller.send(
            "PUT",
            made["uploadUrl"],
            data=io.BytesIO(b"x" * 3_000_000),
            headers=headers,
            expect100=True,
        )
        assert put.status == 200
        assert caller.sandbox.requests[-1].bytes_received == 3_000_000
