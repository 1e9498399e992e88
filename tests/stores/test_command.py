"""URLs on the command line: `restore` and `download` read and write objects."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async._stores import reading
from tests.cli.conftest import run
from tests.stores.conftest import SECRET
from tests.stores.test_results import MIB, SPEECH, write
from tests.stores.test_sources import content_of, few_retries

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async.sandbox import Sandbox
    from tests.cli.conftest import Run
    from tests.stores.conftest import Bucket, Responder

__all__ = ["few_retries", "run"]

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


@pytest.mark.slow
async def test_file_urls_are_paths_for_sources_and_results(
    run: Run, key: dict[str, str], tmp_path: Path
) -> None:
    """They name a folder or a file, of `restore` and of `download`."""
    (tmp_path / "a b.wav").write_bytes(SPEECH)
    source, folder = (tmp_path / "a b.wav").as_uri(), tmp_path.as_uri()
    done = await run("restore", source, "-o", f"{folder}/", "--json", env=key)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a b.restored.mp3").read_bytes() == SPEECH
    restored = json.loads(done.stdout.splitlines()[-1])
    done = await run("restore", source, "-o", f"{folder}/x%20y.mp3", env=key)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x y.mp3").read_bytes() == SPEECH
    ids = [restored["generation_id"], "--project", restored["api_project_id"]]
    for output, name in ((folder, "a b.restored.wav"), (f"{folder}/z.mp3", "z.mp3")):
        done = await run("download", *ids, "-o", output, env=key)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / name).read_bytes() == SPEECH
    done = await run("restore", source, "-o", f"{folder}/absent/", env=key)
    assert done.returncode == 2
    assert "there is no folder" in done.stderr


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
    assert "memory://out/ is in the memory of one process" in " ".join(page.stderr.split())


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


def store_settings() -> dict[str, str]:
    """Return the environment that configures the store."""
    return {name: value for name, value in os.environ.items() if name.startswith("AWS_")}


#: Commands that write into a folder of a store, and commands that read from it.
WRITING = [
    ["restore", "talk.wav", "-o", "s3://{bucket}/out/"],
    ["batch", "talk.wav", "-o", "s3://{bucket}/out/", "--journal", "j.sqlite"],
    ["download", "gen_1", "--project", "proj_1", "-o", "s3://{bucket}/out/a.mp3"],
]
READING = [
    ["restore", "s3://{bucket}/in/a.wav", "-o", "."],
    ["batch", "s3://{bucket}/in/", "-o", ".", "--journal", "j.sqlite"],
]
REGION = (
    "<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region 'us-east-1' is wrong; "
    "expecting 'eu-west-1'</Message><Region>eu-west-1</Region></Error>"
)
DENIED = f"<Error><Code>AccessDenied</Code><StringToSign>{SECRET}</StringToSign></Error>"


@pytest.mark.slow
@pytest.mark.usefixtures("few_retries")
@pytest.mark.parametrize("arguments", WRITING + READING)
@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, REGION, "is in another region: set AWS_REGION=eu-west-1"),
        (403, DENIED, "access is denied (AccessDenied). Check the credentials and the permissions"),
        (404, "<Error><Code>NoSuchBucket</Code></Error>", "check"),
        (503, "<Error><Code>SlowDown</Code></Error>", "To continue, wait a minute, and try again"),
    ],
    ids=["region", "denied", "bucket", "busy"],
)
async def test_a_store_that_refuses_is_reported_before_anything_is_billed(
    run: Run,
    key: dict[str, str],
    responder: Responder,
    sandbox: Sandbox,
    tmp_path: Path,
    arguments: list[str],
    status: int,
    body: str,
    message: str,
) -> None:
    """By every command, with the next step, and without credentials."""
    (tmp_path / "talk.wav").write_bytes(SPEECH)
    responder.status, responder.body = status, f"<?xml version='1.0'?>\n{body}"
    done = await run(
        *(each.format(bucket="bucket") for each in arguments), env={**key, **store_settings()}
    )
    assert done.returncode in {1, 2}
    assert message in " ".join(done.stderr.split())
    assert SECRET not in done.stdout + done.stderr
    assert not sandbox.state.projects


@pytest.mark.parametrize("arguments", WRITING + READING)
async def test_missing_credentials_are_reported_before_anything_is_billed(
    run: Run,
    key: dict[str, str],
    s3: Bucket,
    sandbox: Sandbox,
    tmp_path: Path,
    arguments: list[str],
) -> None:
    (tmp_path / "talk.wav").write_bytes(SPEECH)
    env = {**key, **store_settings(), "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    done = await run(*(each.format(bucket=s3.name) for each in arguments), env=env)
    assert done.returncode in {1, 2}
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in " ".join(done.stderr.split())
    assert not sandbox.state.projects


@pytest.mark.parametrize("command", ["restore", "batch"])
async def test_an_object_that_is_replaced_while_it_is_read_is_not_billed(
    run: Run,
    key: dict[str, str],
    s3: Bucket,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
) -> None:
    """It is replaced when its first range has arrived."""
    request = reading.OpenObject._range

    async def replace(self: Any, *arguments: Any) -> Any:
        await asyncio.to_thread(s3.put, "a.wav", os.urandom(9 * MIB))
        return await request(self, *arguments)

    monkeypatch.setattr(reading.OpenObject, "_range", replace)
    source = s3.put("a.wav", bytes(9 * MIB))
    journal = ["--journal", "j.sqlite"] if command == "batch" else []
    options = ["-o", s3.url("out/"), *journal]
    done = await run(command, source, *options, env={**key, **store_settings()})
    assert done.returncode == 1
    assert "changed while it was read: try again when nothing writes to it" in done.stderr
    assert not sandbox.state.projects
    assert s3.all_keys() == ["a.wav"]


async def test_a_batch_of_a_versioned_bucket_uses_the_newest_versions(
    run: Run, key: dict[str, str], s3: Bucket
) -> None:
    """Overwriting adds a version; a second run adds none."""
    s3.client.put_bucket_versioning(Bucket=s3.name, VersioningConfiguration={"Status": "Enabled"})
    for content in (b"old", SPEECH):
        s3.put("in/a.wav", content)
    s3.put("out/a.restored.mp3", b"another")
    options = ["--journal", "j.sqlite", "--on-conflict", "overwrite"]
    for _ in range(2):
        done = await run(
            "batch", s3.url("in/"), "-o", s3.url("out/"), *options, env={**key, **store_settings()}
        )
        assert done.returncode == 0, done.stderr
    assert s3.get("out/a.restored.mp3") == SPEECH
    versions = s3.client.list_object_versions(Bucket=s3.name, Prefix="out/")
    assert len(versions["Versions"]) == 2
    assert "DeleteMarkers" not in versions
