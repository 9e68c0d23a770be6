"""Claims find planted effects, whichever way they go, and say what a study cannot tell."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from lorabench.stages.claims import claims
from lorabench.statistics.clustered import clustered_mean
from lorabench.statistics.columns import FACTORS

CONFIGS = {
    "lora": ("lora", "linear", 1.0, 8, 4, None),
    "lora-slow": ("lora", "linear", 0.1, 8, 4, None),
    "lora-attention": ("lora", "attention", 1.0, 8, 4, None),
    "lora-wide": ("lora", "linear", 1.0, 32, 16, None),
    "native": ("native", "linear", 0.5, None, None, None),
    "native-slow": ("native", "linear", 0.05, None, None, None),
}


def study(effect) -> pd.DataFrame:
    """Normalised scores of a small star of configs: `effect(config, epoch, metric)` and noise."""
    rng, rows = np.random.default_rng(0), []
    measured = {"image_similarity": ("train", "trigger", "alter"), "text_similarity": ("train", "trigger", "alter"),
                "vendi": ("train", "trigger", "alter"), "style_loss_base": ("style",)}  # fmt: skip
    for (name, shape), seed, epoch in itertools.product(CONFIGS.items(), (1, 2, 3), (5, 10)):
        for (metric, types), place in itertools.product(measured.items(), range(8)):
            for type_ in types:
                score = 0.5 + effect(name, epoch, metric) + 0.03 * rng.normal()
                category = "scenes" if place < 4 else "movie_characters"
                rows.append(("s", "b", f"{name}-{seed}-{epoch}", name, *shape, seed, epoch, epoch, 1.0, category,
                             f"class{place}", "", type_, metric, "e", "", score))  # fmt: skip
    columns = [*FACTORS, "category", "class_name", "subclass", "prompt_type", "metric", "encoder", "resize", "score"]
    return pd.DataFrame(rows, columns=columns).astype({"dim": "Int64", "factor": "Int64", "alpha": float})


def verdicts(effect) -> dict[str, str]:
    return {finding.statement: finding.verdict for finding in claims(study(effect))}


def test_planted_effects_are_found_whichever_way_they_go():
    def trained(config, epoch, metric):
        more = (epoch == 10) - 0.5 * ("slow" in config) + 0.5 * ("wide" in config)
        return 0.1 * more * (1 if metric == "image_similarity" else -1)

    found = verdicts(trained)
    for what in ("more epochs", "higher learning rate", "larger dim at equal alpha/dim, smaller factor"):
        for name in ("image similarity", "text similarity", "Vendi score", "style preservation"):
            assert found[f"{what}: {name}"] == "holds", (what, name)
    assert found["more epochs, scenes: image similarity"] == "does not hold"
    opposite = verdicts(lambda *what: -trained(*what))
    assert opposite["more epochs: image similarity"] == "does not hold"
    assert opposite["more epochs, scenes: image similarity"] == "holds"


def test_no_effect_cannot_be_told_and_what_a_study_lacks_is_not_measured():
    found = verdicts(lambda *_: 0.0)
    assert found["higher learning rate: Vendi score"] == "cannot be told"
    assert found["convolutions as well: image similarity"] == "not measured"
    assert found["more epochs, stuffed toys: image similarity"] == "not measured"
    assert found["larger dim with alpha 1: image similarity"] == "not measured"


def test_effects_are_differences_of_the_pairs_meant():
    found = {f.statement: f for f in claims(study(lambda config, epoch, metric: 0.2 * (config == "lora-attention")))}
    effect = found["attention layers only: image similarity"].effect
    assert effect.mean == pytest.approx(0.2, abs=0.02) and effect.clusters == (8, 3)
    assert found["attention layers only: image similarity"].verdict == "does not hold"
    assert found["native against the others: image similarity on train"].effect.mean == pytest.approx(0, abs=0.02)


def test_a_clustered_mean_of_equal_groups_is_the_t_interval_of_their_means():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(6), 5)
    values = rng.normal(size=6)[groups] + 0.1 * rng.normal(size=30)
    means = values.reshape(6, 5).mean(1)
    expected = ttest_1samp(means, 0).confidence_interval()
    found = clustered_mean(values, groups)
    assert (found.mean, found.low, found.high) == pytest.approx((means.mean(), expected.low, expected.high))
    # A second grouping that explains nothing cannot make the interval shorter.
    crossed = clustered_mean(values, groups, np.tile(np.arange(5), 6))
    assert crossed.se >= found.se - 1e-12 and crossed.clusters == (6, 5)
    assert np.isnan(clustered_mean(values, np.zeros(30)).low)


def test_two_way_intervals_cover_as_often_as_they_say():
    rng, inside = np.random.default_rng(2), 0
    rows, columns = (grid.ravel() for grid in np.meshgrid(np.arange(10), np.arange(12), indexing="ij"))
    for _ in range(400):
        values = rng.normal(size=10)[rows] + rng.normal(size=12)[columns] + rng.normal(size=120)
        found = clustered_mean(values, rows, columns)
        inside += found.low <= 0 <= found.high
    assert 0.90 <= inside / 400 <= 0.99
