"""Probes answer what is true of the features they are given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lorabench import components
from lorabench.components import metric
from lorabench.stages.audit import COMPARED, DAMAGES, PROBED, Probed, look, probe, split

WIDTH = 6


def around(centre: int, n: int = 8, spread: float = 0.2, seed: int = 0) -> np.ndarray:
    """n vectors near one axis."""
    rng = np.random.default_rng([seed, centre])
    return (np.eye(WIDTH)[centre] + rng.normal(0, spread, (n, WIDTH))).astype(np.float32)


def drifting(towards: int) -> list[np.ndarray]:
    """Features that each level of damage takes further away."""
    return [around(0, seed=1) * (1 - share) + share * np.eye(WIDTH, dtype=np.float32)[towards] for share in (0.4, 0.8)]


SEEN = Probed(
    real=around(0, seed=1),
    compared=around(0, 16, seed=2),
    damaged={kind: drifting(place + 2) for place, kind in enumerate(DAMAGES)},
    other=around(1),
)


@pytest.mark.parametrize("name", ["image_similarity", "squared_centroid_distance", "style_loss_data"])
def test_a_metric_of_fidelity_knows_its_own_and_every_damage(name):
    answers = probe(components.find("metrics", name), SEEN)
    assert answers["identity"] == answers["blur"] == answers["jpeg"] == answers["crop"] == 1
    assert {"real", "copies"} < set(answers)


def test_a_metric_that_answers_by_chance_is_found_out():
    rng = np.random.default_rng(3)

    @metric(criterion="fidelity", higher_is_better=True, encoders=("e",), prompt_types=("train",))
    def dice(inputs):
        """Anything."""
        return rng.random()

    answers = [probe(dice, SEEN) for _ in range(40)]
    for name in ("identity", "blur", "jpeg", "crop"):
        assert np.mean([answer[name] for answer in answers]) == pytest.approx(0.5, abs=0.15)


def test_a_metric_that_likes_damage_is_found_out():
    @metric(
        criterion="fidelity",
        higher_is_better=False,
        encoders=("e",),
        prompt_types=("train",),
        compares_with=("dataset",),
    )
    def upside_down(inputs):
        """Similarity, and less of it is better."""
        return float((inputs.generated @ inputs.dataset.T).mean())

    answers = probe(upside_down, SEEN)
    assert answers["identity"] == answers["blur"] == 0


def test_text_similarity_is_asked_to_tell_texts_apart():
    text = around(0, 8, 0.01)
    seen = replace(SEEN, text=text, other_text=around(1, 8, 0.01))
    similarity = components.find("metrics", "text_similarity")
    answers = probe(similarity, seen)
    assert answers["identity"] == 1 and "copies" not in answers
    assert "identity" not in probe(similarity, replace(seen, other_text=None))
    assert probe(similarity, SEEN) == {}


def test_diversity_is_asked_for_copies_only_and_preservation_for_damage():
    vendi = probe(components.find("metrics", "vendi"), SEEN)
    assert set(vendi) == {"real", "copies"} and vendi["copies"] == pytest.approx(1) and vendi["real"] > 1
    kept = probe(components.find("metrics", "style_loss_base"), SEEN)
    assert set(kept) == {"real", "blur", "jpeg", "crop"} and kept["real"] == 0 and kept["blur"] == 1


def test_without_another_concept_nothing_is_said_of_identity():
    assert "identity" not in probe(components.find("metrics", "image_similarity"), replace(SEEN, other=None))


@pytest.mark.parametrize("n", [4, 7, 40])
def test_probed_and_compared_images_are_not_the_same(n):
    probed, compared = split(n, "toys/cat")
    assert len(probed) == min(PROBED, n // 2) and len(compared) == min(COMPARED, n - len(probed))
    assert not set(probed) & set(compared) and set(probed) | set(compared) <= set(range(n))


def test_damaged_pictures_are_what_the_encoder_sees():
    class Roughness:
        """Sum of neighbours' differences: blur and compression take it away."""

        def encode_images(self, images, resize):
            return np.array([[np.abs(np.diff(image.astype(float), axis=0)).sum()] for image in images], np.float32)

    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (128, 96, 3), np.uint8) for _ in range(3)]
    seen = look(Roughness(), pictures, pictures[:2], [], [], "", 2)
    assert seen.real.shape == (3, 1) and seen.compared.shape == (2, 1) and seen.other is None
    for kind in ("blur", "crop"):
        light, strong = seen.damaged[kind]
        assert (seen.real > light).all() and (light > strong).all(), kind
    assert (seen.damaged["jpeg"][1] < seen.real).all()
