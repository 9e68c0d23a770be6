"""The page in a real browser: no errors, working selectors, a phone's width, the keyboard."""

from __future__ import annotations

import base64
import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from synthetic import CONFIGS, synthetic_run, with_merge_ratios, with_merges

from lorabench.report import RunTables, build_report
from lorabench.statistics.pareto import pareto_front

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

    def open_(path: Path, width: int = 1280, state: str = "", **options):
        context = browser.new_context(viewport={"width": width, "height": 860}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "request",
            lambda r: r.url.startswith(("file:", "data:", "blob:")) or complaints.append(f"asked for {r.url}"),
        )
        page.goto(path.as_uri() + state)
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
    page.locator("#tradeoffs-plots .plot").first.scroll_into_view_if_needed()
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


def test_two_factors_are_a_grid_of_pictures_with_scores_and_curves(open_page, tables, report, tmp_path: Path):
    page = open_page(build_report(with_merge_ratios(tables), tmp_path / "ratios.html"))
    section = page.locator("#settings")
    section.scroll_into_view_if_needed()
    page.wait_for_selector("#settings-plots .main-svg")
    assert section.locator("thead th").all_inner_texts() == ["Epoch by merge ratio", "0.5", "1"]
    rows = section.locator("#settings-grid > table > tbody > tr")
    assert [row.locator("th").first.inner_text() for row in rows.all()] == ["10", "30"]
    assert (
        {row.locator("img").count() for row in rows.all()}
        == {row.locator(".scores").count() for row in rows.all()}
        == {2}
    )
    config = section.locator("label", has_text="Config, held at").locator("select")
    before = rows.first.locator("img").first.get_attribute("src")
    config.select_option(index=2)
    assert rows.first.locator("img").first.get_attribute("src") != before
    _choose(page, "settings", "Across", "age")
    assert section.locator("thead th").all_inner_texts() == ["Merge ratio by epoch", "10", "30"]
    _choose(page, "settings", "Across", "config")
    assert "Curves need numbers" in section.inner_text()
    assert open_page(report).locator("#settings").is_hidden()


def test_a_merge_stands_beside_its_parents(open_page, tables, report, tmp_path: Path):
    parents = [CONFIGS[0][0], CONFIGS[1][0]]
    merged = with_merges(tables, CONFIGS[2][0], parents)
    page = open_page(build_report(merged, tmp_path / "merges.html"))
    page.locator("#merges").scroll_into_view_if_needed()
    page.wait_for_selector("#merges-layers-plots .main-svg")
    titles = page.locator("#merges-plots h3").all_inner_texts()
    assert titles == [f"What is left of {parent}: image similarity, train prompts" for parent in parents]
    assert page.locator("#merges-plots .errorbar").count() == 2 * 2  # of each parent two epochs
    rows = page.locator("#merges-table tbody tr")
    table = merged.merges.query("category == 'all' and metric == 'image_similarity' and prompt_type == 'train'")
    table = table[table["encoder"] == "dinov2"]
    assert rows.count() == len(table) == 4
    first = rows.first.locator("th, td").all_inner_texts()
    expected = table.iloc[0]
    assert first[0].split("\n") == [f"{CONFIGS[2][0]}, epoch {expected['epoch']:g}", f"{parents[0]}, train prompts"]
    assert [float(text) for text in first[1:4]] == pytest.approx(list(expected[["floor", "alone", "mean"]]), rel=0.01)
    assert float(first[4].split(" ± ")[0].replace("−", "-")) == pytest.approx(expected["difference"], abs=0.01)
    charts = page.locator("#merges-layers-plots h3").all_inner_texts()
    assert charts == ["Do the updates pull the same way?", "Do they use the same directions?", "How large are they?"]
    before = page.locator("#merges-plots").inner_text()
    other = page.locator("#merges-controls option", has_text="text similarity").first.get_attribute("value")
    _choose(page, "merges", "Measurement", other)
    assert page.locator("#merges-plots").inner_text() != before
    assert open_page(report).locator("#merges").count() == 0
    folder = tmp_path / "no parents"
    page = open_page(build_report(dataclasses.replace(merged, merges=merged.merges[:0]), folder / "report.html"))
    _shows(page, "#merges", "No parent is drawn alone")


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


