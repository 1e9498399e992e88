"""Injected faults, observed by a client."""

import asyncio
import contextlib
import json
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_caller import calling, echoing

from diffio_async.sandbox import (
    Delay,
    Drop,
    DropAfter,
    Fault,
    FaultPlan,
    LoseResponse,
    PlanError,
    RefuseBody,
    RespondWith,
    Sandbox,
    Stall,
    Truncate,
    read_plan,
)

LIST = "*list_projects"


def applied_faults(sandbox: Sandbox) -> list[str]:
    return [seen.fault for seen in sandbox.requests if seen.fault]


async def test_a_dropped_request_is_not_handled() -> None:
    async with calling(echoing(faults=[Fault(path="*create_project", action=Drop())])) as caller:
        with pytest.raises(aiohttp.ClientError):
            await caller.api("create_project", fileName="a.wav")
        assert caller.sandbox.state.projects == {}
        assert caller.sandbox.requests[0].status is None
        assert (await caller.api("create_project", fileName="a.wav")).status == 200
        assert applied_faults(caller.sandbox) == ["drop"]


async def test_a_lost_response_is_of_a_request_that_was_handled() -> None:
    fault = Fault(path="*create_project", action=LoseResponse())
    async with calling(echoing(faults=[fault])) as caller:
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await caller.api("create_project", fileName="a.wav")
        assert len(caller.sandbox.state.projects) == 1
        assert caller.sandbox.requests[0].json == {"fileName": "a.wav"}


async def test_a_lost_response_to_complete_leaves_the_upload_complete() -> None:
    async with calling(echoing()) as caller:
        project = await caller.ok("create_project", fileName="a.wav")
        upload_id = (await caller.edge(project, "start")).json["uploadId"]
        etag = (await caller.part(project, upload_id, 1, b"1234")).json["etag"]
        parts = [{"partNumber": 1, "etag": etag}]
        caller.sandbox.faults.add(Fault(origin="edge", path="*/complete", action=LoseResponse()))
        with pytest.raises(aiohttp.ClientError):
            await caller.edge(project, "complete", uploadId=upload_id, parts=parts)
        again = await caller.edge(project, "complete", uploadId=upload_id, parts=parts)
        assert again.status == 404
        done = await caller.ok("complete_project_upload", apiProjectId=project["apiProjectId"])
        assert done["sizeBytes"] == 4
        assert (await caller.edge(project, "abort", uploadId=upload_id)).status == 404
        assert "abort of a completed upload" in caller.sandbox.violations[0]


async def test_a_scripted_response_is_sent_without_handling() -> None:
    body = {"error": "slow down"}
    fault = Fault(
        path=LIST, action=RespondWith(429, {"Retry-After": "3", "X-Request-Id": "mine"}, json=body)
    )
    page = Fault(
        path=LIST, action=RespondWith(502, {"Content-Type": "text/html"}, text="<b>oh</b>")
    )
    async with calling(echoing(faults=[fault, page])) as caller:
        got = await caller.api("list_projects")
        assert (got.status, got.json, got.headers["Retry-After"]) == (429, body, "3")
        assert got.headers.getall("X-Request-Id") == ["mine"]
        got = await caller.api("list_projects")
        assert (got.status, got.headers["Content-Type"], got.body) == (
            502,
            "text/html",
            b"<b>oh</b>",
        )
        assert (await caller.api("list_projects")).status == 200


async def test_delays_add_up_and_the_request_is_handled() -> None:
    faults = [Fault(path=LIST, action=Delay(0.05)), Fault(path=LIST, action=Delay(0.05))]
    async with calling(echoing(faults=faults)) as caller:
        start = time.monotonic()
        assert (await caller.api("list_projects")).status == 200
        assert time.monotonic() - start >= 0.1


