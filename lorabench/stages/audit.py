"""Probes of metrics: what each says of real images whose truth is known, before one believes what it says of others.

Real images of a concept take the place of generated ones: as they are, damaged, one again and again, and those of
another concept. No generated image and no base model is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from lorabench import images
from lorabench.components import Encoder, Metric, MetricInputs
from lorabench.seeds import derive_seed
from lorabench.stages.encode import encode_images

PROBED, COMPARED = 8, 16  # images of a concept at most: in the place of generated ones, and to compare with
SUBSETS, SUBSET = 24, 4  # sets that the metric tells own from other by
COPIED = 8  # of the images to compare with, one after another in the place of all generated ones
LEAST = 4  # images that a concept needs to be probed


def _blurred(image: np.ndarray, share: float) -> np.ndarray:
    """Blurred by that share of the shorter side, so that pictures of all sizes suffer alike."""
    return images.blurred(image, share * min(image.shape[:2]))


# Each level is stronger than the one before.
DAMAGES: dict[str, tuple[Callable[[np.ndarray], np.ndarray], ...]] = {
    "blur": tuple(partial(_blurred, share=share) for share in (0.01, 0.02)),
    "jpeg": tuple(partial(images.compressed, quality=quality) for quality in (30, 10)),
    "crop": tuple(partial(images.cropped, share=share) for share in (0.8, 0.6)),
}
# What of `Probed` a probe needs; diversity rises and falls with damage, so that its answer to it says nothing.
_NOTICES_DAMAGE = ("fidelity", "controllability", "base_model_preservation", "image_quality")


@dataclass(frozen=True)
class Probed:
    """Real images of one concept through one encoder, float32 [n, d] each; None where there is nothing of the kind.

    `real` stand for generated images, `compared` for the data set; `other` are of another concept, `held_out` were not
    trained on. `text` and
    `other_text` belong to `real`: the texts for alignment of their captions, and of captions of other images.
    """

    real: np.ndarray
    compared: np.ndarray
    damaged: Mapping[str, Sequence[np.ndarray]]  # as DAMAGES: kind -> by level
    other: np.ndarray | None = None
    text: np.ndarray | None = None
    other_text: np.ndarray | None = None
    held_out: np.ndarray | None = None


def split(n: int, concept_id: str) -> tuple[np.ndarray, np.ndarray]:
    """Rows of a concept's n images that stand for generated ones, and rows to compare those with; int, disjoint."""
    order = np.random.default_rng(derive_seed("audit", concept_id)).permutation(n)
    probed = min(PROBED, n // 2)
    return order[:probed], order[probed:][:COMPARED]


def look(
    encoder: Encoder,
    real: Sequence[np.ndarray],
    compared: Sequence[np.ndarray],
    other: Sequence[np.ndarray],
    held_out: Sequence[np.ndarray],
    resize: str,
    batch_size: int,
) -> Probed:
    """The same, of pictures uint8 [h, w, 3]; `other` and `held_out` may be empty. Texts are left to the caller."""
    seen = partial(encode_images, encoder, resize=resize, batch_size=batch_size)
    damaged = {kind: [seen([damage(image) for image in real]) for damage in levels] for kind, levels in DAMAGES.items()}
    others = {name: seen(pictures) for name, pictures in (("other", other), ("held_out", held_out)) if pictures}
    return Probed(seen(real), seen(compared), damaged, **others)


def probe(metric: Metric, probed: Probed) -> dict[str, float]:
    """Answers of a metric by the name of the probe; those that it has no meaning for are left out.

    real: its value on real images. copies: on one image again and again (of several images the mean, where it tells how
    much is copied). identity: how often a few images of the
    concept score better than a few of another concept (with texts: than with other texts), in [0, 1], chance 0.5.
    blur, jpeg, crop: the share of steps of growing damage that it does not call better, in [0, 1].
    """
    lacking = {name for name in ("text", "held_out") if getattr(probed, name) is None}
    if metric.scope != "leaf" or lacking & set(metric.compares_with):
        return {}
    value = partial(_value, metric, probed)
    everything = np.arange(len(probed.real))
    answers = {"real": value(probed.real, everything)}
    if not {"text", "base"} & set(metric.compares_with):
        # A gap moves by one part in as many training images as there are: less than by which of them is copied.
        copied = probed.compared[: COPIED if metric.criterion == "memorisation" else 1]
        each = [value(np.repeat(image[None], len(everything), axis=0), everything) for image in copied]
        answers["copies"] = float(np.mean(each))
    if metric.criterion in ("fidelity", "controllability"):
        answers["identity"] = _identity(metric, probed)
    if metric.criterion in _NOTICES_DAMAGE:
        for kind, levels in probed.damaged.items():
            values = np.array([answers["real"], *(value(level, everything) for level in levels)])
            steps = np.diff(values) * (-1 if metric.higher_is_better else 1)
            answers[kind] = float((steps >= 0).mean()) if np.isfinite(steps).all() else float("nan")
    return {name: answer for name, answer in answers.items() if not np.isnan(answer)}


def _value(
    metric: Metric, probed: Probed, generated: np.ndarray, rows: np.ndarray, text: np.ndarray | None = None
) -> float:
    """The metric of `generated`, whose i-th image stands for real image rows[i]."""
    sources = {"dataset": probed.compared, "base": probed.real[rows], "held_out": probed.held_out}
    wanted = (*metric.compares_with, *metric.may_compare_with)
    inputs = {name: array for name, array in sources.items() if name in wanted}
    if "text" in metric.compares_with:
        inputs["text"] = (probed.text if text is None else text)[rows]
    prompt_type = "trigger" if "trigger" in metric.prompt_types else metric.prompt_types[0]
    return metric.compute(MetricInputs(generated, np.zeros(len(generated), int), prompt_type, **inputs)).value


def _identity(metric: Metric, probed: Probed) -> float:
    """Ties count half; NaN where there is nothing to confuse the concept with."""
    rng = np.random.default_rng(derive_seed("audit", "identity"))
    size = min(SUBSET, len(probed.real))
    rows = [rng.choice(len(probed.real), size, replace=False) for _ in range(SUBSETS)]
    own = np.array([_value(metric, probed, probed.real[each], each) for each in rows])
    if "text" in metric.compares_with:
        if probed.other_text is None:
            return float("nan")
        other = np.array([_value(metric, probed, probed.real[each], each, probed.other_text) for each in rows])
    elif probed.other is not None and len(probed.other) >= size:
        drawn = [rng.choice(len(probed.other), size, replace=False) for _ in range(SUBSETS)]
        other = np.array([_value(metric, probed, probed.other[each], rows[0]) for each in drawn])
    else:
        return float("nan")
    difference = (own[:, None] - other[None]) * (1 if metric.higher_is_better else -1)
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())
