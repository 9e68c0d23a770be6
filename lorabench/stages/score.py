"""Features in, scores out: every chosen metric on every leaf of a checkpoint."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from threadpoolctl import ThreadpoolController

from lorabench.components import Metric, MetricInputs
from lorabench.records import Concept, Features, PromptType, Score, Value
from lorabench.seeds import derive_seed
from lorabench.stages import rounds
from lorabench.stages.blocks import block_values
from lorabench.statistics.columns import ALL

SPLITS = 8  # of the data set, to say what real images score
Source = Literal["generated", "dataset", "held_out", "base", "text"]
FeatureSource = Callable[[Source, str, PromptType, str, str], Features | None]
"""(source, concept id, prompt type, encoder, resize) -> features, or None where there are none.

Rows of "generated", "base" and "text" carry the same ids in the same order: the index in the prompt set.
"""


@dataclass(frozen=True)
class MetricChoice:
    """A metric as a study asks for it: with one encoder and one way to resize the data set's images ("" = none)."""

    metric: Metric
    encoder: str
    resize: str


@dataclass(frozen=True, eq=False)
class Leaf:
    """One concept and prompt type of a checkpoint; `prompt_index` int [n] says which prompt drew image i.

    Images that collapsed, i -> kind, take no part; nor does an image whose partner among the base model's did, where it
    is compared with that. Of a set that is drawn in rounds this is one round's share, in the order in which it is
    drawn.
    """

    concept: Concept
    prompt_type: PromptType
    prompt_index: np.ndarray
    collapsed: Mapping[int, str] = field(default_factory=dict)
    base_collapsed: Mapping[int, str] = field(default_factory=dict)
    part_size: int | None = None  # images of a part, where the set is drawn in rounds


class _NoInputs(Exception):
    """The sentence that becomes the reason of a missing value."""


def score_checkpoint(
    checkpoint_id: str, leaves: Sequence[Leaf], features: FeatureSource, choices: Sequence[MetricChoice]
) -> list[Score]:
    """All scores of a checkpoint: leaf by leaf, then those of scope "checkpoint", which pool leaves of a prompt type.

    A metric gives no row where it has no meaning (prompt type, category), and NaN with a reason where its features are
    missing or do not belong together. Each set of features is asked for once a leaf, and let go after it.
    """
    scores = []
    for leaf in leaves:
        source = functools.cache(features)
        for choice in choices:
            if choice.metric.scope == "leaf" and _applies(choice.metric, leaf):
                scores.append(_measured(checkpoint_id, choice, [leaf], source, leaf.concept))
    for choice in choices:
        if choice.metric.scope == "checkpoint":
            for prompt_type in dict.fromkeys(leaf.prompt_type for leaf in leaves):
                pool = [leaf for leaf in leaves if leaf.prompt_type == prompt_type and _applies(choice.metric, leaf)]
                if pool:
                    scores.append(_measured(checkpoint_id, choice, pool, features, None))
    return scores


def measured_parts(choice: MetricChoice, leaf: Leaf, features: FeatureSource) -> np.ndarray:
    """What each part of a leaf's images measures, see `rounds.part_values`; none where nothing can be measured."""
    if choice.metric.scope != "leaf" or not _applies(choice.metric, leaf):
        return np.empty(0)
    try:
        inputs, kept = _leaf_inputs(choice, leaf, features)
    except _NoInputs:
        return np.empty(0)
    order = rounds.order_of(leaf.prompt_index, leaf.concept.id, leaf.prompt_type)
    size = rounds.part_size(choice.metric, len(order))
    whole = _compute(choice.metric, inputs)
    return rounds.part_values(choice.metric, _compute, whole, inputs, kept, order, size)


def score_dataset(
    dataset_id: str, leaves: Sequence[Leaf], features: FeatureSource, choices: Sequence[MetricChoice]
) -> list[Score]:
    """What real images score: the ceiling of a metric, beside the base model's values, its floor.

    A few of the concept's training images, as many as generated ones where there are enough, take the place of
    generated ones and are compared with the others, or with those held out; mean over random splits. For metrics that
    look at nothing but generated images and real ones.
    """
    scores = []
    for leaf in leaves:
        for choice in choices:
            alone = choice.metric.scope == "leaf" and set(choice.metric.compares_with) <= {"dataset", "held_out"}
            if alone and _applies(choice.metric, leaf):
                value, n_images = _ceiling(choice, leaf, features)
                scores.append(_score(dataset_id, choice, leaf.prompt_type, value, n_images, leaf.concept))
    return scores


