"""A real browser, and reports of real restorations for it.

`nox -s browser` runs these tests. They are skipped where Chromium or its driver is not installed.
"""

from __future__ import annotations

import io
import os
import shutil
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from diffio_async.report import Report, list_folders, make_report
from diffio_async.sandbox.audio import restore, transcribe
from tests.browser.playback import RATE, decode

if TYPE_CHECKING:
    from playwright.async_api import Browser, ConsoleMessage, Page, Request

SAMPLE = Path(__file__).parents[2] / "samples" / "noisy-speech.wav"
#: A name that is code, if a page is careless.
HOSTILE = "<img src=x onerror=alert(1)>.wav"


@pytest.fixture(scope="session")
async def browser(anyio_backend: str) -> AsyncIterator[Browser]:
    """Chromium of this machine."""
    reason = "the driver is missing: nox -s browser installs it"
    driver = pytest.importorskip("playwright.async_api", reason=reason)
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not installed (on Debian: apt-get install chromium)")
    # Its own sandbox cannot be used by root, as which containers run tests.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with driver.async_playwright() as started:
        chromium = await started.chromium.launch(executable_path=program, args=arguments)
        yield chromium
        await chromium.close()


#: Opens a page in a window of its own; the options are those of a browser context.
OpenPage = Callable[..., Awaitable["Page"]]


@pytest.fixture
async def open_page(browser: Browser) -> AsyncIterator[OpenPage]:
    """Open pages; fail if one of them reports an error, or requests something of a network."""
    problems: list[str] = []

    def request(sent: Request) -> None:
        if not sent.url.startswith(("file:", "blob:", "data:")):
            problems.append(f"a request to {sent.url}")

    async with AsyncExitStack() as windows:

        async def opened(path: Path, fragment: str = "", **options: Any) -> Page:
            options.setdefault("viewport", {"width": 1360, "height": 900})
            window = await windows.enter_async_context(await browser.new_context(**options))
            page = await window.new_page()
            page.on("console", lambda message: problems.extend(complaint(message)))
            page.on("pageerror", lambda error: problems.append(f"exception: {error}"))
            page.on("dialog", lambda shown: problems.append(f"a dialog: {shown.message}"))
            page.on("request", request)
            await page.goto(path.as_uri() + fragment)
            return page

        yield opened
    assert problems == []


def complaint(message: ConsoleMessage) -> list[str]:
    # The tests record with this node, which needs no file of its own.
    own = "ScriptProcessorNode is deprecated" in message.text
    return [f"{message.type}: {message.text}"] if message.type != "log" and not own else []


def cut(target: Path, seconds: float) -> Path:
    """Write the beginning of the sample."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(SAMPLE)) as whole, wave.open(str(target), "wb") as part:
        part.setparams(whole.getparams())
        part.writeframes(whole.readframes(int(seconds * whole.getframerate())))
    return target


def write_film(target: Path, seconds: float) -> None:
    """Write a video of a moving gradient with the sound of the sample."""
    with av.open(str(SAMPLE)) as sound, av.open(str(target), "w") as film:
        picture: Any = film.add_stream("libx264", rate=12)
        picture.width, picture.height, picture.pix_fmt = 320, 180, "yuv420p"
        audio: Any = film.add_stream("aac", rate=16_000)
        audio.layout = "mono"
        for number in range(int(12 * seconds)):
            row = (np.arange(320) + 8 * number) % 256
            pixels = np.broadcast_to(row[None, :, None], (180, 320, 3)).astype(np.uint8)
            film.mux(picture.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        film.mux(picture.encode(None))
        for frame in sound.decode(audio=0):
            if frame.time is None or frame.time >= seconds:
                break
            film.mux(audio.encode(frame))
        film.mux(audio.encode(None))


def write_webp(screenshot: bytes, target: Path) -> None:
    """Write a screenshot as WebP, which has half the size of the PNG."""
    with av.open(io.BytesIO(screenshot), "r") as source, av.open(str(target), "w") as file:
        frame = next(source.decode(video=0)).reformat(format="bgra")
        stream: Any = file.add_stream("libwebp", options={"quality": "82"})
        stream.width, stream.height, stream.pix_fmt = frame.width, frame.height, "bgra"
        file.mux(stream.encode(frame))
        file.mux(stream.encode(None))


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with recordings in `before`, and what the sandbox made of them in `after`."""
    folder = tmp_path_factory.mktemp("archive")
    before, after = folder / "before", folder / "after"
    (before / "tapes").mkdir(parents=True)
    (after / "tapes").mkdir(parents=True)
    shutil.copy(SAMPLE, before / "tapes" / "interview 1.wav")
    cut(before / HOSTILE, 3)
    cut(before / 'say "hi", twice.wav', 2)
    write_film(before / "film.mp4", 3)
    for source in sorted(path for path in before.rglob("*") if path.is_file()):
        engine = None if source.stem == "interview 1" else "afftdn"  # the quickest
        restored = restore(source, folder / "work", report=lambda *_: None, engine=engine)
        result = restored.video or restored.audio
        shutil.move(result, after / source.relative_to(before).with_suffix(result.suffix))
        shutil.rmtree(folder / "work")
    words = transcribe(after / "tapes" / "interview 1.mp3", folder)
    shutil.move(words, after / "tapes" / "interview 1.json")
    cut(before / "damaged.wav", 2)
    (after / "damaged.mp3").write_bytes(b"not a recording")
    cut(before / "not restored.wav", 2)
    return folder


@pytest.fixture(scope="session")
def report(archive: Path) -> Report:
    """A page that contains everything."""
    listing = list_folders(archive / "before", archive / "after")
    return make_report(listing, archive / "report.html", jobs=2)


@pytest.fixture(scope="session")
def linked(archive: Path) -> Report:
    """A page with files beside it."""
    listing = list_folders(archive / "before", archive / "after")
    return make_report(listing, archive / "linked.html", link=True, jobs=2)


@pytest.fixture(scope="session")
def collection(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """A page of a dozen recordings with more and with less noise, for screenshots."""
    folder = tmp_path_factory.mktemp("collection")
    before, after = folder / "recordings", folder / "restored"
    clean, noisy = decode(SAMPLE.with_name("clean-speech.flac")), decode(SAMPLE)
    length = min(len(clean), len(noisy))
    noise = noisy[:length] - clean[:length]
    for number in range(1, 13):
        part = slice(int(0.3 * number * RATE), int((2.5 + 0.7 * number) * RATE))
        sound = clean[:length][part] + noise[part] * 0.08 * number
        name = Path("1974 oral history" if number < 8 else "radio plays") / f"reel {number:02d}"
        for kind in (before, after):
            (kind / name).parent.mkdir(parents=True, exist_ok=True)
        source = before / f"{name}.wav"
        with wave.open(str(source), "wb") as file:
            file.setparams((1, 2, RATE, 0, "NONE", ""))
            file.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())
        restored = restore(source, folder / "work", report=lambda *_: None, engine="afftdn")
        shutil.move(restored.audio, after / f"{name}.mp3")
        shutil.rmtree(folder / "work")
    (after / "radio plays" / "reel 11.mp3").unlink()
    shutil.copy(archive / "before" / "tapes" / "interview 1.wav", before / "interview.wav")
    for suffix in ("mp3", "json"):
        shutil.copy(archive / "after" / "tapes" / f"interview 1.{suffix}", after)
        (after / f"interview 1.{suffix}").rename(after / f"interview.{suffix}")
    return make_report(list_folders(before, after), folder / "report.html", jobs=2)
