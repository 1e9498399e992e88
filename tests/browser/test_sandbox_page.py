"""The page of the sandbox in a real browser: drop a recording, follow it, hear it."""

from __future__ import annotations

import base64
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from diffio_async.sandbox import Sandbox
from tests.browser import playback
from tests.browser.conftest import HOSTILE, SAMPLE, complaint, write_webp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.slow]

#: Milliseconds for a restoration.
RESTORATION = 60_000
DROP = """([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
  const files = new DataTransfer();
  files.items.add(new File([bytes], name, { type: "audio/wav" }));
  for (const type of ["dragover", "drop"]) {
    const event = new DragEvent(type, { dataTransfer: files, bubbles: true, cancelable: true });
    document.body.dispatchEvent(event);
  }
}"""


@asynccontextmanager
async def opened(browser: Browser, sandbox: Sandbox, **options: Any) -> AsyncIterator[Page]:
    """Open the page; fail if it reports an error, or requests something of another host."""
    problems: list[str] = []
    options.setdefault("viewport", {"width": 1360, "height": 900})
    window = await browser.new_context(**options)
    page = await window.new_page()
    page.on("console", lambda message: problems.extend(complaint(message)))
    page.on("pageerror", lambda error: problems.append(f"exception: {error}"))
    page.on("dialog", lambda dialog: problems.append(f"a dialog: {dialog.message}"))
    page.on(
        "request",
        lambda sent: (
            None
            if sent.url.startswith((sandbox.page_url, "blob:", "data:"))
            else problems.append(f"a request to {sent.url}")
        ),
    )
    await page.goto(sandbox.page_url)
    await page.get_by_text("restores on this machine").wait_for()
    try:
        yield page
    finally:
        await window.close()
    assert problems == []


async def drop(page: Page, name: str, content: bytes) -> None:
    """Drop a file on the page."""
    await page.evaluate(DROP, [name, base64.b64encode(content).decode()])


async def restored(page: Page) -> None:
    """Wait until the comparison of the selected recording is shown and can be played."""
    await page.locator("#comparison .lane.spectrogram img").last.wait_for(timeout=RESTORATION)
    # A function, because the policy of the page forbids `eval`.
    await page.wait_for_function(
        "() => [...document.querySelectorAll('[data-side]:is(audio, video)')].length === 2 &&"
        "[...document.querySelectorAll('[data-side]:is(audio, video)')].every((m) => m.readyState)"
    )


