"""What a run says of signals that cost less than pictures: which of them foretell what pictures measure."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from scipy.stats import false_discovery_control

from lorabench.api.measurements import AS_REPORTED, Selection, ranked_studies, rows_of
from lorabench.errors import UserError
from lorabench.report import runs
from lorabench.statistics.columns import METRIC
from lorabench.statistics.signals import SIGNAL_COLUMNS, signal_values, signals

_NAMED = {"metric": "identification", "prompt_type": "trigger"}  # beside what criteria are judged by, where measured


def signals_table(run: Path, selection: Selection = AS_REPORTED) -> pd.DataFrame:
    """Rank correlations of held-out loss, gaps, copy rate and the health of weights with scores, a row each.

    Of what criteria are judged by, and of identification where it was measured; `q` is Benjamini and Hochberg's over
    all rows of a study. UserError for a folder without scores, and for a run that measured no signal.
    """
    found = []
    for ranked in ranked_studies(run, selection):
        tables = runs.read_run(run, ranked.study, ("scores", "normalized", "validation", "health"))
        values = signal_values(tables.scores, tables.validation, tables.health)
        if values.empty:
            continue
        judged = rows_of(tables.normalized, ranked.columns)
        is_named = (tables.normalized[list(_NAMED)] == list(_NAMED.values())).all(axis=1)
        rows = pd.concat([judged, *([] if selection.metrics else [tables.normalized[is_named]])])
        rows = rows[rows["checkpoint"].isin(ranked.rows["checkpoint"])]
        rows = rows[rows["category"].isin(ranked.rows["category"])]
        table = signals(rows.drop_duplicates(["checkpoint", "category", "class_name", "subclass", *METRIC]), values)
        known = table["p"].notna()
        table.loc[known, "q"] = false_discovery_control(table.loc[known, "p"])
        found.append(table.assign(study=ranked.study))
    if not found:
        raise UserError(
            f"{run} measured no signal: hold pictures out of training ([data] holdout = 0.2), or ask for the health of "
            "weights and the loss on training pictures ([validation] draws = 5), and run the study again."
        )
    return pd.concat(found, ignore_index=True)[["study", *SIGNAL_COLUMNS, "q"]]