async def test_a_truncated_response_declares_its_full_length() -> None:
    async with calling(echoing()) as caller:
        link = await caller.link(await caller.restored(bytes(1000)))
        caller.sandbox.faults.add(Fault(origin="media", action=Truncate(0.25)))
        async with caller.session.get(link) as response:
            assert response.headers["Content-Length"] == "1000"
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
        caller.sandbox.faults.add(Fault(path=LIST, action=Truncate(0.5)))
        with pytest.raises(aiohttp.ClientPayloadError):
            await caller.api("list_projects")


async def test_a_stalled_response_continues_later() -> None:
    async with calling(echoing()) as caller:
        link = await caller.link(await caller.restored(bytes(1000)))
        caller.sandbox.faults.add(Fault(origin="media", action=Stall(after=300, seconds=0.1)))
        async with caller.session.get(link) as response:
            await response.content.readexactly(300)
            start = time.monotonic()
            assert len(await response.read()) == 700
        assert time.monotonic() - start > 0.05


async def test_a_stalled_response_does_not_delay_closing() -> None:
    fault = Fault(path=LIST, times=None, action=Stall(after=0, seconds=600))
    start = time.monotonic()
    async with calling(echoing(faults=[fault])) as caller:
        stalled = asyncio.create_task(caller.api("list_projects"))
        await asyncio.sleep(0.05)
        assert not stalled.done()
        await caller.sandbox.close()
        with pytest.raises(aiohttp.ClientError):
            await stalled
    assert time.monotonic() - start < 60


async def test_a_refused_body_gets_a_response_before_it_is_read() -> None:
    async with calling(echoing()) as caller:
        made = await caller.ok("create_project", fileName="a", contentType="audio/wav")
        caller.sandbox.faults.add(Fault(origin="media", action=RefuseBody(503)))
        reader, writer = await asyncio.open_connection("127.0.0.1", _port(made["uploadUrl"]))
        writer.write(b"PUT /media/x HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\nfirst")
        assert (await reader.readline()).split()[1] == b"503"
        await reader.read()
        writer.close()
        assert caller.sandbox.requests[-1].bytes_received == 0


async def test_a_connection_dropped_in_the_middle_of_the_body() -> None:
    async with calling(echoing()) as caller:
        project = await caller.ok("create_project", fileName="a.wav")
        upload_id = (await caller.edge(project, "start")).json["uploadId"]
        # Twice, since aiohttp by itself sends a PUT again when its connection drops.
        fault = Fault(origin="edge", method="put", times=2, action=DropAfter(200_000))
        caller.sandbox.faults.add(fault)
        with pytest.raises(aiohttp.ClientError):
            await caller.part(project, upload_id, 1, bytes(900_000))
        assert 200_000 <= caller.sandbox.requests[-1].bytes_received < 900_000
        assert caller.sandbox.state.uploads[upload_id].parts == {}
        assert (await caller.part(project, upload_id, 1, bytes(900_000))).status == 200
        assert caller.sandbox.faults.hits(fault) == 2


async def test_a_redirect_that_leaks_a_key_to_another_origin_is_a_violation() -> None:
    async with calling(echoing()) as caller:
        away = {"Location": f"{caller.sandbox.media_url}/elsewhere"}
        caller.sandbox.faults.add(Fault(path=LIST, action=RespondWith(307, away)))
        got = await caller.api("list_projects")
        headers = {"Authorization": f"Bearer {caller.sandbox.api_key}"}
        await caller.send("POST", got.headers["Location"], json={}, headers=headers)
        assert any("API key was sent to the media host" in one for one in caller.sandbox.violations)


def test_skip_times_and_rate_select_requests() -> None:
    book = FaultPlan([Fault(action=Drop(), skip=2, times=3)])
    drawn = [book.match("api", "POST", "/v1/x")[1] is not None for _ in range(8)]
    assert drawn == [False, False, True, True, True, False, False, False]

    def draws(seed: int) -> list[bool]:
        book = FaultPlan([Fault(action=Drop(), times=None, rate=0.5, seed=seed)])
        return [book.match("api", "POST", "/")[1] is not None for _ in range(200)]

    assert draws(1) == draws(1) != draws(2)
    assert 60 < sum(draws(1)) < 140


