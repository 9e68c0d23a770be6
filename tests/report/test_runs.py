"""Finished runs as folders: read back, compared, exported, drawn."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic import with_metrics, write_run
from typer.testing import CliRunner

from lorabench.api import comparing, exporting, open_run
from lorabench.cli import app
from lorabench.errors import UserError
from lorabench.report.runs import read_run


@pytest.fixture
def folder(tables, tmp_path):
    few = with_metrics(tables, "image_similarity", "text_similarity")
    return write_run(replace(few, scores=few.scores.assign(metric_id="m")), tmp_path / "a")


def changed(folder, change):
    """Another run: the same but for what `change` does to its scores."""
    tables = read_run(folder)
    return write_run(replace(tables, scores=change(tables.scores.copy())), folder.with_name("b"))


def test_a_run_is_read_as_it_was_written(folder, tables):
    found = read_run(folder)
    assert found.study["name"] == tables.study["name"] and len(found.scores) and found.metrics
    with pytest.raises(UserError, match="no study.json"):
        read_run(folder.parent)
    with pytest.raises(UserError, match="Unknown study 'other'"):
        read_run(folder, "other")


def test_two_runs_are_compared_config_by_config(folder):
    def shifted(scores: pd.DataFrame) -> pd.DataFrame:
        chosen = (scores["config"] == "lora-8-4") & (scores["metric"] == "image_similarity")
        return scores.assign(value=scores["value"].mask(chosen, scores["value"] + 0.1))

    found = comparing.compare(folder, changed(folder, shifted))
    rows = found.configs
    assert found.differs.empty
    assert set(rows["criterion"]) == {"fidelity", "controllability"}
    moved = (rows["config"] == "lora-8-4") & (rows["criterion"] == "fidelity")
    assert set(rows.loc[moved, "verdict"]) == {"better"}
    # The base model and real images have no second seed that could say so.
    untrained = rows.loc[~moved, "config"].isin(["base", "dataset"])
    told = np.where(untrained, "cannot be told", "no difference")
    assert rows.loc[~moved, "verdict"].tolist() == told.tolist()
    assert rows.loc[moved, "difference"].to_numpy() == pytest.approx(0.1)
    assert (rows.loc[moved, "second"] - rows.loc[moved, "first"]).to_numpy() == pytest.approx(0.1, rel=1e-2)
    assert (rows.loc[~moved, "difference"] == 0).all() and "base" in set(rows["config"])
    with pytest.raises(UserError, match="share no measured config"):
        comparing.compare(folder, folder, "no such category")


def told_otherwise(folder: Path, **study) -> Path:
    """The run with another word on its study."""
    copy = changed(folder, lambda scores: scores)
    facts = json.loads((copy / "study.json").read_text())
    for each in facts.values():
        each["study"] |= study
        each["provenance"] |= {"version": "9.9"}
    (copy / "study.json").write_text(json.dumps(facts))
    return copy


def test_what_differs_between_two_runs_is_named(folder):
    other = told_otherwise(folder, images={"steps": 77, "size": 512})
    differs = comparing.compare(folder, other).differs.set_index("what")["second"]
    assert differs["images.steps"] == "77" and differs["version"] == "9.9" and "configs" not in differs
    done = CliRunner().invoke(app, ["compare", str(folder), str(other)])
    assert "What differs" in done.stdout and "images.steps" in done.stdout


def test_what_was_measured_otherwise_is_not_compared_and_the_sentence_says_in_what(folder):
    other = told_otherwise(folder, images={"steps": 77, "size": 512})
    scores = pd.read_parquet(other / "scores.parquet")
    scores.assign(metric_id="n").to_parquet(other / "scores.parquet")
    with pytest.raises(UserError, match=r"not measured in the same way.* differ in .*images\.steps \(.*77\)"):
        comparing.compare(folder, other)


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_exported_tables_hold_the_same_values(folder, tmp_path, kind):
    files = exporting.export(folder, tmp_path / "out", kind)
    read = {"csv": pd.read_csv, "json": pd.read_json, "parquet": pd.read_parquet}[kind]
    found, own = read(tmp_path / "out" / f"scores.{kind}"), read_run(folder).scores
    assert found["value"].to_numpy() == pytest.approx(own["value"].to_numpy(), nan_ok=True, rel=1e-9)
    assert all(file.exists() for file in files) and list(found["config"]) == list(own["config"])
    with pytest.raises(UserError, match="exists"):
        exporting.export(folder, tmp_path / "out", kind)


def test_a_run_without_pictures_is_compared_exported_and_drawn_all_the_same(folder, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    for name in ("images", "probes"):
        (copy / f"{name}.parquet").unlink()
    assert set(comparing.compare(folder, copy).configs["verdict"]) == {"no difference", "cannot be told"}
    assert open_run(copy).figures()
    result = CliRunner().invoke(app, ["export", str(copy), "--json"])
    assert result.exit_code == 0 and (copy / "json/scores.json").exists() and not (copy / "json/images.json").exists()
    assert isinstance(CliRunner().invoke(app, ["export", str(copy), "--json", "--csv"]).exception, UserError)


def test_figures_go_beside_the_tables(folder):
    files = open_run(folder).write_figures()
    assert files and all(file.parent == folder / "figures" for file in files)
    assert "correlation_main" in {file.stem for file in files}
