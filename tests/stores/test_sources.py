"""Objects as sources: they arrive whole, of one version, or with an error that helps."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from diffio_async import ClientOptions, ConfigurationError, ConnectionFailed, InvalidSource
from diffio_async._store_url import StoreUrl, location_of, parse_url
from diffio_async._stores import connection, reading
from diffio_async._uploads.open_source import open_source
from tests.stores.conftest import SECRET

if TYPE_CHECKING:
    from diffio_async import AsyncDiffio
    from diffio_async.sandbox import Sandbox
    from tests.stores.conftest import Bucket, Relay, Responder

MIB = 1024 * 1024


async def content_of(url: str, max_bytes: int = 1024 * MIB) -> bytes:
    """Return what an upload of the URL would send."""
    async with open_source(url, max_bytes=max_bytes) as source:
        return await source.read(0, source.size)


@pytest.mark.parametrize("size", [1, 8 * MIB, 8 * MIB + 1, 41 * MIB])
async def test_an_object_arrives_whole(s3: Bucket, size: int) -> None:
    """One that needs one range, exactly one, and several."""
    content = os.urandom(size)
    assert await content_of(s3.put("in/talk.wav", content)) == content


@pytest.mark.parametrize("key", ["a b+c%20é.wav", "What? 100% #1.wav", "a=b&c.wav", "日本.wav"])
async def test_keys_are_literal(s3: Bucket, key: str) -> None:
    """No character of a key is decoded or taken for a query."""
    assert await content_of(s3.put(key, b"speech")) == b"speech"


async def test_a_key_of_1024_bytes_is_read(s3: Bucket) -> None:
    # moto accepts that many ASCII characters.
    assert await content_of(s3.put("k" * 1024, b"speech")) == b"speech"


async def test_a_web_address_is_read_with_its_query(s3: Bucket) -> None:
    """As the links that stores sign."""
    s3.put("in/a b.wav", b"speech")
    link = s3.client.generate_presigned_url(
        "get_object", Params={"Bucket": s3.name, "Key": "in/a b.wav"}
    )
    async with open_source(link, max_bytes=MIB) as source:
        assert source.name == "a b.wav"
        assert await source.read(0, source.size) == b"speech"


@pytest.mark.parametrize("size", [0, 1, 9 * MIB])
async def test_a_web_server_without_ranges_is_read(tmp_path: Path, size: int) -> None:
    """Such as Python's, which sends no ETag either."""
    content = os.urandom(size)
    (tmp_path / "talk.wav").write_bytes(content)
    handler = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        link = f"http://127.0.0.1:{server.server_port}/talk.wav"
        try:
            if size:
                assert await content_of(link) == content
            else:
                with pytest.raises(InvalidSource, match="is empty"):
                    await content_of(link)
            with pytest.raises(InvalidSource, match="sent a web page, not a recording"):
                await content_of(link.removesuffix("talk.wav"))
            with pytest.raises(InvalidSource, match=r"there is no file at .*: check the address"):
                await content_of(f"{link}.absent")
        finally:
            server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    """Handler that logs nothing."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name of the base
        """Discard the message."""


async def test_the_type_of_an_object_is_used_if_it_is_a_recordings(s3: Bucket) -> None:
    s3.client.put_object(Bucket=s3.name, Key="talk", Body=b"speech", ContentType="audio/flac")
    s3.client.put_object(Bucket=s3.name, Key="a.wav", Body=b"speech", ContentType="binary/x")
    async with open_source(s3.url("talk"), max_bytes=MIB) as source:
        assert source.content_type == "audio/flac"
    async with open_source(s3.url("a.wav"), max_bytes=MIB) as source:
        assert source.content_type is None


async def test_an_empty_object_is_refused(s3: Bucket) -> None:
    url = s3.put("empty.wav", b"")
    with pytest.raises(InvalidSource, match="is empty"):
        await content_of(url)


async def test_an_object_over_the_limit_is_refused_unread(s3: Bucket) -> None:
    url = s3.put("long.wav", b"x" * 1000)
    with pytest.raises(InvalidSource, match=r"has 1,000 bytes; the upload limit is 999"):
        await content_of(url, max_bytes=999)


@pytest.mark.parametrize("key", ["metadata/x.wav", "latest/meta-data/credentials.wav"])
async def test_a_missing_object_of_any_name_is_reported_as_missing(s3: Bucket, key: str) -> None:
    """A word of its key does not blame credentials."""
    for url in (f"memory://absent/{key}", s3.url(key)):
        with pytest.raises(InvalidSource, match=f"there is no object '{url}'"):
            await content_of(url)


async def test_a_missing_object_and_a_missing_bucket_are_distinguished(s3: Bucket) -> None:
    with pytest.raises(InvalidSource, match="there is no object"):
        await content_of(s3.url("absent.wav"))
    with pytest.raises(InvalidSource, match="there is no bucket 'absent-bucket'"):
        await content_of("s3://absent-bucket/a.wav")


async def test_a_folder_is_refused(s3: Bucket) -> None:
    for url in (s3.url(), s3.url("in/")):
        with pytest.raises(InvalidSource, match="is a folder"):
            await content_of(url)


async def test_an_object_that_is_replaced_while_it_is_read_is_refused(s3: Bucket) -> None:
    """Bytes of two versions are never mixed."""
    s3.put("talk.wav", b"1" * (17 * MIB))
    url = location_of(s3.url("talk.wav"), "the source")
    assert isinstance(url, StoreUrl)
    found = await reading.open_object(url)
    s3.put("talk.wav", b"2" * (17 * MIB))
    with pytest.raises(InvalidSource, match="changed while it was read"):
        [bytes(block) async for block in found.blocks()]


async def test_a_versioned_object_is_read_in_its_newest_version(s3: Bucket) -> None:
    s3.client.put_bucket_versioning(Bucket=s3.name, VersioningConfiguration={"Status": "Enabled"})
    s3.put("talk.wav", b"old")
    assert await content_of(s3.put("talk.wav", b"new")) == b"new"


async def test_a_reset_connection_costs_the_rest_of_a_range(s3: Bucket, relay: Relay) -> None:
    content = os.urandom(20 * MIB)
    s3.put("talk.wav", content)
    relay.cut_after, relay.cuts = 3 * MIB, 3
    assert await content_of(s3.url("talk.wav")) == content
    assert relay.cuts == 0


@pytest.fixture
def few_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up on a store after a moment."""
    monkeypatch.setattr(connection, "_MAX_RETRIES", 1)


