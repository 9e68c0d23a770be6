"""The page in a real browser: no errors, working selectors, a phone's width, the keyboard."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest
from synthetic import CONFIGS, synthetic_run, with_merge_ratios

from lorabench.report import build_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Open a file; at the end of the test no error may have been logged and nothing asked of the network."""
    contexts, complaints = [], []

    def open_(path: Path, width: int = 1280, **options):
        context = browser.new_context(viewport={"width": width, "height": 860}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda r: r.url.startswith(("file:", "data:", "blob:")) or complaints.append(f"asked for {r.url}"),
        )
        page.goto(path.as_uri())
        page.wait_for_selector("#leaderboard-table tbody tr")
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


def _choose(page, section: str, label: str, value: str) -> None:
    page.locator(f"#{section}-controls label", has_text=label).locator("select").select_option(value)


def _shows(page, selector: str, text: str) -> None:
    """Sections are drawn when they come near the window: wait for the text, do not just look."""
    playwright.expect(page.locator(selector)).to_contain_text(text)


def test_selectors_change_what_is_shown(report: Path, open_page):
    page = open_page(report)
    page.wait_for_selector("#epochs-plots .main-svg")
    rows = page.locator("#leaderboard-table tbody tr")
    assert rows.count() == len(CONFIGS) + 2
    _choose(page, "leaderboard", "Epoch", "every epoch")
    assert rows.count() == 2 * len(CONFIGS) + 2
    _choose(page, "leaderboard", "Category", "styles")
    _shows(page, "#leaderboard-table", "not measured")
    page.locator("#leaderboard-table thead button", has_text="Config").click()
    assert page.locator("#leaderboard-table thead th").first.get_attribute("aria-sort") == "ascending"

    _choose(page, "tradeoffs", "Category", "styles")
    _shows(page, "#tradeoffs-plots", "no config has both values")
    _choose(page, "tradeoffs", "Category", "scenes")
    _choose(page, "tradeoffs", "Axes", "raw")
    _shows(page, "#tradeoffs-plots", "axis reversed")
    page.locator("#tradeoffs-legend button").first.click()

    _choose(page, "factors", "Category", "scenes")
    _shows(page, "#factors-quality", "worse than by their mean")
    assert page.locator("#factors-levels li").count() > 8

    assert page.locator("#epochs-plots .main-svg").count() >= 4
    _choose(page, "epochs", "Axis", "raw")
    _shows(page, "#epochs-plots", "base model")

    for theme in ("light", "dark"):  # from "auto"
        page.locator("#theme").click()
        assert page.locator("html").get_attribute("data-theme") == theme
    assert page.locator("#epochs-plots .main-svg").count() >= 4


def test_pictures_compare_with_the_base_model(report: Path, open_page):
    page = open_page(report)
    _choose(page, "pictures", "Prompts", "alter")
    grid = page.locator("#pictures-grid table")
    assert grid.locator("tbody tr").count() == len(CONFIGS) + 1
    grid.locator("tbody tr").nth(2).locator("button").first.press("Enter")
    assert page.locator("#viewer img").count() == 3  # training image, base model, this one
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Escape")
    assert not page.locator("#viewer").is_visible()
    grown = page.locator("#pictures-training")
    assert grown.locator("tbody th").all_inner_texts() == ["base model", "epoch 10", "epoch 30"]
    grown.locator("select").select_option("lokr-f4")
    assert (
        grown.locator("tbody tr")
        .nth(2)
        .locator("button")
        .first.get_attribute("aria-label")
        .startswith("lokr-f4, epoch 30")
    )


# Where point `wanted` of the first scatter lies on the screen.
_PLACE = """wanted => {
  const plot = document.querySelector("#tradeoffs-plots .js-plotly-plot"), {xaxis, yaxis} = plot._fullLayout;
  for (const trace of plot.data) {
    const at = (trace.customdata ?? []).indexOf(wanted);
    if (at < 0) continue;
    const box = plot.getBoundingClientRect();
    return [box.x + xaxis._offset + xaxis.l2p(trace.x[at]), box.y + yaxis._offset + yaxis.l2p(trace.y[at])];
  }
}"""


