"""Claims find planted effects, whichever way they go, and say what a study cannot tell."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest

from lorabench.stages.claims import FIDELITY, claims
from lorabench.statistics.columns import FACTORS

MORE = "more epochs, not scenes, not stuffed toys"
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
        for name in ("text similarity", "Vendi score", "style preservation"):
            assert found[f"{what}: {name}"] == "holds", (what, name)
    assert found[f"{MORE}: image similarity"] == found["higher learning rate: image similarity"] == "holds"
    assert found["more epochs, scenes: image similarity"] == "does not hold"
    opposite = verdicts(lambda *what: -trained(*what))
    assert opposite[f"{MORE}: image similarity"] == "does not hold"
    assert opposite["more epochs, scenes: image similarity"] == "holds"


def test_no_effect_cannot_be_told_and_what_a_study_lacks_is_not_measured():
    found = verdicts(lambda *_: 0.0)
    assert found["higher learning rate: Vendi score"] == "cannot be told"
    assert found["convolutions as well: image similarity"] == "not measured"
    assert found["more epochs, stuffed toys: image similarity"] == "not measured"
    assert found["larger dim with alpha 1: image similarity"] == "not measured"
    table = study(lambda *_: 0.0)
    others = {f.statement: f.verdict for f in claims(table[(table["metric"] != FIDELITY) | (table["lr"] > 0.4)])}
    rescued = "native, lowest rate at the last epoch against the next rate at the first: image similarity"
    assert found[rescued] == "cannot be told" and others[rescued] == "not measured"


def test_effects_are_differences_of_the_pairs_meant():
    found = {f.statement: f for f in claims(study(lambda config, epoch, metric: 0.2 * (config == "lora-attention")))}
    effect = found["attention layers only: image similarity"].effect
    assert effect.mean == pytest.approx(0.2, abs=0.02) and effect.clusters == (8, 3)
    assert found["attention layers only: image similarity"].verdict == "does not hold"
    assert found["native against the others: image similarity on train"].effect.mean == pytest.approx(0, abs=0.02)


def test_classes_of_one_name_in_two_categories_are_two_classes():
    table = study(lambda *_: 0.0)
    table["class_name"] = "class" + (table["class_name"].str[-1].astype(int) % 4).astype(str)
    found = {f.statement: f for f in claims(table)}
    assert found["attention layers only: image similarity"].effect.clusters == (8, 3)


def test_published_means_are_one_class_a_category_and_not_counted_twice():
    table = study(lambda config, epoch, metric: 0.2 * (epoch == 10))
    keys = [name for name in table.columns if name not in ("class_name", "score")]
    means = table.groupby(keys, as_index=False, dropna=False)["score"].mean().assign(class_name="")
    found = {f.statement: f for f in claims(pd.concat([means, means.assign(category="all")]))}
    effect = found["more epochs: text similarity"].effect
    assert effect.mean == pytest.approx(0.2, abs=0.01) and effect.clusters == (2, 18)
    scenes = found["more epochs, scenes: image similarity"]
    assert scenes.effect.clusters == (18,) and scenes.verdict == "does not hold"


def test_kinds_of_captions_are_compared_at_equal_settings():
    parts = [
        study(lambda config, epoch, metric, sign=sign: sign * (-1 if metric == "image_similarity" else 1))
        .assign(captions=kind)
        .replace({"config": {name: f"{name}-{kind}" for name in CONFIGS}})
        for kind, sign in (("no tags", -0.1), ("adjusted tags", 0.0), ("all tags", 0.1))
    ]
    table = pd.concat(parts)
    table["checkpoint"] += table["captions"]
    found = {f.statement: f for f in claims(table)}
    assert found["no tags against adjusted tags: image similarity"].verdict == "holds"
    assert found["all tags against no tags: text similarity"].verdict == "holds"
    assert found["no tags against adjusted tags: Vendi score"].verdict == "does not hold"
    assert found["all tags against no tags: image similarity"].effect.mean == pytest.approx(-0.2, abs=0.01)
    native = found["native against the others: image similarity on train"].effect
    assert native.mean == pytest.approx(0, abs=0.02) and native.clusters == (8, 9)
    plain = {f.statement: f.verdict for f in claims(study(lambda *_: 0.0))}
    assert plain["all tags against no tags: text similarity"] == "not measured"
