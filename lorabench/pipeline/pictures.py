"""The pictures of a run as rows of its table, the first few of each set with a thumbnail."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lorabench import images
from lorabench.pipeline.features import image_name
from lorabench.pipeline.plan import DATASET, Plan
from lorabench.records import Checkpoint, ImageRequest, PromptSet
from lorabench.statistics.columns import with_whole_numbers

THUMBNAIL_SIDE = 128  # pixels at most


def picture_rows(plan: Plan) -> pd.DataFrame:
    """One row an image, the first few of each set with a thumbnail; the data set's own pictures come as "dataset"."""
    rows = [row for checkpoint, prompt_set in drawn_sets(plan) for row in _set_rows(plan, checkpoint, prompt_set)]
    return with_whole_numbers(pd.DataFrame([*rows, *_dataset_rows(plan)]))


def drawn_sets(plan: Plan) -> list[tuple[Checkpoint, PromptSet]]:
    """The image sets that are there."""
    pairs = ((checkpoint, each) for checkpoint in plan.checkpoints for each in plan.sets_of(checkpoint))
    return [pair for pair in pairs if plan.folder.holds(plan.places.images(*pair), plan.keys.images(*pair))]


def _set_rows(plan: Plan, checkpoint: Checkpoint, prompt_set: PromptSet) -> list[dict[str, object]]:
    folder, concept = plan.places.images(checkpoint, prompt_set), prompt_set.concept
    return [
        {
            "checkpoint": checkpoint.id,
            "concept": concept.id,
            "category": concept.category,
            "class_name": concept.class_name,
            "subclass": concept.subclass,
            "prompt_type": prompt_set.type,
            "index": request.index,
            "prompt": request.prompt.text,
            "noise_seed": pd.NA if request.noise_seed is None else request.noise_seed,
            "file": f"{plan.folder.name(folder)}/{image_name(request.index)}",
            "thumbnail": _thumbnail(plan, folder, request) if position < plan.study.images.thumbnails else None,
        }
        for position, request in enumerate(prompt_set.requests)
    ]


def _thumbnail(plan: Plan, folder: Path, request: ImageRequest) -> bytes:
    return images.thumbnail(images.read(plan.folder.intact(folder, image_name(request.index))), THUMBNAIL_SIDE)


def _dataset_rows(plan: Plan) -> list[dict[str, object]]:
    shown = plan.study.images.thumbnails
    return [
        {
            "checkpoint": DATASET,
            "concept": concept.id,
            "category": concept.category,
            "class_name": concept.class_name,
            "subclass": concept.subclass,
            "prompt_type": DATASET,
            "index": index,
            "prompt": image.caption,
            "noise_seed": pd.NA,
            "file": None,  # outside the run
            "thumbnail": images.thumbnail(images.read(image.path), THUMBNAIL_SIDE),
        }
        for concept in plan.dataset.concepts
        for index, image in enumerate(plan.dataset.images_of(concept.id)[:shown])
    ]