@pytest.mark.usefixtures("few_retries")
async def test_a_store_that_does_not_respond_is_a_transient_failure() -> None:
    """A batch pauses and tries again; the message names the object, whatever its name."""
    url = "s3://b/metadata/credentials.wav"
    with pytest.raises(InvalidSource, match=f"'{url}' cannot be read: .*refused") as caught:
        await content_of(url)
    assert isinstance(caught.value.__cause__, ConnectionFailed)


async def test_a_cancelled_read_leaves_nothing(s3: Bucket, relay: Relay) -> None:
    """The slots that bound the memory of all reads are released."""
    content = os.urandom(41 * MIB)
    s3.put("talk.wav", content)
    for delay in (0.0, 0.05, 0.1, 0.2):
        task = asyncio.create_task(content_of(s3.url("talk.wav")))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or (delay == 0.2 and task.exception() is None)
    assert await content_of(s3.url("talk.wav")) == content
    # Tasks that were cancelled release their slots in their last step.
    await asyncio.sleep(0)
    assert reading._range_limit()._value == reading._IN_ALL


async def test_many_objects_are_read_at_once(s3: Bucket) -> None:
    urls = {s3.put(f"{number}.wav", str(number).encode()): number for number in range(40)}
    read = await asyncio.gather(*map(content_of, urls))
    assert [int(content) for content in read] == list(urls.values())


