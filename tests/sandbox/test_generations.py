"""Generations with the echo engine: create, progress and download."""

import asyncio
from typing import Any

import pytest
from raw_caller import calling, echoing

from diffio_async.sandbox import Sandbox


@pytest.mark.slow
async def test_stages_advance_and_only_the_status_is_complete() -> None:
    async with calling(echoing(duration=1.0)) as caller:
        ids = await caller.generation(await caller.project())
        seen: list[Any] = []
        while not seen or seen[-1]["status"] != "complete":
            seen.append(await caller.ok("get_generation_progress", **ids))
            await asyncio.sleep(0.02)
    percents = [one["progress"] for one in seen if one["progress"] is not None]
    assert percents == sorted(percents)
    assert len(set(percents)) > 3
    assert percents[-1] == 100
    assert all(one["progress"] != 100 for one in seen[:-1])
    assert seen[-1]["inference"]["status"] == "complete"
    assert seen[-1]["restoration"]["engine"] == "echo"
    assert "restoredVideo" not in seen[-1]


@pytest.mark.slow
async def test_duration_spread_varies_the_duration_of_echoes() -> None:
    """With a spread, each generation has its own duration, around the configured one."""
    async with calling(echoing(duration=0.2, duration_spread=0.5)) as caller:
        project = await caller.project()
        made = [await caller.generation(project) for _ in range(6)]
        for ids in made:
            while (await caller.ok("get_generation_progress", **ids))["status"] != "complete":
                await asyncio.sleep(0.02)
        took = [
            (one.finished_at or 0) - (one.started_at or 0)
            for one in caller.sandbox.state.generations.values()
        ]
    assert 0.09 < min(took) < 0.5
    assert max(took) - min(took) > 0.02


async def test_an_idempotency_key_returns_the_existing_generation() -> None:
    async with calling(echoing()) as caller:
        project = await caller.project()
        ids = {"apiProjectId": project["apiProjectId"]}
        first = await caller.ok("diffio-4.6-flash-generation", **ids, idempotencyKey="once ")
        again = await caller.ok("diffio-4.6-flash-generation", **ids, idempotencyKey=" once")
        other = await caller.ok("diffio-4.6-flash-generation", **ids)
        assert "idempotentReplay" not in first
        assert again["idempotentReplay"] is True
        assert again["generationId"] == first["generationId"] != other["generationId"]
        listed = await caller.ok("list_project_generations", **ids)
        assert [one["generationId"] for one in listed["generations"]] == [
            other["generationId"],
            first["generationId"],
        ]
        [summary] = (await caller.ok("list_projects"))["projects"]
        assert summary["generationCount"] == 2


@pytest.mark.parametrize("key", ["", "   ", "x" * 256, 5, None])
async def test_an_idempotency_key_of_the_wrong_shape_is_a_400(key: object) -> None:
    async with calling(echoing()) as caller:
        project = await caller.project()
        got = await caller.api(
            "diffio-4.6-flash-generation",
            apiProjectId=project["apiProjectId"],
            idempotencyKey=key,
        )
        assert got.status == 400
        assert "idempotencyKey" in got.json["error"]


@pytest.mark.parametrize(
    ("endpoint", "model"),
    [
        ("diffio-2.0-generation", "diffio-2"),
        ("diffio-2.0-flash-generation", "diffio-2-flash"),
        ("diffio-3.4-generation", "diffio-3.4"),
        ("diffio-3.5-generation", "diffio-3.5"),
        ("diffio-4.0-flash-generation", "diffio-4.0-flash"),
        ("diffio-4.6-pro-generation", "diffio-4.6-pro"),
        ("diffio-9.9-some-day-generation", "diffio-9.9-some-day"),
    ],
)
async def test_with_legacy_models_every_model_of_the_right_shape_is_served(
    endpoint: str, model: str
) -> None:
    async with calling(echoing(legacy_models=True)) as caller:
        project = await caller.project()
        made = await caller.ok(endpoint, apiProjectId=project["apiProjectId"])
        assert (made["modelKey"], made["status"]) == (model, "queued")


@pytest.mark.parametrize(
    ("endpoint", "served"),
    [
        ("diffio-4.6-flash-generation", True),
        ("diffio-4.6-pro-generation", True),
        ("diffio-2.0-generation", False),
        ("diffio-2.0-flash-generation", False),
        ("diffio-3.5-generation", False),
        ("diffio-4.5-pro-generation", False),
        ("diffio-4.6-flahs-generation", False),
    ],
)
async def test_by_default_the_models_of_the_hosted_service_are_served(
    endpoint: str, served: bool
) -> None:
    """Any other is a 410 whose message lists the models that are served."""
    async with calling(echoing()) as caller:
        got = await caller.api(endpoint, apiProjectId=(await caller.project())["apiProjectId"])
        if served:
            assert got.status == 200
        else:
            assert (got.status, got.json["code"]) == (410, "model_retired")
            assert "served: diffio-4.6-flash, diffio-4.6-pro" in got.json["error"]


def test_a_list_of_models_and_legacy_models_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="omit models"):
        echoing(models={"diffio-4.6-flash"}, legacy_models=True)