def _ceiling(choice: MetricChoice, leaf: Leaf, features: FeatureSource) -> tuple[Value, int]:
    try:
        rows = _found("dataset", choice, leaf, features).array
        held_out = _held_out(choice, leaf, features)
    except _NoInputs as missing:
        return Value(float("nan"), str(missing)), 0
    compares, size = "dataset" in choice.metric.compares_with, len(leaf.prompt_index)
    if choice.metric.compares_with:
        size = min(size, len(rows) // 2 if compares else len(rows))
    if size == 0 or size > len(rows):
        return Value(
            float("nan"), f"The data set has {len(rows)} images of it, a set of generated ones {size or 1}."
        ), 0
    values = []
    for split in range(SPLITS):
        order = np.random.default_rng(derive_seed("ceiling", leaf.concept.id, split)).permutation(len(rows))
        chosen, others = rows[order[:size]], rows[order[size:]] if compares else None
        inputs = MetricInputs(chosen, leaf.prompt_index[:size], leaf.prompt_type, dataset=others, held_out=held_out)
        values.append(_compute(choice.metric, inputs))
    missing = next((value for value in values if np.isnan(value.value)), None)
    return (missing, 0) if missing else (Value(float(np.mean([value.value for value in values])), ""), size)


def _held_out(choice: MetricChoice, leaf: Leaf, features: FeatureSource) -> np.ndarray | None:
    """Of held-out images what the metric looks at; None where that is nothing."""
    if "held_out" in choice.metric.compares_with:
        return _found("held_out", choice, leaf, features).array
    place = (leaf.concept.id, leaf.prompt_type, choice.encoder, choice.resize)
    found = features("held_out", *place) if "held_out" in choice.metric.may_compare_with else None
    return None if found is None else found.array


def _applies(metric: Metric, leaf: Leaf) -> bool:
    in_category = metric.categories is None or leaf.concept.category in metric.categories
    return leaf.prompt_type in metric.prompt_types and in_category


def _measured(
    checkpoint_id: str, choice: MetricChoice, pool: Sequence[Leaf], features: FeatureSource, concept: Concept | None
) -> Score:
    """The value over all leaves of `pool`, which is `concept`'s alone or None's."""
    prompt_type = pool[0].prompt_type
    try:
        found = [_leaf_inputs(choice, leaf, features) for leaf in pool]
    except _NoInputs as missing:
        # A pool that lacks a leaf is another pool: its value would not compare with those of other checkpoints.
        return _score(checkpoint_id, choice, prompt_type, Value(float("nan"), str(missing)), 0, concept)
    parts = [inputs for inputs, _ in found]
    inputs = parts[0] if len(parts) == 1 else _pooled(parts)
    kept = np.concatenate([rows for _, rows in found])
    value = _compute(choice.metric, inputs)
    blocks = block_values(functools.partial(_compute, choice.metric), inputs, value, kept)
    own = () if concept is None or value.per_image is None else tuple(_in_place(value.per_image, kept).tolist())
    found = _score(checkpoint_id, choice, prompt_type, value, len(inputs.generated), concept, blocks, own)
    if concept is None or pool[0].part_size is None:
        return found
    parts = rounds.part_values(choice.metric, _compute, value, inputs, kept, np.arange(len(kept)), pool[0].part_size)
    return replace(found, blocks=(), parts=tuple(parts.tolist()))


def _compute(metric: Metric, inputs: MetricInputs) -> Value:
    """The metric on one BLAS thread: its matrices are small, and threads that wait for each other cost several times
    what they save as soon as anything else runs (benchmarks/paper_size.py)."""
    with _blas().limit(limits=1, user_api="blas"):
        return metric.compute(inputs)


@functools.cache
def _blas() -> ThreadpoolController:
    """Finding the loaded libraries takes milliseconds, and each value would pay for it."""
    return ThreadpoolController()


def _in_place(values: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Of all images, NaN of those that were left out."""
    whole = np.full(len(kept), np.nan)
    whole[kept] = values
    return whole


def _leaf_inputs(choice: MetricChoice, leaf: Leaf, features: FeatureSource) -> tuple[MetricInputs, np.ndarray]:
    """What the metric looks at, and which of the images take part: bool [n]."""
    sources: tuple[Source, ...] = ("generated", *choice.metric.compares_with)
    found = {source: _found(source, choice, leaf, features) for source in sources}
    for source in choice.metric.may_compare_with:
        if features(source, leaf.concept.id, leaf.prompt_type, choice.encoder, choice.resize) is not None:
            found[source] = _found(source, choice, leaf, features)
    generated = found["generated"]
    place = f"{leaf.concept.id}, {leaf.prompt_type}"
    for source, other in found.items():
        if other.encoder_id != generated.encoder_id:
            ids = f"{generated.encoder_id} and {other.encoder_id}"
            raise _NoInputs(f"Features of generated and {source} images come from two encoders, {ids} ({place}).")
        if source in ("base", "text") and other.ids != generated.ids:
            counts = f"{len(generated.ids)} and {len(other.ids)} rows"
            raise _NoInputs(f"Rows of generated and {source} features do not pair: other ids, {counts} ({place}).")
    if len(leaf.prompt_index) != len(generated.array):
        counts = f"{len(leaf.prompt_index)} images were asked for, {len(generated.array)} have features"
        raise _NoInputs(f"The set of generated images is not whole: {counts} ({place}).")
    kept = _kept(leaf, with_base="base" in choice.metric.compares_with)
    paired = ("generated", "base", "text")
    arrays = {name: each.array[kept] if name in paired else each.array for name, each in found.items()}
    return MetricInputs(prompt_index=leaf.prompt_index[kept], prompt_type=leaf.prompt_type, **arrays), kept


def _kept(leaf: Leaf, with_base: bool) -> np.ndarray:
    out = {**leaf.collapsed, **(leaf.base_collapsed if with_base else {})}
    kept = np.array([place not in out for place in range(len(leaf.prompt_index))], bool)
    if len(kept) and not kept.any():
        kinds = ", ".join(sorted(set(out.values())))
        raise _NoInputs(f"All {len(kept)} images collapsed ({kinds}): {leaf.concept.id}, {leaf.prompt_type}.")
    return kept


def _found(source: Source, choice: MetricChoice, leaf: Leaf, features: FeatureSource) -> Features:
    found = features(source, leaf.concept.id, leaf.prompt_type, choice.encoder, choice.resize)
    if found is None or len(found.array) == 0:
        whose = {
            "dataset": "data-set images",
            "held_out": "held-out images",
            "text": "texts",
            "base": "base-model images",
        }.get(source, "generated images")
        raise _NoInputs(f"No {choice.encoder} features of {whose} ({leaf.concept.id}, {leaf.prompt_type}).")
    return found


def _pooled(parts: Sequence[MetricInputs]) -> MetricInputs:
    """All leaves as one; prompts of different concepts stay different prompts."""
    first_prompt = np.cumsum([0] + [int(part.prompt_index.max()) + 1 for part in parts[:-1]])
    joined = {
        source: np.concatenate([getattr(part, source) for part in parts])
        for source in ("generated", "dataset", "base", "text", "held_out")
        if getattr(parts[0], source) is not None
    }
    prompt_index = np.concatenate([part.prompt_index + offset for part, offset in zip(parts, first_prompt)])
    return MetricInputs(prompt_index=prompt_index, prompt_type=parts[0].prompt_type, **joined)


def _score(
    checkpoint_id: str,
    choice: MetricChoice,
    prompt_type: str,
    value: Value,
    n_images: int,
    concept: Concept | None,
    blocks: tuple[float, ...] = (),
    per_image: tuple[float, ...] = (),
) -> Score:
    return Score(
        checkpoint_id=checkpoint_id,
        category=concept.category if concept else ALL,
        class_name=concept.class_name if concept else "",
        subclass=concept.subclass if concept else "",
        prompt_type=prompt_type,
        metric=choice.metric.name,
        encoder=choice.encoder,
        resize=choice.resize,
        value=value.value,
        reason=value.reason,
        n_images=n_images,
        blocks=blocks,
        per_image=per_image,
    )