def test_a_fault_applies_only_to_matching_requests() -> None:
    fault = Fault(action=Drop(), origin="edge", method="PUT", path="*/parts/2")
    assert fault.matches("edge", "PUT", "/v1/uploads/parts/2")
    assert not fault.matches("api", "PUT", "/v1/uploads/parts/2")
    assert not fault.matches("edge", "POST", "/v1/uploads/parts/2")
    assert not fault.matches("edge", "PUT", "/v1/uploads/parts/22")


@pytest.mark.parametrize(
    "wrong",
    [{"origin": "moon"}, {"skip": -1}, {"times": -1}, {"rate": 1.5}],
)
def test_an_invalid_fault_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Fault(action=Drop(), **wrong)


def test_a_plan_is_read_from_json(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    response = {
        "respond_with": {"status": 503, "headers": {"retry-after": "1"}, "json": {"error": "x"}}
    }
    faults = [
        {"path": "*create_project", "action": "lose_response"},
        {"origin": "edge", "method": "PUT", "skip": 1, "times": None, "action": response},
        {"rate": 0.5, "seed": 7, "action": {"stall": {"after": 10, "seconds": 2}}},
    ]
    file.write_text(json.dumps({"faults": faults}))
    assert read_plan(file) == [
        Fault(path="*create_project", action=LoseResponse()),
        Fault(
            origin="edge",
            method="PUT",
            skip=1,
            times=None,
            action=RespondWith(503, {"retry-after": "1"}, json={"error": "x"}),
        ),
        Fault(rate=0.5, seed=7, action=Stall(10, 2.0)),
    ]


@pytest.mark.parametrize(
    ("plan", "place"),
    [
        ([], "the plan"),
        ({}, "faults"),
        ({"faults": {}}, "faults"),
        ({"faults": [{}]}, "faults[0].action"),
        ({"faults": [{"action": "drop"}, 3]}, "faults[1]"),
        ({"faults": [{"action": "explode"}]}, "faults[0].action"),
        ({"faults": [{"action": {"delay": {}}}]}, "faults[0].action.delay.seconds"),
        ({"faults": [{"action": {"delay": {"seconds": "5"}}}]}, "faults[0].action.delay.seconds"),
        (
            {"faults": [{"action": {"respond_with": {"status": 99}}}]},
            "faults[0].action.respond_with.status",
        ),
        (
            {"faults": [{"action": {"respond_with": {"code": 5}}}]},
            "faults[0].action.respond_with.code",
        ),
        ({"faults": [{"action": "drop", "times": -1}]}, "faults[0].times"),
        ({"faults": [{"action": "drop", "rate": True}]}, "faults[0].rate"),
        ({"faults": [{"action": "drop", "origin": "moon"}]}, "faults[0].origin"),
        ({"faults": [{"action": "drop", "paht": "*"}]}, "faults[0].paht"),
        ({"fault": []}, "the plan.fault"),
    ],
)
def test_an_invalid_plan_is_refused_with_the_location(
    plan: Any, place: str, tmp_path: Path
) -> None:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(plan))
    with pytest.raises(PlanError) as refused:
        read_plan(file)
    assert str(refused.value).startswith(f"{place}:")


def test_a_plan_that_is_not_json_is_refused_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text("{'faults'")
    with pytest.raises(PlanError, match=r"plan\.json is not JSON"):
        read_plan(file)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["action", "path", "times", "respond_with", "status", "delay", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(JSON)
def test_no_plan_breaks_the_reader(faults: Any) -> None:
    with contextlib.suppress(PlanError):
        assert all(isinstance(fault, Fault) for fault in read_plan({"faults": faults}))


def _port(url: str) -> int:
    port = urlsplit(url).port
    assert port is not None
    return port


def test_a_plan_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('{"faults":' + "[" * 200_000)
    with pytest.raises(PlanError, match="nested too deeply"):
        read_plan(plan)
