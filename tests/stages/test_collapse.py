"""What shows nothing is known by its kind, and what shows something is none of it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from lorabench.api import studies
from lorabench.components import MetricInputs, metric
from lorabench.records import Concept, Features
from lorabench.stages.collapse import collapsed
from lorabench.stages.score import Leaf, MetricChoice, score_checkpoint

RNG = np.random.default_rng(0)


def speckled(grid: int, side: int = 128) -> np.ndarray:
    """Colours that change from one part of a grid to the next, as decoded noise has them."""
    small = RNG.integers(0, 256, (grid, grid, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("picture", "kind"),
    [
        (np.zeros((64, 48, 3), np.uint8), "black"),
        (RNG.integers(0, 3, (64, 64, 3), dtype=np.uint8), "black"),
        (np.full((64, 64, 3), (200, 30, 30), np.uint8), "uniform"),
        (RNG.integers(128, 134, (64, 64, 3), dtype=np.uint8), "uniform"),
        (RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), "noise"),
        (np.repeat(RNG.integers(0, 256, (64, 64, 1), dtype=np.uint8), 3, axis=2), "noise"),
        (speckled(32), "noise"),
        (speckled(64, 512), "noise"),
    ],
)
def test_what_shows_nothing(picture, kind):
    assert collapsed(picture) == kind


def test_pictures_of_all_styles_show_something():
    pictures = sorted(studies.mini_dataset_folder().rglob("*.png"))
    assert len(pictures) > 100
    assert [each for each in pictures if collapsed(np.asarray(Image.open(each).convert("RGB")))] == []


def test_a_gradient_and_a_small_thing_on_white_show_something():
    gradient = np.tile(np.linspace(0, 255, 64, dtype=np.uint8)[:, None, None], (1, 64, 3))
    white = np.full((64, 64, 3), 255, np.uint8)
    white[30:36, 30:36] = (200, 0, 0)
    assert collapsed(gradient) == collapsed(white) == ""


# --- left out of what is measured -------------------------------------------------------------------------------------

CAT = Concept("toys", "cat", "", "[V_cat]", "toy")
VALUES = np.arange(12.0)


@metric(
    criterion="fidelity",
    higher_is_better=True,
    encoders=("dinov2",),
    prompt_types=("train",),
    compares_with=("base",),
)
def difference(inputs: MetricInputs) -> np.ndarray:
    """Of each image from its partner."""
    return (inputs.generated - inputs.base)[:, 0]


@metric(criterion="diversity", higher_is_better=True, encoders=("dinov2",), prompt_types=("train",))
def spread(inputs: MetricInputs) -> float:
    """Of a whole set."""
    return float(inputs.generated.max() - inputs.generated.min())


def features(source, *_):
    array = (VALUES if source == "generated" else np.zeros(12))[:, None].astype(np.float32)
    return Features("dinov2", "dinov2-v1", "", tuple(map(str, range(12))), array)


def scored(**kinds):
    leaf = Leaf(CAT, "train", np.zeros(12, int), **kinds)
    choices = [MetricChoice(each, "dinov2", "") for each in (difference, spread)]
    return {score.metric: score for score in score_checkpoint("k", [leaf], features, choices)}


def test_others_keep_their_places_and_blocks():
    whole, without = scored(), scored(collapsed={0: "black", 11: "noise"}, base_collapsed={5: "black"})
    assert whole["difference"].n_images == 12 and without["difference"].n_images == 9
    expected = np.delete(VALUES, [0, 5, 11])
    assert without["difference"].value == pytest.approx(expected.mean())
    per_image = np.array(without["difference"].per_image)
    assert np.flatnonzero(np.isnan(per_image)).tolist() == [0, 5, 11]
    assert np.array_equal(per_image[~np.isnan(per_image)], expected)
    assert without["spread"].value == 9 and without["spread"].n_images == 10  # compared with nothing
    # Block 0 holds images 0 and 10, block 1 images 1 and 11, block 5 image 5 alone, which is gone.
    assert without["difference"].blocks == () and len(scored(collapsed={0: "black"})["difference"].blocks) == 10


def test_a_set_of_nothing_has_no_value_and_says_why():
    gone = scored(collapsed=dict.fromkeys(range(12), "black"))
    for score in gone.values():
        assert np.isnan(score.value) and score.reason == "All 12 images collapsed (black): toys/cat, train."
