"""The report: one HTML file that holds its scripts, numbers and pictures, and loads nothing."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lorabench.config import SETTINGS
from lorabench.report.answers import answers, is_several
from lorabench.report.beeswarm import LOW_R2, beeswarm_data
from lorabench.report.cards import LIMITS, WORDS, Card, find_cards, verdict
from lorabench.report.decided import criteria, summary
from lorabench.report.file_table import file_rows
from lorabench.report.gallery import gallery_data
from lorabench.report.health import (
    collapsed_pictures,
    config_costs,
    failure_counts,
    find_missing,
    point_costs,
    stage_costs,
    training_devices,
)
from lorabench.report.heatmaps import correlation_data
from lorabench.report.leaderboard import find_views, leaderboard_data
from lorabench.report.merges import merge_data
from lorabench.report.overview import certainty, facts, winners
from lorabench.report.points import Comparison, Means, compare
from lorabench.report.scatter import find_pairs, scatter_data
from lorabench.report.styles import algorithm_styles, config_styles
from lorabench.report.tables import Column, RunTables, headline_columns, metric_infos
from lorabench.report.trainings import training_data
from lorabench.report.words import (
    CRITERIA,
    CRITERIA_MEANING,
    algorithm_words,
    category_words,
    criterion_words,
    factor_words,
    learning_rate,
    listed,
    metric_words,
    number,
    rounded,
)
from lorabench.statistics.columns import own_factors
from lorabench.statistics.validation import unlike_others

_SCRIPTS = (
    "core.js",
    "state.js",
    "configs.js",
    "plots.js",
    "leaderboard.js",
    "axes.js",
    "point_pictures.js",
    "tradeoffs.js",
    "beeswarm.js",
    "curves.js",
    "losses.js",
    "correlations.js",
    "training_grid.js",
    "settings.js",
    "merges.js",
    "gallery.js",
)


_ADDRESS = re.compile(r"""https?://(?!www\.w3\.org/)[^"'`\s)]*(?=["'`])""")  # in a string; w3.org names XML's spaces


