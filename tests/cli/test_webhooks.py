"""`diffio-async webhooks`: configure, test, and verify, as a user runs them."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from svix.webhooks import Webhook

from diffio_async.sandbox import Fault, LoseResponse

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async.sandbox import Sandbox
    from tests.cli.conftest import Run

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"eventType":"generation.completed","generationId":"gen_1","note":"\xc3\xa9"}'
ENVIRONMENT = {"DIFFIO_WEBHOOK_SECRET": f"whsec_b3RoZXI= {SECRET}"}


def headers(at: float | None = None) -> dict[str, str]:
    """Return the headers of a delivery, signed now or at another time."""
    instant = datetime.fromtimestamp(int(at or time.time()), UTC)
    return {
        "Content-Type": "application/json",
        "Svix-Id": "msg_1",
        "Svix-Timestamp": str(int(instant.timestamp())),
        "Svix-Signature": Webhook(SECRET).sign("msg_1", instant, BODY.decode()),
    }


async def test_an_endpoint_is_configured_and_gets_a_test_event(run: Run, echo: Sandbox) -> None:
    """As lines and as JSON; by default for both types of events."""
    url = "https://example.com/webhooks/diffio"
    done = await run("webhooks", "configure", "--url", url, env=echo.environment)
    assert (done.returncode, done.stderr) == (0, "")
    types = "generation.completed, generation.failed"
    assert done.stdout.startswith(f"{url} receives {types} (live, key")
    arguments = ("--url", url, "--mode", "test", "--event", "generation.queued", "--json")
    done = await run("webhooks", "configure", *arguments, env=echo.environment)
    event = json.loads(done.stdout)
    assert (event["event"], event["mode"]) == ("configured", "test")
    assert event["event_types"] == ["generation.queued"]
    done = await run("webhooks", "test", "--json", env=echo.environment)
    sent = json.loads(done.stdout)
    assert (sent["event"], sent["event_type"]) == ("sent", "generation.completed")
    done = await run("webhooks", "test", "--event", "generation.failed", env=echo.environment)
    assert done.stdout.startswith("generation.failed was sent as msg_")


async def test_a_failed_configuration_is_explained(run: Run, echo: Sandbox) -> None:
    """The code is 2 if nothing was sent, 1 if the service refused."""
    done = await run("webhooks", "configure", "--url", "http://example.com", env=echo.environment)
    assert done.returncode == 2
    assert "https" in done.stderr
    done = await run("webhooks", "test")
    assert (done.returncode, "DIFFIO_API_KEY" in done.stderr) == (2, True)
    done = await run("webhooks", "test", "--json", env=echo.environment)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"] == "NotFound"
    done = await run("webhooks", "test", "--mode", "both", env=echo.environment)
    assert done.returncode == 2


async def test_a_test_event_is_not_sent_twice_after_a_lost_response(
    run: Run, echo: Sandbox
) -> None:
    """One request, and exit code 1."""
    await run("webhooks", "configure", "--url", "https://example.com", env=echo.environment)
    echo.faults.add(Fault(path="*/send_test_event", action=LoseResponse()))
    done = await run("webhooks", "test", env=echo.environment)
    assert done.returncode == 1
    assert len([seen for seen in echo.requests if seen.path.endswith("send_test_event")]) == 1


async def test_a_genuine_delivery_is_verified(run: Run, tmp_path: Path) -> None:
    """Headers are accepted as curl prints them, as JSON, or one by one."""
    (tmp_path / "body").write_bytes(BODY)
    lines = "".join(f"> {name}: {value}\n" for name, value in headers().items())
    (tmp_path / "lines").write_text(f"> POST /hook HTTP/1.1\n{lines}")
    (tmp_path / "json").write_text(json.dumps({"headers": [*headers().items()]}))
    single = [word for pair in headers().items() for word in ("--headers", ": ".join(pair))]
    single[-1] += f" v1,{'A' * 300}"  # longer than a file's name can be
    for arguments in (["--headers", "lines"], ["--headers", "json"], single):
        done = await run("webhooks", "verify", "--payload", "body", *arguments, env=ENVIRONMENT)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout == "genuine: generation.completed of gen_1 (msg_1)\n"


async def test_a_rejected_delivery_is_explained(run: Run, tmp_path: Path) -> None:
    """One line per reason, or one JSON object; neither contains the secret."""
    (tmp_path / "body").write_text(json.dumps(json.loads(BODY)))
    (tmp_path / "headers").write_text(json.dumps(headers(time.time() - 4000)))
    arguments = ("webhooks", "verify", "--payload", "body", "--headers", "headers")
    done = await run(*arguments, env=ENVIRONMENT)
    lines = done.stdout.splitlines()
    assert (done.returncode, lines[0]) == (1, "rejected (too_old)")
    assert "s behind this machine's" in lines[1]
    assert "parsed as JSON and written again" in lines[2]
    assert lines[3].endswith("by secret 2")
    done = await run(*arguments, "--tolerance", "inf", "--json", env=ENVIRONMENT)
    event = json.loads(done.stdout)
    assert (done.returncode, event["exit_code"]) == (1, 1)
    assert event["reason"] == "bad_signature"
    assert [each["code"] for each in event["findings"]] == ["changed_body_redumped", "fits"]
    assert event["findings"][1]["secret"] == 2
    assert SECRET not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "env", "words"),
    [
        (["--payload", "body", "--headers", "body"], ENVIRONMENT, "body has no headers"),
        (["--payload", "none", "--headers", "Svix-Id: 1"], ENVIRONMENT, "none cannot be read"),
        (["--payload", "-", "--headers", "-"], ENVIRONMENT, "only one"),
        (["--payload", "body", "--headers", "a: b"], {}, "set DIFFIO_WEBHOOK_SECRET"),
        (["--payload", "body"], ENVIRONMENT, "--headers"),
    ],
)
async def test_wrong_usage_is_distinguished_from_a_wrong_signature(
    run: Run, tmp_path: Path, arguments: list[str], env: dict[str, str], words: str
) -> None:
    """A missing file, no headers or no secret is code 2, with advice."""
    (tmp_path / "body").write_bytes(b"[]")
    done = await run("webhooks", "verify", *arguments, env=env)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
