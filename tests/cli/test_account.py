"""`diffio-async usage`, `projects`, `generations` and `keys`, as a user runs them."""

from __future__ import annotations

import json
import os
import pty
import signal
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from diffio_async import AsyncDiffio
from diffio_async.sandbox import Fault, LoseResponse, RespondWith, Stall
from tests.cli.conftest import COMMAND, environment

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffio_async.sandbox import Sandbox
    from tests.cli.conftest import Run, Start

#: A name that clears the terminal, forges a line, reverses text and is markup.
HOSTILE = "e\x1b[2J\nforged\u202e[red].wav"
ESCAPED = r"e\x1b[2J\nforged\u202e[red].wav"
#: Makes standard input the terminal whose Ctrl-C interrupts the process.
TAKE_TERMINAL = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
RECORDING = b"RIFF" + bytes(100)


def events(output: str) -> list[dict[str, Any]]:
    """Return the JSON objects of an output."""
    return [json.loads(line) for line in output.splitlines()]


async def generate(sandbox: Sandbox, name: str = "talk.wav", *models: str) -> tuple[str, str]:
    """Upload a recording and restore it with each model; return the last ids."""
    async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client:
        project = await client.projects.create(RECORDING, file_name=name, content_type="audio/wav")
        generation_id = ""
        for model in models or ("diffio-4.6-flash",):
            done = await client.generations.create_and_wait(
                api_project_id=project.api_project_id, model=model
            )
            generation_id = done.generation_id
    return project.api_project_id, generation_id


async def new_key(run: Run, sandbox: Sandbox, *scopes: str) -> tuple[str, dict[str, str]]:
    """Create a key; return its id, and the environment of a client with it."""
    words = [word for scope in scopes for word in ("--scope", scope)]
    done = await run("keys", "create", "worker", *words, "--json", env=sandbox.environment)
    [event] = events(done.stdout)
    return event["key_id"], {**sandbox.environment, "DIFFIO_API_KEY": event["key"]}


async def test_usage_is_listed_by_period_and_model(run: Run, echo: Sandbox) -> None:
    """With seconds and amounts in the account's currency; as JSON with exact cents."""
    await generate(echo, "talk.wav", "diffio-4.6-flash", "diffio-4.6-pro")
    done = await run("usage", env=echo.environment)
    assert (done.returncode, done.stderr) == (0, "")
    header, *rows, account = [line.split() for line in done.stdout.splitlines()]
    assert header[-6:] == ["MODEL", "SECONDS", "BILLED", "RESERVED", "TOTAL", "UNIT"]
    assert [row[2:] for row in rows] == [
        ["all", "120", "0.09", "0.00", "0.09", "USD"],
        ["diffio-4.6-flash", "60", "0.03", "-", "-", "USD"],
        ["diffio-4.6-pro", "60", "0.06", "-", "-", "USD"],
    ]
    assert account[:4] == ["account:", "0.09", "USD", "billed"]
    done = await run("usage", "--json", env=echo.environment)
    period, billing = events(done.stdout)
    assert (period["event"], period["finalized_cents"], period["seconds"]) == ("period", 9.0, 120.0)
    assert period["model_cents"] == {"diffio-4.6-flash": 3.0, "diffio-4.6-pro": 6.0}
    assert (billing["event"], billing["lifetime_billable_cents"]) == ("billing", 9.0)
    assert {each["currency"] for each in (period, billing)} == {"usd"}


@pytest.mark.slow
async def test_the_currency_is_read_from_the_account(run: Run, echo: Sandbox) -> None:
    """If the summary has none; without the scope for that, amounts are in cents."""
    summary = {
        "usage": {
            "periods": [{"periodId": "p", "finalizedCents": 1234.5, "modelSeconds": {"m": "x"}}]
        },
        "billing": {},
    }
    echo.faults.add(Fault(path="*/usage/summary", action=RespondWith(json=summary), times=None))
    done = await run("usage", env=echo.environment)
    assert done.stdout.splitlines()[1].split() == ["p", "-", "-", "0", "12.345", "-", "-", "USD"]
    _, env = await new_key(run, echo, "usage:read")
    done = await run("usage", env=env)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].split()[4:] == ["1,234.5", "-", "-", "cents"]


