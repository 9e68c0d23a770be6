"""Choices in words for a terminal: who leads, which epoch, what is good enough, what a criterion is judged by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from lorabench.api.choosing import Recipe
from lorabench.api.measurements import identity
from lorabench.cli.cells import (
    blocks,
    disagreement,
    interval,
    measurement,
    moment,
    moment_cells,
    moment_words,
    q,
    share,
    size,
    span,
    two,
    verdict,
    without_empty,
    wrapped,
)
from lorabench.cli.output import rows_of, table
from lorabench.report.tables import Column
from lorabench.report.words import category_words, criterion_words, listed
from lorabench.statistics.columns import MOMENT
from lorabench.statistics.comparisons import FALSE_DISCOVERIES

_LEAD = ("Score: mean rank of a config's classes and seeds among all checkpoints, 0 = last, 1 = first. Less best: "
         "difference from the best ± its 95 % interval. ")  # fmt: skip


_LEGEND = (
    _LEAD + f"q: share of false discoveries, over all pairs of configs; at most {FALSE_DISCOVERIES:g} = worse, else "
    "tied. To tell: more training seeds (+), or times the images at the least (×), that would tell this one."
)


_OF_ROUNDS = (
    "Images were drawn in rounds: of each config the moment that stands best. Intervals and verdicts hold whenever the "
    "drawing had been stopped; tied is as good within the margin that was named. To tell: so many more training seeds."
)


_UNTOLD = (
    "What cannot be told cannot be tested: that takes two trainings of each config, with seeds of their own, and two "
    "classes. The files themselves can be compared (`lorabench files`)."
)


_EPOCHS_LEGEND = (
    "Score: mean rank of the epoch's classes and seeds among all checkpoints, 0 = last, 1 = first. Tied: epochs whose "
    f"difference from the best is no discovery at q = {FALSE_DISCOVERIES:g}. Cannot be told: what two seeds and two "
    "classes would be needed for."
)


_NAMED = " Named: share of the trigger images that the miniature world's classifier, which knows decoys, names right."


def leaderboard(found: pd.DataFrame) -> Iterator[str]:
    """A block a criterion, and what its columns mean."""
    in_rounds = bool(found["q"].isna().all() and found["low"].notna().any())
    for heading, block in blocks(found, moment=not in_rounds):
        yield heading
        yield from wrapped(_told(block["detectable"].dropna()))
        yield table(without_empty([_standing(row, block) for row in rows_of(block)]))
        yield from disagreement(block)
        yield ""
    if in_rounds:
        yield from wrapped(_LEAD + _OF_ROUNDS)
        return
    if (found["verdict"] == "cannot be told").any():
        yield from wrapped(_UNTOLD)
    yield from wrapped(_LEGEND + (_NAMED if found["identified_images"].notna().any() else ""))


def _told(detectable: pd.Series) -> str:
    if detectable.empty:
        return ""
    if detectable.min() >= 1:  # normalised scores are in [0, 1]
        return "A study like this, of so few seeds and classes, tells no difference from the best in 80 % of cases."
    known = span(detectable[detectable < 1])
    told = known if detectable.max() < 1 else f"{known}, or none at all,"
    return f"A study like this tells differences of {told} from the best in 80 % of cases."


def _standing(row: Mapping[str, Any], block: pd.DataFrame) -> dict[str, object]:
    cells: dict[str, object] = {"config": row["config"]}
    cells |= {name: row[name] for name in MOMENT if name in block and block[name].nunique() > 1}
    cells |= {"score": two(row["score"]), "less best": interval(row["difference"], row["low"], row["high"])}
    cells |= {"q": q(row["q"]), "verdict": verdict(row)}
    if block[["more_seeds", "more_images"]].notna().any(axis=None):
        cells["to tell"] = _to_tell(row)
    if block["identified_images"].notna().any():
        cells["named"] = two(row["identified_right"] and row["identified_right"] / row["identified_images"])
    return cells


def epochs(found: pd.DataFrame) -> Iterator[str]:
    """A block a criterion, a line a config."""
    for heading, block in blocks(found, moment=False):
        yield heading
        lines = []
        for config, each in block.groupby("config", sort=False):
            named = {verdict: _moments(each[each["verdict"] == verdict]) for verdict in _VERDICTS}
            lines.append({"config": config} | _best_moment(rows_of(each[each["verdict"] == "best"])[0]) | named)
        yield table(without_empty(lines))
        yield ""
    yield from wrapped(_EPOCHS_LEGEND)


_VERDICTS = ("tied", "worse", "cannot be told")


def _best_moment(row: Mapping[str, Any]) -> dict[str, object]:
    return {f"best {name}": value for name, value in moment_cells(row).items()} | {"score": two(row["score"])}


def _moments(rows: pd.DataFrame) -> str:
    """ "4, 6"; steps say that they are some."""
    numbers = [str(row["epoch"]) if row["epoch"] is not None else moment_words(row) for row in rows_of(rows)]
    return ", ".join(numbers)


def recipe(found: Recipe) -> Iterator[str]:
    """Configs and epochs that are good enough."""
    yield from _judged(found.judged_by)
    for study, points in found.points.groupby("study", sort=False):
        yield ""
        if found.judged_by["study"].nunique() > 1:
            yield f"study {study}"
        yield table(without_empty([_point(row) for row in rows_of(points)]))
    if found.points.empty:
        return
    yield ""
    yield from wrapped(
        "Scores: mean rank among all checkpoints, 0 = last, 1 = first. Front: share of bootstrap samples over classes "
        "and seeds in which no other config and epoch beats this one in every criterion. MiB: of its file."
    )


def nearest(found: Recipe, at_least: Mapping[str, float], max_mib: float | None) -> Iterator[str]:
    """How near the nearest came where nothing is good enough."""
    yield "No config and epoch of this study reaches all of that. The nearest:"
    for row in rows_of(found.nearest):
        lacks = [
            f"{criterion_words(name).lower()} {two(row[name]) or 'not measured'} of {least:g}"
            for name, least in at_least.items()
            if row[name] is None or row[name] < least
        ]
        if max_mib is not None and (row["mib"] is None or row["mib"] > max_mib):
            lacks.append(f"{size(row['mib'])} MiB, {max_mib:g} allowed")
        yield from wrapped(f"  {moment(row)}: {'; '.join(lacks)}", "  ")


def _point(row: Mapping[str, Any]) -> dict[str, object]:
    criteria = [name for name in row if name not in ("study", "config", *MOMENT, "on_front", "mib", "shortfall")]
    cells: dict[str, object] = {"config": row["config"], **moment_cells(row)}
    cells |= {_SHORT.get(name, name): two(row[name]) for name in criteria}
    return cells | {"front": two(row["on_front"]), "MiB": size(row["mib"])}


_SHORT = {"controllability": "control", "base_model_preservation": "preservation"}


def judges(planned: tuple[Sequence[Column], Mapping[str, str]]) -> list[str]:
    """A line a criterion of a study that has not run: what it will be judged by."""
    columns, stands_in = planned
    rows = [identity(column) | {"stands_in_for": stands_in.get(column.info.criterion)} for column in columns]
    return judged_by(pd.DataFrame(rows))


def closing(found: pd.DataFrame, identified: pd.DataFrame) -> Iterator[str]:
    """The end of a run in a few lines: of each criterion the best, and what it is tied with."""
    for heading, block in blocks(found):
        best = block[block["verdict"] == "best"]
        if best.empty:
            continue
        yield heading
        lead = rows_of(best)[0]
        line = f"  best {lead['config']} ({two(lead['score'])})"
        named = {verdict: block.loc[block["verdict"] == verdict, "config"].tolist() for verdict in _OTHERS}
        parts = [words.format(listed(named[verdict])) for verdict, words in _OTHERS.items() if named[verdict]]
        yield from wrapped("; ".join([line, *parts]), "  ")
        if lead["identified_images"] is not None:
            yield from wrapped(f"  {_named_right(lead, identified)}", "  ")
    if found.empty:
        yield "Nothing is ranked."


_OTHERS = {"tied": "tied with {}", "cannot be told": "cannot be told from {}"}


def _named_right(lead: Mapping[str, Any], identified: pd.DataFrame) -> str:
    """Of the winner's images how many the classifier names right, and of which category the fewest."""
    whole = share(lead["identified_right"], lead["identified_images"])
    of_config = identified[(identified["study"] == lead["study"]) & (identified["config"] == lead["config"])]
    weakest = of_config.loc[of_config["share"].idxmin()]
    fewest = f"{weakest['right']} of {weakest['images']}"
    category = category_words(weakest["category"]).lower()
    return f"identification: {whole} trigger images named right; fewest: {category}, {fewest}"


def judged_by(table_: pd.DataFrame) -> list[str]:
    """A line a criterion: what it is judged by."""
    return [f"{criterion_words(row['criterion'])}: {measurement(row)}" for row in rows_of(table_)]


def _judged(judged: pd.DataFrame) -> Iterator[str]:
    several = judged["study"].nunique() > 1
    for study, rows in judged.groupby("study", sort=False):
        if several:
            yield f"study {study}"
        for line in judged_by(rows):
            yield from wrapped(line, "  ")


def _to_tell(row: Mapping[str, Any]) -> str:
    seeds, images = row["more_seeds"], row["more_images"]
    parts = [f"+{seeds:.0f}" if seeds is not None else "", f"×{images:.1f}" if images is not None else ""]
    return " ".join(part for part in parts if part)
