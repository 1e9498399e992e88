"""What outlives the process when the sandbox is given a folder."""

import stat
from pathlib import Path

import pytest
from raw_caller import calling, echoing

from diffio_async.sandbox import Sandbox, SandboxError


async def test_projects_generations_keys_and_results_survive_a_restart(tmp_path: Path) -> None:
    async with calling(echoing(data=tmp_path)) as caller:
        ids = await caller.restored(b"sound")
        worker = await caller.ok("api_keys/create", label="w", scopes=["projects:read"])
        await caller.ok("account/settings/update", billingPolicy={"type": "x"})
        before = await caller.ok("get_generation_progress", **ids)
        usage = await caller.ok("usage/summary")
        link = await caller.link(ids)
        path = link.removeprefix(caller.sandbox.media_url)
    async with calling(echoing(data=tmp_path)) as caller:
        assert await caller.ok("get_generation_progress", **ids) == before
        assert await caller.ok("usage/summary") == usage
        [project] = (await caller.ok("list_projects"))["projects"]
        assert project["status"] == "uploaded"
        assert (await caller.api("list_projects", key=worker["key"])).status == 200
        moved = caller.sandbox.media_url + path
        assert (await caller.send("GET", moved)).body == b"sound"


async def test_an_upload_in_progress_goes_on_after_a_restart(tmp_path: Path) -> None:
    async with calling(echoing(data=tmp_path, part_size=4)) as caller:
        project = await caller.ok("create_project", fileName="a.wav")
        upload_id = (await caller.edge(project, "start")).json["uploadId"]
        first = (await caller.part(project, upload_id, 1, b"1234")).json["etag"]
        (tmp_path / "parts" / upload_id / "00002.abcd.partial").write_bytes(b"half")
        (tmp_path / "parts" / "upload_forgotten").mkdir()
    async with calling(echoing(data=tmp_path, part_size=4)) as caller:
        assert [path.name for path in (tmp_path / "parts").rglob("*")] == [upload_id, "00001"]
        project["upload"]["edgeBaseUrl"] = caller.sandbox.edge_url
        second = (await caller.part(project, upload_id, 2, b"56")).json["etag"]
        parts = [{"partNumber": 1, "etag": first}, {"partNumber": 2, "etag": second}]
        assert (
            await caller.edge(project, "complete", uploadId=upload_id, parts=parts)
        ).status == 200
        done = await caller.ok("complete_project_upload", apiProjectId=project["apiProjectId"])
        assert done["sizeBytes"] == 6


async def test_an_unfinished_generation_is_started_again(tmp_path: Path) -> None:
    async with calling(echoing(data=tmp_path, duration=60)) as caller:
        ids = await caller.generation(await caller.project())
        assert (await caller.ok("get_generation_progress", **ids))["status"] == "processing"
    async with calling(echoing(data=tmp_path)) as caller:
        assert (await caller.ended(ids))["status"] == "complete"


async def test_an_idempotency_key_is_remembered_over_a_restart(tmp_path: Path) -> None:
    async with calling(echoing(data=tmp_path)) as caller:
        project = await caller.project()
        ids = await caller.generation(project, idempotencyKey="once")
    async with calling(echoing(data=tmp_path)) as caller:
        assert await caller.generation(project, idempotencyKey="once") == ids


async def test_a_changed_api_key_replaces_the_one_before(tmp_path: Path) -> None:
    async with calling(echoing(data=tmp_path, api_key="first-secret-key")):
        pass
    async with calling(echoing(data=tmp_path, api_key="second-secret-key")) as caller:
        assert (await caller.api("list_projects")).status == 200
        assert (await caller.api("list_projects", key="first-secret-key")).status == 401


async def test_the_folder_holds_no_api_key_and_is_nobody_elses_to_read(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with calling(echoing(data=data, api_key="a-very-secret-key")) as caller:
        made = await caller.ok("api_keys/create", label="w", scopes=[])
        project = await caller.project()
        for file in data.rglob("*"):
            content = b"" if file.is_dir() else file.read_bytes()
            if file.parent == data:
                assert not stat.S_IMODE(file.stat().st_mode) & 0o077, file
            for secret in ("a-very-secret-key", made["key"], project["upload"]["uploadToken"]):
                assert secret.encode() not in content


async def test_two_sandboxes_do_not_share_a_folder(tmp_path: Path) -> None:
    async with calling(echoing(data=tmp_path)):
        with pytest.raises(SandboxError, match="another sandbox is using"):
            await echoing(data=tmp_path).start()


async def test_a_folder_that_cannot_be_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(SandboxError, match="cannot be used"):
        await echoing(data=file).start()
    (tmp_path / "sandbox.sqlite3").write_bytes(b"not a database, whatever its name says")
    with pytest.raises(SandboxError, match="is not a sandbox's data"):
        await echoing(data=tmp_path).start()


async def test_a_temporary_folder_is_gone_afterwards() -> None:
    async with calling(echoing()) as caller:
        await caller.project()
        folder = caller.sandbox.world.folder
        assert folder.is_dir()
    assert not folder.exists()


async def test_hostile_file_names_stay_outside_the_paths(tmp_path: Path) -> None:
    names = ("../../../etc/passwd", "a/b/../../c.wav", "playlist.m3u8", "C:\\x\\y.wav", "é" * 300)
    async with calling(echoing(data=tmp_path)) as caller:
        for name in names:
            ids = await caller.restored(name=name)
            told = (await caller.ok("get_generation_download", **ids))["fileName"]
            assert "/" not in told
            assert "\\" not in told
            assert (await caller.send("GET", await caller.link(ids))).status == 200
        stored = {path.name for path in (tmp_path / "uploads").rglob("*") if path.is_file()}
        assert stored == {"source", "source.wav"}


async def test_a_sandbox_can_be_entered_again(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path, engine="echo")
    for _ in range(2):
        async with calling(sandbox) as caller:
            assert (await caller.api("list_projects")).status == 200
    with pytest.raises(SandboxError, match="not running"):
        _ = sandbox.base_url
