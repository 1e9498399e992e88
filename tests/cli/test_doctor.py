"""The `doctor` command: a line for each check, with what to do, without secrets."""

from __future__ import annotations

import json
import ssl
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from diffio_async._storage import files
from diffio_async.cli.doctor import local, network
from diffio_async.sandbox import Fault, RespondWith, Sandbox
from tests.cli.conftest import COMMAND
from tests.http.conftest import Authority, authority
from tests.http.peers import peer, responds
from tests.http.test_proxies import proxy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.cli.conftest import Run

__all__ = ["authority"]

PROJECTS = responds(200, b'{"projects": []}')
KEY = "diffio_key_1234567890"
#: Removes the settings of the machine that runs the tests; certificates are in some folder.
_VARIABLES = (
    *("CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY"),
    *("all_proxy", "http_proxy", "NO_PROXY", "no_proxy", "SSL_CERT_FILE"),
)
BARE = {**dict.fromkeys(_VARIABLES, ""), "SSL_CERT_DIR": "/"}


async def checks(
    run: Run, *arguments: object, env: Mapping[str, str], code: int = 1
) -> dict[str, Any]:
    """Run `doctor --json` and return its checks by name."""
    done = await run("doctor", "--json", "--no-upload", *arguments, env={**BARE, **env})
    assert done.returncode == code, done.stdout + done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    found = {event["name"]: event for event in events[:-1]}
    statuses = [check["status"] for check in found.values()]
    assert events[-1] == {
        "event": "finished",
        **{status: statuses.count(status) for status in ("ok", "warning", "failure")},
    }
    for check in found.values():
        # A line that is not ok contains what to do.
        assert (check["hint"] is None) == (check["status"] == "ok"), check
    return found


async def test_a_working_environment_has_only_ok_lines(run: Run) -> None:
    """Also the upload, which is tried only on request; the last line counts the results."""
    async with Sandbox(engine="echo") as sandbox:
        env = {**BARE, **sandbox.environment, **sandbox.webhook_environment}
        done = await run("doctor", "--upload", env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        lines = done.stdout.splitlines()
        assert [line for line in lines[:-1] if not line.startswith("ok ")] == []
        assert any("upload: 19 bytes were accepted" in line for line in lines)
        assert lines[-1].endswith(" ok, 0 warnings, 0 failures")
        assert len(sandbox.state.projects) == 1
        assert sandbox.violations == []
        for secret in (sandbox.api_key, sandbox.settings.webhook_secret):
            assert secret not in done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reply", "code", "projects"), [("y", 0, 1), ("n", 0, 0), ("\x03", 130, 0)]
)
async def test_a_terminal_shows_a_prompt_before_an_upload(
    reply: str, code: int, projects: int
) -> None:
    """Ctrl-C ends the command before it has sent anything."""
    pytest.importorskip("pty")
    from tests.cli.test_account import on_terminal

    async with Sandbox(engine="echo") as sandbox:
        ended, shown = await on_terminal(
            ["doctor"], env={**BARE, **sandbox.environment}, prompt="[y/N]", reply=reply
        )
        assert ended == code, shown
        assert len(sandbox.state.projects) == projects
        assert bool(sandbox.requests) == (code == 0)


@pytest.mark.slow
async def test_without_a_terminal_to_reply_on_there_is_no_prompt() -> None:
    """Standard output alone may be one, as in a job of a shell."""
    pytest.importorskip("pty")
    from tests.cli.test_account import on_terminal

    async with Sandbox(engine="echo") as sandbox:
        words = ["sh", "-c", '"$@" </dev/null', "-", sys.executable, "-c", COMMAND]
        ended, shown = await on_terminal(
            ["doctor"], env={**BARE, **sandbox.environment}, command=words
        )
    assert ended == 0, shown
    assert "[y/N]" not in shown


async def test_without_an_upload_nothing_is_created(run: Run) -> None:
    async with Sandbox(engine="echo") as sandbox:
        done = await run("doctor", env={**BARE, **sandbox.environment})
        assert done.returncode == 0
        assert not sandbox.state.projects
        assert {record.path for record in sandbox.requests} <= {
            "/v1/list_projects",
            "/v1/get_generation_progress",
            "/v1/get_generation_download",
            "/v1/account/settings/get",
            "/v1/usage/summary",
            "/v1/api_keys/list",
        }


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("", "is not set"),
        (f"{KEY}\n", "trailing newline"),
        (f'"{KEY}"', "quotes"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "webhook"),
    ],
)
async def test_a_missing_or_malformed_key_is_a_failure(run: Run, key: str, text: str) -> None:
    """The connection is checked all the same; the key is not shown."""
    async with Sandbox(engine="echo") as sandbox:
        env = {**sandbox.environment, "DIFFIO_API_KEY": key}
        found = await checks(run, env=env)
        assert found["API key"]["status"] == "failure"
        assert text in found["API key"]["text"]
        assert found["name"]["status"] == "ok"
        assert KEY not in json.dumps(found)
        assert sandbox.requests == []


