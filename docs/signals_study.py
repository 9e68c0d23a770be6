"""Tables of docs/signals.md, from the small files of one study in results/reference."""

from __future__ import annotations

import functools

import pandas as pd
from scipy.stats import false_discovery_control
from studies import REFERENCE, markdown

from lorabench.api.foretelling import signals_table
from lorabench.report.words import signal_words
from lorabench.statistics.comparisons import FALSE_DISCOVERIES
from lorabench.statistics.signals import signal_values, signals

STUDY = REFERENCE / "mini_held_out"
SEED = 23
LOSSES = ["held_out_loss", "held_out_loss|80-100 % of the timesteps", "training_loss", "loss_gap"]
SHOWN = (
    *("held_out_loss", "training_loss", "loss_gap", "image_similarity_gap, train", "copy_rate, train"),
    *("spectral_norm", "stable_rank", "first_direction", "relative_norm"),
)
MEASURED = {
    "fidelity: image similarity, `train`": ("image_similarity", "train"),
    "the same: named right, `trigger`": ("identification", "trigger"),
    "control: text similarity, `alter`": ("text_similarity", "alter"),
    "diversity: Vendi score, `trigger`": ("vendi", "trigger"),
    "preservation: style loss to the base model, `style`": ("style_loss_base", "style"),
}
BAND = "% of the timesteps"


def among_all() -> str:
    """Every signal with every criterion, among all checkpoints of a concept."""
    return _table("all", list(SHOWN))


def of_one_algorithm() -> str:
    return _table("algorithm", list(SHOWN))


def of_one_moment() -> str:
    return _table("moment", list(SHOWN))


def of_one_training() -> str:
    return _table("training", list(SHOWN))


def by_band() -> str:
    """The held-out loss of each band of timesteps, among all checkpoints of a concept."""
    return _table("all", [name for name in _found()["signal"].unique() if name.endswith(BAND)])


def by_draws() -> str:
    """Three draws of a concept and side, as they are by default, against fifty, of one seed."""
    tables = {name: pd.read_parquet(STUDY / f"{name}.parquet") for name in ("scores", "normalized", "health")}
    one = {name: table[table["seed"] == SEED] for name, table in tables.items()}
    asked = pd.MultiIndex.from_frame(one["normalized"][["metric", "prompt_type"]]).isin(list(MEASURED.values())[:2])
    usual = pd.read_parquet(STUDY / "validation.parquet").query("seed == @SEED")
    rows = []
    for draws, validation in (("3", usual), ("50", pd.read_parquet(STUDY / "validation_50.parquet"))):
        values = signal_values(one["scores"], validation, one["health"])[LOSSES]
        found = signals(one["normalized"][asked], values)
        found["q"] = false_discovery_control(found["p"])
        for signal in LOSSES:
            row: dict[str, str] = {"draws": draws, "signal": signal_words(signal)}
            for among, words in (("all", "all checkpoints"), ("moment", "one epoch"), ("training", "one training")):
                for metric, title in (("image_similarity", "image similarity"), ("identification", "named right")):
                    is_it = (found[["signal", "among", "metric"]] == [signal, among, metric]).all(axis=1)
                    row[f"{words}: {title}"] = _cell(next(found[is_it].itertuples()))
            rows.append(row)
    return markdown(pd.DataFrame(rows).sort_values(["signal", "draws"], kind="stable", key=_order))


def _order(column: pd.Series) -> pd.Series:
    return column.map({signal_words(name): place for place, name in enumerate(LOSSES)} | {"3": 3, "50": 50})


@functools.cache
def _found() -> pd.DataFrame:
    return signals_table(STUDY)


def _table(among: str, signals: list[str]) -> str:
    found = _found()[_found()["among"] == among].set_index("signal")
    rows = []
    for signal in signals:
        cells = {(row.metric, row.prompt_type): _cell(row) for row in found.loc[signal].itertuples()}
        rows.append({"signal": signal_words(signal)} | {title: cells.get(key, "") for title, key in MEASURED.items()})
    return markdown(pd.DataFrame(rows))


def _cell(row) -> str:
    if pd.isna(row.r):
        return ""
    middle = f"{row.r:+.2f}"
    middle = f"**{middle}**" if row.q <= FALSE_DISCOVERIES else middle
    return f"{middle} ({row.low:+.2f} to {row.high:+.2f})"
