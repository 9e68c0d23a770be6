"""Which measurements of a study can be believed: the verdicts of its audit."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lorabench import store
from lorabench.api.measurements import stand_ins
from lorabench.errors import UserError
from lorabench.pipeline.auditing import PROBES_FILE
from lorabench.pipeline.facts import metric_facts
from lorabench.pipeline.plan import Plan
from lorabench.report.cards import Card, find_cards, probed_cards, standing
from lorabench.report.points import compare
from lorabench.report.runs import read_run
from lorabench.report.tables import Column, headline_columns, metric_infos, sorted_columns

_NUMBERS = ["identity", "damage", "blur", "jpeg", "crop", "copies", "real", "seeds", "encoders", "floor", "ceiling"]
AUDIT_COLUMNS = [
    *("study", "criterion", "metric", "prompt_type", "encoder", "resize", "higher_is_better"),
    *("verdict", "failed", *_NUMBERS),
]


def verdicts(plan: Plan) -> pd.DataFrame:
    """One row a measurement: its verdict (`report.cards.standing`), the names of what it fails, the numbers behind.

    identity, blur, jpeg, crop, copies, real as `stages.audit.probe` has them, damage the mean of blur, jpeg and crop.
    seeds, encoders, floor and ceiling (`report.cards.Card`) need scores of trained checkpoints; NaN before.
    """
    cards = _of_scores(plan)
    scored = {card.column for card in cards}
    others = [column for column in planned_columns(plan) if column not in scored]
    cards += probed_cards(others, store.read_table(plan.root / PROBES_FILE))
    return pd.DataFrame([_row(plan.study.name, card) for card in cards], columns=AUDIT_COLUMNS)


def planned_columns(plan: Plan) -> list[Column]:
    """Every measurement that a study comes to."""
    infos = metric_infos([metric_facts(plan.measuring.metric(request.metric)) for request in plan.requests])
    return sorted_columns(
        Column(prompt_type, request.metric, request.encoder, request.resize, infos[request.metric])
        for request in plan.requests
        for prompt_type in _drawn_types(plan, request.metric)
    )


def planned_judges(plan: Plan) -> tuple[list[Column], dict[str, str]]:
    """What a study's criteria will be judged by, and instead of what: see `measurements.stand_ins`."""
    headlines = headline_columns(planned_columns(plan))
    return headlines, stand_ins(headlines)


def _drawn_types(plan: Plan, name: str) -> list[str]:
    metric = plan.measuring.metric(name)
    return list(
        dict.fromkeys(
            prompt_set.type
            for _, prompt_set in plan.every_set
            if prompt_set.type in metric.prompt_types
            and (metric.categories is None or prompt_set.concept.category in metric.categories)
        )
    )


def _of_scores(plan: Plan) -> list[Card]:
    """The cards of a run that has been scored and ranked as this plan has it; none before."""
    try:
        run = read_run(plan.root, plan.study.name)
        planned = set(planned_columns(plan))
        return [card for card in find_cards(compare(run)) if card.column in planned]
    except UserError:
        return []


def _row(study: str, card: Card) -> dict[str, object]:
    column = card.column
    place = {name: getattr(column, name) for name in ("metric", "prompt_type", "encoder", "resize")}
    numbers = {name: getattr(card, name) for name in _NUMBERS}
    return (
        {"study": study, "criterion": column.info.criterion, **place}
        | {"higher_is_better": column.info.higher_is_better, "verdict": standing(card), "failed": card.failures}
        | {name: float(value) if np.isfinite(value) else np.nan for name, value in numbers.items()}
    )
