"""The page is one file that loads nothing, survives hostile names and says what it cannot say."""

from __future__ import annotations

import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import CONFIGS, synthetic_run, with_metrics

from lorabench.report import RunTables, build_report
from lorabench.report.figures import write_figures

HOSTILE = '<script>alert("1")</script>&amp;</script><!--$x_1$'


class Page(HTMLParser):
    """Elements of a page: their addresses, texts and the script data."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.data = ""
        self._in_data = False
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        named = dict(attributes)
        self.tags.append(tag)
        self.addresses += [named[key] for key in ("src", "href", "action", "data", "poster", "srcset") if key in named]
        self._in_data = named.get("id") == "data"

    def handle_endtag(self, tag):
        self._in_data = False

    def handle_data(self, text):
        if self._in_data:
            self.data += text


def test_report_loads_nothing_and_is_small(report: Path):
    html = report.read_text(encoding="utf-8")
    page = Page(html)
    assert page.addresses and all(address.startswith(("#", "data:")) for address in page.addresses)
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style and "@import" not in style
    code = re.sub(r"/\*.*?\*/", "", html, flags=re.DOTALL)  # notices of licences in comments may name their authors
    assert set(re.findall(r"""(?<!// )https?://([^/"'\s]+)""", code)) == {"www.w3.org"}
    assert report.stat().st_size < 15e6
    assert not report.with_name("report.html.part").exists()


def test_report_of_the_paper_s_grid_stays_below_15_megabytes(tmp_path: Path):
    configs = [(f"{CONFIGS[i % 8][0]}-{i}", *CONFIGS[i % 8][1:]) for i in range(26)]
    tables = synthetic_run(configs, seeds=(23, 24, 25), epochs=(10, 30, 50), thumbnails=False)
    assert build_report(tables, tmp_path / "report.html").stat().st_size < 15e6 - 6.5e6  # the pictures' budget


def test_hostile_names_stay_text(tmp_path: Path):
    configs = [(HOSTILE, *CONFIGS[0][1:]), *CONFIGS[1:3]]
    tables = with_metrics(synthetic_run(configs, thumbnails=False), "text_similarity", "vendi")
    study = {"name": HOSTILE, "description": HOSTILE, HOSTILE: {HOSTILE: [HOSTILE]}}
    failures = tables.failures.assign(message=HOSTILE, item=HOSTILE)
    tables = dataclasses.replace(tables, study=study, failures=failures)
    html = build_report(tables, tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<script>alert("1")' not in html and "<!--$x" not in html
    data = json.loads(Page(html).data)
    assert HOSTILE in [point["config"] for point in data["points"]]
    assert all(
        path.stat().st_size for path in write_figures(with_metrics(tables, "text_similarity"), tmp_path / "figures")
    )


@pytest.fixture(scope="module")
def few(tables: RunTables) -> RunTables:
    """What the page says in words does not hang on how many metrics there are."""
    return with_metrics(tables, "image_similarity", "vendi")


def _without(tables: RunTables, *names: str) -> RunTables:
    return dataclasses.replace(tables, **{name: getattr(tables, name).iloc[:0] for name in names})


def _words(tables: RunTables, folder: Path) -> str:
    html = build_report(tables, folder / "report.html").read_text(encoding="utf-8")
    return re.sub(r"\s+", " ", html[: html.index('<script type="application/json"')])


def test_empty_tables_are_said(few: RunTables, tmp_path: Path):
    text = _words(_without(few, "attributions", "explanations", "images", "costs", "failures"), tmp_path)
    assert "No task failed" in text and "No costs were recorded" in text


def test_a_run_without_any_score_is_said(few: RunTables, tmp_path: Path):
    names = ("scores", "normalized", "category_scores", "attributions", "explanations", "images")
    text = _words(_without(few, *names), tmp_path)
    assert "0 configs" in text and "No config was trained with two seeds" in text


def test_one_config_one_seed_one_epoch(tmp_path: Path):
    text = _words(synthetic_run(CONFIGS[:1], seeds=(23,), epochs=(10,), thumbnails=False), tmp_path)
    assert "cannot be told apart" in text
    assert "Cannot be said: no checkpoint has a score" in text  # a checkpoint alone has no rank


def test_a_metric_without_any_value(few: RunTables, tmp_path: Path):
    def emptied(table: pd.DataFrame, column: str) -> pd.DataFrame:
        return table.assign(**{column: table[column].where(table.metric != "vendi", np.nan)})

    scores = emptied(few.scores, "value")
    reason = scores.reason.where(scores.metric != "vendi", "The encoder is missing.")
    changed = dataclasses.replace(few, scores=scores.assign(reason=reason), normalized=emptied(few.normalized, "score"))
    text = _words(changed, tmp_path)
    assert "The encoder is missing." in text and "Cannot be said: no checkpoint has a score" in text


def test_tables_as_parquet_gives_them_back(few: RunTables, tmp_path: Path):
    """The pipeline's tables have nullable integers and missing columns; evaluated files know no seed and no epoch."""
    scores = few.scores.astype({name: "Int64" for name in ("dim", "factor", "seed", "epoch", "step")})
    scores[["seed", "epoch", "step", "lr"]] = pd.NA
    scores["checkpoint"] = scores["config"]
    scores = scores.drop_duplicates(["checkpoint", "category", "class_name", "subclass", "prompt_type", "metric"])
    normalized = scores[scores.algorithm != "none"].assign(score=0.5, population="p")
    changed = dataclasses.replace(
        _without(few, "category_scores", "attributions", "explanations", "images"),
        scores=scores,
        normalized=normalized,
    )
    text = _words(changed, tmp_path)
    assert "8 configs" in text and "epoch 10" not in text


def test_figures_of_equal_tables_are_equal_files(tables: RunTables, tmp_path: Path):
    pair = with_metrics(tables, "image_similarity", "text_similarity")
    files = write_figures(pair, tmp_path / "all")
    assert {path.suffix for path in files} == {".svg", ".png"}
    expected = {"trade_off_1", "shap_fidelity", "shap_controllability", "epochs_fidelity", "epochs_controllability"}
    maps = ("main", "image_similarity", "text_similarity", "on_train", "on_alter")
    expected |= {f"correlation_{each}" for each in maps}
    assert {path.stem for path in files} == expected
    for again in write_figures(pair, tmp_path / "again"):
        assert again.read_bytes() == (tmp_path / "all" / again.name).read_bytes(), again.name


def test_embedded_json_cannot_end_its_element(few: RunTables, tmp_path: Path):
    texts = ["</script>", "<!--", "\u2028"]
    images = few.images.head(4).assign(prompt=[*texts, "plain"], prompt_type="trigger", index=range(4))
    html = build_report(dataclasses.replace(few, images=images), tmp_path / "r.html").read_text(encoding="utf-8")
    columns = json.loads(Page(html).data)["gallery"]["concepts"][0]["columns"]
    assert {column["prompt"] for column in columns} >= set(texts)
