"""Which levels of a study are decided after so many images, and which need more: round by round, and resumable.

All of it is a function of the images that are there: a run that was interrupted anywhere replays its rounds, comes to
the same decisions, and goes on where images are missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from lorabench.statistics.anytime import Evidence
from lorabench.statistics.comparisons import FALSE_DISCOVERIES, what_it_takes

MOST_ROUNDS = 5  # each takes its share of the level, so many looks see less
Verdict = Literal["best", "worse", "alike", "seeds", "images", "open"]


@dataclass(frozen=True)
class Parts:
    """What a measurement says of every part of the images of every leaf, level and seed.

    `values` are [leaves, levels, seeds, parts], NaN where nothing was drawn; larger is better. Part i of two levels has
    the same prompts and noise, and its value does not depend on how many parts there are. `leaves` has a row a leaf
    (category, class_name, subclass); `families` are labels of the levels, fine before coarse, as in `comparisons`.
    """

    values: np.ndarray
    leaves: pd.DataFrame
    seeds: Sequence[int]
    families: Sequence[np.ndarray]

    def scores(self, drawn: np.ndarray) -> pd.DataFrame:
        """Normalised scores where level i has its first `drawn[i]` parts: a row a class and seed, a column a level.

        Ranks within each leaf among all levels and seeds, 0 = last, 1 = first, as of a whole study; means over
        sub-classes.
        """
        n_leaves, n_levels, n_seeds, _ = self.values.shape
        means = np.full((n_leaves, n_levels, n_seeds), np.nan)
        for count in np.unique(drawn[drawn > 0]):
            means[:, drawn == count] = _mean(self.values[:, drawn == count, :, :count])
        ranks = rankdata(means.reshape(n_leaves, -1), axis=1, nan_policy="omit").reshape(means.shape)
        known = np.isfinite(means).sum((1, 2), keepdims=True)
        scores = np.where(np.isfinite(means), (ranks - 1) / np.maximum(known - 1, 1), np.nan)
        rows = pd.DataFrame(scores.transpose(0, 2, 1).reshape(n_leaves * n_seeds, n_levels))
        names = self.leaves[["category", "class_name"]].rename(columns={"category": "home"})
        keys = [np.repeat(names[name].to_numpy(), n_seeds) for name in names]
        keys.append(np.tile(np.asarray(self.seeds), n_leaves))
        return rows.groupby(keys, sort=False).mean().rename_axis(["home", "class_name", "seed"])


@dataclass(frozen=True)
class Decided:
    """What stands after the last round whose images are all there; arrays have an entry a level.

    Verdicts: "best", the one that leads; "worse" than another; "alike", no farther from the best than the margin; of
    the others "images", which may tell them from the best; "seeds", where images cannot and further trainings could;
    "open" where neither is known to. `since`: the parts after which that was said, 0 = nothing has been;
    `wants`: the parts that each level is to have next, 0 = no more. `worse` says which level is told to be worse than
    which, bool [levels, levels]; `low` and `high` hold a level's score less the best's.
    """

    verdict: np.ndarray
    drawn: np.ndarray  # parts of each level
    since: np.ndarray
    wants: np.ndarray
    score: np.ndarray
    worse: np.ndarray
    low: np.ndarray
    high: np.ndarray
    more_seeds: np.ndarray

    @property
    def is_over(self) -> bool:
        return not self.wants.any()


def rounds(parts: int) -> tuple[int, ...]:
    """After how many parts of so many is looked: halvings, at most five."""
    found = [parts]
    while found[-1] > 1 and len(found) < MOST_ROUNDS:
        found.append(-(-found[-1] // 2))
    return tuple(reversed(found))


def decide(parts: Parts, drawn: np.ndarray, rate: float = FALSE_DISCOVERIES, margin: float | None = None) -> Decided:
    """Replay all rounds whose images are there; level i has its first `drawn[i]` parts.

    At most `rate` of the differences that are called real, and of those that are called smaller than `margin` (of a
    score in [0, 1]; None = nobody asks), are expected to be neither: whenever one stops, whatever is drawn next.
    """
    count = parts.values.shape[1]
    nothing = drawn.any() and not np.isfinite(parts.values).any()  # all that was drawn failed, say
    looks = () if nothing else rounds(parts.values.shape[-1])
    evidence = Evidence.none(count, margin)
    verdicts, since, has = np.full(count, "images", dtype=object), np.zeros(count, int), np.zeros(count, int)
    worse = np.zeros((count, count), bool)
    scores, seeds, best = np.full(count, np.nan), np.full(count, np.nan), 0
    for look in looks:
        going = _drawn_next(verdicts, best, has)
        if not going.any() or drawn[going].min() < look:
            break
        has[going] = look
        table = parts.scores(has)
        drawn_now = table.where(np.broadcast_to(going, table.shape))
        evidence = evidence.after(drawn_now, parts.families, 1 / len(looks))
        worse, alike = evidence.discoveries(rate)
        scores, is_worse = table.mean().to_numpy(), worse.any(1)
        best = int(np.where(is_worse | np.isnan(scores), -np.inf, scores).argmax())
        before, stuck = verdicts, np.isin(verdicts, _STUCK)
        verdicts = np.where(stuck, before, "images").astype(object)
        verdicts[alike[best]] = "alike"
        verdicts[is_worse] = "worse"
        verdicts[best] = "best"
        asked = (verdicts == "images") & going
        if asked.any() and going[best]:
            # What a p-value has to come below if all that are asked about were found worse than what is above them now.
            lower = np.greater.outer(scores, scores) & ~np.eye(count, dtype=bool)
            hoped = worse.sum() + (lower.sum(0) * asked).sum()
            level = 2 * rate / len(looks) * max(1, hoped) / (count * (count - 1))
            images, found = what_it_takes(drawn_now, best, parts.families, level, np.flatnonzero(asked))
            seeds = np.where(asked, found, seeds)
            helpless = asked & ~(images <= looks[-1] / look)
            verdicts[helpless] = np.where(np.isfinite(seeds[helpless]), "seeds", "open")
        since = np.where((verdicts != before) & (verdicts != "images"), look, since)
    following = next((look for look in looks if look > has.max()), 0)
    verdicts[(verdicts == "images") & (following == 0)] = "open"
    wants = np.where(_drawn_next(verdicts, best, has), following, 0)
    return Decided(verdicts, drawn, since, wants, scores, worse, evidence.low[:, best], evidence.high[:, best], seeds)


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the last axis, of what is known: an image that collapsed has no value."""
    known = np.isfinite(values)
    return np.where(known, values, 0.0).sum(-1) / np.where(known.any(-1), known.sum(-1), np.nan)


_STUCK = ("seeds", "open")


def _drawn_next(verdicts: np.ndarray, best: int, has: np.ndarray) -> np.ndarray:
    """Those that images may still tell, and the best, which they are compared with."""
    going = verdicts == "images"
    if has.any() and going.any():
        going[best] = True
    return going
