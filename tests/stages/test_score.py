"""Which rows come out of scoring, with which features behind them, and why a value is missing."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from lorabench import components
from lorabench.components import MetricInputs, metric
from lorabench.records import Concept, Features
from lorabench.stages.score import Leaf, MetricChoice, score_checkpoint, score_dataset
from lorabench.statistics.distances import frechet_distance
from lorabench.statistics.similarity import mean_cosines

CAT = Concept("toys", "cat", "", "[V_cat]", "toy")
DOG = Concept("toys", "dog", "red", "[V_dog]", "toy")
INK = Concept("styles", "ink", "", "[V_ink]", "style")
LEAVES = [Leaf(concept, "train", np.arange(6) // 2) for concept in (CAT, DOG, INK)]


def _choice(name: str, encoder: str = "dinov2", resize: str = "letterbox") -> MetricChoice:
    return MetricChoice(components.find("metrics", name), encoder, resize)


class FakeFeatures:
    """Features that depend on what is asked for; `changes` replaces single answers, `asked` counts the questions."""

    def __init__(self, **changes):
        self.changes, self.asked = changes, Counter()

    def __call__(self, source, concept_id, prompt_type, encoder, resize):
        self.asked[source, concept_id, prompt_type, encoder, resize] += 1
        seed = [ord(letter) for letter in source + concept_id + prompt_type]
        array = np.random.default_rng(seed).normal(0.2, 1, (6, 4)).astype(np.float32)
        features = Features(encoder, f"{encoder}-v1", resize, tuple("012345"), array)
        change = self.changes.get(source)
        return change(features, concept_id) if change else features


def test_a_score_holds_the_value_of_its_own_features():
    features = FakeFeatures()
    scores = score_checkpoint("k-23-1", LEAVES, features, [_choice("image_similarity")])
    assert [(s.category, s.class_name, s.subclass) for s in scores] == [
        ("toys", "cat", ""), ("toys", "dog", "red"), ("styles", "ink", "")
    ]  # fmt: skip
    dog = scores[1]
    asked = (DOG.id, "train", "dinov2", "letterbox")
    assert dog.value == mean_cosines(features("generated", *asked).array, features("dataset", *asked).array).mean()
    identity = (dog.checkpoint_id, dog.prompt_type, dog.metric, dog.encoder, dog.resize, dog.n_images, dog.reason)
    assert identity == ("k-23-1", "train", "image_similarity", "dinov2", "letterbox", 6, "")


def test_metrics_give_no_row_where_they_have_no_meaning():
    scores = score_checkpoint(
        "k", LEAVES, FakeFeatures(), [_choice("style_loss_data", "vgg19"), _choice("style_loss_base")]
    )
    assert [(s.metric, s.class_name) for s in scores] == [("style_loss_data", "ink")]


def test_features_are_asked_for_once_a_leaf():
    features = FakeFeatures()
    score_checkpoint(
        "k", LEAVES, features, [_choice("image_similarity"), _choice("vendi"), _choice("squared_centroid_distance")]
    )
    assert set(features.asked.values()) == {1}


def test_scope_checkpoint_pools_all_leaves_of_a_prompt_type():
    features = FakeFeatures()
    leaves = [*LEAVES, Leaf(CAT, "trigger", np.zeros(6, dtype=int))]
    (score,) = score_checkpoint("k", leaves, features, [_choice("frechet_distance")])
    sets = [
        np.concatenate([features(source, leaf.concept.id, "train", "dinov2", "letterbox").array for leaf in LEAVES])
        for source in ("generated", "dataset")
    ]
    assert score.value == pytest.approx(frechet_distance(*sets), rel=1e-12)
    assert (score.category, score.class_name, score.subclass, score.n_images) == ("all", "", "", 18)


def test_prompts_of_different_concepts_stay_different_in_a_pool():
    @metric(
        criterion="diversity", higher_is_better=True, encoders=("dinov2",), prompt_types=("train",), scope="checkpoint"
    )
    def prompts(inputs: MetricInputs) -> float:
        return len(np.unique(inputs.prompt_index))

    (score,) = score_checkpoint("k", LEAVES, FakeFeatures(), [MetricChoice(prompts, "dinov2", "")])
    assert score.value == 9


def _none_for_dog(features, concept_id):
    return None if concept_id == DOG.id else features


@pytest.mark.parametrize(
    "name, changes, words",
    [
        (
            "image_similarity",
            {"generated": _none_for_dog},
            "No dinov2 features of generated images (toys/dog/red, train)",
        ),
        ("image_similarity", {"dataset": _none_for_dog}, "No dinov2 features of data-set images (toys/dog/red, train)"),
        ("text_similarity", {"text": lambda f, c: replace(f, ids=f.ids[::-1])}, "do not pair"),
        ("image_similarity", {"dataset": lambda f, c: replace(f, encoder_id="other-v1")}, "dinov2-v1 and other-v1"),
        (
            "vendi",
            {"generated": lambda f, c: replace(f, ids=f.ids[:5], array=f.array[:5])},
            "6 images were asked for, 5",
        ),
        ("frechet_distance", {"dataset": _none_for_dog}, "toys/dog/red"),  # a pool without a leaf is another pool
    ],
)
def test_missing_or_foreign_features_are_nan_with_a_reason(name, changes, words):
    scores = score_checkpoint("k", LEAVES, FakeFeatures(**changes), [_choice(name)])
    dog = next(s for s in scores if s.class_name in ("dog", ""))
    assert np.isnan(dog.value) and words in dog.reason and dog.n_images == 0
    for other in scores:
        assert np.isnan(other.value) == bool(other.reason)


def test_real_images_say_the_ceiling():
    """Training images among themselves: similar ones score like copies, and small data sets say why they do not."""
    rng = np.random.default_rng(0)
    concept = Concept("toys", "panda", "", "[V_p]", "panda")
    leaf = Leaf(concept, "trigger", np.zeros(8, dtype=int))
    rows = np.float32(np.eye(16)[0] + 0.1 * rng.standard_normal((12, 16)))
    names = ("image_similarity", "vendi", "text_similarity")
    choices = [MetricChoice(components.find("metrics", name), "clip", "") for name in names]

    def found(n: int):
        array = rows[:n]
        features = lambda *_: Features("clip", "id", "", tuple(map(str, range(n))), array)  # noqa: E731
        return {each.metric: each for each in score_dataset("dataset", [leaf], features, choices)}

    whole = found(12)
    assert set(whole) == {"image_similarity", "vendi"}  # texts of real images are captions, not prompts
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    others = (unit @ unit.T)[~np.eye(12, dtype=bool)]
    # A mean over random splits of the mean over all pairs of two images.
    assert whole["image_similarity"].value == pytest.approx(others.mean(), abs=3 * others.std() / np.sqrt(8))
    assert whole["image_similarity"].n_images == 6 and whole["vendi"].n_images == 8
    assert 1 < whole["vendi"].value < 8
    small = found(5)
    assert np.isnan(small["vendi"].value) and "has 5 images" in small["vendi"].reason
    assert small["image_similarity"].n_images == 2 and small["image_similarity"].value > 0.8