async def test_a_key_that_the_service_does_not_know_is_a_failure(run: Run) -> None:
    async with Sandbox(engine="echo") as sandbox:
        found = await checks(run, env={**sandbox.environment, "DIFFIO_API_KEY": KEY})
        assert found["authentication"]["status"] == "failure"
        assert "rejects the API key" in found["authentication"]["text"]
        assert "scopes" not in found


async def test_missing_scopes_are_named(run: Run) -> None:
    """A key that cannot restore is a failure, one that only cannot manage keys a warning."""
    async with Sandbox(engine="echo") as sandbox:
        key = next(iter(sandbox.state.keys.values()))
        key.scopes.remove("keys:read")
        found = await checks(run, env=sandbox.environment, code=0)
        assert found["scopes"]["status"] == "warning"
        assert "not keys:read" in found["scopes"]["text"]
        key.scopes.remove("projects:read")
        found = await checks(run, env=sandbox.environment)
        assert found["scopes"]["status"] == "failure"
        assert "not projects:read, keys:read" in found["scopes"]["text"]


async def test_a_host_that_does_not_exist_is_named(run: Run) -> None:
    env = {"DIFFIO_API_KEY": KEY, "DIFFIO_API_BASE_URL": "https://api.diffio.invalid/v1"}
    found = await checks(run, env=env)
    assert found["name"]["status"] == "failure"
    assert "api.diffio.invalid cannot be resolved" in found["name"]["text"]
    assert "TLS" not in found


async def test_a_port_without_a_server_is_named(run: Run) -> None:
    async with Sandbox(engine="echo") as sandbox:
        env = sandbox.environment
    found = await checks(run, env=env)
    assert found["connection (IPv4)"]["status"] == "failure"
    assert "refused" in found["connection (IPv4)"]["text"]
    # Requests to this machine never use a proxy: that is not the advice.
    assert "diffio-async sandbox" in found["connection (IPv4)"]["hint"]


@pytest.mark.parametrize(("hours", "ahead"), [(-1, "ahead of"), (1, "behind")])
async def test_a_clock_that_is_an_hour_off_is_a_failure(run: Run, hours: int, ahead: str) -> None:
    """The service's Date is compared; svix rejects the signatures of webhooks beyond 5 minutes."""
    date = format_datetime(datetime.fromtimestamp(time.time(), UTC) + timedelta(hours=hours), True)
    wrong = Fault(
        action=RespondWith(headers={"Date": date}, json={"projects": []}), path="*list_projects"
    )
    async with Sandbox(engine="echo", faults=[wrong]) as sandbox:
        found = await checks(run, env=sandbox.environment)
        assert found["clock"]["status"] == "failure"
        assert f"s {ahead} that of the service" in found["clock"]["text"]


async def test_a_private_certificate_is_named_by_its_issuer(
    run: Run, authority: Authority, tmp_path: Path
) -> None:
    """The line names who issued the certificate, and `--cacert` makes it ok."""
    async with peer(PROJECTS, tls=authority.server) as host:
        env = {"DIFFIO_API_KEY": KEY, "DIFFIO_API_BASE_URL": f"https://localhost:{host.port}/v1"}
        found = await checks(run, env=env)
        assert found["TLS"]["status"] == "failure"
        assert "issued by trustme" in found["TLS"]["text"]
        assert "--cacert" in found["TLS"]["hint"]
        assert "authentication" not in found
        env["SSL_CERT_FILE"] = str(authority.file)
        found = await checks(run, env=env, code=0)
        assert found["TLS"]["status"] == "ok"
        assert f"{authority.file} (SSL_CERT_FILE)" in found["certificates"]["text"]
        missing = tmp_path / "none.pem"
        found = await checks(run, "--cacert", missing, env=env)
        assert found["network options"]["status"] == "failure"


