"""Differences of normalised scores between checkpoints that differ in one factor only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, product

import numpy as np
import pandas as pd

from lorabench.statistics.columns import ALL, CAPTIONS, factor_columns, own_factors
from lorabench.statistics.errors import class_scores

SHAPE = ["algorithm", "trained_layers", "lr", "dim", "alpha", "factor"]  # what makes a config, beside own factors
_KEYS = ["config", "seed", "epoch", "category", "class_name"]


class Contrasts:
    """Normalised scores per checkpoint and class, and their differences.

    Differences are tables with the columns difference, class and run: two values of one class (named with its category)
    share its images, two of one run (the pair of configs and the seed) share their trainings. Empty where a study has
    no such configs. A category that was measured as a whole counts as one class, without a name.
    """

    def __init__(self, normalized: pd.DataFrame) -> None:
        factors = normalized[factor_columns(normalized)].drop_duplicates("checkpoint")
        rows = class_scores(normalized).merge(factors, on="checkpoint")
        # Published means stand for all classes once more, beside those of each category.
        beyond = rows.loc[rows["category"] != ALL, "metric"].unique()
        self.rows = rows[(rows["category"] != ALL) | ~rows["metric"].isin(beyond)]
        if CAPTIONS not in self.rows:
            self.rows = self.rows.assign(**{CAPTIONS: ""})
        self.shape = [*SHAPE, *dict.fromkeys([CAPTIONS, *own_factors(normalized)])]
        self.configs = self.rows.drop_duplicates("config").set_index("config")[self.shape]
        self.epochs = sorted(self.rows["epoch"].dropna().unique())

    def scores(
        self, metric: str, types: Sequence[str], category: str | None = None, without: Sequence[str] = ()
    ) -> pd.Series:
        """Mean over prompt types, encoders and resizes: one score a config, seed, epoch, category and class."""
        rows = self.rows[(self.rows["metric"] == metric) & self.rows["prompt_type"].isin(types)]
        rows = rows[~rows["category"].isin(without)]
        if category is not None:
            rows = rows[rows["category"] == category]
        return rows.groupby(_KEYS, observed=True)["score"].mean()

    def neighbours(self, factor: str, ignoring: Sequence[str] = ()) -> list[tuple[str, str]]:
        """Pairs of configs that differ in `factor` (and perhaps in `ignoring`) only: neighbours, lower value first."""
        pairs = []
        for group in self._alike(factor, ignoring):
            for low, high in pairwise(sorted(group[factor].dropna().unique())):
                pairs += _named(group, factor, low, high)
        return pairs

    def levels(self, factor: str, first: str, second: str) -> list[tuple[str, str]]:
        """Pairs of configs that differ in `factor` only: `first` in one, `second` in the other."""
        return [pair for group in self._alike(factor) for pair in _named(group, factor, first, second)]

    def defaults(self) -> list[dict[str, str]]:
        """Algorithm -> the config of it that most others differ from in one factor only: the centre of its star.

        One dictionary for each kind of captions.
        """
        links = [*self.neighbours("lr"), *self.neighbours("dim", ("alpha",)), *self.neighbours("factor")]
        for other in ("attention", "full"):
            links += self.levels("trained_layers", "linear", other)
        counts = pd.Series([config for pair in links for config in pair], dtype=object).value_counts()
        linked = self.configs.assign(links=counts).fillna({"links": 0})
        return [
            {str(name): group["links"].idxmax() for name, group in alike.groupby("algorithm", observed=True)}
            for _, alike in linked.groupby(CAPTIONS, observed=True)
        ]

    def between_configs(self, scores: pd.Series, pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
        """Second config less first, with equal seed, epoch and class."""
        return _joined(differences(of_config(scores, high), of_config(scores, low), low, high) for low, high in pairs)

    def between_epochs(self, scores: pd.Series, configs: Sequence[str] | None = None) -> pd.DataFrame:
        """Last epoch less first, with equal config, seed and class."""
        if len(self.epochs) < 2:
            return _joined(())
        chosen = self.configs.index if configs is None else configs
        parts = ((name, of_config(scores, name)) for name in chosen)
        return _joined(differences(self.at(part, -1), self.at(part, 0), name) for name, part in parts)

    def rescued(self, scores: pd.Series, pairs: Iterable[tuple[str, str]]) -> pd.DataFrame:
        """Last epoch of the first config of each pair less the first epoch of the second, with equal seed and class."""
        if len(self.epochs) < 2:
            return _joined(())
        late, early = self.at(scores, -1), self.at(scores, 0)
        return _joined(differences(of_config(late, first), of_config(early, second), first) for first, second in pairs)

    def at(self, scores: pd.Series, epoch: int) -> pd.Series:
        """The scores of epoch number `epoch` of those that were kept: 0 is the first, -1 the last."""
        return scores[scores.index.get_level_values("epoch") == self.epochs[epoch]].droplevel("epoch")

    def _alike(self, factor: str, ignoring: Sequence[str] = ()) -> Iterator[pd.DataFrame]:
        same = [name for name in self.shape if name not in (factor, *ignoring)]
        for _, group in self.configs.groupby(same, dropna=False, observed=True):
            yield group


def of_config(scores: pd.Series, config: str) -> pd.Series:
    """The scores of one config, perhaps none."""
    return scores[scores.index.get_level_values("config") == config].droplevel("config")


def differences(high: pd.Series, low: pd.Series, *names: str) -> pd.DataFrame:
    """Rows of equal index subtracted; `names` say which training runs they come from."""
    difference = (high - low).dropna()
    index = difference.index.to_frame(index=False)
    runs = [" ".join([*names, str(seed)]) for seed in index["seed"]]
    classes = index["category"] + "/" + index["class_name"]
    return pd.DataFrame({"difference": difference.to_numpy(), "class": classes, "run": runs})


def correlations(first: pd.Series, second: pd.Series) -> pd.Series:
    """Pearson's r of two scores over checkpoints, one for each class."""
    both = pd.concat([first, second], axis=1, keys=["first", "second"]).dropna()
    groups = both.groupby(["category", "class_name"], observed=True)
    return pd.Series({"/".join(name): group["first"].corr(group["second"]) for name, group in groups}, dtype=float)


def _named(group: pd.DataFrame, factor: str, first: object, second: object) -> list[tuple[str, str]]:
    return list(product(group.index[group[factor] == first], group.index[group[factor] == second]))


def _joined(parts: Iterable[pd.DataFrame]) -> pd.DataFrame:
    empty = pd.DataFrame({"difference": np.empty(0), "class": np.empty(0, object), "run": np.empty(0, object)})
    filled = [part for part in parts if len(part)]
    return pd.concat(filled, ignore_index=True) if filled else empty
