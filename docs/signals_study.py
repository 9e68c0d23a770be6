"""Tables of docs/signals.md, from the small files of one study in results/reference."""

from __future__ import annotations

import pandas as pd
from studies import REFERENCE, markdown

from lorabench.api.foretelling import signals_table
from lorabench.report.words import signal_words
from lorabench.statistics.comparisons import FALSE_DISCOVERIES

STUDY = REFERENCE / "mini_held_out"
MEASURED = {
    "fidelity: image similarity, `train`": ("image_similarity", "train"),
    "the same: named right, `trigger`": ("identification", "trigger"),
    "control: text similarity, `alter`": ("text_similarity", "alter"),
    "diversity: Vendi score, `trigger`": ("vendi", "trigger"),
    "preservation: style loss to the base model, `style`": ("style_loss_base", "style"),
}
BANDS = "% of the timesteps"


def among_all() -> str:
    """Every signal with every criterion, among all checkpoints of a concept."""
    return _table("all", bands=False)


def of_one_algorithm() -> str:
    return _table("algorithm", bands=False)


def of_one_training() -> str:
    return _table("training", bands=False)


def by_band() -> str:
    """The held-out loss of each band of timesteps, among all checkpoints of a concept."""
    return _table("all", bands=True)


def _table(among: str, bands: bool) -> str:
    found = signals_table(STUDY)
    found = found[(found["among"] == among) & (found["signal"].str.endswith(BANDS) == bands)]
    rows = []
    for signal, of_it in found.groupby("signal", sort=False):
        cells = {(row.metric, row.prompt_type): _cell(row) for row in of_it.itertuples()}
        rows.append({"signal": signal_words(signal)} | {title: cells.get(key, "") for title, key in MEASURED.items()})
    return markdown(pd.DataFrame(rows))


def _cell(row) -> str:
    if pd.isna(row.r):
        return ""
    told = row.q <= FALSE_DISCOVERIES
    middle = f"{row.r:+.2f}"
    return f"{f'**{middle}**' if told else middle} ({row.low:+.2f} to {row.high:+.2f})"
