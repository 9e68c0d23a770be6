"""Audit cards: may a measurement be believed? What its probes, its seeds and its other encoders say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from lorabench.report.points import Comparison
from lorabench.report.tables import Column
from lorabench.statistics.columns import ALL, METRIC
from lorabench.statistics.correlation import leaf_correlations
from lorabench.statistics.reliability import intraclass_correlation

# Rules of thumb, no tests: below these a measurement fails its card. Chance is 0.5 of the first two, 0 of the others.
LIMITS = {"identity": 0.75, "damage": 0.6, "seeds": 0.5, "encoders": 0.5}
DAMAGES = ("blur", "jpeg", "crop")
WORDS = {
    "identity": "does not tell its own from another",
    "damage": "calls damaged images better",
    "seeds": "the seed moves it more than the config",
    "encoders": "other encoders do not agree",
    "copies": "calls one image again and again more diverse than real images",
    "blind": "does not notice one training image again and again",
    "range": "ranks the base model above real images",
}


@dataclass(frozen=True)
class Card:
    """What is known of a measurement; NaN where it is not known or has no meaning."""

    column: Column
    floor: float  # the base model's value, mean over classes
    ceiling: float  # that of real images
    identity: float  # how often a few real images score better than a few of another concept, in [0, 1]
    blur: float  # blur, jpeg, crop: share of steps of growing damage that it does not call better, in [0, 1]
    jpeg: float
    crop: float
    copies: float  # its value on one image again and again
    real: float  # its value on the images that `copies` is to be compared with
    seeds: float  # intraclass correlation of the seeds of a config at one moment, at most 1
    encoders: float  # mean correlation with the same metric on other encoders, in [-1, 1]

    @property
    def damage(self) -> float:
        """Mean of blur, jpeg and crop."""
        known = [value for value in (self.blur, self.jpeg, self.crop) if not np.isnan(value)]
        return float(np.mean(known)) if known else float("nan")

    @property
    def failures(self) -> list[str]:
        """The names in WORDS of what it fails."""
        measured = {name: getattr(self, name) for name in LIMITS}
        failed = [name for name, limit in LIMITS.items() if measured[name] < limit]  # NaN is not below anything
        sign = 1 if self.column.info.higher_is_better else -1
        if self.column.info.criterion == "diversity" and sign * (self.copies - self.real) > 0:
            failed.append("copies")
        if self.column.info.criterion == "memorisation" and sign * (self.copies - self.real) >= 0:
            failed.append("blind")
        if self.column.info.criterion == "fidelity" and sign * (self.floor - self.ceiling) > 0:
            failed.append("range")
        return failed

    @property
    def is_probed(self) -> bool:
        """Whether it was tried on real images."""
        tells = self.column.info.criterion in ("diversity", "memorisation")
        copies = self.copies - self.real if tells else float("nan")
        return not np.isnan([self.identity, self.blur, self.jpeg, self.crop, copies]).all()

    @property
    def is_untried(self) -> bool:
        """Whether nothing shows that it tells the concept from another: a data set of one has no other to show."""
        return self.column.info.criterion in ("fidelity", "controllability") and bool(np.isnan(self.identity))

    @property
    def is_known(self) -> bool:
        """Whether anything at all was found out."""
        return self.is_probed or not np.isnan([self.seeds, self.encoders]).all()


def find_cards(run: Comparison) -> list[Card]:
    """One card a measurement, in the order of `run.columns`."""
    probes = _probe_means(run.tables.probes)
    seeds, encoders = _seeds(run), _encoders(run)
    cards = []
    for column in run.columns:
        cards.append(
            Card(
                column=column,
                floor=run.means.base.get((column, ALL), float("nan")),
                ceiling=run.means.real.get((column, ALL), float("nan")),
                seeds=seeds.get(column.identity, float("nan")),
                encoders=encoders.get(column.identity, float("nan")),
                **_answers(probes, column),
            )
        )
    return cards


def probed_cards(columns: Sequence[Column], probes: pd.DataFrame) -> list[Card]:
    """The cards of measurements of which nothing is known but their probes on real images."""
    found = _probe_means(probes)
    unknown = dict.fromkeys(("floor", "ceiling", "seeds", "encoders"), float("nan"))
    return [Card(column=column, **unknown, **_answers(found, column)) for column in columns]


def _answers(probes: Mapping[tuple[str, str, str], Mapping[str, float]], column: Column) -> dict[str, float]:
    found = probes.get((column.metric, column.encoder, column.resize), {})
    return {name: found.get(name, float("nan")) for name in ("identity", *DAMAGES, "copies", "real")}


def _probe_means(probes: pd.DataFrame) -> dict[tuple[str, str, str], dict[str, float]]:
    """(metric, encoder, resize) -> probe -> mean over sub-classes, then over classes."""
    if probes.empty:
        return {}
    keys = ["metric", "encoder", "resize", "probe"]
    classes = probes.fillna({"resize": ""}).groupby([*keys, "category", "class_name"])["value"].mean()
    found: dict[tuple[str, str, str], dict[str, float]] = {}
    for (metric, encoder, resize, probe), value in classes.groupby(keys).mean().items():
        found.setdefault((metric, encoder, resize), {})[probe] = float(value)
    return found


def _seeds(run: Comparison) -> Mapping[tuple[str, ...], float]:
    """Of the normalised scores of all classes."""
    rows = run.tables.category_scores
    rows = rows[rows["category"] == ALL]
    points = rows["checkpoint"].map(run.points.of_checkpoint)
    groups = rows.assign(point=points, **rows[METRIC].fillna("")).groupby(METRIC)
    return {identity: intraclass_correlation(group["score"], group["point"]) for identity, group in groups}


def _encoders(run: Comparison) -> Mapping[tuple[str, ...], float]:
    normalized = run.tables.normalized
    table = leaf_correlations(normalized.assign(**normalized[METRIC].fillna("")))
    same = (table["metric"] == table["other_metric"]) & (table["prompt_type"] == table["other_prompt_type"])
    other = table["encoder"] != table["other_encoder"]  # the same one, its pictures resized otherwise, knows no better
    return dict(table[same & other].groupby(METRIC)["r"].mean())


def verdict(card: Card) -> str:
    """The card in a word, or what it fails."""
    return "; ".join(WORDS[name] for name in card.failures) or standing(card)


def standing(card: Card) -> Literal["passes", "passes what is known", "fails", "not known"]:
    """The card in a word."""
    if card.failures:
        return "fails"
    if card.is_probed and not card.is_untried:
        return "passes"
    return "passes what is known" if card.is_known else "not known"
