"""Tables of docs/signals.md, from the small files of one study in results/reference."""

from __future__ import annotations

import functools

import pandas as pd
from studies import REFERENCE, markdown

from lorabench.api.foretelling import signals_table
from lorabench.report.words import signal_words
from lorabench.statistics.comparisons import FALSE_DISCOVERIES

STUDY = REFERENCE / "mini_held_out"
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