def build_report(tables: RunTables, out: Path) -> Path:
    """Write the report to `out` and return it; the file is replaced whole or not at all.

    UserError if `scores` holds a metric that `tables.metrics` does not describe.
    """
    run = compare(tables)
    cards = find_cards(run)
    environment = Environment(
        loader=PackageLoader("lorabench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("report.html.j2").render(
        **_words(run, cards),
        style=_inline("report.css"),
        scripts=Markup("\n").join(_inline(name) for name in _SCRIPTS),
        plotly=_plotly(),
        data=_embedded(_numbers(run, cards)),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f"{out.name}.part")
    part.write_text(html, encoding="utf-8")
    os.replace(part, out)
    return out


def _words(run: Comparison, cards: Sequence[Card]) -> dict[str, Any]:
    """What the templates write themselves."""
    tables, points, means = run.tables, run.points, run.means
    headlines = headline_columns(run.columns)
    doubted = [card.column for card in cards if card.failures]
    leaders = winners(run, headlines, doubted)
    found = answers(run, headlines, cards)
    told = any(winner.tied or winner.worse for winner in leaders)
    return {
        "title": str(tables.study.get("name") or "study"),
        "description": str(tables.study.get("description") or ""),
        "answers": found if is_several(found) else [],
        "decided": criteria(tables.decisions),
        "decided_words": summary(tables.study["decided"]) if tables.study.get("decided") else [],
        "has_merges": len(tables.merges) + len(tables.interference) > 0,
        "chosen_configs": list(dict.fromkeys(choice.config for answer in found for choice in answer.choices)),
        "listed": listed,
        "unit": points.unit,
        "facts": facts(tables, points, len(means.categories) - 1),
        "winners": leaders,
        "files": [] if told else file_rows(tables, headlines),
        "headlines": headlines,
        "doubted": doubted,
        "certainty": certainty(tables, points, means, headlines),
        "styles": algorithm_styles(points.table["algorithm"].tolist()),
        "failures": tables.failures.fillna("").to_dict("records"),
        "failure_counts": failure_counts(tables.failures),
        "missing": find_missing(tables.scores),
        "collapsed": collapsed_pictures(tables.collapsed),
        "unlike": unlike_others(tables.health).head(_MOST_UNLIKE).to_dict("records"),
        "stage_costs": stage_costs(tables),
        "config_costs": config_costs(tables),
        "training_devices": training_devices(tables),
        "glossary": _glossary(tables),
        "settings": _flat(tables.study),
        "provenance": _flat(_of_page(tables.provenance)),
        "low_r2": LOW_R2,
        "metric_words": metric_words,
        "criterion_words": criterion_words,
        "criteria_meaning": CRITERIA_MEANING,
        "cards": cards,
        "limits": LIMITS,
        "verdict": verdict,
        "number": number,
    }


_MOST_UNLIKE = 30  # rows of one table


def _of_page(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What it says of the page's making; what each artifact took stands under costs."""
    kept = {name: value for name, value in provenance.items() if name not in _OF_ARTIFACTS}
    return {_MADE.get(name, name): value for name, value in kept.items()}


_OF_ARTIFACTS = ("seconds", "process_memory_bytes", "device_memory_bytes", "device_energy_joules", "inputs")
_MADE = {"started": "page made"}


def _glossary(tables: RunTables) -> list[Any]:
    order = {name: place for place, name in enumerate(CRITERIA)}
    infos = metric_infos(tables.metrics).values()
    return sorted(infos, key=lambda info: (order.get(info.criterion, len(order)), info.name))


def _numbers(run: Comparison, cards: Sequence[Card]) -> dict[str, Any]:
    """What the scripts draw: each number once, charts refer to it by column, category and point."""
    tables, columns, points, means = run.tables, run.columns, run.points, run.means
    headlines = headline_columns(columns)
    return {
        "points": _points(run),
        "moments": points.moments,
        "along": ["age"] if len(points.along) == 1 else points.along,
        "unit": points.unit,
        "ageLabel": " or ".join(points.along).capitalize(),
        "own": [factor_words(name) for name in own_factors(tables.scores)],
        "swept": bool(set(own_factors(tables.scores)) & set(SETTINGS)),
        "last": points.last,
        "algorithms": algorithm_styles(points.table["algorithm"].tolist()),
        "configs": _configs(points.table),
        "costs": {name: rounded(values) for name, values in point_costs(run).items()},
        "trainings": training_data(tables),
        "columns": [_column(card, card.column in headlines) for card in cards],
        "categories": [{"key": key, "label": category_words(key)} for key in means.categories],
        "means": _means(means, columns),
        "views": leaderboard_data(run, find_views(run)),
        "pairs": scatter_data(find_pairs(columns), columns),
        "swarm": beeswarm_data(tables, columns),
        "correlations": correlation_data(run),
        "gallery": gallery_data(tables.images, points),
        "merges": merge_data(tables, columns),
    }


def _points(run: Comparison) -> list[dict[str, Any]]:
    own = own_factors(run.tables.scores)
    factors = run.tables.scores[["checkpoint", "seed", *own]].drop_duplicates("checkpoint")
    of_point = dict(list(factors.groupby(factors["checkpoint"].map(run.points.of_checkpoint))))
    nothing = factors[:0]
    rows = run.points.table.to_dict("records")
    return [
        _point(row, of_point.get(number, nothing), own) | {"floor": run.points.floors[number]}
        for number, row in enumerate(rows)
    ]


def _point(row: Mapping[str, Any], checkpoints: pd.DataFrame, own: Sequence[str]) -> dict[str, Any]:
    """`checkpoints` are those of the point, one a seed; `own` the factors that a person named."""
    said = [_levels(checkpoints[name]) for name in own]
    facts = _setting_words(row)
    seeds = ", ".join(f"{seed}" for seed in sorted(checkpoints["seed"].dropna()))
    made = {"seeds": seeds, "steps": f"{row['step']:,.0f}" if np.isfinite(row["step"]) else "", "base": row["base"]}
    return {
        "config": str(row["config"]),
        "algorithm": str(row["algorithm"]),
        "settings": ", ".join(f"{name} {value}".removeprefix("layers ") for name, value in facts.items()),
        "facts": {"algorithm": algorithm_words(row["algorithm"]), **facts, "moment": row["moment"]}
        | {name: value for name, value in zip(own, said) if value},
        "own": said,
        "made": {name: str(value) for name, value in made.items() if value},
        "checkpoints": sorted(checkpoints["checkpoint"]),
        "moment": row["moment"],
        **{name: float(row[name]) if np.isfinite(row[name]) else None for name in ("age", "epoch", "step")},
        "scale": float(row["scale"]) if np.isfinite(row["scale"]) else 1.0,
    }


def _levels(column: pd.Series) -> str:
    """What the checkpoints of a point have of a factor, in words."""
    found = dict.fromkeys(column.dropna())
    return ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in found if value != "")


def _configs(points: pd.DataFrame) -> dict[str, dict[str, str]]:
    looks, of_config = config_styles(points), points.drop_duplicates("config").set_index("config")["algorithm"]
    return {name: {"algorithm": of_config[name]} | asdict(look) for name, look in looks.items()}


def _setting_words(row: Mapping[str, Any]) -> dict[str, str]:
    """The settings that a config has, in words."""
    layers = row["trained_layers"]
    words = {"layers": str(layers) if layers and pd.notna(layers) else ""}
    words["lr"] = learning_rate(row["lr"]) if np.isfinite(row["lr"]) else ""
    words |= {name: f"{row[name]:g}" if np.isfinite(row[name]) else "" for name in ("dim", "alpha", "factor")}
    return {name: value for name, value in words.items() if value}


def _column(card: Card, is_headline: bool) -> dict[str, Any]:
    column = card.column
    return {
        "key": "/".join(part for part in column.identity if part),
        "label": column.label,
        "metric": metric_words(column.metric),
        "prompt": column.prompt_type,
        "details": column.details,
        "criterion": column.info.criterion,
        "criterionLabel": criterion_words(column.info.criterion),
        "higher": column.info.higher_is_better,
        "headline": is_headline,
        "doubts": [WORDS[name] for name in card.failures],
    }


def _means(means: Means, columns: Sequence[Column]) -> dict[int, dict[str, Any]]:
    data: dict[int, dict[str, Any]] = {}
    for (column, category), raw in means.raw.items():
        key = (column, category)
        data.setdefault(columns.index(column), {})[category] = {
            "score": rounded(means.score[key]),
            "scoreError": rounded(means.score_error[key]),
            "raw": rounded(raw),
            "rawError": rounded(means.raw_error[key]),
            "n": rounded(means.n[key]),
            "base": rounded([means.base[key]])[0],
            "real": rounded([means.real[key]])[0],
        }
    return data


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as (dotted name, value) rows."""
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{key}.")
        elif isinstance(value, (list, tuple)):
            rows.append((f"{prefix}{key}", ", ".join(map(str, value)) or "none"))
        else:
            rows.append((f"{prefix}{key}", _word(value)))
    return rows


def _word(value: Any) -> str:
    if value is None or value == "":
        return "not recorded"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _embedded(data: Mapping[str, Any]) -> Markup:
    """JSON that is safe inside a script element: no character of it can end the element."""
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _plotly() -> Markup:
    """plotly.js without the addresses in its strings: nothing in the page leads away from it, whatever is clicked."""
    return Markup(_ADDRESS.sub("", _inline("plotly/plotly-cartesian.min.js")))


def _inline(name: str) -> Markup:
    return Markup(resources.files("lorabench.report").joinpath("static", name).read_text(encoding="utf-8"))
