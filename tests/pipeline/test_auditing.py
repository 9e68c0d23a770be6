"""`lorabench audit`: verdicts before any training, by command and as JSON, and the run's probes.parquet."""

from __future__ import annotations

import json
import shutil

import pandas as pd
import pytest
from command_line import SMOKE, lorabench_here

from lorabench import store
from lorabench.api import auditing
from lorabench.cli import finding_words
from lorabench.report.cards import probed_cards
from lorabench.report.tables import Column, MetricInfo
from lorabench.statistics.columns import PROBE_COLUMNS

KEYS = {"criterion", "metric", "prompt_type", "encoder", "verdict", "failed", "why"}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    file = tmp_path_factory.mktemp("study") / "study.toml"
    file.write_text(SMOKE)
    return file


def test_metrics_are_judged_before_anything_is_trained(study, tmp_path):
    done = lorabench_here("audit", str(study), "--out", str(tmp_path / "run"), "--quiet", "--workers", "1")
    assert done.returncode == 0, done.stderr
    assert "image_similarity" in done.stdout and "passes" in done.stdout
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"audit", "probes.parquet", "run.json"}
    probes = store.read_table(tmp_path / "run/probes.parquet")
    parts = [store.read_table(file) for file in sorted((tmp_path / "run/audit").glob("*/probes.parquet"))]
    keys = ["metric", "encoder", "category", "class_name", "probe"]
    both = [table.sort_values(keys, ignore_index=True) for table in (probes, pd.concat(parts))]
    pd.testing.assert_frame_equal(*both)
    again = lorabench_here("audit", str(study), "--out", str(tmp_path / "run"), "--quiet", "--json")
    told = json.loads(again.stdout)
    assert sum(told["made"].values()) == 0 and all(row.keys() >= KEYS for row in told["audit"])
    similarity = [row for row in told["audit"] if row["metric"] == "image_similarity"]
    assert [row["prompt_type"] for row in similarity] == ["train", "trigger", "alter"]
    assert 0.5 < similarity[0]["identity"] <= 1 and similarity[0]["seeds"] is None
    (tmp_path / "run/probes.parquet").unlink()
    mended = lorabench_here("audit", str(study), "--out", str(tmp_path / "run"), "--workers", "1")
    assert mended.returncode == 0 and "probes.parquet counts as missing" in mended.stderr + mended.stdout
    assert (tmp_path / "run/probes.parquet").exists()


def test_a_study_that_was_scored_is_judged_by_its_seeds_too(study, smoke_run, tmp_path):
    shutil.copytree(smoke_run, tmp_path / "run")
    done = lorabench_here("audit", str(study), "--out", str(tmp_path / "run"), "--quiet", "--json")
    rows = [row for row in json.loads(done.stdout)["audit"] if row["metric"] == "image_similarity"]
    assert done.returncode == 0 and all(row["seeds"] is not None and row["ceiling"] is not None for row in rows)


def test_a_measurement_that_had_nothing_to_be_confused_with_passes_only_what_is_known():
    info = MetricInfo("m", "fidelity", True, "", ("dinov2",))
    rows = [["m", "dinov2", "", "toys", "panda", "", probe, 1.0] for probe in ("real", "blur", "jpeg", "crop")]
    probes = pd.DataFrame(rows, columns=PROBE_COLUMNS)
    (card,) = probed_cards([Column("train", "m", "dinov2", "", info)], probes)
    row = auditing._row("s", card)
    assert row["verdict"] == "passes what is known"
    assert "no other concept" in finding_words.why({**row, "identity": None} | {k: None for k in ("seeds", "encoders")})


def test_what_fails_is_named_with_its_numbers():
    info = MetricInfo("m", "fidelity", True, "", ("dinov2",))
    columns = [Column(kind, "m", "dinov2", "", info) for kind in ("train", "alter")]
    answers = {"identity": 0.55, "blur": 1.0, "jpeg": 0.2, "crop": 0.3, "real": 0.8}
    place = ["m", "dinov2", "", "toys", "octo", ""]
    probes = pd.DataFrame([[*place, *pair] for pair in answers.items()], columns=PROBE_COLUMNS)
    cards = probed_cards(columns, probes)
    table = pd.DataFrame([auditing._row("s", card) for card in cards], columns=auditing.AUDIT_COLUMNS)
    assert table["verdict"].tolist() == ["fails", "fails"] and table["failed"][0] == ["identity", "damage"]
    said = " ".join("\n".join(finding_words.audit(table)).split())
    assert "train, alter" in said and "0.55, at least 0.75" in said and "0.5, at least 0.6" in said
    unknown = probed_cards(columns[:1], pd.DataFrame(columns=PROBE_COLUMNS))
    assert auditing._row("s", unknown[0])["verdict"] == "not known"
