"""The documentation in a browser: its search finds what users search, and its first page fits."""

from __future__ import annotations

import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.async_api import Browser, ViewportSize

pytestmark = [pytest.mark.slow, pytest.mark.browser]
ROOT = Path(__file__).parents[2]


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Print nothing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the built pages, on loopback."""
    pytest.importorskip("furo", reason="the theme is missing: pip install '.[docs]'")
    html = tmp_path_factory.mktemp("site")
    build = ["-m", "sphinx", "-W", "-n", "-q", "-b", "html", str(ROOT / "docs"), str(html)]
    subprocess.run([sys.executable, *build], check=True)
    handler = partial(_QuietHandler, directory=str(html))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("query", "page"),
    [
        ("rate limit", "explanation/polling.html"),
        ("429", "errors.html"),
        ("idempotency_key", "reference/client.html"),
        ("RateLimitError", "errors.html"),
        ("--max-spend", "reference/cli.html"),
        ("create_generation", "migrating.html"),
    ],
)
async def test_the_search_finds_the_page(
    browser: Browser, site: str, query: str, page: str
) -> None:
    """A user types the query into the field of any page; the page is among the first results."""
    tab = await browser.new_page()
    await tab.goto(f"{site}/index.html")
    await tab.fill("input[name=q]", query)
    await tab.press("input[name=q]", "Enter")
    await tab.wait_for_selector("#search-results ul.search li a")
    heading = "document.querySelector('#search-results h2').innerText"
    await tab.wait_for_function(f"{heading} != 'Searching'")
    links = await tab.eval_on_selector_all(
        "#search-results ul.search > li > a", "all => all.map(each => each.href)"
    )
    await tab.close()
    found = [link.partition("?")[0].partition("#")[0].removeprefix(f"{site}/") for link in links]
    assert page in found[:8], found


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_first_page_fits_into_a_screen(browser: Browser, site: str, scheme: str) -> None:
    """At 1280 x 800, the commands, the four tasks and the picture are seen without scrolling."""
    colors: Literal["dark", "light"] = "dark" if scheme == "dark" else "light"
    window: ViewportSize = {"width": 1280, "height": 800}
    tab = await browser.new_page(viewport=window, color_scheme=colors)
    await tab.goto(f"{site}/index.html")
    assert await tab.locator("pre").is_visible()
    boxes = [await each.bounding_box() for each in await tab.locator(".tasks > li").all()]
    assert len(boxes) == 4
    assert all(box is not None and box["y"] + box["height"] < 800 for box in boxes)
    shown = tab.locator(f".only-{scheme} img")
    hidden = tab.locator(f".only-{'light' if scheme == 'dark' else 'dark'} img")
    assert (await shown.is_visible(), await hidden.is_visible()) == (True, False)
    picture = await shown.bounding_box()
    assert picture is not None
    assert picture["y"] + picture["height"] / 2 < 800
    await tab.close()


async def test_the_first_page_has_the_width_of_a_phone(browser: Browser, site: str) -> None:
    """Nothing but code scrolls sideways."""
    tab = await browser.new_page(viewport={"width": 390, "height": 844})
    await tab.goto(f"{site}/index.html")
    assert await tab.evaluate("document.documentElement.scrollWidth") <= 390
    await tab.close()
