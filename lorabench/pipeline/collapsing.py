"""Which pictures of a checkpoint collapsed: found as they are drawn, kept beside them, left out of what is measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lorabench import store
from lorabench.pipeline.plan import Plan
from lorabench.records import Checkpoint, PromptSet
from lorabench.stages.collapse import collapsed
from lorabench.statistics.columns import COLLAPSED_COLUMNS

COLLAPSED_FILE = "collapsed.json"  # of a set of images, where there are any: place in the set -> kind


def write(pictures: Sequence[np.ndarray], folder: Path) -> None:
    """Say which pictures of a set collapsed, if any did."""
    found = {str(place): kind for place, picture in enumerate(pictures) if (kind := collapsed(picture))}
    if found:
        store.write_json(folder / COLLAPSED_FILE, found)


def of_set(plan: Plan, checkpoint: Checkpoint, prompt_set: PromptSet) -> dict[int, str]:
    """The pictures of a set that collapsed, by their places in it."""
    folder = plan.places.images(checkpoint, prompt_set)
    meta = plan.folder.meta(folder)
    if meta is None or COLLAPSED_FILE not in meta.files:
        return {}
    return {int(place): kind for place, kind in store.read_json(plan.folder.intact(folder, COLLAPSED_FILE)).items()}


def table(plan: Plan) -> pd.DataFrame:
    """A row a picture that collapsed."""
    rows = []
    drawn = [(one, each) for one in plan.drawn_in for each in one.checkpoints]
    for one, checkpoint in drawn:
        for prompt_set in one.sets_of(checkpoint):
            leaf = prompt_set.concept
            for place, kind in of_set(one, checkpoint, prompt_set).items():
                request = prompt_set.requests[place]
                names = [leaf.category, leaf.class_name, leaf.subclass, prompt_set.type]
                rows.append([checkpoint.id, *names, request.index, kind, request.prompt.text])
    return pd.DataFrame(rows, columns=["checkpoint", *COLLAPSED_COLUMNS])
