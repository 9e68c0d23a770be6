"""Which moment and merge ratio of each config to take, of the files that there are."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lorabench.api.measurements import AS_REPORTED, Selection, compared, ranked_studies
from lorabench.errors import UserError
from lorabench.report.answers import Answer, answers, choices, is_several
from lorabench.report.cards import find_cards
from lorabench.report.tables import headline_columns


def choices_of(run: Path, selection: Selection = AS_REPORTED) -> pd.DataFrame:
    """Every moment and merge ratio of each config against the config's best by each criterion; raw values.

    UserError for a run in which nothing is ranked, and for what it has not measured.
    """
    parts = [
        choices(compared(run, each.study, each.columns), each.columns, selection.category)
        for each in ranked_studies(run, selection)
    ]
    return pd.concat(parts, ignore_index=True)


def answers_of(run: Path) -> list[Answer]:
    """What the report says first of the first study of a run; [] where no config has anything to choose from."""
    try:
        first, *_ = ranked_studies(run, AS_REPORTED)
        found = compared(run, first.study, first.columns)
    except UserError:  # a run that ended before its tables, or in which nothing is ranked
        return []
    answered = answers(found, headline_columns(found.columns), find_cards(found))
    return answered if is_several(answered) else []
