"""Data in a folder that is kept across restarts."""

import asyncio
import socket
import stat
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import aiohttp
import pytest
from raw_caller import calling, echoing

from diffio_async.sandbox import Sandbox, SandboxError
from diffio_async.sandbox.storage import Disk

SAMPLE = Path(__file__).parents[2] / "samples" / "noisy-speech.wav"


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


async def test_an_upload_in_progress_resumes_after_a_restart(tmp_path: Path) -> None:
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


async def test_a_body_that_is_cancelled_while_its_file_is_created_leaves_nothing(
    tmp_path: Path,
) -> None:
    opened, released = threading.Event(), threading.Event()
    open_file, files = Path.open, []

    def open_slowly(path: Path, *arguments: Any) -> Any:
        opened.set()
        released.wait(10)
        files.append(open_file(path, *arguments))
        return files[-1]

    chunks = iter([b"some", b""])

    async def read_some() -> bytes:
        return next(chunks)

    incoming: Any = SimpleNamespace(declared_length=None, read_some=read_some)
    disk = Disk()
    with mock.patch.object(Path, "open", open_slowly):
        receiving = asyncio.create_task(disk.receive(incoming, tmp_path / "body", limit=10))
        await asyncio.to_thread(opened.wait, 10)
        receiving.cancel()
        await asyncio.wait([receiving])
        released.set()
        await asyncio.to_thread(disk.close)
    assert [file.closed for file in files] == [True]
    # The thread that created the file may have completed it before it was discarded.
    assert {path.name for path in tmp_path.iterdir()} <= {"body"}


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


async def test_the_folder_contains_no_api_key_and_is_private(tmp_path: Path) -> None:
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


async def test_an_unusable_folder_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(SandboxError, match="cannot be used"):
        await echoing(data=file).start()
    (tmp_path / "sandbox.sqlite3").write_bytes(b"not a database, in spite of its name")
    with pytest.raises(SandboxError, match="is not a sandbox's data"):
        await echoing(data=tmp_path).start()


async def test_a_temporary_folder_is_removed() -> None:
    async with calling(echoing()) as caller:
        await caller.project()
        folder = caller.sandbox.state.folder
        assert folder.is_dir()
    assert not folder.exists()


async def test_hostile_file_names_stay_outside_the_paths(tmp_path: Path) -> None:
    names = ("../../../etc/passwd", "a/b/../../c.wav", "playlist.m3u8", "C:\\x\\y.wav", "é" * 300)
    async with calling(echoing(data=tmp_path)) as caller:
        for name in names:
            ids = await caller.restored(name=name)
            result = (await caller.ok("get_generation_download", **ids))["fileName"]
            assert "/" not in result
            assert "\\" not in result
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


@pytest.mark.slow
async def test_everything_resumes_after_kill_9(tmp_path: Path) -> None:
    """Projects, a half-sent upload, queued and processing generations, keys: all are there."""
    words = [sys.executable, "-m", "diffio_async.sandbox", "--port", "0", "--data", str(tmp_path)]

    async def started() -> tuple[asyncio.subprocess.Process, str]:
        process = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert process.stdout is not None
        lines = [(await process.stdout.readline()).decode().strip() for _ in range(4)]
        return process, lines[1].removeprefix("export DIFFIO_API_BASE_URL=")

    async def api(session: aiohttp.ClientSession, url: str, **body: Any) -> Any:
        headers = {"X-Api-Key": "diffio_sandbox_key"}
        async with session.post(url, json=body, headers=headers) as response:
            assert response.status == 200, await response.text()
            return await response.json()

    sound = SAMPLE.read_bytes()
    process, base = await started()
    async with aiohttp.ClientSession() as session:
        half = await api(session, f"{base}/create_project", fileName="half.wav")
        edge = f"{half['upload']['edgeBaseUrl']}/v1/uploads"
        token = {"Authorization": f"Bearer {half['upload']['uploadToken']}"}
        async with session.post(f"{edge}/start", json={}, headers=token) as response:
            upload_id = (await response.json())["uploadId"]
        part = f"{edge}/parts/1?uploadId={upload_id}"
        async with session.put(part, data=sound, headers=token) as response:
            etag = (await response.json())["etag"]
        ids = []
        for number in range(4):
            made = await api(session, f"{base}/create_project", fileName=f"{number}.wav")
            async with session.put(
                made["uploadUrl"], data=sound, headers={"Content-Type": "application/octet-stream"}
            ) as response:
                assert response.status == 200
            project = {"apiProjectId": made["apiProjectId"]}
            begun = await api(
                session,
                f"{base}/diffio-4.6-flash-generation",
                **project,
                idempotencyKey=f"k{number}",
            )
            ids.append({**project, "generationId": begun["generationId"]})
        async with asyncio.timeout(60):
            while (await api(session, f"{base}/get_generation_progress", **ids[0]))[
                "status"
            ] == "queued":
                await asyncio.sleep(0.01)
    process.kill()
    await process.communicate()
    process, again = await started()
    try:
        assert again == base  # the port too, so that URLs that were handed out still work
        async with aiohttp.ClientSession() as session:
            body = {"uploadId": upload_id, "parts": [{"partNumber": 1, "etag": etag}]}
            async with session.post(f"{edge}/complete", json=body, headers=token) as response:
                assert response.status == 200, await response.text()
            done = {"apiProjectId": half["apiProjectId"]}
            size = (await api(session, f"{base}/complete_project_upload", **done))["sizeBytes"]
            assert size == len(sound)
            replay = await api(
                session,
                f"{base}/diffio-4.6-flash-generation",
                apiProjectId=ids[3]["apiProjectId"],
                idempotencyKey="k3",
            )
            assert (replay["generationId"], replay["idempotentReplay"]) == (
                ids[3]["generationId"],
                True,
            )
            async with asyncio.timeout(120):
                for each in ids:
                    status, progress = "queued", dict[str, object]()
                    while status in ("queued", "processing"):
                        await asyncio.sleep(0.05)
                        progress = await api(session, f"{base}/get_generation_progress", **each)
                        status = progress["status"]
                    assert status == "complete", progress
        assert not list(tmp_path.glob("results/*/.working"))
    finally:
        process.terminate()
        await process.communicate()


async def test_temporary_files_of_a_killed_worker_are_removed_at_the_start(tmp_path: Path) -> None:
    working = tmp_path / "results" / "gen_x" / ".working"
    working.mkdir(parents=True)
    (working / "sound.f32").write_bytes(b"half")
    async with calling(echoing(data=tmp_path)):
        assert not working.exists()


async def test_a_folder_keeps_its_port_unless_it_is_in_use(tmp_path: Path) -> None:
    """If the port is 0."""
    async with calling(echoing(data=tmp_path)) as caller:
        first = caller.sandbox.base_url
    async with calling(echoing(data=tmp_path)) as caller:
        assert caller.sandbox.base_url == first
    with socket.create_server(("127.0.0.1", int(first.split(":")[2].partition("/")[0]))):
        async with calling(echoing(data=tmp_path)) as caller:
            assert caller.sandbox.base_url != first
