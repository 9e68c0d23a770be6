"""The pictures of a run that a page can show, small: an artifact a checkpoint, made once."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd

from lorabench import images, store
from lorabench.pipeline.features import image_name
from lorabench.pipeline.plan import DATASET, Plan
from lorabench.records import Checkpoint, PromptSet

FILE = "thumbnails.parquet"
VERSION = 1  # rises when the same pictures give others
SIDE = 128  # pixels at most
COLUMNS = ["concept", "prompt_type", "index", "thumbnail"]


def bring_up_to_date(plan: Plan) -> None:
    """Make what is missing: of checkpoints that were drawn by a run that made none, and of the data set."""
    for one in plan.drawn_in:
        for checkpoint in one.checkpoints:
            make(one, checkpoint)
    folder, key = plan.places.thumbnails(DATASET), key_of(plan, DATASET)
    if plan.folder.holds(folder, key):
        return
    since, most = time.perf_counter(), plan.study.images.thumbnails
    rows = [
        [concept.id, source, index, _small(image.path)]
        for source in plan.measuring.real
        for concept in plan.dataset.concepts
        for index, image in enumerate(plan.measuring.pictures_of(source, concept.id)[:most])
    ]
    with plan.folder.writing(folder, key, device=plan.device, since=since) as scratch:
        store.write_table(pd.DataFrame(rows, columns=COLUMNS), scratch / FILE)


def make(plan: Plan, checkpoint: Checkpoint) -> None:
    """The thumbnails of what there is of a checkpoint, if they are not there. DamagedArtifact."""
    folder, key = plan.places.thumbnails(checkpoint.id), key_of(plan, checkpoint.id)
    if plan.folder.holds(folder, key):
        return
    since, most = time.perf_counter(), _most(plan, checkpoint)
    sets = drawn_sets(plan, checkpoint) if most else []
    gone = [set(plan.folder.dropped(plan.places.images(checkpoint, each))) for each in sets]
    if any(gone) and plan.folder.meta(folder) and not plan.folder.fault(folder):
        return  # of images that were not kept there are no others than those that were made of them
    made_from = [plan.places.images(checkpoint, each) for each in sets]
    rows = [
        [each.concept.id, each.type, request.index, _small(plan.folder.intact(place, image_name(request.index)))]
        for each, place, lacking in zip(sets, made_from, gone)
        for request in each.requests[:most]
        if image_name(request.index) not in lacking
    ]
    with plan.folder.writing(folder, key, made_from, device=plan.device, since=since) as scratch:
        store.write_table(pd.DataFrame(rows, columns=COLUMNS), scratch / FILE)


def _most(plan: Plan, checkpoint: Checkpoint) -> int:
    """How many of each set; of pictures that are drawn in rounds those of the first are shown, which all have."""
    return 0 if plan.round and plan.round.number > 1 else plan.showing.per_set(checkpoint)


def key_of(plan: Plan, source: str) -> str:
    """What the thumbnails of a checkpoint, or of the data set, are made from: its sets that are there."""
    if source == DATASET:
        parameters, inputs = [plan.study.images.thumbnails, SIDE], [plan.dataset.fingerprint]
        inputs += [plan.dataset.held_out_fingerprint] if plan.dataset.held_out else []
    else:
        checkpoint = plan.checkpoint_by_id[source]
        parameters = [_most(plan, checkpoint), SIDE]
        inputs = [plan.keys.images(checkpoint, each) for each in drawn_sets(plan, checkpoint)]
    return store.key_of("thumbnails", VERSION, parameters, inputs)


def drawn_sets(plan: Plan, checkpoint: Checkpoint) -> list[PromptSet]:
    """The image sets of a checkpoint that are there."""
    places, keys = plan.places, plan.keys
    return [
        each
        for each in plan.sets_of(checkpoint)
        if plan.folder.holds(places.images(checkpoint, each), keys.images(checkpoint, each))
    ]


def read(plan: Plan, source: str) -> pd.DataFrame:
    """The thumbnails of a checkpoint or of the data set, a row each: COLUMNS; none while another process makes them."""
    if plan.folder.meta(plan.places.thumbnails(source)) is None:
        return pd.DataFrame(columns=COLUMNS).astype({"index": "int64"})
    return store.read_table(plan.folder.intact(plan.places.thumbnails(source), FILE))


def _small(path: Path) -> bytes:
    return images.thumbnail(images.read(path), SIDE)
