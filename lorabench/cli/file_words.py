"""What is said of the files of a run, one by one, in words for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from lorabench.cli.cells import direction, disagreement, doubt, measurement, q, raw, verdict, wrapped
from lorabench.cli.output import rows_of, table
from lorabench.report.file_table import decimals, less_best
from lorabench.report.words import CRITERIA, category_words, criterion_words, listed, number
from lorabench.statistics.columns import ALL
from lorabench.statistics.comparisons import FALSE_DISCOVERIES

LOSSES = ("held_out_loss", "training_loss")  # of checkpoints, before the criteria
_SHOWN = 12  # files of a block
_LEGEND = (
    "These files on this data, paired by class, prompt and noise: nothing is said of other trainings of their configs "
    "(that is `lorabench leaderboard`, and takes seeds). Value: raw mean over classes. Less best: difference from the "
    "best ± its 95 % interval, over classes and images. q: share of false discoveries, over all pairs of files; at "
    f"most {FALSE_DISCOVERIES:g} = worse, else tied."
)


def files(found: pd.DataFrame) -> Iterator[str]:
    """A block a criterion, the best files first."""
    for heading, block in _blocks(found):
        yield from heading
        places = decimals(block)
        yield table(
            [
                {"file": row["checkpoint"], "value": raw(row["mean"], places), "less best": less_best(row, places)}
                | {"q": q(row["q"]), "verdict": verdict(row)}
                for row in rows_of(block.head(_SHOWN))
            ]
        )
        if len(block) > _SHOWN:
            yield f"and {len(block) - _SHOWN} more (all of them with --json)"
        yield from disagreement(block)
        if _is_untold(block):
            yield from wrapped(_TOO_FEW)
        yield ""
    yield from wrapped(_LEGEND)


def closing(found: pd.DataFrame) -> Iterator[str]:
    """The end of a run that can tell nothing of configs: of each criterion the best file, and what is tied."""
    yield from wrapped(
        "Of configs nothing can be told: that takes two of them, two trainings of each, and two classes. Of these "
        "files on these images (`lorabench files`):"
    )
    for heading, block in _blocks(found):
        yield from heading
        if _is_untold(block):
            yield from wrapped(f"  {_TOO_FEW}", "  ")
            continue
        named = {each: block.loc[block["verdict"] == each, "checkpoint"].tolist() for each in _VERDICTS}
        best = rows_of(block[block["verdict"] == "best"])[0]
        parts = [f"  best {best['checkpoint']} ({raw(best['mean'], decimals(block))})"]
        parts += [f"{words}{listed(named[each])}" for each, words in _VERDICTS.items() if named[each]]
        yield from wrapped("; ".join(parts), "  ")


def raw_means(found: pd.DataFrame) -> Iterator[str]:
    """A line a checkpoint, base model and training images first; a column a criterion."""
    judged = found[found["judges"]]
    wide = judged.pivot(index="checkpoint", columns="criterion", values="mean")
    order = [*_KNOWN, *(name for name in dict.fromkeys(found["checkpoint"]) if name not in _KNOWN)]
    wide = wide.reindex(order)[[name for name in (*LOSSES, *CRITERIA) if name in wide]].dropna(how="all")
    better = {row["criterion"]: "↑" if row["higher_is_better"] else "↓" for row in rows_of(judged)}
    titles = {name: f"{criterion_words(name)} {better[name]}" for name in wide}
    wide = wide.map(number, na_action="ignore").fillna("").rename(columns=titles, index=_KNOWN)
    yield from wrapped(
        "Raw means over all classes, measured as said below (↑ higher is better, ↓ lower); every metric: --json, or "
        "the page"
    )
    yield table(rows_of(wide.rename_axis(index="checkpoint", columns=None).reset_index()))
    yield ""


_KNOWN = {"base": "base model", "dataset": "training images"}
_VERDICTS = {"tied": "tied with ", "worse": "worse: ", "cannot be told": "cannot be told from "}


_TOO_FEW = (
    "The files cannot be compared by it: its value is of a whole set, and the sets have too few images to be divided."
)


def _is_untold(block: pd.DataFrame) -> bool:
    return not (block["verdict"] == "best").any()


def _blocks(found: pd.DataFrame) -> Iterator[tuple[list[str], pd.DataFrame]]:
    several = found["study"].nunique() > 1
    for (study, criterion), block in found.groupby(["study", "criterion"], sort=False):
        row = rows_of(block.head(1))[0]
        place = "" if row["category"] == ALL else f"; {category_words(row['category']).lower()}"
        name = f"study {study}: " if several else ""
        heading = f"{name}{criterion_words(criterion)}: {measurement(row)}{place}; {direction(row)}"
        yield [*wrapped(heading, "  "), *doubt(row)], block
