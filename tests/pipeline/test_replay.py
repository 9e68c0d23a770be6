"""`lorabench replay`: the tables and reports of published studies, and the authors' real files where they are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from published_clone import ENCODERS, write_clone

from lorabench.api.findings import claims_table
from lorabench.api.replaying import replayed
from lorabench.cli.closing import replayed as words
from lorabench.published.lycoris import read
from lorabench.report import figures
from lorabench.stages.rank import rank

REAL = os.environ.get("LORABENCH_PUBLISHED")  # a clone of cyber-meow/LyCORIS-evaluation


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("replay")
    save = figures._save
    with pytest.MonkeyPatch.context() as patch:  # no PNGs, which take as long as the rest; tests/report has them
        patch.setattr(figures, "_save", lambda figure, file: save(figure, file) if file.suffix == ".svg" else file)
        replayed(write_clone(out / "clone", ENCODERS[:1], ("out",)), out)
    return out


def test_a_replay_has_the_tables_of_any_study(run):
    for name in ("scores", "normalized", "category_scores", "attributions", "explanations", "correlations"):
        table = pd.read_parquet(run / f"{name}.parquet")
        assert set(table["study"]) == {"lycoris", "lycoris_captions"}, name
    assert (run / "report.html").stat().st_size < 15e6 and (run / "report_lycoris_captions.html").exists()
    assert (run / "figures/lycoris_captions/correlation_main.svg").exists()
    assert "Not ranked, because" in (run / "report.html").read_text()


def test_studies_are_ranked_among_themselves(run):
    normalized = pd.read_parquet(run / "normalized.parquet")
    populations = normalized.groupby("population")["study"].nunique()
    assert (populations == 1).all()
    leaf = ["study", "category", "class_name", "subclass", "prompt_type", "metric", "encoder", "resize"]
    ends = normalized.groupby(leaf)["score"].agg(["min", "max"])
    assert (ends["min"] == 0).all() and (ends["max"] == 1).all()


def test_a_category_that_was_measured_as_a_whole_keeps_its_value(run):
    normalized = pd.read_parquet(run / "normalized.parquet").query("metric == 'vendi' and study == 'lycoris'")
    scores = pd.read_parquet(run / "category_scores.parquet").query("metric == 'vendi' and study == 'lycoris'")
    assert len(scores) == len(normalized)
    merged = normalized.merge(scores, on=["checkpoint", "category"])
    np.testing.assert_array_equal(merged["score_x"], merged["score_y"])


def test_captions_are_a_factor_of_the_study_that_varies_them(run):
    attributions = pd.read_parquet(run / "attributions.parquet")
    levels = attributions.query("factor_name == 'captions'").groupby("study")["factor_value"].unique()
    assert list(levels.index) == ["lycoris_captions"] and set(levels.iloc[0]) == {"no tags", "all tags"}


def test_ratios_of_diversity_take_classes_of_more_than_50_images_at_their_largest_size(run):
    ratios = pd.read_parquet(run / "diversity_ratios.parquet").query("metric == 'vendi'")
    whole = ratios.query("dataset == 'styles'").set_index("class_name")
    assert whole["ratio"].to_dict() == {"a/b": 5 / 7, "anime/d": 2 / 7} and whole["n_images"].tolist() == [100, 70]
    part = ratios.query("dataset == 'styles/anime'").set_index("class_name")
    assert part["ratio"].to_dict() == {"anime/d": 2.0}


def test_claims_are_asked_of_each_study(run):
    found = pd.DataFrame(claims_table(run))
    assert set(found["study"]) == {"lycoris", "lycoris_captions"}
    assert set(found["verdict"]) <= {"holds", "does not hold", "cannot be told", "not measured"}


def test_diversities_alone_are_enough(tmp_path):
    clone = write_clone(tmp_path / "clone")
    for file in (clone / "results/metrics").iterdir():
        file.unlink()
    summary = replayed(clone, tmp_path / "out")
    assert summary["studies"] == [] and (tmp_path / "out/diversity_ratios.parquet").exists()
    assert "captions_metrics.csv is not there" in words(summary)


@pytest.mark.skipif(not REAL, reason="LORABENCH_PUBLISHED does not point at a clone of LyCORIS-evaluation")
def test_the_real_files_rank_as_the_definition_says():
    for study in read(Path(REAL or "")).studies:
        better = {name: "distance" not in name and "loss" not in name for name in study.scores["metric"].unique()}
        normalized = rank(study.scores, better).normalized
        leaf = normalized[normalized["metric"] == "image_similarity"].groupby(
            ["category", "class_name", "subclass", "prompt_type", "encoder", "resize"]
        )
        slow = leaf["value"].transform(lambda values: (values.rank() - 1) / (len(values) - 1))
        np.testing.assert_allclose(normalized.loc[slow.index, "score"], slow, atol=1e-12)
    kinds = {study.name: study.scores["checkpoint"].nunique() for study in read(Path(REAL or "")).studies}
    assert kinds.get("lycoris_captions", 72) == 72 and kinds.get("lycoris", 162) in (162, 234)