@pytest.mark.slow
async def test_projects_are_listed_with_their_names_as_text(run: Run, echo: Sandbox) -> None:
    """The newest first, one line for each; `--limit` reports how many there are."""
    first, _ = await generate(echo, HOSTILE)
    second, _ = await generate(echo)
    done = await run("projects", "list", env=echo.environment)
    assert (done.returncode, done.stderr) == (0, "")
    _, *rows = done.stdout.splitlines()
    assert [row.split()[:3] for row in rows] == [
        [second, "uploaded", "1"],
        [first, "uploaded", "1"],
    ]
    assert rows[1].endswith(ESCAPED)
    done = await run("projects", "list", "--json", "--limit", "1", env=echo.environment)
    [event] = events(done.stdout)
    assert (event["event"], event["api_project_id"]) == ("project", second)
    assert "only the newest 1 of 2" in done.stderr
    done = await run("projects", "list", "--json", env=echo.environment)
    assert events(done.stdout)[1]["original_file_name"] == HOSTILE


@pytest.mark.slow
async def test_generations_are_listed_and_shown(run: Run, echo: Sandbox) -> None:
    """A complete one with the command that downloads it, by its ids or its handle."""
    project, generation = await generate(echo)
    done = await run("generations", "list", "--project", project, env=echo.environment)
    assert done.returncode == 0
    assert done.stdout.splitlines()[1].split()[:3] == [generation, "complete", "diffio-4.6-flash"]
    named = ("generations", "show", generation, "--project", project)
    done = await run(*named, "--json", env=echo.environment)
    [event] = events(done.stdout)
    command = f"diffio-async download {generation} --project {project}"
    assert (event["status"], event["percent"], event["next_command"]) == ("complete", 100, command)
    done = await run("generations", "show", event["handle"], env=echo.environment)
    assert done.returncode == 0
    assert f"project         {project}" in done.stdout
    assert done.stdout.splitlines()[-1] == f"next            {command}"
    assert done.stdout.startswith(f"generation      {generation}\n")


async def test_a_failed_generation_is_shown_with_its_reason(run: Run, echo: Sandbox) -> None:
    """There is no command to run next, and the exit code is 0: it was found."""
    project, generation = await generate(echo)
    body = {"generationId": generation, "apiProjectId": project, "status": "failed", "error": "hum"}
    echo.faults.add(Fault(path="*/get_generation_progress", action=RespondWith(json=body)))
    done = await run("generations", "show", generation, "--project", project, env=echo.environment)
    assert done.returncode == 0
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert ["reason", "hum"] in lines
    assert "next" not in [line[0] for line in lines]


@pytest.mark.slow
async def test_empty_lists_say_what_to_do(run: Run, echo: Sandbox) -> None:
    """On standard error, with exit code 0."""
    done = await run("projects", "list", env=echo.environment)
    assert (done.returncode, done.stdout) == (0, "")
    assert "diffio-async restore FILE" in done.stderr
    done = await run("usage", env=echo.environment)
    assert (done.returncode, "Nothing was used" in done.stderr) == (0, True)


async def test_a_secret_is_printed_once_on_standard_output(run: Run, echo: Sandbox) -> None:
    """The note beside it is on standard error; a rotated secret replaces the old one."""
    done = await run("keys", "create", HOSTILE, "--scope", "keys:read", env=echo.environment)
    secret = done.stdout.removesuffix("\n")
    assert (done.returncode, secret[:15], "\n" in secret) == (0, "diffio_sandbox_", False)
    assert f"({ESCAPED}) was created; scopes: keys:read" in done.stderr
    assert "only once" in done.stderr
    assert secret not in done.stderr
    key_id = done.stderr.split()[0]
    env = {**echo.environment, "DIFFIO_API_KEY": secret}
    done = await run("keys", "list", env=env)
    assert done.stdout.splitlines()[1].split()[:2] == [key_id, "active"]
    assert secret not in done.stdout
    done = await run("keys", "rotate", key_id, "--json", env=echo.environment)
    [event] = events(done.stdout)
    assert (event["event"], event["key_id"], event["key"] == secret) == ("rotated", key_id, False)
    assert event["key"] not in done.stderr
    assert (await run("keys", "list", env=env)).returncode == 1
    env["DIFFIO_API_KEY"] = event["key"]
    assert (await run("keys", "list", "--json", env=env)).returncode == 0


