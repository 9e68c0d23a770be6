"""What every reader of published measurements returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd


@dataclass(frozen=True)
class PublishedStudy:
    """Scores of checkpoints that are ranked among themselves, and the configs that the authors do not explain."""

    name: str
    description: str
    scores: pd.DataFrame
    exclude: tuple[str, ...]
    dataset: str
    metrics: tuple[Mapping[str, Any], ...] = ()  # what the metrics are, where they are not ours
    costs: pd.DataFrame = field(default_factory=pd.DataFrame)  # columns of costs.parquet


@dataclass(frozen=True)
class Published:
    """What a clone holds: studies, the diversities of H.1 (no rows if there are none), and what to know about them."""

    studies: tuple[PublishedStudy, ...]
    diversity: pd.DataFrame
    notes: tuple[str, ...]  # sentences: files that are not there, rows and columns that are left out