async def test_a_dropped_recording_is_restored_and_played(browser: Browser, tmp_path: Path) -> None:
    """Its progress is shown; before and after play what the files contain, at one position."""
    async with (
        Sandbox(tmp_path, workers=1) as sandbox,
        opened(browser, sandbox) as page,
    ):
        await page.get_by_text("No recording yet").wait_for()
        await drop(page, "talk.wav", SAMPLE.read_bytes())
        await page.locator(".state-processing").first.wait_for()
        await restored(page)
        assert await page.locator("#comparison .facts").inner_text()
        await playback.start_recording(page)
        await page.keyboard.press("Space")
        await page.wait_for_timeout(2000)
        await page.keyboard.press("x")
        await page.wait_for_timeout(2000)
        await page.keyboard.press("Space")
        before, after = await playback.recorded(page)
        (generation,) = sandbox.state.generations.values()
        result = sandbox.state.results_path(generation) / generation.files["audio"]["name"]
        for played, file in ((after, result), (before, SAMPLE)):
            audible = played[abs(played) > 1e-4]
            assert len(audible) > playback.RATE
            start = int(abs(played).nonzero()[0][0])
            part = played[start + playback.RATE // 2 : start + playback.RATE]
            _, correlation = playback.locate(part, playback.decode(file))
            assert correlation > 0.9
        assert sandbox.violations == []


async def test_a_hostile_name_stays_text(browser: Browser, tmp_path: Path) -> None:
    """In the list, the heading, the errors and the requests."""
    async with Sandbox(tmp_path, workers=1) as sandbox, opened(browser, sandbox) as page:
        await drop(page, HOSTILE, b"not a recording")
        await page.locator("#status .notice.bad").wait_for(timeout=RESTORATION)
        assert await page.locator("#status h2").inner_text() == HOSTILE
        assert await page.locator(".list-row .row-name").first.inner_text() == HOSTILE
        async with aiohttp.ClientSession() as client:
            await client.post(f"{sandbox.base_url}/{HOSTILE}", json={})
        await page.get_by_role("button", name="Requests").click()
        await page.locator("#requests td.path").get_by_text("onerror").wait_for()
        assert await page.locator("img[src='x']").count() == 0


async def test_faults_are_switched_by_hand_and_keyboard(browser: Browser, tmp_path: Path) -> None:
    """A switch activates a fault for clients; its state follows changes by others."""
    async with Sandbox(tmp_path, workers=1) as sandbox, opened(browser, sandbox) as page:
        await page.get_by_role("button", name="Faults").click()
        box = page.get_by_label("Server errors")
        await box.focus()
        await page.keyboard.press("Space")
        await page.get_by_text("1 active").wait_for()
        (fault,) = sandbox.faults
        assert (fault.name, fault.origin) == ("respond_with", "api")
        # The focus stays although the table is drawn again.
        assert await page.evaluate("document.activeElement.dataset.fault") == "Server errors"
        sandbox.faults.clear()
        await page.locator("[data-fault]:checked").wait_for(state="detached")
        await box.check()
        await page.get_by_role("button", name="Remove all").click()
        await page.locator("[data-fault]:checked").wait_for(state="detached")
        assert len(sandbox.faults) == 0


async def test_complaints_and_deliveries_are_listed(browser: Browser, tmp_path: Path) -> None:
    """A request against the contract is a complaint; an event has its attempts in one row."""
    async with Sandbox(tmp_path, engine="echo") as sandbox:
        async with aiohttp.ClientSession() as client:
            headers = {"Authorization": f"Bearer {sandbox.api_key}"}
            await client.get(f"{sandbox.base_url}/list_projects", headers=headers)
            configured = await client.post(
                f"{sandbox.base_url}/webhooks/configure",
                json={
                    "mode": "live",
                    "url": "http://127.0.0.1:9/hook",
                    "eventTypes": ["generation.completed"],
                },
                headers=headers,
            )
            assert configured.status == 200, await configured.text()
        window = await browser.new_context()
        page = await window.new_page()
        await page.goto(sandbox.page_url)
        await drop(page, "talk.wav", SAMPLE.read_bytes())
        await page.get_by_role("button", name="Webhooks").click()
        await page.locator("#deliveries td").get_by_text("no response").first.wait_for()
        await page.get_by_role("button", name="Requests").click()
        await page.locator(".complaints li").get_by_text("every API endpoint is a POST").wait_for()
        await window.close()


async def test_a_sandbox_that_stops_is_noticed(browser: Browser, tmp_path: Path) -> None:
    """The page reports it, and works again after a restart on the same port."""
    sandbox = Sandbox(tmp_path, workers=1)
    await sandbox.start()
    window = await browser.new_context()
    page = await window.new_page()
    await page.goto(sandbox.page_url)
    await page.get_by_text("restores on this machine").wait_for()
    await sandbox.close()
    await page.get_by_text("The sandbox does not respond").wait_for()
    async with Sandbox(tmp_path, workers=1):
        await page.locator("#offline").wait_for(state="hidden")
        await drop(page, "talk.wav", SAMPLE.read_bytes())
        await page.locator(".uploads").get_by_text("reload").wait_for()
    await window.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1360), ("dark", 1360), ("light", 390)])
async def test_axe_finds_no_violation(
    browser: Browser, tmp_path: Path, scheme: Any, width: int
) -> None:
    """All four views and the help pass the rules of axe-core; pictures of them are written."""
    axe = pytest.importorskip(
        "axe_playwright_python.async_playwright", reason="axe-core: nox -s browser installs it"
    ).Axe()
    folder = Path(os.environ.get("DIFFIO_SCREENSHOTS") or tmp_path)
    viewport = {"width": width, "height": 860}
    async with (
        Sandbox(tmp_path / "data", workers=1) as sandbox,
        opened(
            browser, sandbox, color_scheme=scheme, viewport=viewport, reduced_motion="reduce"
        ) as page,
    ):

        async def check() -> None:
            found = await axe.run(page)
            assert found.violations_count == 0, found.generate_report()

        await check()
        await drop(page, "interview.wav", SAMPLE.read_bytes())
        if width < 500:
            await page.locator(".list-row").first.click()
        await restored(page)
        await page.get_by_role("button", name="Make a transcript").click()
        await page.locator(".words button").first.wait_for(timeout=RESTORATION)
        await check()
        picture = folder / f"sandbox-{scheme if width > 500 else 'narrow'}.webp"
        await page.locator(".measuring").wait_for(state="detached")
        write_webp(await page.screenshot(), picture)
        assert picture.stat().st_size > 10_000
        if width < 500:
            await page.get_by_role("button", name="All recordings").click()
        for name in ("Requests", "Webhooks", "Faults"):
            await page.get_by_role("button", name=name).click()
            await check()
        await page.keyboard.press("?")
        await check()
