"""URLs on the command line: `restore` and `download` read and write objects."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import run
from tests.stores.test_results import SPEECH, write
from tests.stores.test_sources import content_of

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async.sandbox import Sandbox
    from tests.cli.conftest import Run
    from tests.stores.conftest import Bucket

__all__ = ["run"]

LINK = "https://127.0.0.1:9/a.wav?X-Amz-Signature=hush"


@pytest.fixture
def key(sandbox: Sandbox) -> dict[str, str]:
    """Environment of a command that uses the sandbox."""
    return {"DIFFIO_API_KEY": sandbox.api_key, "DIFFIO_API_BASE_URL": sandbox.base_url}


@pytest.mark.slow
async def test_restore_reads_and_writes_objects(
    run: Run, key: dict[str, str], tmp_path: Path
) -> None:
    """Several at once; nothing is written to the current folder."""
    await write("memory://in/a.wav", SPEECH)
    await write("memory://in/b.wav", SPEECH * 2)
    arguments = ["memory://in/a.wav", "memory://in/b.wav", "-o", "memory://out/talks"]
    done = await run("restore", *arguments, "--json", env=key)
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(each["url"] for each in events if each["event"] == "restored") == [
        "memory://out/talks/a.restored.mp3",
        "memory://out/talks/b.restored.mp3",
    ]
    assert await content_of("memory://out/talks/b.restored.mp3") == SPEECH * 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
async def test_restore_mixes_objects_and_files(
    run: Run, key: dict[str, str], tmp_path: Path
) -> None:
    await write("memory://in/a.wav", SPEECH)
    done = await run("restore", "memory://in/a.wav", "-o", ".", env=key)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.restored.mp3").read_bytes() == SPEECH
    done = await run("restore", "a.restored.mp3", "-o", "memory://out/x.mp3", env=key)
    assert done.returncode == 0, done.stderr
    assert "-> memory://out/x.mp3" in done.stdout
    assert await content_of("memory://out/x.mp3") == SPEECH


@pytest.mark.slow
async def test_download_writes_an_object(run: Run, key: dict[str, str], tmp_path: Path) -> None:
    """Into a folder of a store, under the name of the service."""
    (tmp_path / "a.wav").write_bytes(SPEECH)
    done = await run("restore", "a.wav", "--json", env=key)
    restored = json.loads(done.stdout.splitlines()[-1])
    ids = [restored["generation_id"], "--project", restored["api_project_id"]]
    done = await run("download", *ids, "-o", "memory://out/talks/", env=key)
    assert done.returncode == 0, done.stderr
    assert await content_of("memory://out/talks/a.restored.wav") == SPEECH
    done = await run("download", *ids, "-o", "memory://out/talks/", env=key)
    assert done.returncode == 1
    assert "--overwrite" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["memory://in/a.wav"], "needs an output: add -o URL"),
        ([LINK], "https://127.0.0.1:9/a.wav is a URL, so that its result needs an output"),
        (["memory://in/a.wav", "-o", "memory://in/a.wav"], "is the recording itself"),
        (["memory://in/a.wav", "memory://x/a.wav", "-o", "memory://out"], "would each become"),
        (["memory://in/a.wav", "-o", "memory://out/../x/"], "'..' in its key"),
        (["memory://in/a\nb.wav", "-o", "memory://out/"], "a control character"),
        (["talk.wav", "-o", "ftp://host/out/"], "-o is a URL (ftp://host/out/), and only"),
        (["ftp://host/talk.wav", "-o", "out"], "the source is a URL (ftp://host/talk.wav)"),
    ],
)
async def test_invalid_commands_are_refused(
    run: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """Before anything is sent, without credentials in the message."""
    done = await run("restore", *arguments, env={"DIFFIO_API_KEY": "k"})
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "hush" not in done.stderr
    assert list(tmp_path.iterdir()) == []


async def test_a_file_that_cannot_be_restored_does_not_stop_the_others(
    run: Run, key: dict[str, str]
) -> None:
    """The query of a signed link is not shown."""
    await write("memory://in/a.wav", SPEECH)
    arguments = ["memory://in/absent.wav", "memory://in/a.wav", "-o", "memory://out/"]
    done = await run("restore", *arguments, env=key)
    assert done.returncode == 1
    assert "there is no object 'memory://in/absent.wav'" in done.stderr
    assert await content_of("memory://out/a.restored.mp3") == SPEECH


async def test_a_signed_link_is_restored(run: Run, key: dict[str, str], s3: Bucket) -> None:
    """Its query is neither printed nor sent on."""
    s3.put("in/a b.wav", SPEECH)
    link = s3.client.generate_presigned_url(
        "get_object", Params={"Bucket": s3.name, "Key": "in/a b.wav"}
    )
    done = await run("restore", link, "-o", s3.url("out/"), env=key)
    assert done.returncode == 0, done.stderr
    assert s3.get("out/a b.restored.mp3") == SPEECH
    assert "Signature" not in done.stdout + done.stderr


@pytest.mark.slow
async def test_a_batch_of_a_store(run: Run, key: dict[str, str], tmp_path: Path) -> None:
    """A dry run sends and writes nothing; status and report name the objects."""
    await write("memory://in/a.wav", SPEECH)
    await write("memory://in/empty.wav", b"")
    arguments = ["batch", "memory://in/", "-o", "memory://out/", "--journal", "j.sqlite"]
    planned = await run(*arguments, "--dry-run", env=key)
    assert planned.returncode == 1
    assert "memory://in/a.wav -> memory://out/a.restored.mp3 (7.0 kB)" in planned.stdout
    assert "1 cannot be restored" in planned.stdout
    assert list(tmp_path.iterdir()) == []
    done = await run(*arguments, "--json", env=key)
    events = [json.loads(line) for line in (done.stdout + done.stderr).splitlines()]
    (restored,) = [each for each in events if each["event"] == "restored"]
    assert restored["file"] == "memory://in/a.wav"
    assert restored["urls"] == {"audio": "memory://out/a.restored.mp3"}
    status = await run("batch", "status", "j.sqlite", env=key)
    assert "memory://out/" in status.stdout
    report = await run("batch", "report", "j.sqlite", "--csv", env=key)
    assert "memory://in/a.wav,audio,memory://out/a.restored.mp3,done" in report.stdout
    page = await run("batch", "report", "j.sqlite", "--html", "page.html", env=key)
    assert page.returncode == 2
    assert "the results of this batch are in memory://out/" in " ".join(page.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["memory://in/", "-o", "memory://out/"], "(--journal FILE)"),
        (["memory://in/", "-o", "memory://out/", "--journal", "s3://b/j"], "--journal is a URL"),
        (["memory://nothing/", "-o", "out"], "nothing matches 'memory://nothing/'"),
        ([LINK, "-o", "out"], "has a query, which may be a credential"),
    ],
)
async def test_invalid_batches_are_refused(
    run: Run, tmp_path: Path, arguments: list[str], message: str
) -> None:
    """Before anything is sent, without credentials in the message."""
    done = await run("batch", *arguments, env={"DIFFIO_API_KEY": "k"})
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())
    assert "hush" not in done.stderr
