"""Answers in words for a terminal: what is rounded, what is said once, what a column means."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from lorabench.cli.choosing import Recipe
from lorabench.cli.measurements import CRITERION, identity
from lorabench.cli.output import rows_of, table, width
from lorabench.cli.runs import Comparison
from lorabench.report.cards import LIMITS, WORDS
from lorabench.report.tables import Column
from lorabench.report.words import category_words, count, criterion_words, metric_words, prompt_words
from lorabench.statistics.columns import ALL
from lorabench.statistics.comparisons import FALSE_DISCOVERIES

MOST_TIED = 3  # names in a closing line
_LEAD = ("Score: mean rank of a config's classes and seeds among all checkpoints, 0 = last, 1 = first. Less best: "
         "difference from the best ± its 95 % interval. ")  # fmt: skip
_LEGEND = (
    _LEAD + f"q: share of false discoveries, over all pairs of configs; at most {FALSE_DISCOVERIES:g} = worse, else "
    "tied. To tell: more training seeds (+), or times the images at the least (×), that would tell this one."
)
_EPOCHS_LEGEND = (
    "Score: mean rank of the epoch's classes and seeds among all checkpoints, 0 = last, 1 = first. Tied: epochs whose "
    f"difference from the best is no discovery at q = {FALSE_DISCOVERIES:g}."
)
_NAMED = " Named: share of the trigger images that the miniature world's classifier, which knows decoys, names right."


def leaderboard(found: pd.DataFrame) -> Iterator[str]:
    """A block a criterion, and what its columns mean."""
    for heading, block in _blocks(found):
        yield heading
        told = _span(block["detectable"])
        if told:
            yield from _wrapped(f"A study like this tells differences of {told} from the best in 80 % of cases.")
        yield table([_standing(row, block) for row in rows_of(block)])
        yield from _disagreement(block)
        yield ""
    yield from _wrapped(_LEGEND + (_NAMED if found["identified_images"].notna().any() else ""))


def _standing(row: Mapping[str, Any], block: pd.DataFrame) -> dict[str, object]:
    marked = row["verdict"] + ("*" if _excludes_zero(row) and row["verdict"] == "tied" else "")
    cells: dict[str, object] = {"config": row["config"]}
    if block["epoch"].nunique() > 1:
        cells["epoch"] = row["epoch"]
    cells |= {"score": _two(row["score"]), "less best": _interval(row["difference"], row["low"], row["high"])}
    cells |= {"q": _q(row["q"]), "verdict": marked}
    if block[["more_seeds", "more_images"]].notna().any(axis=None):
        cells["to tell"] = _to_tell(row)
    if block["identified_images"].notna().any():
        cells["named"] = _two(row["identified_right"] and row["identified_right"] / row["identified_images"])
    return cells


def _disagreement(block: pd.DataFrame) -> Iterator[str]:
    """Why a difference whose interval excludes 0 may be called tied: one line."""
    if any(row["verdict"] == "tied" and _excludes_zero(row) for row in rows_of(block)):
        configs = len(block)
        yield from _wrapped(
            "* Its interval excludes 0, and yet it is tied: the interval is of this pair alone, the verdict of all "
            f"{configs * (configs - 1) // 2} pairs together (q)."
        )


def _excludes_zero(row: Mapping[str, Any]) -> bool:
    return row["low"] is not None and (row["low"] > 0 or row["high"] < 0)


def epochs(found: pd.DataFrame) -> Iterator[str]:
    """A block a criterion, a line a config."""
    for heading, block in _blocks(found, moment=False):
        yield heading
        lines = []
        for config, each in block.groupby("config", sort=False):
            best = each[each["verdict"] == "best"].iloc[0]
            verdicts = each.groupby("verdict")["epoch"].apply(lambda values: ", ".join(map(str, values)))
            lines.append(
                {"config": config, "best epoch": best["epoch"], "score": _two(best["score"])}
                | {"tied": verdicts.get("tied", ""), "worse": verdicts.get("worse", "")}
                | {"cannot be told": verdicts.get("cannot be told", "")}
            )
        yield table(_without_empty(lines))
        yield ""
    yield from _wrapped(_EPOCHS_LEGEND)


def recipe(found: Recipe) -> Iterator[str]:
    """Configs and epochs that are good enough."""
    yield from _judged(found.judged_by)
    for study, points in found.points.groupby("study", sort=False):
        yield ""
        if found.judged_by["study"].nunique() > 1:
            yield f"study {study}"
        yield table(_without_empty([_point(row) for row in rows_of(points)]))
    if found.points.empty:
        return
    yield ""
    yield from _wrapped(
        "Scores: mean rank among all checkpoints, 0 = last, 1 = first. Front: share of bootstrap samples over classes "
        "and seeds in which no other config and epoch beats this one in every criterion. MiB: of its file."
    )


def nearest(found: Recipe, at_least: Mapping[str, float], max_mib: float | None) -> Iterator[str]:
    """How near the nearest came where nothing is good enough."""
    yield "No config and epoch of this study reaches all of that. The nearest:"
    for row in rows_of(found.nearest):
        lacks = [
            f"{criterion_words(name).lower()} {_two(row[name]) or 'not measured'} of {least:g}"
            for name, least in at_least.items()
            if row[name] is None or row[name] < least
        ]
        if max_mib is not None and (row["mib"] is None or row["mib"] > max_mib):
            lacks.append(f"{_size(row['mib'])} MiB, {max_mib:g} allowed")
        yield from _wrapped(f"  {_moment(row)}: {'; '.join(lacks)}", "  ")


def _point(row: Mapping[str, Any]) -> dict[str, object]:
    criteria = [name for name in row if name not in ("study", "config", "epoch", "on_front", "mib", "shortfall")]
    cells: dict[str, object] = {"config": row["config"], "epoch": row["epoch"]}
    cells |= {_SHORT.get(name, name): _two(row[name]) for name in criteria}
    return cells | {"front": _two(row["on_front"]), "MiB": _size(row["mib"])}


_SHORT = {"controllability": "control", "base_model_preservation": "preservation"}


def claims(found: pd.DataFrame) -> Iterator[str]:
    """A table a study."""
    for study, rows in found.groupby("study", sort=False):
        yield f"study {study}"
        yield table(
            [
                {"claim": row["claim"], "statement": row["statement"], "expected": row["expected"]}
                | {"effect": _interval(row["effect"], row["low"], row["high"])}
                | {"bootstrap": _ends(row["bootstrap_low"], row["bootstrap_high"]), "verdict": row["verdict"]}
                for row in rows_of(rows)
            ]
        )
        yield ""
    yield from _wrapped(
        "Effect: difference of normalised scores, or a correlation, ± its 95 % interval, clustered by class and "
        "training. Bootstrap: the same interval without a distribution, too short for a handful of classes."
    )


def identified(found: pd.DataFrame) -> Iterator[str]:
    """A table a study."""
    for study, rows in found.groupby("study", sort=False):
        yield f"study {study}: identification, trigger prompts, last epoch of each config"
        yield table(
            [
                {"config": row["config"], "epoch": row["epoch"], "category": category_words(row["category"])}
                | {"named right": _share(row["right"], row["images"]), "share": _two(row["share"])}
                | {"95 %": f"{_two(row['low'])} to {_two(row['high'])}"}
                for row in rows_of(rows)
            ]
        )
    yield from _wrapped("95 %: Wilson's interval of the share, which speaks of these prompts.")


def audit(found: pd.DataFrame) -> Iterator[str]:
    """A line a metric and encoder: those prompt types together of which the same is known."""
    told = found.assign(why=[why(row) for row in rows_of(found)])
    lines = []
    for _, rows in told.groupby(["metric", "encoder", "resize", "verdict", "why"], sort=False):
        row = rows.iloc[0]
        lines.append(
            {"metric": row["metric"], "encoder": row["encoder"], "prompts": ", ".join(rows["prompt_type"])}
            | {"verdict": row["verdict"], "why": row["why"]}
        )
    yield table(lines)
    yield ""
    yield from _wrapped(
        "Real images stand for generated ones: as they are, damaged, one again and again, and those of another "
        "concept. Limits are rules of thumb, no tests."
    )


def why(row: Mapping[str, Any]) -> str:
    """What a measurement fails, with its numbers; what it passed, where it fails nothing."""
    numbers = {name: row[name] for name in (*LIMITS, "copies", "real", "floor", "ceiling")}
    if row["failed"]:
        return "; ".join(f"{WORDS[name]}: {_FAILS[name].format(**_rounded(numbers))}" for name in row["failed"])
    known = [f"{name} {numbers[name]:.2f}" for name in LIMITS if numbers[name] is not None]
    if row["criterion"] == "diversity" and row["copies"] is not None:
        known.insert(0, f"copies {row['copies']:.3g}, real images {row['real']:.3g}")
    return ", ".join(known) or "nothing is known of it"


_FAILS = {name: f"{{{name}}}, at least {limit:g}" for name, limit in LIMITS.items()} | {
    "copies": "{copies}, real images {real}",
    "range": "base model {floor}, real images {ceiling}",
}


def comparison(found: Comparison) -> Iterator[str]:
    """What differs between two runs, then a block a criterion."""
    if len(found.differs):
        yield "What differs"
        names = {"what": "what", "first": "first run", "second": "second run"}
        yield table([{names[name]: value for name, value in row.items()} for row in rows_of(found.differs)])
    else:
        yield "Nothing that the runs say of themselves differs."
    for heading, block in _blocks(found.configs, moment=False):
        yield ""
        yield heading
        yield table(
            _without_empty(
                [
                    {"config": row["config"], "epoch": row["epoch"], "first": f"{row['first']:.4g}"}
                    | {"second": f"{row['second']:.4g}", "less first": _raw_interval(row), "verdict": row["verdict"]}
                    for row in rows_of(block)
                ]
            )
        )
    yield ""
    yield from _wrapped(
        "Raw values. Less first: the second run less the first ± its 95 % interval, paired by class and training seed, "
        "clustered by both. Better and worse: the interval excludes 0."
    )


def _raw_interval(row: Mapping[str, Any]) -> str:
    middle = f"{row['difference']:+.3g}".replace("-", "−")
    return middle if row["low"] is None else f"{middle} ± {(row['high'] - row['low']) / 2:.3g}"


def _rounded(numbers: Mapping[str, float | None]) -> dict[str, str]:
    return {name: "" if value is None else f"{value:.3g}" for name, value in numbers.items()}


def judges(planned: tuple[Sequence[Column], Mapping[str, str]]) -> list[str]:
    """A line a criterion of a study that has not run: what it will be judged by."""
    columns, stands_in = planned
    rows = [identity(column) | {"stands_in_for": stands_in.get(column.info.criterion)} for column in columns]
    return judged_by(pd.DataFrame(rows))


def closing(found: pd.DataFrame, identified: pd.DataFrame) -> Iterator[str]:
    """The end of a run in a few lines: of each criterion the best, and what it is tied with."""
    for heading, block in _blocks(found):
        best = block[block["verdict"] == "best"]
        if best.empty:
            continue
        yield heading
        lead = rows_of(best)[0]
        line = f"  best {lead['config']} ({_two(lead['score'])})"
        named = {verdict: block.loc[block["verdict"] == verdict, "config"].tolist() for verdict in _OTHERS}
        parts = [words.format(_some(named[verdict])) for verdict, words in _OTHERS.items() if named[verdict]]
        yield from _wrapped("; ".join([line, *parts]), "  ")
        if lead["identified_images"] is not None:
            yield from _wrapped(f"  {_named_right(lead, identified)}", "  ")
    if found.empty:
        yield "Nothing is ranked."


_OTHERS = {"tied": "tied with {}", "cannot be told": "cannot be told from {}"}


def _named_right(lead: Mapping[str, Any], identified: pd.DataFrame) -> str:
    """Of the winner's images how many the classifier names right, and of which category the fewest."""
    whole = _share(lead["identified_right"], lead["identified_images"])
    of_config = identified[(identified["study"] == lead["study"]) & (identified["config"] == lead["config"])]
    weakest = of_config.loc[of_config["share"].idxmin()]
    fewest = f"{weakest['right']} of {weakest['images']}"
    category = category_words(weakest["category"]).lower()
    return f"identification: {whole} trigger images named right; fewest: {category}, {fewest}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - MOST_TIED
    return ", ".join(names[:MOST_TIED]) + (f" and {more} more" if more > 0 else "")