async def test_a_retired_model_is_a_410_and_a_malformed_one_a_404() -> None:
    sandbox = echoing(models={"diffio-4.6-flash", "diffio-2"}, retired={"diffio-2"})
    async with calling(sandbox) as caller:
        ids = {"apiProjectId": (await caller.project())["apiProjectId"]}
        for endpoint in ("diffio-2.0-generation", "diffio-3.5-generation"):
            got = await caller.api(endpoint, **ids)
            assert (got.status, got.json["code"]) == (410, "model_retired")
        assert (await caller.api("Diffio-4.6-generation", **ids)).status == 404
        assert (await caller.api("diffio-4.6-flash-generation", **ids)).status == 200


async def test_a_resource_that_is_not_ready_is_a_409_with_its_own_code() -> None:
    async with calling(echoing(duration=5)) as caller:
        made = await caller.ok("create_project", fileName="a.wav")
        early = await caller.api("diffio-4.6-pro-generation", apiProjectId=made["apiProjectId"])
        assert early.status == 409
        ids = await caller.generation(await caller.project())
        got = await caller.api("get_generation_download", **ids)
        assert (got.status, got.json["code"]) == (409, "generationNotComplete")
        got = await caller.api("get_generation_download", **ids, downloadType="transcript")
        assert (got.status, got.json["code"]) == (409, "TRANSCRIPT_PENDING")


async def test_a_download_has_all_its_fields() -> None:
    async with calling(echoing()) as caller:
        ids = await caller.restored(b"sound", name="My talk.wav")
        result = await caller.ok("get_generation_download", **ids, downloadType="audio")
        assert result["fileName"] == "My talk.restored.wav"
        assert result["downloadType"] == "audio"
        assert result["mimeType"] == "audio/wav"
        assert result["storagePath"] in result["downloadUrl"]
        got = await caller.send("GET", result["downloadUrl"])
        assert (got.body, got.headers["Content-Type"]) == (b"sound", "audio/wav")
        for wrong in ("mp3", "", 7, None):
            refused = await caller.api("get_generation_download", **ids, downloadType=wrong)
            assert refused.status == 400


async def test_a_missing_result_is_a_404() -> None:
    async with calling(echoing()) as caller:
        ids = await caller.restored()
        got = await caller.api("get_generation_download", **ids, downloadType="video")
        assert got.status == 404
        elsewhere = {**ids, "apiProjectId": "proj_other"}
        assert (await caller.api("get_generation_progress", **elsewhere)).status == 404
        alone = {"generationId": ids["generationId"]}
        assert (await caller.api("get_generation_progress", **alone)).status == 200
        assert (await caller.api("get_generation_download", **alone)).status == 400


async def test_each_generation_costs_at_least_a_minute() -> None:
    async with calling(echoing()) as caller:
        ids = await caller.restored()
        await caller.ended(await caller.generation({"apiProjectId": ids["apiProjectId"]}))
        [period] = (await caller.ok("usage/summary"))["usage"]["periods"]
        assert period["modelSeconds"] == {"diffio-4.6-flash": 120.0}
        assert period["reservedCents"] == 0
        assert period["totalCents"] == period["finalizedCents"] == 6.0


async def test_a_spend_limit_and_a_billing_hold_end_in_402() -> None:
    async with calling(echoing()) as caller:
        project = await caller.project()
        ids = {"apiProjectId": project["apiProjectId"]}
        policy = {"type": "spendLimit", "limitCents": 3}
        updated = await caller.ok("account/settings/update", billingPolicy=policy)
        assert updated["account"]["billingPolicy"] == policy
        assert (await caller.api("diffio-4.6-pro-generation", **ids)).status == 200
        got = await caller.api("diffio-4.6-pro-generation", **ids)
        assert (got.status, got.json["code"]) == (402, "spendLimitExceeded")
        caller.sandbox.state.account.billing_status = "paymentFailed"
        got = await caller.api("diffio-4.6-pro-generation", **ids)
        assert (got.status, got.json["code"]) == (402, "paymentFailed")
        bad = await caller.api("account/settings/update", billingPolicy={"type": "spendLimit"})
        assert bad.status == 400


async def test_the_transcript_of_an_echo_is_marked() -> None:
    async with calling(echoing()) as caller:
        ids = await caller.restored()
        got = await caller.send("GET", await caller.link(ids, downloadType="transcript"))
        assert got.json == {"engine": "echo", "text": "", "words": []}


async def test_echoes_run_all_at_once() -> None:
    async with calling(echoing(duration=0.05)) as caller:
        project = await caller.project()
        made = await asyncio.gather(*(caller.generation(project) for _ in range(100)))
        await asyncio.gather(*(caller.ended(ids) for ids in made[-5:]))
        listed = await caller.ok("list_project_generations", apiProjectId=project["apiProjectId"])
        assert {one["status"] for one in listed["generations"]} == {"complete"}


def test_options_out_of_range_are_refused_at_once() -> None:
    wrongs: tuple[dict[str, Any], ...] = (
        {"api_key": ""},
        {"api_key": "two words"},
        {"uploads": ()},
        {"uploads": ("ftp",)},
        {"part_size": 0},
        {"link_ttl": -1},
        {"engine": "magic"},
        {"failed_status": "oops"},
        {"webhook_secret": "secret"},
    )
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"."):
            Sandbox(**wrong)
