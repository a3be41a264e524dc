"""The page of a report in a real browser: opened, clicked through, used by keyboard, and looked at.

Needs Playwright (group `browser`) and a Chromium of the system; nothing is downloaded.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sam2lite_mobile.evaluation.datasets import DavisLayout
from sam2lite_mobile.evaluation.report.inputs import read_inputs
from sam2lite_mobile.evaluation.report.page import build_page, page_html, write_page
from sam2lite_mobile.media.pictures import read_picture
from tests.evaluation.report_inputs import HOSTILE, evaluated, worse, write_evaluation, write_track
from tests.media.clips import write_davis

pytestmark = pytest.mark.slow

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
FRAMES, WORST = 8, 5


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium. Skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright==1.65.2")
    found = next((path for name in BROWSERS if (path := shutil.which(name)) is not None), None)
    if found is None:
        pytest.skip(f"needs a browser: none of {', '.join(BROWSERS)} in PATH (Debian: apt install chromium)")
    with playwright.sync_playwright() as running:
        launched = running.chromium.launch(executable_path=found, args=FLAGS)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of two evaluations of two sequences, and of a tracking run with a hostile frame name."""
    folder = tmp_path_factory.mktemp("browser")
    root = write_davis(folder / "tiny", ["a", "b"], frames=FRAMES)
    sequences = evaluated(DavisLayout(root), folder / "masks")
    paths = [
        write_evaluation(folder / "good.json", sequences),
        write_evaluation(folder / "bad.json", worse(sequences, WORST, name="b"), size=304),
        write_track(folder / "run", name=HOSTILE),
    ]
    masks = [folder / "masks", folder / "masks"]
    found = build_page(read_inputs(paths, masks=masks), title="Results", data=root)
    write_page(folder / "report.html", page_html(found))
    return folder / "report.html"


@pytest.fixture
def page(browser: Any, page_file: Path) -> Iterator[Any]:
    """The page, open; fails the test for an error of its script or a request to anywhere."""
    context = browser.new_context(viewport={"width": 1200, "height": 900}, offline=True)
    opened = context.new_page()
    trouble: list[str] = []
    opened.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    opened.on("pageerror", lambda error: trouble.append(str(error)))
    opened.on("request", lambda request: None if request.url[:5] in ("file:", "data:") else trouble.append(request.url))
    opened.goto(page_file.as_uri())
    yield opened
    context.close()
    assert trouble == []


def player(page: Any, title: str) -> Any:
    return page.locator("article", has=page.locator("h3", has_text=title)).locator("[data-player]").first


def output(found: Any) -> str:
    return str(found.locator("output").inner_text())


def test_slider_moves_picture_outlines_scores_cursor_and_memory(page: Any) -> None:
    found = player(page, "b")
    slider, image = found.locator("input[type=range]"), found.locator(".stage img")
    assert output(found) == f"frame {WORST:05d}"
    assert "J&F 12.5" in found.locator("[data-value='1']").inner_text()
    before = image.get_attribute("src"), found.locator(".cursor").first.get_attribute("x1")
    slider.focus()
    page.keyboard.press("ArrowLeft")
    assert output(found) == f"frame {WORST - 1:05d}"
    assert "J&F 12.5" not in found.locator("[data-value='1']").inner_text()
    assert slider.get_attribute("aria-valuetext").startswith(f"frame {WORST - 1:05d}: J&F")
    assert image.get_attribute("src") != before[0]
    assert float(found.locator(".cursor").first.get_attribute("x1")) < float(before[1])
    tiles = found.locator("[data-strip='0'] .tile figcaption").all_inner_texts()
    assert tiles[0].startswith("frame 00000")
    assert tiles[-1].startswith(f"frame {WORST - 1:05d}")
    assert sum(int(tile.split("\n")[1].split()[0]) for tile in tiles) == 128


def test_stage_goes_by_keys_and_stops_at_both_ends(page: Any) -> None:
    found = player(page, "a")
    found.locator(".stage").focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowLeft")
    assert output(found) == "frame 00000"
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    assert output(found) == f"frame {FRAMES - 1:05d}"


def test_buttons_charts_and_gallery_lead_to_frames(page: Any) -> None:
    found = player(page, "b")
    found.locator("[data-step='1']").click()
    assert output(found) == f"frame {WORST + 1:05d}"
    found.locator("[data-go]").first.click()
    assert output(found) == f"frame {WORST:05d}"
    chart = found.locator(".charts svg").first
    box = chart.bounding_box()
    chart.click(position={"x": box["width"] * 0.085, "y": box["height"] / 2})  # just right of the axis: frame 0
    assert output(found) == "frame 00000"
    page.locator(".gallery a").first.click()
    assert output(found) == f"frame {WORST:05d}"
    assert page.url.endswith("#sequence-1")
    assert found.locator("input[type=range]").evaluate("each => each === document.activeElement")


def test_outlines_are_hidden_and_shown(page: Any) -> None:
    found = player(page, "a")
    outline = found.locator("[data-layer='1']")
    assert outline.is_visible()
    found.get_by_role("checkbox", name="good").uncheck()
    assert not outline.is_visible()
    assert found.locator("[data-layer='0']").is_visible()
    found.get_by_role("checkbox", name="good").check()
    assert outline.is_visible()


def test_playing_goes_on_and_stops(page: Any) -> None:
    found = player(page, "a")
    play = found.locator("[data-play]")
    first = output(found)
    play.click()
    page.wait_for_function(
        "([root, first]) => root.querySelector('output').textContent !== first", arg=[found.element_handle(), first]
    )
    assert (play.inner_text(), play.get_attribute("aria-pressed")) == ("Pause", "true")
    play.click()
    assert (play.inner_text(), play.get_attribute("aria-pressed")) == ("Play", "false")


def test_tab_reaches_everything_that_can_be_used_and_focus_is_seen(page: Any) -> None:
    reached = []
    while len(reached) < 200:
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.tagName + '.' + document.activeElement.className"))
        if reached[-1].startswith("BODY"):  # after the last one, the browser's own controls
            break
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", reached[-1]
    assert reached[0] == "A.skip"
    assert {"INPUT.", "BUTTON.", "DIV.stage", "DIV.tiles", "DIV.scroll"} <= set(reached)


def test_hostile_name_is_text(page: Any) -> None:
    found = player(page, "run")
    found.locator(".stage").focus()
    page.keyboard.press("Home")
    assert output(found) == f"frame {HOSTILE}"
    assert page.title() == "Results"


def test_page_fits_a_phone_and_both_colour_schemes(page: Any, tmp_path: Path) -> None:
    brightness = {}
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=str(tmp_path / f"{scheme}.png"), full_page=True)
        picture = read_picture(tmp_path / f"{scheme}.png")
        assert picture.shape[0] > 1500
        assert len(np.unique(picture[::8, ::8].reshape(-1, 3), axis=0)) > 100
        brightness[scheme] = float(np.median(picture))
    assert brightness["dark"] < 60 < 200 < brightness["light"]
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_paper_has_the_tables_open_and_no_controls(page: Any) -> None:
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("details:not([open])").count() == 0
    assert not player(page, "a").locator("input[type=range]").is_visible()
    assert player(page, "a").locator(".stage img").is_visible()
