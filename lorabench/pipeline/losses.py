"""The losses of a run's trainings as a table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from lorabench import store
from lorabench.pipeline.plan import Plan, TrainingRun
from lorabench.pipeline.tasks import TRAINING_FILE
from lorabench.statistics.columns import LOSS_COLUMNS

POINTS = 100  # of a training, at most: the loss of a step is mostly the luck of its noise


def loss_rows(plan: Plan) -> pd.DataFrame:
    """The mean loss of each block of steps of every training, by its last step; empty where none is of this study."""
    rows = [[run.config.name, run.seed, step, loss] for run in plan.runs for step, loss in _blocks(plan, run)]
    return pd.DataFrame(rows, columns=LOSS_COLUMNS)


def trained_folders(plan: Plan) -> list[Path]:
    """The checkpoints that are there, by training."""
    folders = (
        plan.places.checkpoint(run, milestone) for run in plan.runs for milestone in run.config.training.milestones
    )
    return [folder for folder in folders if plan.folder.meta(folder)]


def _blocks(plan: Plan, run: TrainingRun) -> Iterator[tuple[int, float]]:
    steps: list[int] = []
    losses: list[float] = []
    for milestone in run.config.training.milestones:
        folder = plan.places.checkpoint(run, milestone)
        if plan.folder.meta(folder):
            trained = store.read_json(plan.folder.intact(folder, TRAINING_FILE))
            losses += trained["losses"]
            steps += range(trained["step"] - len(trained["losses"]) + 1, trained["step"] + 1)
    size = -(-len(losses) // POINTS)
    for start in range(0, len(losses), max(size, 1)):
        block = losses[start : start + size]
        yield steps[start + len(block) - 1], float(np.mean(block))
