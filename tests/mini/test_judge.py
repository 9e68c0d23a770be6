"""The judge names held-out renders, and its metric counts what it names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from lorabench.components import MetricInputs
from lorabench.mini import weights_path
from lorabench.mini.concepts import CONCEPTS
from lorabench.mini.identified import identified
from lorabench.mini.judge import CONCEPT, identification, judge, load_judge
from lorabench.mini.measure import (
    GATES,
    clip_quality,
    concept_renders,
    identity_and_style,
    load_encoder,
    reconstruction,
)


def test_concepts_and_decoys_are_told_apart():
    found = load_judge()
    for identity, prefix in (("concept", ""), ("decoy", "decoy of ")):
        right = [found.names(concept_renders(c, 3, identity), CONCEPT) == prefix + c.id for c in CONCEPTS]
        assert np.mean(right) >= 0.9


def test_identification_of_renders_is_high_and_of_decoys_nought():
    encoder = judge.load(None, torch.device("cpu"))
    panda = next(c for c in CONCEPTS if c.class_name == "panda")
    sets = [list(concept_renders(panda, 8, identity)) for identity in ("concept", "decoy")]
    dataset = encoder.encode_images(sets[0], "")
    values = [
        identification.compute(
            MetricInputs(encoder.encode_images(images, ""), np.zeros(8, int), "trigger", dataset)
        ).value
        for images in sets
    ]
    assert values[0] >= 0.9 and values[1] <= 0.1


def test_identified_pools_seeds_and_leaves_of_the_last_epoch():
    rows = [
        ("a", "lora", 1, 1.0, 8),  # not the last epoch
        ("a", "lora", 2, 0.5, 8),
        ("a", "lora", 2, 1.0, 16),
        ("base", "none", np.nan, 0.0, 8),
    ]
    scores = pd.DataFrame(rows, columns=["config", "algorithm", "epoch", "value", "n_images"])
    scores = scores.assign(metric="identification", prompt_type="trigger", category="scenes", step=np.nan)
    table = identified(scores).set_index("config")
    assert table.loc["a", ["right", "images"]].tolist() == [20, 24] and table.loc["base", "right"] == 0
    z, n, p = 1.959964, 24, 20 / 24  # Wilson's interval by its formula
    centre, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert table.loc["a", ["low", "high"]].tolist() == pytest.approx(
        [(centre - half) / (1 + z**2 / n), (centre + half) / (1 + z**2 / n)], abs=6e-4
    )


QUICK = [name for name in GATES if name.startswith(("autoencoder", "clip", "dinov2", "vgg19"))]


@pytest.mark.parametrize("gate", QUICK)
def test_the_shipped_encoders_reach_their_gates(gate, measured):
    find, least = GATES[gate]
    assert find(measured) >= least


@pytest.fixture(scope="module")
def measured():
    encoders = {name: load_encoder(weights_path(), name) for name in ("clip", "dinov2", "vgg19")}
    return {
        "autoencoder": reconstruction(weights_path(), 60),
        "clip": clip_quality(encoders["clip"]),
        **{name: identity_and_style(encoders[name]) for name in ("dinov2", "vgg19")},
    }