@pytest.mark.slow
async def test_a_secret_that_cannot_be_printed_is_a_failure(run: Run, echo: Sandbox) -> None:
    """The message has the command that makes another one."""
    words = [sys.executable, "-c", COMMAND, "keys", "create", "w", "--scope", "keys:read"]
    done = await anyio.run_process(
        ["sh", "-c", '"$@" >/dev/full', "-", *words],
        env=environment(echo.environment),
        check=False,
    )
    assert done.returncode == 1
    assert b"run: diffio-async keys rotate key_" in done.stderr


@pytest.mark.slow
async def test_a_key_is_revoked_without_a_terminal_only_with_yes(run: Run, echo: Sandbox) -> None:
    """Otherwise nothing is sent, with exit code 2."""
    key_id, env = await new_key(run, echo, "usage:read")
    sent = len(echo.requests)
    done = await run("keys", "revoke", key_id, env=echo.environment)
    assert (done.returncode, len(echo.requests)) == (2, sent)
    assert "add --yes" in done.stderr
    done = await run("keys", "revoke", key_id, "--yes", env=echo.environment)
    assert (done.returncode, done.stdout) == (0, f"{key_id} (worker) was revoked\n")
    done = await run("usage", env=env)
    assert done.returncode == 1
    assert "Use a key that is active" in done.stderr
    done = await run("keys", "rotate", key_id, "--json", env=echo.environment)
    assert done.returncode == 1
    assert "diffio-async keys list" in events(done.stdout)[0]["message"]


@pytest.mark.parametrize(
    ("arguments", "scope"),
    [
        (["usage"], "usage:read"),
        (["projects", "list"], "projects:read"),
        (["generations", "list", "--project", "proj_1"], "generations:read"),
        (["generations", "show", "gen_1", "--project", "proj_1"], "generations:read"),
        (["keys", "list"], "keys:read"),
        (["keys", "revoke", "key_1", "--yes"], "keys:write"),
    ],
)
async def test_a_missing_scope_is_named(
    run: Run, echo: Sandbox, arguments: list[str], scope: str
) -> None:
    """Also if the service does not name it; with how to get a key that has it."""
    refusal = RespondWith(status=403, json={"error": "forbidden"})
    echo.faults.add(Fault(path="/v1/*", action=refusal, times=None))
    done = await run(*arguments, env=echo.environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"with the scope {scope}; a key with keys:write creates one" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["usage", "--api-key-id", "key_1"], "keys list"),
        (["generations", "list", "--project", "proj_1"], "projects list"),
        (
            ["generations", "show", "gen_1", "--project", "proj_1"],
            "generations list --project proj_1",
        ),
        (["keys", "rotate", "key_1"], "keys list"),
        (["keys", "revoke", "key_1", "--yes"], "keys list"),
    ],
)
async def test_the_error_for_an_unknown_id_names_the_command_that_lists_ids(
    run: Run, echo: Sandbox, arguments: list[str], command: str
) -> None:
    """With exit code 1."""
    done = await run(*arguments, env=echo.environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith(f"listed by: diffio-async {command}\n")


@pytest.mark.parametrize(
    "arguments", [["usage"], ["webhooks", "configure", "--url", "https://host.test/hook"]]
)
async def test_an_inherited_key_id_that_the_key_may_not_use_is_named(
    run: Run, echo: Sandbox, arguments: list[str]
) -> None:
    """The environment of the sandbox sets it; the user has named no id."""
    scopes = ("usage:read", "webhooks:write")
    _, env = await new_key(run, echo, *scopes)
    env |= {"DIFFIO_API_KEY_ID": echo.webhook_environment["DIFFIO_API_KEY_ID"]}
    done = await run(*arguments, env=env)
    assert done.returncode == 1
    assert "DIFFIO_API_KEY_ID: unset it" in done.stderr
    del env["DIFFIO_API_KEY_ID"]
    done = await run(*arguments, env=env)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["usage"], "DIFFIO_API_KEY"),
        (["keys", "revoke", "key_1"], "DIFFIO_API_KEY"),
        (["keys", "create", "w", "--scope", "a", "--resource-bounds", "[]"], "not a JSON object"),
        (["generations", "show", "gen_1"], "--project"),
        (["keys", "create", "w"], "--scope"),
        (["usage", "--cacert", "none.pem"], "DIFFIO_API_KEY"),
    ],
)
async def test_wrong_usage_sends_nothing(run: Run, arguments: list[str], words: str) -> None:
    """A missing key, scope or project is exit code 2, with advice."""
    done = await run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


