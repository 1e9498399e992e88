"""Displays in a notebook: a real kernel, the sample notebook, and an interrupted call."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from diffio_async import AsyncDiffio
from diffio_async.models.batches import BatchProgress, FileOutcome
from diffio_async.notebook import MAX_RECORDINGS, BatchTable, recordings_html
from diffio_async.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "samples" / "noisy-speech.wav"
HOSTILE = '"><img src=x onerror=alert(1)>.wav'


@pytest.fixture(autouse=True)
def _nothing_left_open() -> None:
    """Do not compare descriptors: ZeroMQ, which talks to kernels, keeps some until the exit."""


def html_of(cell: Any) -> list[str]:
    """Return the HTML outputs of a cell."""
    return [
        output["data"]["text/html"]
        for output in cell["outputs"]
        if output["output_type"] in ("display_data", "execute_result")
        and "text/html" in output["data"]
    ]


@pytest.mark.slow
async def test_the_sample_notebook_displays_what_it_restores(tmp_path: Path) -> None:
    """Its recordings are players, and its waits are tables that end with the last state."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    for name in ("noisy-speech.wav", "clean-speech.flac"):
        shutil.copy(ROOT / "samples" / name, tmp_path)
    notebook = nbformat.read(ROOT / "samples" / "notebook.ipynb", as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}
    )
    await client.async_execute()
    one, many, batch = [cell for cell in notebook.cells if cell.cell_type == "code"][1:4]
    (player,) = html_of(one)
    assert player.startswith("<iframe")
    assert "noisy-speech.wav" in player
    (table,) = html_of(many)
    assert "2 of 2 generations ended" in table
    progress, players = html_of(batch)
    assert "2 of 2" in progress
    assert "clean-speech.flac" in players
    assert (tmp_path / "restored" / "clean-speech.restored.mp3").stat().st_size > 1000
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output["output_type"] != "error"
            # Nothing is printed beside the displays.
            assert output.get("name") != "stderr", output


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[NotebookClient]:
    """A kernel in the test's folder."""
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    client = nbclient.NotebookClient(
        nbformat.v4.new_notebook(), timeout=60, resources={"metadata": {"path": str(tmp_path)}}
    )
    async with client.async_setup_kernel():
        yield client


async def execute(kernel: NotebookClient, source: str) -> Any:
    """Run a cell, and return it with its outputs; errors are outputs."""
    nbformat = pytest.importorskip("nbformat")
    cell = nbformat.v4.new_code_cell(source)
    cell.metadata["tags"] = ["raises-exception"]
    kernel.nb.cells.append(cell)
    return await kernel.async_execute_cell(cell, len(kernel.nb.cells) - 1)


@pytest.mark.slow
async def test_an_interrupted_cell_cancels_its_call(kernel: NotebookClient, tmp_path: Path) -> None:
    """The wait ends at once, no file is left, and the next cell uses the same client."""
    shutil.copy(SAMPLE, tmp_path / "talk.wav")
    async with Sandbox(engine="echo", duration=60) as sandbox:
        await execute(
            kernel,
            f"import os\nos.environ.update({sandbox.environment!r})\n"
            "from diffio_async import AsyncDiffio\nclient = AsyncDiffio()",
        )

        async def interrupt() -> None:
            while not sandbox.state.generations:
                await anyio.sleep(0.05)
            await anyio.sleep(0.3)
            manager: Any = kernel.km
            await manager.interrupt_kernel()

        interrupted: Any = None
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(interrupt)
            with anyio.fail_after(40):
                interrupted = await execute(kernel, 'await client.restore("talk.wav", "talk.mp3")')
        following = await execute(kernel, "len(await client.projects.list())")
        await execute(kernel, "await client.aclose()")
        (error,) = [each for each in interrupted["outputs"] if each["output_type"] == "error"]
        assert error["ename"] in ("CancelledError", "KeyboardInterrupt")
        assert following["outputs"][0]["data"]["text/plain"] == "1"
        assert [path.name for path in tmp_path.iterdir()] == ["talk.wav"]


@pytest.mark.slow
async def test_a_restoration_in_memory_is_displayed() -> None:
    """Without paths, the page has the result alone; a transcript has nothing to hear."""
    async with (
        Sandbox(engine="echo") as sandbox,
        AsyncDiffio(sandbox.api_key, base_url=sandbox.base_url) as client,
    ):
        restoration = await client.restore(SAMPLE.read_bytes(), file_name="talk.wav")
        html = await anyio.to_thread.run_sync(restoration._repr_html_)
        assert html is not None
        assert html.startswith("<iframe")
        transcript = await client.restore(
            SAMPLE.read_bytes(), file_name="talk.wav", download_type="transcript"
        )
        assert transcript._repr_html_() is None


def test_a_failed_outcome_is_displayed_with_its_reason(tmp_path: Path) -> None:
    """The name and the message are text, whatever they contain."""
    outcome = FileOutcome(
        source=tmp_path / HOSTILE, state="failed", error="<b>no sound</b>", retry_is_billed=True
    )
    html = outcome._repr_html_()
    assert html is not None
    assert "no sound" in html
    assert "<img" not in html
    assert html.count("<iframe") == 1


def test_a_long_list_names_how_many_are_not_shown(tmp_path: Path) -> None:
    outcomes = [
        FileOutcome(source=tmp_path / f"{number}.wav", state="failed", error="no sound")
        for number in range(MAX_RECORDINGS + 7)
    ]
    html = recordings_html(outcomes)
    assert html is not None
    assert "7 more are not shown here" in html


def test_progress_outside_of_a_notebook_shows_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    BatchTable()(BatchProgress(files=2, done=2, failed=0))
    assert capsys.readouterr() == ("", "")
