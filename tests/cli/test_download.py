"""`diffio-async download`: the result of a generation that was started earlier, by its ids."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

import pytest

from diffio_async.client import AsyncDiffio
from diffio_async.sandbox import Fault, RespondWith, Sandbox, Truncate

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Run

Ids = list[str]

#: The service's name for it: what is given back as it was sent keeps its ending.
NAMED = "talk.restored.wav"


@pytest.fixture
async def generation_arguments(echo: Sandbox, tmp_path: Path, talk: Path) -> Ids:
    """Start a generation; return the arguments that name it."""
    async with AsyncDiffio(echo.api_key, base_url=echo.base_url) as client:
        isolated = await client.audio_isolation.isolate(tmp_path / talk)
    return [isolated.generation.generation_id, "--project", isolated.project.api_project_id]


@pytest.mark.slow
async def test_the_printed_command_downloads_the_result_after_a_timeout(
    run: Run, talk: Path, echo: Sandbox, tmp_path: Path
) -> None:
    """The command that `restore` prints on a timeout downloads the result."""
    queued = {"generationId": "gen_1", "apiProjectId": "proj_1", "status": "queued"}
    late = Fault(path="*/get_generation_progress", times=None, action=RespondWith(200, json=queued))
    echo.faults.add(late)
    (tmp_path / "my talks").mkdir()
    done = await run("restore", talk, "-o", "my talks", "--timeout", "0.3", env=echo.environment)
    program, *arguments = shlex.split(done.stderr.partition("resume:")[2])
    assert program == "diffio-async"
    echo.faults.clear()
    done = await run(*arguments, env=echo.environment)
    assert done.returncode == 0, done.stderr
    assert "-> my talks/talk.restored.mp3" in done.stdout
    assert (tmp_path / "my talks" / "talk.restored.mp3").is_file()
    assert len(echo.state.generations) == 1


@pytest.mark.slow
async def test_a_generation_is_waited_for(run: Run, talk: Path, tmp_path: Path) -> None:
    """A running generation is waited for; in a folder the result gets the service's name."""
    async with Sandbox(engine="echo", duration=1.0) as sandbox:
        async with AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client:
            isolated = await client.audio_isolation.isolate(tmp_path / talk)
        ids = [isolated.generation.generation_id, "--project", isolated.project.api_project_id]
        done = await run("download", *ids, "--json", env=sandbox.environment)
    assert done.returncode == 0, done.stderr
    printed = [json.loads(line) for line in done.stdout.splitlines()]
    assert {fact["event"] for fact in printed} == {"progress", "download", "downloaded"}
    assert {fact["generation_id"] for fact in printed} == {ids[0]}
    assert printed[-1]["path"] == NAMED
    assert (tmp_path / NAMED).is_file()


@pytest.mark.parametrize("output", ["out", "out/", f"out/{NAMED}"])
async def test_a_folder_or_a_file_can_be_named(
    run: Run, echo: Sandbox, generation_arguments: Ids, tmp_path: Path, output: str
) -> None:
    """`-o` accepts a folder or a file."""
    (tmp_path / "out").mkdir()
    done = await run("download", *generation_arguments, "-o", output, env=echo.environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / NAMED).is_file()


@pytest.mark.parametrize("output", [[], ["-o", NAMED]])
async def test_a_result_is_replaced_only_with_overwrite(
    run: Run, echo: Sandbox, generation_arguments: Ids, tmp_path: Path, output: list[str]
) -> None:
    """An existing file is kept unless `--overwrite` is given."""
    there = tmp_path / NAMED
    there.write_bytes(b"precious")
    done = await run("download", *generation_arguments, *output, env=echo.environment)
    assert done.returncode == 1
    assert done.stderr.endswith(f": {NAMED} exists: --overwrite replaces it\n")
    assert there.read_bytes() == b"precious"
    done = await run(
        "download", *generation_arguments, *output, "--overwrite", env=echo.environment
    )
    assert done.returncode == 0, done.stderr
    assert there.read_bytes() != b"precious"


@pytest.mark.slow
async def test_a_wait_that_is_too_long_ends(
    run: Run, echo: Sandbox, generation_arguments: Ids
) -> None:
    """`--timeout` ends the wait with code 1, and prints the command that resumes."""
    queued = {
        "generationId": generation_arguments[0],
        "apiProjectId": generation_arguments[2],
        "status": "queued",
    }
    late = Fault(path="*/get_generation_progress", times=None, action=RespondWith(200, json=queued))
    echo.faults.add(late)
    done = await run("download", *generation_arguments, "--timeout", "0.3", env=echo.environment)
    assert done.returncode == 1
    assert done.stderr.endswith(
        f"  resume: diffio-async download {shlex.join(generation_arguments)}\n"
    )


