"""What was seen of a run's trainings, as tables: losses, rates and gradients by step, norms of updates by part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lorabench import store
from lorabench.pipeline.plan import Plan, TrainingRun
from lorabench.pipeline.tasks import TRAINING_FILE
from lorabench.stages.watching import Trace
from lorabench.statistics.columns import LOSS_COLUMNS, NORM_COLUMNS

POINTS = 100  # of a training, at most: the loss of a step is mostly the luck of its noise


def loss_rows(plan: Plan) -> pd.DataFrame:
    """Means over each block of steps of every training, by its last step; empty where none is of this study.

    Rates and gradients are NaN of trainings that did not record them.
    """
    rows = [[run.config.name, run.seed, *row] for run in plan.runs for row in _blocks(plan, run)]
    return pd.DataFrame(rows, columns=LOSS_COLUMNS)


def norm_rows(plan: Plan) -> pd.DataFrame:
    """The norm of the update of each part of the base model, epoch after epoch and at each checkpoint."""
    rows = [
        [run.config.name, run.seed, *row]
        for run in plan.runs
        for trained in _trained(plan, run)
        for row in trained.get("norms", ())
    ]
    return pd.DataFrame(rows, columns=NORM_COLUMNS)


def trained_folders(plan: Plan) -> list[Path]:
    """The checkpoints that are there, by training."""
    return [folder for run in plan.runs for folder in _folders(plan, run)]


def _folders(plan: Plan, run: TrainingRun) -> list[Path]:
    folders = (plan.places.checkpoint(run, milestone) for milestone in run.config.training.milestones)
    return [folder for folder in folders if plan.folder.meta(folder)]


def _trained(plan: Plan, run: TrainingRun) -> Iterator[dict[str, Any]]:
    """What the checkpoints of a training say of the steps before them."""
    for folder in _folders(plan, run):
        yield store.read_json(plan.folder.intact(folder, TRAINING_FILE))


def _blocks(plan: Plan, run: TrainingRun) -> Iterator[list[float]]:
    names = [each.name for each in fields(Trace) if each.name != "norms"]
    steps: list[int] = []
    seen: list[np.ndarray] = []
    for trained in _trained(plan, run):
        count = len(trained["losses"])
        nothing = [float("nan")] * count
        steps += range(trained["step"] - count + 1, trained["step"] + 1)
        seen.append(np.array([trained.get(name, nothing) for name in names], np.float64).reshape(len(names), count))
    values = np.concatenate(seen, axis=1) if seen else np.empty((len(names), 0))
    size = max(1, -(-len(steps) // POINTS))
    for start in range(0, len(steps), size):
        block = values[:, start : start + size]
        yield [steps[start + block.shape[1] - 1], *block.mean(axis=1).tolist()]