def test_a_click_on_a_point_shows_its_pictures_and_what_sets_it_apart(report: Path, tables, open_page):
    page = open_page(report)
    page.locator("#tradeoffs").scroll_into_view_if_needed()
    page.wait_for_selector("#tradeoffs-plots .js-plotly-plot .point")
    names = page.evaluate("DATA => DATA.points.map(p => p.config + '|' + p.moment)", _data(page))
    wanted = names.index("lokr-f4|epoch 30")
    page.mouse.click(*page.evaluate(_PLACE, wanted))
    card = page.locator("#tradeoffs-plots .card", has_text="Behind a point")
    playwright.expect(card.locator("select").first).to_have_value(str(wanted))
    strips = card.locator(".pair-strips").first.locator(".strip:not(.heads)")
    assert strips.count() == 2
    for strip, config in zip(strips.all(), ("base", "lokr-f4")):
        shown = [image.get_attribute("src") for image in strip.locator("img").all()]
        own = tables.images[(tables.images["config"] == config) & (tables.images["epoch"].fillna(0) != 10)]
        known = {f"data:image/webp;base64,{base64.b64encode(picture).decode()}" for picture in own["thumbnail"]}
        assert len(shown) == 4 and set(shown) <= known

    card.locator("select").nth(1).select_option(str(names.index("lokr-f8|epoch 30")))
    assert card.locator(".difference tbody tr").all_inner_texts() == ["factor\t4\t8"]
    assert strips.count() == 3
    assert "lokr-f4-s23-e30" in card.locator(".origin").text_content()


def _data(page) -> dict:
    return json.loads(page.locator("#data").text_content())


def test_merge_ratios_are_rows_and_epochs_columns(open_page, tables, tmp_path: Path):
    page = open_page(build_report(with_merge_ratios(tables), tmp_path / "ratios.html"))
    _choose(page, "pictures", "Prompts", "alter")
    grown = page.locator("#pictures-training")
    assert grown.locator("thead th").all_inner_texts() == [
        "Prompt and merge ratio",
        "base model",
        "epoch 10",
        "epoch 30",
    ]
    rows = grown.locator("tbody tr")
    assert [row.locator("th").inner_text().split("\n")[0] for row in rows.all()] == [
        f"alter {number}, {ratio}" for number in (1, 2) for ratio in (0.5, 1)
    ]
    assert {row.locator("img").count() for row in rows.all()} == {3}


@pytest.mark.parametrize("width", [390, 1280])
def test_page_has_no_sideways_scroll(width: int, report: Path, open_page, tmp_path: Path):
    page = open_page(report, width=width, color_scheme="light")
    page.wait_for_selector("#epochs-plots .main-svg")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_selector(f'html[data-theme="{scheme}"]')
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert len(page.screenshot(path=tmp_path / "phone.png")) > 10_000


def test_hostile_and_missing_content_raise_no_error(open_page, tmp_path: Path):
    hostile = '<img src="http://example.invalid/x" onerror="alert(1)"><a href="javascript:alert(1)">x</a>'
    configs = [(hostile, *CONFIGS[0][1:]), ("a<b>b</b>", *CONFIGS[1][1:])]
    page = open_page(build_report(synthetic_run(configs, thumbnails=False), tmp_path / "hostile.html"))
    page.wait_for_selector("#epochs-plots .main-svg")
    _shows(page, "#leaderboard-table", hostile)
    _shows(page, "#epochs-plots", "a<b>b</b>")
    assert page.locator("#tradeoffs-plots img, #epochs-plots img").count() == 0

    alone = synthetic_run(CONFIGS[:1], seeds=(23,), epochs=(10,), thumbnails=False)
    page = open_page(build_report(alone, tmp_path / "alone.html"))
    _shows(page, "#epochs", "no curve to draw")
    _shows(page, "#factors", "Too few rows")
    _shows(page, "#pictures", "kept no thumbnails")