async def test_the_audio_is_recommended_without_a_video(
    run: Run, echo: Sandbox, generation_arguments: Ids
) -> None:
    """For a generation without a video, the command that downloads the audio is printed."""
    done = await run("download", *generation_arguments, "--type", "video", env=echo.environment)
    assert done.returncode == 1
    reason, advice = done.stderr.splitlines()
    assert reason.endswith("download the audio instead (--type audio)")
    assert advice == f"  resume: diffio-async download {shlex.join(generation_arguments)}"


async def test_the_audio_of_a_recording_without_picture_is_not_lost(
    run: Run, talk: Path, echo: Sandbox, tmp_path: Path
) -> None:
    """If only the service detects the missing picture, the printed command downloads the audio."""
    (tmp_path / talk).rename(tmp_path / "talk.rec")
    done = await run("restore", "talk.rec", "--type", "video", env=echo.environment)
    assert done.returncode == 1
    assert "download the audio instead" in done.stderr
    assert "Check the id" not in done.stderr
    _, *arguments = shlex.split(done.stderr.partition("resume:")[2])
    done = await run(*arguments, env=echo.environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "talk.restored.mp3").is_file()


async def test_an_unknown_generation_cannot_be_resumed(run: Run, echo: Sandbox) -> None:
    """Unknown ids are an error without a command to resume."""
    done = await run("download", "gen_x", "--project", "proj_x", env=echo.environment)
    assert done.returncode == 1
    assert done.stderr.startswith("gen_x: ")
    assert "resume: diffio-async" not in done.stderr


@pytest.mark.parametrize("name", ["../../evil.mp3", "/tmp/evil.mp3", "..\\evil.mp3", ".evil.mp3"])
async def test_a_name_of_the_service_stays_in_the_folder(
    run: Run, echo: Sandbox, generation_arguments: Ids, tmp_path: Path, name: str
) -> None:
    """Every name from the service is written into the requested folder."""
    (tmp_path / "a" / "b").mkdir(parents=True)
    link = {
        "generationId": generation_arguments[0],
        "apiProjectId": generation_arguments[2],
        "downloadType": "audio",
        "downloadUrl": "https://127.0.0.1:9/nothing",
        "fileName": name,
    }
    echo.faults.add(Fault(path="*/get_generation_download", action=RespondWith(200, json=link)))
    done = await run("download", *generation_arguments, "-o", "a/b", env=echo.environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a" / "b" / "evil.mp3").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["", "--project", "p"], "an id is empty"),
        (["g", "--project", "p", "-o", "nowhere/x.mp3"], "there is no folder nowhere"),
        (["g", "--project", "p", "-o", "nowhere/"], "there is no folder nowhere/"),
        (["g", "--project", "p", "-o", ""], "is empty: name a folder"),
        (["g"], "--project"),
        (["g", "--project", "p", "--type", "foo"], "choose audio, video or transcript"),
    ],
)
async def test_an_invalid_request_is_refused(
    run: Run, echo: Sandbox, arguments: list[str], words: str
) -> None:
    """An invalid request ends the command with code 2 before anything is sent."""
    done = await run("download", *arguments, env=echo.environment)
    assert done.returncode == 2
    assert words in done.stderr
    assert echo.requests == []


@pytest.mark.slow
@pytest.mark.parametrize("option", [[], ["--no-resume"]])
async def test_an_interrupted_download_resumes_unless_disabled(
    run: Run,
    echo: Sandbox,
    generation_arguments: Ids,
    tmp_path: Path,
    talk: Path,
    option: list[str],
) -> None:
    """The same command resumes from the hidden partial file."""
    half = Fault(path="/*/results/*", action=Truncate(0.5))
    gone = Fault(path="/*/results/*", times=None, action=RespondWith(501))
    echo.faults.add(half, gone)
    done = await run("download", *generation_arguments, *option, env=echo.environment)
    assert done.returncode == 1
    assert "resume: diffio-async download" in done.stderr
    hidden = [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert len(hidden) == (0 if option else 2)
    echo.faults.clear()
    done = await run("download", *generation_arguments, *option, env=echo.environment)
    assert done.returncode == 0, done.stderr
    ranges = [one.headers.get("range") for one in echo.requests if one.origin == "media"]
    assert (ranges[-1] is None) is bool(option)
    assert (tmp_path / NAMED).read_bytes() == (tmp_path / talk).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAMED, "talk.wav"]
