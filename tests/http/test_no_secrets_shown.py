"""Neither errors, nor their tracebacks, nor logs at any level contain credentials."""

import logging
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from attrs import evolve

from diffio_async import (
    AsyncDiffio,
    ClientOptions,
    DiffioError,
    Event,
    RetryPolicy,
    Timeouts,
)
from diffio_async.sandbox import Drop, Fault, LoseResponse, RespondWith, Sandbox, Stall, Truncate
from diffio_async.sandbox.settings import UploadMode
from tests.downloads.scenes import leads_to, linked
from tests.http.conftest import Authority
from tests.http.peers import ONCE, head, once, peer, sends
from tests.http.test_proxies import proxy

KEY = "diffio_live_0123456789abcdefSECRET"
RETRYING = ClientOptions(
    retry=RetryPolicy(attempts=3, initial_delay=0.01), timeouts=Timeouts(read=0.3)
)


def all_text_of(error: BaseException | None) -> str:
    """Return everything that an error shows: text, notes, attributes, contexts, tracebacks."""
    if error is None:
        return ""
    shown = "".join(traceback.format_exception(error))
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or one in seen:
            continue
        seen.append(one)
        shown += f"{one!r} {one.args} {vars(one)} {getattr(one, '__notes__', ())}"
        waiting += [one.__cause__, one.__context__]
    return shown


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Capture all log records at debug level."""
    with caplog.at_level(logging.DEBUG):
        for name in ("aiohttp", "asyncio", "diffio_async", "aiohttp.client", "aiohttp.internal"):
            caplog.set_level(logging.DEBUG, logger=name)
        yield caplog


def text_of(caplog: pytest.LogCaptureFixture) -> str:
    """Return the log with tracebacks, without the records of the sandbox."""
    formatter = logging.Formatter("%(name)s %(message)s %(args)s")
    return "\n".join(
        f"{formatter.format(record)} {record.args}"
        for record in caplog.records
        if not record.name.startswith(("diffio_async.sandbox", "aiohttp.server"))
    )


def secrets_of(sandbox: Sandbox) -> set[str]:
    """Return the key and every upload token and link signature that was sent."""
    found = {sandbox.api_key}
    for seen in sandbox.requests:
        found.add(seen.headers.get("authorization", "").removeprefix("Bearer "))
        if seen.origin == "media":
            found |= set(seen.query.values())
    return {secret for secret in found if len(secret) > 6}


ECHO = "no: {} and https://media.test/x?signature=SECRETSECRET"


@pytest.mark.slow
@pytest.mark.parametrize("upload_mode", get_args(UploadMode))
async def test_a_restore_with_every_kind_of_failure_shows_no_secret(
    logged: pytest.LogCaptureFixture, tmp_path: Path, upload_mode: UploadMode
) -> None:
    """Each failure occurs once, on every host, and finally a permanent one."""
    events: list[Event] = []
    async with Sandbox(engine="echo", api_key=KEY, uploads=[upload_mode]) as sandbox:
        quoting = RespondWith(503, json={"error": ECHO.format(KEY)})
        sandbox.faults.add(
            *(Fault(path=p, action=quoting) for p in ("*list*", "*progress*", "*download*")),
            *(Fault(path=p, action=Drop()) for p in ("*-generation", "*complete*")),
            Fault(origin="edge", method="PUT", action=LoseResponse()),
            Fault(origin="media", method="PUT", action=Drop()),
            Fault(path="*progress*", action=Stall(3, 30)),
            Fault(path="/*/results/*", action=Truncate(0.4)),
            Fault(path="/*/results/*", action=RespondWith(403, text="<Error>expired</Error>")),
        )
        options = evolve(RETRYING, observers=(events.append,))
        async with AsyncDiffio(KEY, base_url=sandbox.base_url, options=options) as client:
            target = tmp_path / "voice.mp3"
            await client.restore(b"speech " * 50_000, target, poll_interval=0.01)
            sandbox.faults.add(
                Fault(
                    path="/*/results/*", times=None, action=RespondWith(403, text=ECHO.format(KEY))
                )
            )
            with pytest.raises(DiffioError) as caught:
                await client.restore(b"speech " * 50_000, poll_interval=0.01)
        secrets = secrets_of(sandbox) | {"SECRETSECRET"}
        assert sandbox.violations == []
    assert len(secrets) >= 4
    shown = all_text_of(caught.value) + text_of(logged) + repr(events) + repr(client)
    assert "RetryScheduled" in shown
    assert [secret for secret in secrets if secret in shown] == []


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"garbage\r\n\r\n",
        head(200, {"content-length": 10}) + b"half",
        head(200, {"content-length": 10, "set-cookie": "a=b; domain=other.test"}) + b"half",
        head(302, {"location": "http://media.test/?signature=SECRETSECRET", "content-length": 0}),
        head(403, {"content-length": 12}) + b"SECRETSECRET",
        head(200, {"content-length": "x"}),
        head(200, {"x" * 9000: "y"}),
    ],
    ids=lambda response: str(response[:24]),
)
async def test_the_query_of_a_link_is_not_shown_whatever_the_host_responds(
    sandbox: Sandbox, logged: pytest.LogCaptureFixture, response: bytes
) -> None:
    async with (
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url, options=RETRYING) as client,
        peer(sends(response)) as host,
    ):
        leads_to(sandbox, host.url("/r?signature=SECRETSECRET&v=1"))
        with pytest.raises(DiffioError) as caught:
            await linked(client).download()
    assert "SECRETSECRET" not in all_text_of(caught.value) + text_of(logged)


async def test_an_unreachable_link_does_not_show_its_query(
    sandbox: Sandbox, logged: pytest.LogCaptureFixture
) -> None:
    """The connection is refused, or the name or the URL is invalid."""
    for url in (
        "http://127.0.0.1:1/r?signature=SECRETSECRET",
        "https://media.invalid/r?signature=SECRETSECRET",
        "https://user:SECRETSECRET@media.invalid/r",
        "https://media.invalid:0x/r?signature=SECRETSECRET",
        "https://999.1/r?signature=SECRETSECRET",
        "https://ä..invalid/r?signature=SECRETSECRET",
    ):
        sandbox.faults.clear()
        leads_to(sandbox, url)
        options = evolve(RETRYING, retry=RetryPolicy(attempts=1))
        async with AsyncDiffio(
            sandbox.api_key, base_url=sandbox.base_url, options=options
        ) as client:
            with pytest.raises(DiffioError) as caught:
                await linked(client).download()
        assert "SECRETSECRET" not in all_text_of(caught.value) + text_of(logged), url


async def test_the_password_of_a_proxy_is_not_shown(
    authority: Authority, logged: pytest.LogCaptureFixture
) -> None:
    shown = ""
    async with proxy(1, status=502) as refusing:
        for port in (refusing.port, 1):
            options = evolve(ONCE, proxy=f"http://me:s3cr3tpass@127.0.0.1:{port}")
            async with once("https://api.diffio.test", options) as client:
                with pytest.raises(DiffioError) as caught:
                    await client.projects.list()
                shown += all_text_of(caught.value) + repr(client) + repr(options)
    shown += text_of(logged)
    assert "s3cr3tpass" not in shown
    assert "bWU6czNjcjN0cGFzcw" not in shown
    assert "diffio_key_1234567890" not in shown