@pytest.fixture(scope="module")
def trained(tables: RunTables, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunTables, Path]:
    """The run with losses, of native fine-tuning none, and with whole pictures of one config; and its page."""
    folder = tmp_path_factory.mktemp("trained")
    rows = [
        {"config": config, "seed": seed, "step": step, "loss": seed / 100 + 1 / step}
        for config, *_ in CONFIGS[:6]
        for seed in (23, 24)
        for step in range(10, 210, 10)
    ]
    names = "images/" + tables.images["checkpoint"] + "/" + tables.images["concept"] + "/a #1%.png"
    whole = dataclasses.replace(tables, losses=pd.DataFrame(rows), images=tables.images.assign(file=names))
    for name in names[tables.images["config"].isin(["base", "lokr-f4"])].unique():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (200, 160), "navy").save(folder / name)
    return whole, build_report(whole, folder / "report.html")


def test_a_filter_and_a_highlight_hold_in_every_section(trained, open_page):
    page = open_page(trained[1])
    field = page.locator("#tradeoffs-controls input")
    rows = page.locator("#leaderboard-table tbody tr:not(.floor)")
    field.fill("lokr, loha -attention")
    playwright.expect(rows).to_have_count(3)
    assert page.locator("#leaderboard-controls input").input_value() == "lokr, loha -attention"
    _shows(page, "#tradeoffs-controls", "3 of 8 configs")
    legend = page.locator("#tradeoffs-legend")
    assert legend.locator(".mark-chip").all_inner_texts() == ["loha-4-2", "lokr-f4", "lokr-f8"]
    legend.locator(".mark-chip", has_text="lokr-f4").click()
    _shows(page, "#tradeoffs-controls", "1 highlighted")
    assert rows.locator("button[aria-pressed=true]").all_inner_texts() == ["lokr-f4"]
    page.locator("#losses").scroll_into_view_if_needed()
    page.wait_for_selector("#losses-plots .main-svg")
    for section in ("tradeoffs", "epochs", "losses"):
        drawn = page.evaluate(_OPACITIES, section)
        assert set(drawn) == {"loha-4-2", "lokr-f4", "lokr-f8"}, section
        assert [name for name, opacity in drawn.items() if opacity == 1] == ["lokr-f4"], section
    assert page.locator("#pictures-grid tbody tr.lit").count() == 1
    assert page.locator("#pictures-grid tbody tr").count() == 1 + 3
    page.locator("#losses-controls button", has_text="Show all").click()
    playwright.expect(rows).to_have_count(len(CONFIGS))


# Opacity by config of what is drawn in a section.
_OPACITIES = """section => Object.fromEntries(
  [...document.querySelectorAll(`#${section} .js-plotly-plot`)].flatMap(plot => plot.data)
    .filter(trace => trace.text?.[0]).map(trace => [trace.text[0].match(/<b>(.*?)<.b>/)[1], trace.opacity]))"""


def test_a_link_opens_the_view_again(trained, open_page):
    page = open_page(trained[1])
    page.locator("#contents a", has_text="Trade-offs").click()
    page.wait_for_function("location.hash === '#tradeoffs'")  # what is as at the start is not in the address
    page.locator("#tradeoffs-legend .mark-chip").first.click()
    _choose(page, "leaderboard", "Columns", "fidelity")
    _choose(page, "epochs", "Axis", "raw")
    _choose(page, "pictures", "Concept", "3")
    page.locator("#leaderboard-controls input").fill("l")
    page.locator("#free-controls select").first.select_option(label="seconds of training (s)")
    page.locator("#tradeoffs-plots select").nth(2).select_option(label="lokr-f4, epoch 30")
    page.wait_for_function("location.hash.includes('tradeoffs.x=seconds') && location.hash.includes('configs.text=l')")
    state = page.evaluate("location.hash")
    assert state.startswith("#tradeoffs?")

    def shown(page) -> list:
        page.wait_for_selector("#tradeoffs-plots .js-plotly-plot .point")
        values = page.locator("main select, main input").evaluate_all("all => all.map(each => each.value)")
        return [values, page.locator("[aria-pressed=true]").all_inner_texts()]

    again = open_page(trained[1], state=state)
    assert shown(again) == shown(page)
    playwright.expect(again.locator("#tradeoffs h2")).to_be_in_viewport()
    again.locator("#contents a", has_text="Pictures").click()
    again.wait_for_function("location.hash.startsWith('#pictures?')")
    assert again.evaluate("location.hash").split("?")[1] == state.split("?")[1]

    lost = "#epochs?epochs.column=gone&configs.lit=%5B%22gone%22%5D&configs.hidden=x&tradeoffs.x=y&leaderboard.view=<b>"
    fresh = open_page(trained[1], state=lost)
    assert shown(fresh) == shown(open_page(trained[1]))


