"""The page of a report in a real browser: opened from a disk, played, marked, exported."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import os
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from diffio_async.report.html import write_page
from tests.browser import playback
from tests.browser.conftest import HOSTILE, cut, write_webp
from tests.cli.conftest import in_process

if TYPE_CHECKING:
    from playwright.async_api import Page

    from diffio_async.report import Report
    from diffio_async.sandbox import Sandbox
    from tests.browser.conftest import OpenPage

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SIDES = ("before", "after")
#: A recording of ten seconds, with a transcript.
INTERVIEW = "tapes/interview 1.wav"
PLAYERS = """() => Object.fromEntries([...document.querySelectorAll("[data-side]:is(audio, video)")]
  .map((media) => [media.dataset.side, {
    position: media.currentTime, volume: media.volume, paused: media.paused,
  }]))"""


async def players(page: Page) -> dict[str, Any]:
    """Return the state of both media elements."""
    found: dict[str, Any] = await page.evaluate(PLAYERS)
    return found


async def until(page: Page, expression: str) -> None:
    """Wait until an expression is true; the page's policy forbids the driver's own way."""
    with anyio.fail_after(60):
        while not await page.evaluate(expression):
            await page.wait_for_timeout(30)


async def show(page: Page, name: str) -> None:
    """Select a recording by its name, and wait until it can be played and seen."""
    await page.locator(f".list-row[title='{name}']").click()
    await page.locator(".lane.spectrogram img").last.wait_for()
    await until(
        page,
        "[...document.querySelectorAll('[data-side]:is(audio, video)')].every((m) => m.readyState)"
        " && [...document.querySelectorAll('.lane img')].every((image) => image.naturalWidth)",
    )


async def shown(page: Page) -> str:
    """Return the name of the recording that is shown."""
    return await page.locator("#name").inner_text()


def page_of(made: Report, target: Path, rows: list[dict[str, Any]], **data: Any) -> Path:
    """Write a page with other rows and data, and with the parts of a page that contains all."""
    text = made.page.read_text(encoding="utf-8")
    own = json.loads(text.partition('id="report-data">')[2].partition("</script>")[0])
    blocks = text.partition('<script type="text/plain"')
    with target.open("w", encoding="utf-8") as file:
        write_page(file, {**own, "rows": rows, **data})
    written = target.read_text(encoding="utf-8")
    target.write_text(written.replace("\n</body>", f"\n{blocks[1]}{blocks[2].rstrip()}"), "utf-8")
    return target


def rows_of(made: Report) -> list[dict[str, Any]]:
    """Return the rows of a page."""
    return [{**row} for row in made.rows]


async def test_the_page_shows_every_recording(open_page: OpenPage, report: Report) -> None:
    """The list has a row for each recording, and the first one is selected and described."""
    page = await open_page(report.page)
    names = await page.locator(".list-row").evaluate_all("rows => rows.map((row) => row.title)")
    assert sorted(names) == sorted(row["name"] for row in report.rows)
    assert len(names) == 6
    await show(page, INTERVIEW)
    facts = await page.locator(".facts").inner_text()
    assert "restored" in facts
    assert "0:11" in facts
    numbers = await page.locator(".numbers tbody th").all_inner_texts()
    measures = ["Noise floor", "Speech level", "Speech above noise", "Loudness", "True peak"]
    assert [each.partition("\n")[0].rsplit(maxsplit=1)[0] for each in numbers] == [
        *measures,
        "Clipped samples",
    ]


async def test_switching_keeps_the_position_of_the_sound(
    open_page: OpenPage, report: Report, archive: Path
) -> None:
    """What is played after a switch follows what was played before it, within 50 ms."""
    page = await open_page(report.page)
    await show(page, INTERVIEW)
    await page.keyboard.press("ArrowRight")
    await playback.start_recording(page)
    await page.keyboard.press("Space")
    for _ in range(4):
        await page.wait_for_timeout(900)
        positions = await players(page)
        assert abs(positions["before"]["position"] - positions["after"]["position"]) < 0.1
        await page.keyboard.press("x")
    await page.wait_for_timeout(900)
    await page.keyboard.press("Space")
    sounds = await playback.recorded(page)
    files = [
        playback.decode(archive / name)
        for name in ("before/tapes/interview 1.wav", "after/tapes/interview 1.mp3")
    ]
    # Where the recording is on the time axis of the file, for each fifth of a second.
    played: list[tuple[str, float]] = []
    step = playback.RATE // 5
    for start in range(0, len(sounds[0]) - step, step):
        parts = [sound[start : start + step] for sound in sounds]
        levels = [playback.level(part) for part in parts]
        side = levels.index(max(levels))
        if levels[side] > -60:
            at, score = playback.locate(parts[side], files[side])
            if score > 0.97:
                played.append((SIDES[side], at - start / playback.RATE))
    sides = [side for side, _ in played]
    assert sum(one != other for one, other in pairwise(sides)) == 4
    offsets = [offset for _, offset in played]
    assert max(offsets) - min(offsets) < 0.05, played


async def test_the_louder_version_is_played_lower(open_page: OpenPage, report: Report) -> None:
    """The louder version is attenuated by the difference in LUFS, and the other one untouched."""
    page = await open_page(report.page)
    await show(page, INTERVIEW)
    row = next(row for row in report.rows if row["name"] == INTERVIEW)
    difference = row["after"]["numbers"]["lufs"] - row["before"]["numbers"]["lufs"]
    louder, other = ("after", "before") if difference > 0 else ("before", "after")
    volumes = {}
    for side in (louder, other):
        await page.locator(f".side.{side}").click()
        volumes[side] = (await players(page))[side]["volume"]
    assert volumes[other] == 1
    assert 20 * math.log10(volumes[louder]) == pytest.approx(-abs(difference), abs=0.01)

    await playback.start_recording(page)
    levels = []
    for _ in ("matched", "as it is"):
        await page.locator(f".side.{louder}").click()
        await page.locator(".seek").fill("2")
        before = len((await playback.recorded(page))[0])
        await page.keyboard.press("Space")
        await page.wait_for_timeout(1500)
        await page.keyboard.press("Space")
        sound = (await playback.recorded(page))[louder == "after"][before:]
        played = sound[abs(sound) > 1e-4]
        levels.append(playback.level(played))
        await page.get_by_label("Match loudness").click()
    assert levels[1] - levels[0] == pytest.approx(abs(difference), abs=0.7)


async def test_the_position_is_kept_while_paused(open_page: OpenPage, report: Report) -> None:
    """A click on a picture seeks both versions, and a switch keeps the position."""
    page = await open_page(report.page)
    await show(page, INTERVIEW)
    lane = page.locator(".lane.spectrogram .canvas").last
    box = await lane.bounding_box()
    assert box is not None
    await page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + 20)
    middle = next(row for row in report.rows if row["name"] == INTERVIEW)["seconds"] / 2
    for _ in range(3):
        positions = [each["position"] for each in (await players(page)).values()]
        assert positions == pytest.approx([middle, middle], abs=0.03)
        await page.keyboard.press("x")
    await page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 1)
    readout = await page.locator(".readout").inner_text()
    assert readout.startswith("0:02.")
    assert readout.endswith("16 kHz")


async def test_words_jump_to_their_time(open_page: OpenPage, report: Report) -> None:
    """A click on a word seeks to it, and the arrow keys move the focus from word to word."""
    page = await open_page(report.page)
    await show(page, INTERVIEW)
    words = page.locator(".words button")
    assert await words.count() > 10
    await words.nth(5).click()
    assert await words.nth(5).get_attribute("aria-current") == "true"
    position = (await players(page))["after"]["position"]
    assert 0.5 < position < 4
    await words.first.focus()
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("Enter")
    assert await words.nth(1).get_attribute("aria-current") == "true"
    assert (await players(page))["after"]["position"] < position


async def test_marks_are_stored_and_exported(open_page: OpenPage, report: Report) -> None:
    """Marks survive a reload and are exported with the columns that a batch reads."""
    page = await open_page(report.page)
    assert await page.get_by_role("button", name="Export marks as CSV").is_disabled()
    await page.keyboard.press("b")
    await page.keyboard.press("j")
    await page.keyboard.press("4")
    await page.keyboard.press("j")
    await page.keyboard.press("g")
    await page.keyboard.press("g")  # removes the mark
    await page.get_by_role("button", name="Mark as good").click()
    await page.reload()
    assert await page.locator("#marked").inner_text() == "3 of 6 marked"
    first, second, third = report.rows[:3]
    expected = [(first["path"], "b"), (second["path"], "4"), (third["path"], "g")]
    async with page.expect_download() as started:
        await page.get_by_role("button", name="Export marks as CSV").click()
    text = Path(await (await started.value).path()).read_bytes().decode("utf-8")
    assert text.startswith("path,file_id,name,mark,generation\r\n")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [(row["path"], row["mark"]) for row in rows] == expected
    assert rows[0]["name"] == HOSTILE
    async with page.expect_download() as started:
        await page.get_by_role("button", name="Export marks as JSON").click()
    exported = json.loads(Path(await (await started.value).path()).read_bytes())
    assert [(row["path"], row["mark"]) for row in exported["marks"]] == expected


async def test_marked_recordings_are_restored_again(
    open_page: OpenPage, sandbox: Sandbox, tmp_path: Path
) -> None:
    """The file that the page exports selects what `batch retry` restores again."""
    for name in ("one.wav", "two.wav"):
        cut(tmp_path / "in" / name, 2)
    environment = sandbox.environment
    await in_process(tmp_path, "batch", "in", "-o", "out", env=environment)
    await in_process(tmp_path, "batch", "report", "out", "--html", "page.html")
    page = await open_page(tmp_path / "page.html")
    await show(page, "two.wav")
    await page.keyboard.press("b")
    async with page.expect_download() as started:
        await page.get_by_role("button", name="Export marks as CSV").click()
    await (await started.value).save_as(tmp_path / "marks.csv")
    done = await in_process(
        tmp_path, "batch", "retry", "out", "--from", "marks.csv", "--json", env=environment
    )
    events = [json.loads(line) for line in done.stdout.splitlines()]
    restored = [Path(event["file"]).name for event in events if "file" in event]
    assert restored == ["two.wav"]


async def test_names_with_quotes_and_commas_survive_the_csv(
    open_page: OpenPage, report: Report
) -> None:
    """A name with quotes, a comma and a line feed is read back as it was."""
    page = await open_page(report.page)
    await show(page, 'say "hi", twice.wav')
    await page.keyboard.press("1")
    async with page.expect_download() as started:
        await page.get_by_role("button", name="Export marks as CSV").click()
    text = Path(await (await started.value).path()).read_bytes().decode("utf-8")
    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert row["name"] == 'say "hi", twice.wav'


async def test_keys_move_play_and_switch(open_page: OpenPage, report: Report) -> None:
    """The keys j and k step, the space bar plays, x switches, / filters and ? shows the help."""
    page = await open_page(report.page)
    await page.keyboard.press("j")
    await page.keyboard.press("j")
    assert await shown(page) == report.rows[2]["name"]
    await page.keyboard.press("k")
    assert await shown(page) == report.rows[1]["name"]
    await show(page, INTERVIEW)
    await page.keyboard.press("Space")
    await until(page, "document.querySelector('audio').currentTime > 0.2")
    assert not (await players(page))["after"]["paused"]
    await page.keyboard.press("x")
    assert await page.locator(".side.before").get_attribute("aria-pressed") == "true"
    await page.keyboard.press("Space")
    assert (await players(page))["before"]["paused"]
    await page.keyboard.press("?")
    assert await page.get_by_role("dialog", name="Help").is_visible()
    await page.keyboard.press("j")
    assert await shown(page) == INTERVIEW
    await page.keyboard.press("Escape")
    await page.keyboard.press("/")
    await page.keyboard.type("film j")
    assert await page.locator("#live").inner_text() == "No recording has this name, state and mark"
    for _ in " j":
        await page.keyboard.press("Backspace")
    assert await shown(page) == "film.mp4"


async def test_single_key_shortcuts_can_be_switched_off(
    open_page: OpenPage, report: Report
) -> None:
    """Without shortcuts, letters do nothing; the setting survives a reload."""
    page = await open_page(report.page)
    await page.keyboard.press("?")
    await page.get_by_label("Use single-key shortcuts").uncheck()
    await page.keyboard.press("Escape")
    await page.reload()
    await page.keyboard.press("j")
    assert await shown(page) == report.rows[0]["name"]


async def test_markup_in_names_stays_text(
    open_page: OpenPage, report: Report, tmp_path: Path
) -> None:
    """Names, errors, words and titles that are HTML are shown as they are."""
    page = await open_page(report.page)
    assert await shown(page) == HOSTILE
    code = "</script><script>alert(1)</script><!--<script>{{blocks}}"
    row = {**rows_of(report)[0], "name": code, "state": "<b>failed</b>", "model": code}
    row["error"] = {"message": code, "next": code}
    made = page_of(report, tmp_path / "page.html", [row], title=code, notes=[code])
    page = await open_page(made)
    await page.locator(".lane.spectrogram img").last.wait_for()
    assert await shown(page) == code
    assert code in await page.locator(".notices .notice.bad").first.inner_text()
    assert await page.locator("#recording script, #recording b").count() == 0
    assert await page.title() == f"{code} \u2013 restoration report"


async def test_the_list_is_sorted_and_filtered(open_page: OpenPage, report: Report) -> None:
    """The list is ordered by gain, length, state and name, and filtered by text, state and mark."""
    page = await open_page(report.page)

    async def names() -> list[str]:
        rows = page.locator(".list-row:not([hidden])")
        pairs = await rows.evaluate_all(
            "rows => rows.map((row) => [Number(row.ariaPosInSet), row.title])"
        )
        return [name for _, name in sorted(pairs)]

    known = [row for row in report.rows if row["gain"] is not None]
    await page.get_by_label("Sort by").select_option("gain")
    by_gain = [row["name"] for row in sorted(known, key=lambda row: -row["gain"])]
    assert (await names())[: len(known)] == by_gain
    await page.get_by_role("button", name="Reverse the order").click()
    by_gain = [row["name"] for row in sorted(known, key=lambda row: row["gain"])]
    assert (await names())[: len(known)] == by_gain
    await page.get_by_role("button", name="Reverse the order").click()
    await page.get_by_label("Sort by").select_option("seconds")
    assert (await names())[0] == INTERVIEW
    await page.get_by_label("Sort by").select_option("state")
    assert (await names())[:2] == ["damaged.wav", "not restored.wav"]
    await page.get_by_role("combobox", name="State").select_option("missing")
    assert await names() == ["not restored.wav"]
    assert "restore it" in await page.locator(".notices .notice.bad").inner_text()
    await page.get_by_role("combobox", name="State").select_option("")
    await page.get_by_label("Filter by name").fill("INTERVIEW")
    assert await names() == [INTERVIEW]
    await page.keyboard.press("Escape")
    await page.get_by_label("Filter by name").fill("")
    await page.locator(".list-row[title='film.mp4']").click()
    await page.keyboard.press("3")
    await page.get_by_role("combobox", name="Mark").select_option("some")
    assert await names() == ["film.mp4"]


async def test_assistive_technology_follows_the_selection(
    open_page: OpenPage, report: Report
) -> None:
    """The active option has its place in the whole list, and changes are announced."""
    page = await open_page(report.page)
    await page.get_by_role("listbox", name="Recordings").focus()
    await page.keyboard.press("ArrowDown")
    active = await page.evaluate("""() => {
      const active = document.activeElement.getAttribute("aria-activedescendant");
      const row = document.getElementById(active);
      return [row.role, row.ariaPosInSet, row.ariaSetSize, row.ariaSelected];
    }""")
    assert active == ["option", "2", "6", "true"]
    assert (await page.locator("#live").inner_text()).startswith("2 of 6, damaged.wav, damaged")
    await page.keyboard.press("b")
    assert await page.locator("#live").inner_text() == "Marked as bad, restore again"
    await page.keyboard.press("End")
    assert (await page.locator("#live").inner_text()).startswith(f"6 of 6, {INTERVIEW}")


async def test_five_thousand_recordings_are_few_elements(
    open_page: OpenPage, report: Report, tmp_path: Path
) -> None:
    """Only visible rows are elements, and the last of 5,000 is reached with one key."""
    rows = [
        {**row, "id": f"r{turn * 6 + at}", "name": f"{turn:04d} {row['name']}"}
        for turn in range(834)
        for at, row in enumerate(rows_of(report))
    ][:5000]
    page = await open_page(page_of(report, tmp_path / "page.html", rows))
    assert await page.locator(".list-row").count() < 60
    await page.locator("#list").focus()
    await page.keyboard.press("End")
    assert await shown(page) == rows[-1]["name"]
    await page.locator("#list").evaluate("list => { list.scrollTop = 150_000; }")
    await page.locator(f".list-row[title='{rows[2500]['name']}']").wait_for()
    assert await page.locator(".list-row").count() < 60
    assert await page.locator(".list-row:not([hidden])[aria-selected=true]").count() == 1


async def test_a_page_with_files_beside_it_loads_them(open_page: OpenPage, linked: Report) -> None:
    """Details, pictures and media beside the page are loaded when a recording is selected."""
    page = await open_page(linked.page)
    await show(page, INTERVIEW)
    source = await page.locator("audio[data-side=before]").get_attribute("src")
    assert source == "./before/tapes/interview%201.wav"
    await page.keyboard.press("Space")
    await until(page, "document.querySelector('[data-side=after]').currentTime > 0.3")
    scripts = await page.evaluate(
        "performance.getEntriesByType('resource').filter((e) => e.name.endsWith('.js')).length"
    )
    assert scripts <= 2


async def test_a_video_is_shown_and_switched(open_page: OpenPage, report: Report) -> None:
    """Of a film, the picture of the version that is played is visible."""
    page = await open_page(report.page)
    await show(page, "film.mp4")
    await page.keyboard.press("ArrowRight")
    for side, other in (("after", "before"), ("before", "after")):
        await page.locator(f".side.{side}").click()
        assert await page.locator(f"video[data-side={side}]").is_visible()
        assert not await page.locator(f"video[data-side={other}]").is_visible()


async def test_one_recording_needs_no_list(
    open_page: OpenPage, report: Report, tmp_path: Path
) -> None:
    """A page of one recording has no list, no filter and no steps."""
    rows = [row for row in rows_of(report) if row["name"] == INTERVIEW]
    page = await open_page(page_of(report, tmp_path / "page.html", rows, kind="pair"))
    await page.locator(".lane.spectrogram img").last.wait_for()
    assert not await page.get_by_role("listbox").is_visible()
    assert await shown(page) == INTERVIEW


async def test_a_page_in_a_notebook_is_played(
    open_page: OpenPage, report: Report, tmp_path: Path
) -> None:
    """Its frame has neither an address nor a store; the recording plays, and marks are counted."""
    source = html.escape(report.page.read_text("utf-8"))
    notebook = tmp_path / "notebook.html"
    notebook.write_text(
        f'<iframe sandbox="allow-scripts allow-downloads" width="1300" srcdoc="{source}"></iframe>',
        "utf-8",
    )
    page = await open_page(notebook)
    frame = page.frame_locator("iframe")
    await frame.locator(".lane.spectrogram img").last.wait_for()
    await frame.locator(".controls .play").click()
    await frame.locator(".mark-b").first.click()
    inside = page.frames[1]
    await inside.wait_for_function(
        "() => document.querySelector('[data-side=after]:is(audio, video)').currentTime > 0.2"
    )
    assert (await frame.locator("#marked").inner_text()).startswith("1 of")


async def test_a_phone_shows_the_list_or_a_recording(open_page: OpenPage, report: Report) -> None:
    """On a narrow screen a tap opens a recording, a button returns, and nothing is cut off."""
    page = await open_page(report.page, viewport={"width": 390, "height": 844}, has_touch=True)
    assert not await page.locator("#name").is_visible()
    await page.locator(f".list-row[title='{INTERVIEW}']").tap()
    assert await page.locator("#name").is_visible()
    await page.locator(".lane.spectrogram img").last.wait_for()
    assert await page.evaluate("document.scrollingElement.scrollWidth") == 390
    assert await page.evaluate("document.getElementById('recording').scrollWidth") == 390
    await page.get_by_role("button", name="All recordings").tap()
    assert await page.get_by_role("listbox").is_visible()


@pytest.mark.parametrize("width", [1360, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_violation(
    open_page: OpenPage, report: Report, scheme: str, width: int
) -> None:
    """The list, a recording, an error and the help pass the rules of axe-core."""
    axe = pytest.importorskip(
        "axe_playwright_python.async_playwright", reason="axe-core: nox -s browser installs it"
    ).Axe()
    viewport = {"width": width, "height": 900}
    page = await open_page(report.page, color_scheme=scheme, viewport=viewport)

    async def check() -> None:
        found = await axe.run(page)
        assert found.violations_count == 0, found.generate_report()

    await check()
    await show(page, INTERVIEW)
    await page.keyboard.press("g")
    await page.keyboard.press("Space")
    await check()
    await page.keyboard.press("Space")
    await page.keyboard.press("?")
    await check()
    await page.keyboard.press("Escape")
    await page.keyboard.press("k")
    await page.keyboard.press("k")
    assert await shown(page) == "not restored.wav"
    await check()


async def test_screenshots(open_page: OpenPage, collection: Report, tmp_path: Path) -> None:
    """Write pictures of the page in light, dark and narrow into DIFFIO_SCREENSHOTS."""
    folder = Path(os.environ.get("DIFFIO_SCREENSHOTS") or tmp_path)
    looks = [("light", "light", 1280), ("dark", "dark", 1280), ("narrow", "light", 390)]
    for name, scheme, width in looks:
        viewport = {"width": width, "height": 860}
        page = await open_page(collection.page, color_scheme=scheme, viewport=viewport)
        for key in ("g", "j", "4", "j", "g", "j", "j", "b", "k", "k", "k", "k"):
            await page.keyboard.press(key)
        await show(page, "interview.wav")
        await page.locator(".seek").fill("3.9")
        target = folder / f"report-{name}.webp"
        write_webp(await page.screenshot(), target)
        assert 10_000 < target.stat().st_size < 150_000
