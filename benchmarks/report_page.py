"""Pages of reports in Chromium: first paint, next recording, scrolling, memory.

    python benchmarks/report_page.py [--rows 1 50 500 5000] [--rounds 5]

Each page is opened from a file, in a new window. "First paint" is the browser's first contentful
paint after the navigation; "next" the time from the key j to players and pictures that are loaded,
of which 120 ms are the pause before anything is loaded; "opening" and "frame" the CPU time of the
page's main thread until the page is complete, and for each frame while the list is scrolled by 400
pixels a frame; "heap" the memory of the page's scripts. The figures are medians of the rounds,
which open the pages in turn. It needs Chromium and the
dependency group `browser`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import Figures, medians, parser, report

from diffio_async.report import make_report
from diffio_async.report.html import write_page

if TYPE_CHECKING:
    from playwright.async_api import Browser

SAMPLES = Path(__file__).parents[1] / "samples"
#: Rows that are more than a window shows.
SCROLLED = 20
NEXT = """() => new Promise((resolve) => {
  const start = performance.now();
  const loaded = () => {
    const media = [...document.querySelectorAll("[data-side]:is(audio, video)")];
    const pictures = [...document.querySelectorAll(".lane img")];
    return media.length === 2 && pictures.length === 2 && media.every((each) => each.readyState)
      && pictures.every((each) => each.complete);
  };
  document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "j", bubbles: true }));
  const look = () => loaded() ? resolve(performance.now() - start) : setTimeout(look, 2);
  setTimeout(look, 2);
})"""
SCROLL = """() => new Promise((resolve) => {
  const list = document.getElementById("list");
  let frames = 0;
  const step = () => {
    list.scrollTop += 400;
    frames += 1;
    const more = list.scrollTop + list.clientHeight < list.scrollHeight - 1 && frames < 200;
    if (more) requestAnimationFrame(step);
    else resolve(frames);
  };
  requestAnimationFrame(step);
})"""


def make_pages(folder: Path, counts: list[int]) -> dict[int, Path]:
    """Write a page of each number of rows; all rows show the samples."""
    noisy, clean = SAMPLES / "noisy-speech.wav", SAMPLES / "clean-speech.flac"
    made = make_report([(noisy, clean), (clean, noisy)], folder / "two.html", link=True)
    text = made.page.read_text(encoding="utf-8")
    data = json.loads(text.partition('id="report-data">')[2].partition("</script>")[0])
    pages = {}
    for count in counts:
        # Only the first two are opened: the others have the details of another row.
        rows = [
            {
                **made.rows[number % 2],
                "id": f"r{number + 1}",
                "name": f"box {number // 40}/reel {number:04d}.wav",
                "gain": number % 29,
            }
            for number in range(count)
        ]
        pages[count] = folder / f"page{count}.html"
        with pages[count].open("w", encoding="utf-8", newline="\n") as file:
            write_page(file, {**data, "rows": rows, "key": str(count)}, linked=True)
    return pages


async def measure(browser: Browser, page_file: Path, rows: int) -> dict[str, float]:
    """Open a page, and return its figures in milliseconds and megabytes."""
    window = await browser.new_context(viewport={"width": 1360, "height": 900})
    page = await window.new_page()
    devtools = await window.new_cdp_session(page)
    await devtools.send("Performance.enable", {"timeDomain": "threadTicks"})

    async def cpu() -> float:
        metrics = (await devtools.send("Performance.getMetrics"))["metrics"]
        values: dict[str, float] = {each["name"]: each["value"] for each in metrics}
        return 1000 * values["TaskDuration"]

    await page.goto(page_file.as_uri())
    figures = {"opening_ms": await cpu()}
    await page.wait_for_timeout(400)
    paints = "performance.getEntriesByName('first-contentful-paint').map((e) => e.startTime)"
    figures["first_paint_ms"] = (await page.evaluate(paints))[0]
    figures["elements"] = await page.evaluate("document.querySelectorAll('*').length")
    if rows > 1:
        figures["next_ms"] = await page.evaluate(NEXT)
    if rows >= SCROLLED:
        before = await cpu()
        frames = await page.evaluate(SCROLL)
        figures["frame_ms"] = (await cpu() - before) / frames
    figures["heap_mb"] = await page.evaluate("performance.memory.usedJSHeapSize / 1e6")
    await window.close()
    return figures


async def run(pages: dict[int, Path], rounds: int) -> list[Figures]:
    """Measure all pages in turn; return the medians."""
    from playwright.async_api import async_playwright

    found: dict[int, list[Figures]] = {count: [] for count in pages}
    program = shutil.which("chromium") or shutil.which("google-chrome")
    arguments: list[str] = ["--no-sandbox"] if os.geteuid() == 0 else []
    async with async_playwright() as driver:
        browser: Any = await driver.chromium.launch(executable_path=program, args=arguments)
        await measure(browser, next(iter(pages.values())), 1)  # starts the processes
        for _ in range(rounds):
            for count, page in pages.items():
                found[count].append(await measure(browser, page, count))
        await browser.close()
    return [
        {
            "what": f"page of {count:,} recordings",
            "html_mb": pages[count].stat().st_size / 1e6,
            **medians(runs),
        }
        for count, runs in found.items()
    ]


def main() -> None:
    """Read the arguments, and measure."""
    given = parser(__doc__, rounds=5)
    given.add_argument("--rows", type=int, nargs="+", default=[1, 50, 500, 5000])
    options = given.parse_args()
    try:
        import playwright  # noqa: F401
    except ImportError:
        sys.exit("the driver of the browser is missing: pip install --group browser")
    with tempfile.TemporaryDirectory() as folder:
        rows = asyncio.run(run(make_pages(Path(folder), options.rows), options.rounds))
    report(rows, options)


if __name__ == "__main__":
    main()