@pytest.mark.parametrize("axes", ["score", "raw"])
def test_axes_are_free_and_their_front_is_that_of_what_is_drawn(trained, open_page, axes):
    page = open_page(trained[1])
    _choose(page, "tradeoffs", "Axes", axes)
    horizontal, vertical = page.locator("#free-controls select").all()
    for x, x_higher in (("size of the file (MiB)", False), ("base style preservation, style prompts", axes == "score")):
        label = horizontal.locator("option", has_text=x).first.inner_text()
        horizontal.select_option(label=label)
        vertical.select_option(label=vertical.locator("option", has_text="image similarity, alter").first.inner_text())
        card = page.locator("#tradeoffs-plots .card", has=page.locator("#free-controls"))
        card.scroll_into_view_if_needed()
        page.wait_for_selector("#tradeoffs-plots .js-plotly-plot .point")
        _shows(page, "#tradeoffs-plots", x.split(" (")[0])
        drawn = card.locator(".js-plotly-plot").evaluate(_DRAWN)
        assert len(drawn["points"]) == 2 * len(CONFIGS)
        values = np.array(drawn["points"])
        expected = values[pareto_front(*values.T, x_higher, True)]
        assert 1 < len(expected) < len(values)
        assert sorted(map(tuple, drawn["front"])) == sorted(map(tuple, expected))
        assert drawn["reversed"] == (not x_higher)


_DRAWN = """plot => ({
  points: plot.data.filter(t => t.customdata).flatMap(t => t.x.map((x, k) => [x, t.y[k]])),
  front: plot.data.filter(t => t.mode === "lines").flatMap(t => t.x.map((x, k) => [x, t.y[k]])),
  reversed: plot._fullLayout.xaxis.range[0] > plot._fullLayout.xaxis.range[1],
})"""


def test_nothing_runs_through_a_name(trained, open_page):
    page = open_page(trained[1])
    page.wait_for_selector("#tradeoffs-plots .errorbar")
    found = page.locator("#tradeoffs-plots .js-plotly-plot").evaluate_all(_COVERED)
    assert sum(each["names"] for each in found) > 8 and sum(each["bars"] for each in found) > 100
    assert [each["covered"] for each in found] == [[]] * len(found)


# Names in a chart over which a bar, a point or another name lies.
_COVERED = """plots => plots.map(plot => {
  const box = each => each.getBoundingClientRect(), all = what => [...plot.querySelectorAll(what)];
  const names = all(".annotation-text"), bars = all(".errorbar path"), points = all(".point");
  const meet = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const covered = names.filter(name => [...names, ...bars, ...points].some(o => o !== name && meet(box(name), box(o))));
  return {names: names.length, bars: bars.length, covered: covered.map(name => name.textContent)};
})"""


def test_intervals_are_reached_by_keyboard_and_by_touch(report: Path, open_page):
    page = open_page(report, width=390, has_touch=True)
    cell = page.locator("#leaderboard-table tbody tr").nth(1).locator("td").first
    value, interval = cell.locator("button"), cell.locator(".interval")
    assert not interval.is_visible()
    value.press("Enter")
    assert "below" in interval.inner_text() and "95 %" in interval.inner_text()
    assert value.get_attribute("aria-expanded") == "true"
    value.tap()
    assert not interval.is_visible()
    _choose(page, "leaderboard", "Intervals", "shown")
    assert page.locator("#leaderboard-table .interval:visible").count() == 4 * len(CONFIGS)
    card = page.locator("#tradeoffs-plots .card", has_text="Behind a point")
    _shows(page, "#tradeoffs-plots .numbers", "95 %")
    assert card.locator(".numbers tbody tr").count() == 4


