"""Trade-offs: the paper's three pairs of measurements, and the points that no other beats in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lorabench.report.points import Means
from lorabench.report.tables import Column, first_column
from lorabench.report.words import metric_words, prompt_words
from lorabench.statistics.pareto import pareto_front


@dataclass(frozen=True)
class Pair:
    """Two measurements that pull in opposite directions; a side is None where the run did not measure it."""

    title: str
    question: str
    x: Column | None
    y: Column | None
    missing: str  # what was not measured, in words; "" = nothing


_PAIRS = (  # title, question, (metric, prompt type) of x and of y; LyCORIS section 5.3
    (
        "Controllability against fidelity",
        "Does the concept survive a new setting, and the setting the concept?",
        ("text_similarity", "alter"),
        ("image_similarity", "alter"),
    ),
    (
        "Diversity against fidelity",
        "Do closer images come at the price of all looking the same?",
        ("vendi", "trigger"),
        ("squared_centroid_distance", "trigger"),
    ),
    (
        "Base model preservation against fidelity",
        "How much does the base model's hand change while the concept is learnt?",
        ("style_loss_base", "style"),
        ("image_similarity", "train"),
    ),
)


def find_pairs(columns: Sequence[Column]) -> list[Pair]:
    """The paper's pairs, with the first encoder of each metric."""
    pairs = []
    for title, question, x, y in _PAIRS:
        sides = [first_column(columns, *side) for side in (x, y)]
        missing = [f"{metric_words(m)} on {prompt_words(p)}" for (m, p), found in zip((x, y), sides) if found is None]
        pairs.append(Pair(title, question, sides[0], sides[1], " and ".join(missing)))
    return pairs


def front(pair: Pair, means: Means, category: str) -> np.ndarray:
    """Membership of each point in the Pareto front of the mean scores, boolean [n]; errors play no part in it."""
    if pair.x is None or pair.y is None:
        return np.zeros(0, dtype=bool)
    x, y = (means.score.get((column, category)) for column in (pair.x, pair.y))
    if x is None or y is None:
        return np.zeros(0, dtype=bool)
    return pareto_front(x, y)


def scatter_data(pairs: Sequence[Pair], columns: Sequence[Column]) -> list[dict[str, Any]]:
    """The pairs for the page, which finds their fronts itself: it has axes that are chosen there."""
    data = []
    for pair in pairs:
        sides = {name: None if c is None else columns.index(c) for name, c in (("x", pair.x), ("y", pair.y))}
        data.append({"title": pair.title, "question": pair.question, "missing": pair.missing} | sides)
    return data
