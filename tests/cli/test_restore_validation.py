"""`diffio-async restore`: invalid requests are refused before anything is sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from diffio_async.sandbox import Sandbox
    from tests.cli.conftest import Run


async def test_a_missing_key_names_both_solutions(run: Run, talk: Path) -> None:
    """Without a key, the error names the variable to set and the sandbox."""
    done = await run("restore", talk)
    assert done.returncode == 2
    assert "DIFFIO_API_KEY" in done.stderr
    assert "--sandbox" in done.stderr
    assert done.stdout == ""


async def test_a_key_that_cannot_be_sent_is_not_shown(run: Run, talk: Path) -> None:
    """A key with a line break is refused, and is not part of the message."""
    done = await run("restore", talk, env={"DIFFIO_API_KEY": "diffio_live_secret\n"})
    assert done.returncode == 2
    assert "key" in done.stderr
    assert "secret" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["talk.wav", "--model", "Diffio 4"], "'Diffio 4' cannot be a model's name"),
        (["talk.wav", "-o", "nowhere"], "there is no folder nowhere"),
        (["talk.wav", "-o", "talk.wav"], "-o talk.wav is the recording itself"),
        (["talk.wav", "-o", "nowhere/x.mp3"], "there is no folder nowhere"),
        (["talk.wav", "b.wav", "-o", "x.mp3"], "there is no folder x.mp3"),
        (["talk.wav", "b.wav", "-o", "talk.wav"], "-o talk.wav is a file: name a folder"),
        (["talk.wav", "-o", ""], "the path given with -o is empty"),
        (["talk.wav", "talk.flac"], "would each become talk.restored.mp3"),
        (["talk.wav", "talk.flac"], "-o DIR"),
        (["a.wav", "a.au", "--type", "transcript"], "would each become a.restored.json"),
    ],
)
async def test_an_invalid_request_is_refused(
    run: Run, talk: Path, echo: Sandbox, arguments: list[str], words: str
) -> None:
    """An error that concerns every file ends the command with code 2 and one line."""
    done = await run("restore", *arguments, env=echo.environment)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.splitlines()) <= 2
    assert echo.requests == []


@pytest.mark.parametrize(
    "arguments", [["talk.wav", "--type", "text"], ["talk.wav", "--jobs", "0"], []]
)
async def test_wrong_usage_is_refused(run: Run, talk: Path, arguments: list[str]) -> None:
    """An invalid value of an option, or no file, ends the command with code 2."""
    done = await run("restore", "--sandbox", *arguments)
    assert done.returncode == 2
    assert "restore" in done.stderr


async def test_an_unknown_type_is_refused_with_the_choices(run: Run, talk: Path) -> None:
    """The error for a wrong `--type` is one sentence that lists the choices."""
    done = await run("restore", "--sandbox", talk, "--type", "foo")
    assert "choose audio, video or transcript, not 'foo'." in done.stderr
    assert "Value error" not in done.stderr


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nonsense", "'nonsense'"),
        ("http://diffio.example/v1", "'http://diffio.example/v1'"),
        ("https://me:hid?den@host/v1", "'[redacted]@host/v1'"),
        ("https://host/v1?token=hidden", "'https://host/v1'"),
        ("diffio_live_hidden", "'[redacted]'"),
    ],
)
async def test_an_invalid_url_is_reported_with_its_variable(
    run: Run, talk: Path, url: str, shown: str
) -> None:
    """A wrong `DIFFIO_API_BASE_URL` is named, and shown without secrets."""
    wrong = {"DIFFIO_API_KEY": "diffio_key", "DIFFIO_API_BASE_URL": url}
    done = await run("restore", talk, env=wrong)
    assert done.returncode == 2
    assert f"DIFFIO_API_BASE_URL is {shown}: " in done.stderr
    assert "hid" not in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [["restore", "talk.wav"], ["download", "gen_1", "--project", "proj_1"]]
)
async def test_json_reports_an_invalid_configuration(
    run: Run, talk: Path, arguments: list[str]
) -> None:
    """With `--json` and no key, the error is one object on stdout and a message on stderr."""
    done = await run(*arguments, "--json")
    assert done.returncode == 2
    printed = json.loads(done.stdout)
    assert (printed["error"], printed["exit_code"]) == ("ConfigurationError", 2)
    assert done.stderr == f"diffio-async: {printed['message']}\n"


async def test_video_of_an_audio_file_is_refused(run: Run, talk: Path, echo: Sandbox) -> None:
    """`--type video` of an audio file is refused before anything is sent and billed."""
    done = await run("restore", talk, "--type", "video", env=echo.environment)
    assert done.returncode == 1
    assert "fetch the audio instead (--type audio)" in done.stderr
    assert echo.requests == []


async def test_an_empty_path_is_called_empty(run: Run, echo: Sandbox) -> None:
    """An empty argument (an unset variable in a script) is not the current folder."""
    done = await run("restore", "", env=echo.environment)
    assert done.stderr == "'': the path is empty: name a file\n"


@pytest.mark.parametrize("name", ["missing.wav", ".", "", "existing.wav", "unreadable.wav"])
async def test_a_file_that_cannot_be_restored_is_refused(
    run: Run, talk: Path, echo: Sandbox, tmp_path: Path, name: str
) -> None:
    """A missing file, a folder, or an existing result is a line on stderr; nothing is sent."""
    (tmp_path / "existing.wav").write_bytes(b"sound")
    (tmp_path / "existing.restored.mp3").write_bytes(b"precious")
    if name == "unreadable.wav":
        # Unreadable for everybody, the superuser included.
        (tmp_path / name).symlink_to(name)
    done = await run("restore", name, env=echo.environment)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    assert 1 <= len(done.stderr.splitlines()) <= 2
    assert ("--overwrite" in done.stderr) == (name == "existing.wav")
    assert echo.requests == []
    assert (tmp_path / "existing.restored.mp3").read_bytes() == b"precious"