def test_nothing_on_the_page_leads_away_or_uploads(trained, open_page):
    page = open_page(trained[1])
    page.wait_for_selector("#epochs-plots .main-svg")
    buttons = page.locator(".modebar-btn").evaluate_all("all => all.map(each => each.dataset.title)")
    assert {button.split(" as ")[0] for button in buttons} == {"Download plot", "Reset axes"}
    links = page.locator("a[href]").evaluate_all("all => all.map(each => each.getAttribute('href'))")
    assert links and all(link.startswith("#") for link in links)
    config = page.locator(".js-plotly-plot").first.evaluate("plot => JSON.stringify(plot._context)")
    assert "http" not in config
    inside = "[role=img] :is(a, button, select, input, [tabindex])"
    assert page.locator(inside).count() == 0


def test_paper_cuts_nothing(trained, open_page):
    page = open_page(trained[1], color_scheme="dark")
    page.wait_for_selector("#losses-plots .main-svg")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("main .main-svg").evaluate_all(_RIGHT_OF, _SHEET) == []  # a chart is not drawn again on paper
    page.emulate_media(media="print")
    assert page.locator("main *").evaluate_all(_RIGHT_OF, _SHEET) == []
    assert page.locator("main *").evaluate_all(_CUT) == []
    assert page.locator("html").get_attribute("data-theme") == "light"
    assert page.locator("details:not([open])").count() == 0
    assert page.locator("#leaderboard-table .interval:visible").count() == 4 * len(CONFIGS)
    assert page.locator("#tradeoffs-plots .main-svg").count() >= 8
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("#provenance details[open]").count() == 1


_SHEET = 703  # pixels: A4 without its margins
_RIGHT_OF = """(all, width) => all.filter(each =>
  each.getBoundingClientRect().right - document.querySelector("main").getBoundingClientRect().left > width
).map(each => `${each.tagName} ${each.id} ${each.getAttribute("class")}`)"""
_CUT = """all => all.filter(each => {
  const style = getComputedStyle(each);
  const isCut = (style.overflowX !== "visible" && each.scrollWidth > each.clientWidth + 2)
    || (style.overflowY !== "visible" && each.scrollHeight > each.clientHeight + 2);
  return isCut && !each.closest("svg");
}).map(each => `${each.tagName} ${each.id} ${each.getAttribute("class")}`)"""


def test_losses_are_means_of_seeds(trained, open_page):
    page = open_page(trained[1])
    page.locator("#losses").scroll_into_view_if_needed()
    page.wait_for_selector("#losses-plots .main-svg")
    assert page.locator("#losses-plots h3").all_inner_texts() == ["LoRA", "LoHa", "LoKr"]
    _choose(page, "losses", "Running mean", "1")
    first = "() => ['x', 'y'].map(side => [...document.querySelector('#losses .js-plotly-plot').data[0][side]])"
    steps, loss = page.evaluate(first)
    assert steps == list(range(10, 210, 10))
    np.testing.assert_allclose(loss, 0.235 + 1 / np.array(steps), rtol=1e-4)
    _choose(page, "losses", "seed", "24")
    np.testing.assert_allclose(page.evaluate(first)[1], 0.24 + 1 / np.array(steps), rtol=1e-4)


def test_a_run_without_losses_says_so(report: Path, open_page):
    _shows(open_page(report), "#losses", "No losses are on record")


@pytest.mark.parametrize("is_kept", [True, False])
def test_whole_pictures_are_shown_where_they_are_kept(trained, browser, is_kept):
    page = browser.new_page()  # a picture that is gone is an error in the browser's log
    page.goto(trained[1].as_uri())
    config = "lokr-f4" if is_kept else "lora-8-4"
    row = page.locator("#pictures-grid tbody tr").filter(has=page.locator("th", has_text=config)).first
    row.locator("button").first.click()
    own = page.locator("#viewer figure").last
    base = page.locator("#viewer figure", has_text="base model")
    playwright.expect(base.locator("a")).to_have_text("whole picture, 200 × 160")
    assert base.locator("img").evaluate("img => img.naturalWidth") == 200
    playwright.expect(own.locator("a")).to_have_count(1 if is_kept else 0)
    assert own.locator("img").evaluate("img => img.naturalWidth") == (200 if is_kept else 32)
    page.close()