async def test_no_credentials(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the variables."""
    url = s3.put("talk.wav", b"speech")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(ConfigurationError, match=r"no credentials .* AWS_ACCESS_KEY_ID"):
        await content_of(url)


@pytest.mark.slow
@pytest.mark.usefixtures("few_retries")
@pytest.mark.parametrize("metadata", ["http://127.0.0.1:9", "refuses"])
async def test_no_credentials_without_boto3(
    responder: Responder, monkeypatch: pytest.MonkeyPatch, metadata: str
) -> None:
    """The role of the machine is requested; the message does not blame the store's network."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.setattr(connection, "find_spec", lambda _: None)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    responder.status = 403
    monkeypatch.setenv(
        "AWS_METADATA_ENDPOINT", responder.url if metadata == "refuses" else metadata
    )
    error = ConfigurationError if metadata == "refuses" else InvalidSource
    with pytest.raises(error, match=r"no valid credentials for s3://.* AWS_ACCESS_KEY_ID"):
        await content_of("s3://bucket/talk.wav")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("AWS_ENDPOINT_URL", "localhost:9000", "write https://HOST:PORT"),
        ("AWS_ENDPOINT_URL", "http://me:hush@h:99999", "write https://HOST:PORT"),
        ("AWS_ENDPOINT_URL", "http://h h", "write https://HOST:PORT"),
        ("AWS_ACCESS_KEY_ID", "hush\r", "a control character"),
        ("AWS_SESSION_TOKEN", "hush\n", "a control character"),
    ],
)
async def test_an_invalid_environment_is_reported(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    """By name and without the value, in place of a crash of obstore."""
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{name} .*{message}") as caught:
        await content_of("s3://bucket/talk.wav")
    assert "hush" not in repr(caught.value)


@pytest.mark.parametrize(
    ("scheme", "name"),
    [
        ("gs", "GOOGLE_SERVICE_ACCOUNT_KEY"),
        ("gs", "GOOGLE_CREDENTIALS"),
        ("az", "AZURE_CREDENTIALS"),
    ],
)
async def test_settings_of_several_lines_are_accepted(
    monkeypatch: pytest.MonkeyPatch, scheme: str, name: str
) -> None:
    """A key of Google in indented JSON, and what only other programs read."""
    key = {"client_email": "", "private_key": "", "private_key_id": "", "disable_oauth": True}
    monkeypatch.setenv(name, json.dumps(key, indent=2))
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    await connection.connect(StoreUrl(scheme, "bucket", ""))


@pytest.mark.parametrize(
    "name", ["GOOGLE_BEARER_TOKEN", "AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_TOKEN"]
)
async def test_settings_of_one_line_are_checked(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A line break in one would crash obstore."""
    monkeypatch.setenv(name, "hush\n")
    with pytest.raises(ConfigurationError, match=f"^{name} contains a control character"):
        await connection.connect(StoreUrl("gs" if "GOOGLE" in name else "az", "bucket", ""))


@pytest.mark.slow
@pytest.mark.usefixtures("few_retries")
async def test_a_server_without_tls_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://127.0.0.1:{port}")
        with pytest.raises(InvalidSource, match=r"TLS failed \(InvalidContentType\)"):
            await content_of("s3://bucket/talk.wav")


async def test_a_profile_is_read(s3: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    """By boto3, from the files of the AWS tools."""
    url = s3.put("talk.wav", b"speech")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    file = Path.home() / ".aws" / "credentials"
    file.parent.mkdir()
    file.write_text(f"[work]\naws_access_key_id = k\naws_secret_access_key = {SECRET}\n")
    monkeypatch.setenv("AWS_PROFILE", "work")
    assert await content_of(url) == b"speech"
    monkeypatch.setenv("AWS_PROFILE", "absent")
    with pytest.raises(ConfigurationError, match=r"he config profile \(absent\)"):
        await content_of(url)


async def test_access_that_is_denied(s3: Bucket) -> None:
    url = s3.put("talk.wav", b"speech")
    s3.client.put_bucket_policy(Bucket=s3.name, Policy=policy("s3:GetObject", s3.name))
    with pytest.raises(InvalidSource, match=r"access is denied .*Check the credentials") as caught:
        await content_of(url)
    assert SECRET not in repr(caught.value)


def policy(action: str, bucket: str) -> str:
    """Return a policy that denies an action on all objects."""
    return (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", '
        f'"Action": "{action}", "Resource": "arn:aws:s3:::{bucket}/*"}}]}}'
    )


@pytest.mark.parametrize(
    ("status", "body", "error", "message"),
    [
        (
            400,
            "<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region 'us-east-1' is "
            "wrong; expecting 'eu-west-1'</Message><Region>eu-west-1</Region></Error>",
            ConfigurationError,
            "another region: set AWS_REGION=eu-west-1",
        ),
        (301, "", ConfigurationError, "another region: set AWS_REGION to its region"),
        (
            403,
            f"<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message><StringToSign>{SECRET}"
            "</StringToSign></Error>",
            InvalidSource,
            r"access is denied \(SignatureDoesNotMatch: no\)",
        ),
        (503, "<Error><Code>SlowDown</Code></Error>", InvalidSource, "cannot be read: SlowDown"),
    ],
)
@pytest.mark.usefixtures("few_retries")
async def test_responses_of_amazon_are_explained(
    responder: Responder,
    status: int,
    body: str,
    error: type[Exception],
    message: str,
) -> None:
    """Responses that moto does not give, in the words of Amazon's documentation."""
    responder.status, responder.body = status, f"<?xml version='1.0'?>\n{body}"
    with pytest.raises(error, match=message) as caught:
        await content_of("s3://bucket/talk.wav")
    assert isinstance(caught.value.__cause__, ConnectionFailed) is (status == 503)
    shown: list[Any] = [caught.value, caught.value.__cause__, caught.value.__context__]
    assert SECRET not in repr(shown)


async def test_the_extra_is_named_if_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'diffio-async\[stores\]'"):
        await content_of("s3://bucket/talk.wav")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
async def test_after_a_fork_the_child_gets_an_error_in_place_of_waiting_forever() -> None:
    """The threads of obstore are not in the child; the parent continues."""
    assert await reading.find_object(parse_url("memory://fork/talk.wav", "it")) is None
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        code = 1
        try:
            asyncio.events._set_running_loop(None)
            with pytest.raises(ConfigurationError, match="before this process was forked"):
                asyncio.run(reading.find_object(parse_url("memory://fork/talk.wav", "it")))
            code = 0
        finally:
            os._exit(code)
    status = await asyncio.to_thread(lambda: os.waitpid(child, 0)[1])
    assert os.waitstatus_to_exitcode(status) == 0
    assert await reading.find_object(parse_url("memory://fork/talk.wav", "it")) is None


async def test_a_project_is_created_from_an_object(
    s3: Bucket, client: AsyncDiffio, sandbox: Sandbox
) -> None:
    """It has the object's name; the bytes are those of the object."""
    url = s3.put("in/talk.wav", b"speech " * 1000)
    project = await client.projects.create(url)
    assert (project.file_name, project.size_bytes) == ("talk.wav", 7000)
    isolation = await client.audio_isolation.isolate(url, file_name="other.wav")
    assert isolation.project.file_name == "other.wav"


async def test_a_refused_object_creates_no_project(
    s3: Bucket, client: AsyncDiffio, sandbox: Sandbox
) -> None:
    for url in (s3.url("absent.wav"), s3.put("empty.wav", b""), s3.url("in/")):
        with pytest.raises(InvalidSource):
            await client.projects.create(url)
    assert list(sandbox.requests) == []
    assert ClientOptions().max_upload_bytes > 0


async def test_a_process_that_leaves_a_read_ends_normally(s3: Bucket) -> None:
    """A thread of obstore that ends the cancelled requests does not abort the process at its exit.

    Without the wait at exit, one process in three was aborted.
    """
    program = (
        "import asyncio, sys\n"
        "from diffio_async._store_url import parse_url\n"
        "from diffio_async._stores import reading\n"
        "async def main():\n"
        "    source = await reading.open_object(parse_url(sys.argv[1], 'the source'))\n"
        "    async for _ in source.blocks():\n"
        "        sys.exit(3)\n"
        "asyncio.run(main())\n"
    )
    command = (sys.executable, "-c", program, s3.put("a.wav", bytes(40 * MIB)))
    processes = [await asyncio.create_subprocess_exec(*command) for _ in range(4)]
    assert [await each.wait() for each in processes] == [3, 3, 3, 3]