async def test_a_lost_response_states_that_the_key_may_exist(run: Run, echo: Sandbox) -> None:
    """The request is sent once."""
    echo.faults.add(Fault(path="*/api_keys/create", action=LoseResponse()))
    done = await run("keys", "create", "w", "--scope", "keys:read", env=echo.environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert "The key 'w' may exist" in done.stderr
    assert len([seen for seen in echo.requests if seen.path.endswith("api_keys/create")]) == 1


@pytest.mark.slow
async def test_an_interrupted_creation_states_that_the_key_may_exist(
    start: Start, echo: Sandbox
) -> None:
    """With the command that lists the keys, and exit code 130."""
    echo.faults.add(Fault(path="*/api_keys/create", action=Stall()))
    arguments = ("keys", "create", "w", "--scope", "keys:read")
    process = await start(*arguments, env=echo.environment)
    with anyio.fail_after(120):
        while not any(seen.path.endswith("api_keys/create") for seen in echo.requests):
            await anyio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        message = b"".join([part async for part in process.stderr]).decode()
        assert await process.wait() == 130
    assert "interrupted. The key 'w' may exist" in message
    assert message.endswith("diffio-async keys list\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("reply", "code", "status"), [("y", 0, "revoked"), ("n", 1, "active"), ("\x03", 130, "active")]
)
async def test_a_terminal_shows_a_prompt_before_a_key_is_revoked(
    run: Run, echo: Sandbox, reply: str, code: int, status: str
) -> None:
    """Yes revokes, no and Ctrl-C send nothing; a table on a terminal keeps long ids whole."""
    key_id, _ = await new_key(run, echo, "usage:read")
    ended, shown = await on_terminal(
        ["keys", "revoke", key_id], env=echo.environment, prompt="[y/N]", reply=reply
    )
    assert ended == code, shown
    done = await run("keys", "list", "--json", env=echo.environment)
    assert {key["key_id"]: key["status"] for key in events(done.stdout)}[key_id] == status
    if reply != "y":
        return
    ended, shown = await on_terminal(["keys", "list"], env=echo.environment)
    assert ended == 0
    assert "\x1b[1mKEY ID" in shown
    assert key_id in shown


async def on_terminal(
    arguments: list[str],
    *,
    env: dict[str, str],
    prompt: str = "",
    reply: str = "",
    command: Sequence[str] = (sys.executable, "-c", TAKE_TERMINAL + COMMAND),
) -> tuple[int, str]:
    """Run the command on a terminal of 200 columns, and reply to its prompt."""
    ours, theirs = pty.openpty()
    shown = b""
    process = await anyio.open_process(
        [*command, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment(env), "COLUMNS": "200", "TERM": "xterm"},
        start_new_session=True,
    )
    os.close(theirs)
    with anyio.fail_after(120):
        while True:
            try:
                part = await anyio.to_thread.run_sync(os.read, ours, 10_000)
            except OSError:  # the process has closed its side
                break
            shown += part
            if not part:
                break
            if prompt and prompt in shown.decode(errors="replace"):
                prompt = ""
                os.write(ours, reply.encode() + (b"" if reply == "\x03" else b"\n"))
        code = await process.wait()
    os.close(ours)
    await process.aclose()
    return code, shown.decode(errors="replace")
