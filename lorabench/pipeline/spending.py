"""What a run has spent, and what a round would add to it, in the unit of a budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from lorabench.errors import UserError
from lorabench.pipeline.integrity import artifacts
from lorabench.pipeline.plan import Plan
from lorabench.values import Budget

_DRAWING = ("generate", "encode", "score")
_JOULES = 3.6e6  # of a kilowatt hour


def images_of(round_: Plan) -> int:
    """All images of a round, the base model's among them."""
    return sum(len(each.requests) for sets in round_.round.sets.values() for each in sets)


def all_images(plan: Plan) -> int:
    """Those of the whole study."""
    return len(plan.checkpoints) * sum(len(each.requests) for each in plan.prompt_sets)


def beyond(plan: Plan, gone: Sequence[Plan], following: Plan, budget: Budget) -> str:
    """Why a round is too much for a budget, in a sentence; "" where it is not. UserError for what is not measured.

    What it takes is told from the images so far; of the first round nothing is known but their number.
    """
    images, more = sum(map(images_of, gone)), images_of(following)
    if budget.unit in ("img", "%"):
        of_all = 1.0 if budget.unit == "img" else 100 / all_images(plan)
        spent, would = images * of_all, more * of_all
    elif not gone:
        return ""
    else:
        spent = _spent(plan, gone, budget.unit, every=True)
        would = _spent(plan, gone, budget.unit, every=False) * more / max(1, images)
    if spent + would <= budget.amount:
        return ""
    number, unit = following.round.number, {"img": "images", "%": "% of all images"}.get(budget.unit, budget.unit)
    return (
        f"Round {number} is not drawn: it would take {would:,.4g} {unit} more, and {spent:,.4g} of "
        f"{budget.amount:,g} are spent."
    )


def _spent(plan: Plan, gone: Sequence[Plan], unit: str, every: bool) -> float:
    """Hours of work of all processes together, or kilowatt hours: of everything, or of images and what they measure."""
    total = 0.0
    for each in artifacts(replace(plan, rounds=tuple(gone))):
        meta = plan.folder.meta(each.folder)
        if meta is None or not (every or each.stage in _DRAWING):
            continue
        if unit == "h":
            total += meta.provenance.seconds / 3600
        elif each.stage == "generate":
            joules = meta.provenance.device_energy_joules
            if joules is None:
                raise UserError(
                    "A budget in kWh takes a GPU whose driver counts its energy (lorabench[gpu]), and nobody else "
                    "computing on it: give it in hours or images (--budget 20h, --budget 100000img)."
                )
            total += joules / _JOULES
        elif meta.provenance.device_energy_joules is not None:
            total += meta.provenance.device_energy_joules / _JOULES
    return total