def judged_by(table_: pd.DataFrame) -> list[str]:
    """A line a criterion: what it is judged by."""
    return [f"{criterion_words(row['criterion'])}: {_measurement(row)}" for row in rows_of(table_)]


def _judged(judged: pd.DataFrame) -> Iterator[str]:
    several = judged["study"].nunique() > 1
    for study, rows in judged.groupby("study", sort=False):
        if several:
            yield f"study {study}"
        for line in judged_by(rows):
            yield from _wrapped(line, "  ")


def _blocks(found: pd.DataFrame, moment: bool = True) -> Iterator[tuple[str, pd.DataFrame]]:
    """(heading, rows) of each study and criterion: what is the same in all rows is said once."""
    several = found["study"].nunique() > 1
    for _, block in found.groupby(["study", *CRITERION], sort=False, observed=True):
        row = rows_of(block.head(1))[0]
        parts = [_measurement(row)]
        if moment and block["epoch"].nunique(dropna=False) == 1 and row["epoch"] is not None:
            parts.append(f"epoch {row['epoch']}")
        elif moment and block["epoch"].nunique() > 1 and block["config"].is_unique:
            parts.append("last epoch of each config")
        parts.append(_scope(row))
        name = f"study {row['study']}: " if several else ""
        heading = f"{name}{criterion_words(row['criterion'])}: {'; '.join(parts)}"
        yield "\n".join(_wrapped(heading, "  ")), block