@pytest.mark.parametrize(
    ("names", "days", "text", "hint"),
    [
        ("localhost", -1, "has expired", "clock of this machine"),
        ("other.test", 1, "not valid for 'localhost'", "another server responds"),
    ],
)
async def test_a_certificate_that_is_invalid_now_or_here_has_advice_of_its_own(
    run: Run, names: str, days: int, text: str, hint: str
) -> None:
    """A trusted authority that issued it is not to be trusted once more."""
    trusted = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    until = datetime.fromtimestamp(time.time(), UTC) + timedelta(days=days)
    trusted.issue_cert(names, not_after=until).configure_cert(server)
    with trusted.cert_pem.tempfile() as file:
        async with peer(PROJECTS, tls=server) as host:
            url = f"https://localhost:{host.port}/v1"
            env = {"DIFFIO_API_KEY": KEY, "DIFFIO_API_BASE_URL": url, "SSL_CERT_FILE": file}
            found = await checks(run, env=env)
    assert text in found["TLS"]["text"]
    assert hint in found["TLS"]["hint"]
    assert "--cacert" not in found["TLS"]["hint"]


async def test_an_https_url_of_a_port_without_tls_is_named(run: Run) -> None:
    """Such as the URL of a sandbox with the wrong scheme."""
    async with Sandbox(engine="echo") as sandbox:
        url = sandbox.base_url.replace("http://127.0.0.1", "https://localhost")
        found = await checks(run, env={**sandbox.environment, "DIFFIO_API_BASE_URL": url})
        assert "responds without TLS" in found["TLS"]["text"]
        assert "http://" in found["TLS"]["hint"]


async def test_a_server_without_tls_is_a_failed_handshake(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "_TIMEOUT", 0.3)
    async with peer(PROJECTS) as host:
        env = {"DIFFIO_API_KEY": KEY, "DIFFIO_API_BASE_URL": f"https://localhost:{host.port}/v1"}
        found = await checks(run, env=env)
        assert found["TLS"]["status"] == "failure"
        assert "handshake with localhost failed" in found["TLS"]["text"]


async def test_a_proxy_that_refuses_is_a_failure_and_its_password_is_masked(run: Run) -> None:
    async with proxy(9, status=407) as between:
        env = {
            "DIFFIO_API_KEY": KEY,
            "DIFFIO_API_BASE_URL": "https://api.diffio.test/v1",
            "HTTPS_PROXY": f"http://user:hunter2@127.0.0.1:{between.port}",
        }
        found = await checks(run, env=env)
        assert found["proxy"]["text"].startswith("http://[redacted]@127.0.0.1:")
        assert found["API"]["status"] == "failure"
        assert "407" in found["API"]["text"]
        assert "hunter2" not in json.dumps(found)


@pytest.mark.parametrize("folder", ["/proc", "missing", "file", "s3://bucket/results"])
async def test_an_output_folder_that_cannot_be_used_is_a_failure(
    run: Run, folder: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    async with Sandbox(engine="echo") as sandbox:
        found = await checks(run, "-o", folder, env=sandbox.environment)
        assert found["output folder"]["status"] == "failure"
        assert "--output" in found["output folder"]["hint"]
        # The other checks run all the same.
        assert found["scopes"]["status"] == "ok"


def test_a_current_folder_that_was_removed_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "removed"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    (found,) = (check for check in local.checks(".") if check.name == "output folder")
    assert found.status == "failure"
    assert "No such file or directory" in found.text


async def test_a_folder_without_locks_is_a_warning(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "try_lock", lambda _: True)
    async with Sandbox(engine="echo") as sandbox:
        found = await checks(run, env=sandbox.environment, code=0)
        assert found["file locks"]["status"] == "warning"


async def test_a_malformed_base_url_or_webhook_secret_is_a_failure(run: Run) -> None:
    env = {
        "DIFFIO_API_KEY": KEY,
        "DIFFIO_API_BASE_URL": "https://user:hunter2@host/v1",
        "DIFFIO_WEBHOOK_SECRET": "v1,abcdefgh",
    }
    found = await checks(run, env=env)
    assert found["base URL"]["status"] == "failure"
    assert found["webhook secret"]["status"] == "failure"
    assert "hunter2" not in json.dumps(found)


def test_the_extras_are_those_of_the_package() -> None:
    """An extra that is added is also checked."""
    import tomllib
    from pathlib import Path as FilePath

    project = tomllib.loads((FilePath(__file__).parents[2] / "pyproject.toml").read_text())
    extras = set(project["project"]["optional-dependencies"])
    assert set(local.EXTRAS) == extras - {"all", "test", "docs"}
