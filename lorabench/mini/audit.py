"""What each metric says of pictures whose truth is known: real renders, decoys, base images, damaged renders."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lorabench import components, images
from lorabench.components import Encoder, Metric, MetricInputs
from lorabench.config import DEFAULT_METRICS
from lorabench.datasets import load_dataset
from lorabench.mini import write_dataset
from lorabench.mini.concepts import CONCEPTS, NovelConcept, concept_caption
from lorabench.mini.measure import HELD_OUT_INDEX, SEED, concept_renders, load_encoder
from lorabench.mini.styles import Pixels
from lorabench.mini.train_base import sample
from lorabench.prompts import text_for_alignment
from lorabench.records import Concept

IMAGES = 16  # of each concept in each set
SUBSETS, SUBSET = 24, 4  # sets that a metric compares to tell concept from decoy
METRICS = tuple(choice.name for choice in DEFAULT_METRICS if choice.name != "style_loss_base")


def _hue_turned(pixels: Pixels, degrees: float) -> Pixels:
    hsv = np.array(Image.fromarray(pixels).convert("HSV"))
    hsv[..., 0] = (hsv[..., 0].astype(int) + round(degrees / 360 * 256)) % 256
    return np.asarray(Image.fromarray(hsv, "HSV").convert("RGB"))


DAMAGES: dict[str, Callable[[Pixels], Pixels]] = {
    "blur 0.7 px": partial(images.blurred, sigma=0.7),
    "blur 1.5 px": partial(images.blurred, sigma=1.5),
    "crop to 80 %": partial(images.cropped, share=0.8),
    "crop to 60 %": partial(images.cropped, share=0.6),
    "hue turned 30": partial(_hue_turned, degrees=30),
    "hue turned 90": partial(_hue_turned, degrees=90),
}


def audit(weights: Path, metrics: tuple[str, ...] = METRICS) -> pd.DataFrame:
    """One row a metric and encoder: its mean over concepts on sets of known truth, and whether it knows identities.

    Columns: metric, encoder, better ("higher" or "lower"); real (other renders of the concept: the ceiling), base (the
    base model asked with the same captions: the floor), decoy (equal colours, another identity), copies (one training
    image again and again), the names of `DAMAGES` (real renders, damaged); identity AUC: how often a set of four
    renders scores better than four decoys, empty where the metric does not compare with the data set.
    """
    with tempfile.TemporaryDirectory() as folder:
        dataset = load_dataset(write_dataset(Path(folder)))
        training = {c.id: [_read(image.path) for image in dataset.images_of(c.id)] for c in dataset.concepts}
    pairs = [(c, components.find("metrics", m)) for m in metrics for c in components.find("metrics", m).encoders]
    encoders = {name: load_encoder(weights, name) for name in dict.fromkeys(name for name, _ in pairs)}
    drawn = _base_images(weights / "base")
    rows = []
    for novel, concept in zip(CONCEPTS, sorted(dataset.concepts, key=_place), strict=True):
        sets = _sets(novel, drawn[novel.id], training[concept.id])
        for name, encoder in encoders.items():
            own = [metric for encoder_name, metric in pairs if encoder_name == name]
            rows += _rows(own, encoder, sets, training[concept.id], novel, concept)
    table = pd.DataFrame(rows)
    order = {(metric.name, name): k for k, (name, metric) in enumerate(pairs)}
    means = table.groupby(["metric", "encoder", "better"], as_index=False).mean(numeric_only=True)
    places = [order[pair] for pair in zip(means["metric"], means["encoder"])]
    return means.iloc[np.argsort(places)].reset_index(drop=True)


def _place(concept: Concept) -> int:
    return [each.id for each in CONCEPTS].index(concept.id)


def _read(path: Path) -> Pixels:
    return np.asarray(Image.open(path).convert("RGB"))


def _base_images(base: Path) -> dict[str, list[Pixels]]:
    """Pictures of the base for captions of the held-out renders of every concept."""
    asked = [(c.id, concept_caption(c, HELD_OUT_INDEX + k)) for c in CONCEPTS for k in range(IMAGES)]
    drawn = sample(base, [caption for _, caption in asked], SEED)
    return {c.id: [image for (owner, _), image in zip(asked, drawn) if owner == c.id] for c in CONCEPTS}


def _sets(novel: NovelConcept, drawn: list[Pixels], training: list[Pixels]) -> dict[str, list[Pixels]]:
    real = list(concept_renders(novel, IMAGES))
    damaged = {name: [damage(image) for image in real] for name, damage in DAMAGES.items()}
    decoys = list(concept_renders(novel, IMAGES, "decoy"))
    return {"real": real, "base": drawn, "decoy": decoys, "copies": [training[0]] * IMAGES, **damaged}


def _rows(
    metrics: list[Metric],
    encoder: Encoder,
    sets: dict[str, list[Pixels]],
    training: list[Pixels],
    novel: NovelConcept,
    concept: Concept,
) -> list[dict[str, object]]:
    dataset = encoder.encode_images(training, "")
    features = {name: encoder.encode_images(pixels, "") for name, pixels in sets.items()}
    text = None
    if any("text" in metric.compares_with for metric in metrics):
        captions = [concept_caption(novel, HELD_OUT_INDEX + k) for k in range(IMAGES)]
        text = encoder.encode_texts([text_for_alignment(caption, concept) for caption in captions])
    rows = []
    for metric in metrics:
        if metric.categories is not None and concept.category not in metric.categories:
            continue
        value = _Value(metric, dataset, text)
        row = {name: value(rows_of, np.arange(len(rows_of))) for name, rows_of in features.items()}
        auc = _auc(value, features) if "dataset" in metric.compares_with else np.nan
        better = "higher" if metric.higher_is_better else "lower"
        rows.append({"metric": metric.name, "encoder": encoder.name, "better": better, **row, "identity AUC": auc})
    return rows


class _Value:
    """A metric as a function of generated features [n, d] and of the rows of the texts that go with them."""

    def __init__(self, metric: Metric, dataset: np.ndarray, text: np.ndarray | None) -> None:
        self.metric, self.dataset, self.text = metric, dataset, text

    def __call__(self, features: np.ndarray, rows: np.ndarray) -> float:
        text = None if self.text is None else self.text[rows]
        inputs = MetricInputs(features, np.zeros(len(features), int), "trigger", self.dataset, text=text)
        return self.metric.compute(inputs).value


def _auc(value: _Value, features: dict[str, np.ndarray]) -> float:
    """How often a few renders of the concept score better than a few decoys; ties count half."""
    rng = np.random.default_rng(SEED)
    subsets = [rng.choice(IMAGES, SUBSET, replace=False) for _ in range(SUBSETS)]
    own, other = (np.array([value(features[name][rows], rows) for rows in subsets]) for name in ("real", "decoy"))
    difference = own[:, None] - other[None]
    wins = float((difference > 0).mean() + 0.5 * (difference == 0).mean())
    return wins if value.metric.higher_is_better else 1 - wins