def _scope(row: Mapping[str, Any]) -> str:
    """The classes that a score is a mean over; whole categories of other people's tables name none."""
    n = count(row["n_classes"], "class", "classes") if row["n_classes"] else ""
    if row["category"] != ALL:
        return category_words(row["category"]).lower() + (f", {n}" if n else "")
    return n or "all classes"


def _measurement(row: Mapping[str, Any]) -> str:
    seen = " ".join(part for part in (row["encoder"], row["resize"]) if part)
    words = ", ".join(part for part in (metric_words(row["metric"]), prompt_words(row["prompt_type"]), seen) if part)
    stands_in = row.get("stands_in_for")
    return f"{words} (instead of {stands_in.replace('_', ' ')}, which this study has not)" if stands_in else words


def _without_empty(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Without columns in which nothing stands."""
    kept = [name for name in rows[0] if any(row[name] not in (None, "") for row in rows)] if rows else []
    return [{name: row[name] for name in kept} for row in rows]


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, width(), subsequent_indent=indent * 2, break_on_hyphens=False, drop_whitespace=True)


def _two(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _interval(middle: float | None, low: float | None, high: float | None) -> str:
    """A difference ± half its interval, which lies evenly around it."""
    if middle is None:
        return ""
    return _signed(middle) if low is None or high is None else f"{_signed(middle)} ± {(high - low) / 2:.2f}"


def _ends(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"{_signed(low)} to {_signed(high)}"


def _q(value: float | None) -> str:
    return "" if value is None else "<0.01" if value < 0.01 else f"{value:.2f}"


def _to_tell(row: Mapping[str, Any]) -> str:
    seeds, images = row["more_seeds"], row["more_images"]
    parts = [f"+{seeds:.0f}" if seeds is not None else "", f"×{images:.1f}" if images is not None else ""]
    return " ".join(part for part in parts if part)


def _share(right: float | None, images: float | None) -> str:
    return "" if right is None or images is None else f"{right:.0f} of {images:.0f}"


def _size(mib: float | None) -> str:
    return "" if mib is None else f"{mib:.3g}"


def _span(values: pd.Series) -> str:
    known = values.dropna()
    low, high = (f"{known.min():.2f}", f"{known.max():.2f}") if len(known) else ("", "")
    return low if low == high else f"{low} to {high}"


def _moment(row: Mapping[str, Any]) -> str:
    return row["config"] + (f", epoch {row['epoch']}" if row["epoch"] is not None else "")
