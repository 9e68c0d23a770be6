"""Studies with holes go the whole way from scores to the page: no traceback, and no zero where nothing is known."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import warnings

import numpy as np
import pandas as pd
import pytest

from lorabench import components, store
from lorabench.api import choosing
from lorabench.errors import UserError
from lorabench.pipeline.facts import metric_facts
from lorabench.pipeline.tables import FAILURE_COLUMNS, explained
from lorabench.report import RunTables, build_report
from lorabench.stages.claims import claims
from lorabench.stages.rank import rank
from lorabench.statistics.columns import FACTORS
from lorabench.statistics.comparisons import compare_with_best
from lorabench.statistics.correlation import leaf_correlations

BETTER = {"image_similarity": True, "vendi": True, "style_loss_base": False}
KINDS = {name: "Int64" for name in ("dim", "factor", "seed", "epoch", "step", "n_images")}


def scores(configs=("lora", "lora-slow", "native"), seeds=(1, 2), epochs=(5, 10), classes=3) -> pd.DataFrame:
    rng, rows = np.random.default_rng(0), []
    for config, seed, epoch in itertools.product(configs, seeds, epochs):
        lr, dim = (0.1 if "slow" in config else 1.0), (None if config == "native" else 8)
        factors = ("odd", "b", f"{config}-{seed}-{epoch}", config, config.split("-")[0], "linear", lr, dim,
                   np.nan if dim is None else 4.0, None, seed, epoch, epoch, 1.0)  # fmt: skip
        for metric, place in itertools.product(BETTER, range(classes)):
            prompt = "style" if metric == "style_loss_base" else "train"
            leaf = ("toys" if place else "scenes", f"class{place}", "", prompt, metric, "dinov2", "")
            rows.append((*factors, *leaf, rng.random(), "", 4))
    leaf = ["category", "class_name", "subclass", "prompt_type", "metric", "encoder", "resize"]
    return pd.DataFrame(rows, columns=[*FACTORS, *leaf, "value", "reason", "n_images"]).astype(KINDS)


def with_holes() -> pd.DataFrame:
    table = scores()
    gone = (table["metric"] == "vendi") | (np.arange(len(table)) % 5 == 0)
    return table.assign(value=table["value"].mask(gone), reason=np.where(gone, "not drawn", ""))


ODD = {
    "values are missing, one metric has none": with_holes(),
    "one seed": scores(seeds=(1,)),
    "one config": scores(configs=("lora",)),
    "one checkpoint": scores(configs=("lora",), seeds=(1,), epochs=(5,)),
    "two algorithms, a config each": scores(configs=("lora", "native")),
    "one class": scores(classes=1),
    "a constant metric": scores().assign(value=lambda t: t["value"].mask(t["metric"] == "vendi", 1.5)),
    "no seed, no epoch": scores(seeds=(1,), epochs=(5,)).assign(seed=pd.NA, epoch=pd.NA).astype(KINDS),
    "no word on encoder and resizing": scores().assign(encoder=None, resize=None),
    "nothing was scored": scores().assign(value=np.nan, reason="not drawn"),
}


@pytest.mark.parametrize("table", ODD.values(), ids=ODD)
def test_an_odd_study_is_ranked_explained_judged_and_reported(table, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # numpy's word for a number out of nothing
        ranked = rank(table, BETTER)
        normalized = ranked.normalized
        answer = explained(ranked.category_scores, ())
        findings = claims(normalized)
        compared = compare_with_best(normalized, "config") if normalized["epoch"].nunique() == 1 else None
        correlated = leaf_correlations(normalized)
    assert (normalized["score"].isna() >= normalized["value"].isna()).all()
    assert (answer.explanations["r2_train"].notna() | (answer.explanations["reason"] != "")).all()
    told = [finding for finding in findings if finding.verdict in ("holds", "does not hold")]
    assert all(np.isfinite([finding.effect.low, finding.effect.high]).all() for finding in told)
    assert compared is None or not (compared["verdict"] == "worse").any() or compared["p"].notna().any()
    assert correlated["r"].dropna().between(-1, 1).all()
    tables = RunTables(
        study={"name": "odd"}, scores=table, normalized=normalized, category_scores=ranked.category_scores,
        attributions=answer.attributions, explanations=answer.explanations, costs=pd.DataFrame(),
        images=pd.DataFrame(columns=[*FACTORS, "category", "class_name", "subclass", "prompt_type"]),
        failures=pd.DataFrame(columns=FAILURE_COLUMNS), provenance={},
        metrics=[metric_facts(components.find("metrics", name)) for name in BETTER],
    )  # fmt: skip
    page = build_report(tables, tmp_path / "report.html").read_text()
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])
    for column in data["means"].values():
        for means in column.values():
            assert all(score is None or n for score, n in zip(means["score"], means["n"])), "a mean of nothing"
    for name in ("normalized", "costs"):
        store.write_table(getattr(tables, name), tmp_path / f"{name}.parquet")
    for ask in (choosing.leaderboard, choosing.epochs, lambda run: choosing.recipe(run, {})):
        without_answer = normalized["score"].isna().all() or (
            ask is choosing.epochs and normalized[["epoch", "step"]].isna().all(axis=None)
        )
        with pytest.raises(UserError, match="ranked") if without_answer else contextlib.nullcontext():
            ask(tmp_path)


def test_one_checkpoint_of_a_population_has_no_rank_and_one_seed_no_verdict():
    alone = rank(ODD["one checkpoint"], BETTER)
    assert alone.normalized["score"].isna().all() and alone.category_scores["score"].isna().all()
    one_seed = claims(rank(ODD["one seed"], BETTER).normalized)
    assert {f.verdict for f in one_seed if f.claim in (2, 3, 5)} <= {"cannot be told", "not measured"}
    constant = rank(ODD["a constant metric"], BETTER)
    vendi = constant.normalized.query("metric == 'vendi'")["score"]
    assert (vendi == 0.5).all()  # all tie: neither first nor last


def test_rows_given_twice_are_refused_in_words():
    table = scores()
    with pytest.raises(UserError, match="has two values of one leaf and metric"):
        rank(pd.concat([table, table.head(1)]), BETTER)
