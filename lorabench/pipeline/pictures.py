"""The pictures of a run as rows of its table: what each was asked for, what each measures, the first few to look at."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd

from lorabench import store
from lorabench.pipeline import thumbnails
from lorabench.pipeline.features import image_name
from lorabench.pipeline.plan import DATASET, Plan
from lorabench.pipeline.tasks import SCORES_FILE
from lorabench.records import Checkpoint, PromptSet
from lorabench.statistics.columns import METRIC, with_whole_numbers
from lorabench.values import LARGEST_SEED

_SET = ["concept", "prompt_type"]
COLUMNS = ["concept", "category", "class_name", "subclass", "prompt_type", "checkpoint"]
COLUMNS += ["index", "prompt", "noise_seed", "file", "thumbnail"]


def picture_parts(plan: Plan) -> Iterator[pd.DataFrame]:
    """One row an image, a part a checkpoint; the real pictures that are shown come last, as "dataset".

    Of those `prompt_type` says whether they were trained on ("dataset") or held out ("held_out").

    A metric that has a value for every image has a column, `metric/encoder/resize`, missing where it was measured by a
    version that did not keep them.
    """
    drawn = [(one, each) for one in plan.drawn_in for each in one.checkpoints]
    columns = [*COLUMNS, *dict.fromkeys(name for one, each in drawn for name in _values_of(one, each))]
    seeds = (request.noise_seed or 0 for _, each in plan.every_set for request in each.requests)
    kind = "UInt64" if max(seeds, default=0) > LARGEST_SEED else "Int64"
    of_checkpoints = (_of_checkpoint(one, each) for one, each in drawn)
    for part in itertools.chain(of_checkpoints, (_of_dataset(each) for each in [plan])):  # one at a time in memory
        if len(part):
            values = {name: part[name] if name in part else np.float32("nan") for name in columns if "/" in name}
            told = part.assign(**values).astype({name: np.float32 for name in values} | {"noise_seed": kind})
            yield with_whole_numbers(told[columns])


def _of_checkpoint(plan: Plan, checkpoint: Checkpoint) -> pd.DataFrame:
    sets = thumbnails.drawn_sets(plan, checkpoint)
    if not sets:
        return pd.DataFrame()
    counts = [len(each.requests) for each in sets]
    by_set = {
        "concept": [each.concept.id for each in sets],
        "category": [each.concept.category for each in sets],
        "class_name": [each.concept.class_name for each in sets],
        "subclass": [each.concept.subclass for each in sets],
        "prompt_type": [each.type for each in sets],
    }
    table = pd.DataFrame({name: np.repeat(np.array(of, object), counts) for name, of in by_set.items()})
    requests = [request for each in sets for request in each.requests]
    table = table.assign(
        checkpoint=checkpoint.id,
        index=[request.index for request in requests],
        prompt=[request.prompt.text for request in requests],
        noise_seed=[pd.NA if request.noise_seed is None else request.noise_seed for request in requests],
        file=list(_files(plan, checkpoint, sets)),
    )
    table = table.merge(thumbnails.read(plan, checkpoint.id), on=[*_SET, "index"], how="left")
    rows = table.groupby(_SET).indices
    for name, measured in _values_of(plan, checkpoint).items():
        column = np.full(len(table), np.nan, np.float32)
        for row in measured.itertuples():
            column[rows[row.concept, row.prompt_type]] = row.per_image  # in the order of its set
        table[name] = column
    return table


def _files(plan: Plan, checkpoint: Checkpoint, sets: list[PromptSet]) -> Iterator[str | None]:
    """Where the whole pictures lie, from the folder of the run; None of those that were not kept."""
    for each in sets:
        place = plan.places.images(checkpoint, each)
        folder, gone = plan.folder.name(place), set(plan.folder.dropped(place))
        names = (image_name(request.index) for request in each.requests)
        yield from (None if name in gone else f"{folder}/{name}" for name in names)


def _values_of(plan: Plan, checkpoint: Checkpoint) -> dict[str, pd.DataFrame]:
    """The rows of a checkpoint's scores that say what every image has, by the name of their column."""
    folder = plan.places.scores(checkpoint)
    if not plan.folder.holds(folder, plan.keys.scores(checkpoint)):
        return {}
    scores = store.read_table(plan.folder.intact(folder, SCORES_FILE))
    if "per_image" not in scores:
        return {}
    scores = scores[(scores["checkpoint_id"] == checkpoint.id) & (scores["per_image"].map(len) > 0)]
    place = [scores[name] for name in ("category", "class_name", "subclass")]
    scores = scores.assign(concept=["/".join(filter(None, parts)) for parts in zip(*place)])
    return {"/".join(name): rows for name, rows in scores.groupby(METRIC[1:], sort=False, dropna=False)}


def _of_dataset(plan: Plan) -> pd.DataFrame:
    """The pictures that are shown; they lie outside the run."""
    table = thumbnails.read(plan, DATASET)
    concepts = {concept.id: concept for concept in plan.dataset.concepts}
    owners = [concepts[name] for name in table["concept"]]
    captions = [
        plan.measuring.pictures_of(row.prompt_type, row.concept)[row.index].caption
        for row in table.itertuples(index=False)
    ]
    return table.assign(
        category=[concept.category for concept in owners],
        class_name=[concept.class_name for concept in owners],
        subclass=[concept.subclass for concept in owners],
        checkpoint=DATASET,
        prompt=captions,
        noise_seed=pd.NA,
        file=None,
    )
