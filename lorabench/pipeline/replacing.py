"""Finished work that a run would do anew: nobody loses hours of training to an edit without having been asked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from lorabench import store
from lorabench.config import drawings, expand, merge_drawings
from lorabench.errors import UserError
from lorabench.pipeline import keeping
from lorabench.pipeline.checkup import ROOMS
from lorabench.pipeline.integrity import artifacts
from lorabench.pipeline.plan import DATASET, Plan, drawn_as
from lorabench.report.runs import FACTS_FILE
from lorabench.report.schema import checked_facts
from lorabench.report.words import count, duration, listed

ASIDE = "replaced"  # the folder of a run in which adapters lie that others took the place of
_KINDS = {"train": "trained checkpoints", "merge": "merged checkpoints", "generate": "sets of images"}
_KEPT = ("train", "merge")  # stages whose work is set aside
_SHOWN = 3  # changed settings in a sentence


@dataclass(frozen=True)
class Replaced:
    """An artifact that is whole, but was made from something else than the plan says now."""

    stage: str
    folder: Path
    seconds: float  # that it took to make


def require_own_folder(root: Path, studies: Sequence[str]) -> None:
    """UserError if a folder of results is another study's than those that are to be written to it."""
    others = sorted(_studies_in(root) - set(studies))
    if others:
        raise UserError(
            f"{root} holds the results of study '{others[0]}', not of '{studies[0]}': choose another folder with --out."
        )


def require_consent(plan: Plan, stages: Sequence[str]) -> None:
    """UserError if stages would replace finished checkpoints or images, or tables and report of something else."""
    words = say_replaced(plan, finished(plan, stages), stages)
    if words:
        raise UserError(f"{words} Add --replace to do so, or choose another folder with --out.")


def finished(plan: Plan, stages: Sequence[str]) -> list[Replaced]:
    """The checkpoints and sets of images that stages of the plan would replace. What is cheap to make is left out."""
    found = []
    for each in artifacts(plan):
        is_cheap = each.stage not in _KINDS or each.checkpoint in plan.own_sets  # which are only taken in
        meta = plan.folder.meta(each.folder) if each.stage in stages and not is_cheap else None
        if meta is not None and meta.key != each.key and not plan.folder.fault(each.folder):
            found.append(Replaced(each.stage, each.folder, meta.provenance.seconds))
    return found


def say_replaced(plan: Plan, replaced: Sequence[Replaced], stages: Sequence[str]) -> str:
    """A sentence or two for whoever has to decide; "" where nothing is replaced."""
    left_out = _say_left_out(plan) if "rank" in stages else ""
    left_out = " ".join(filter(None, (_say_drawn_again(plan) if "generate" in stages else "", left_out)))
    if not replaced:
        return left_out
    parts = []
    for stage, kind in _KINDS.items():
        seconds = [each.seconds for each in replaced if each.stage == stage]
        parts += [f"{len(seconds)} {kind} that took {duration(sum(seconds))}"] if seconds else []
    changed = changes(store.read_manifest(plan.root)[0].study, plan.study.model_dump(mode="json"))
    because = f" (changed: {'; '.join(changed)})" if changed else ""
    kept = f" The checkpoints would be kept in {plan.root / ASIDE}." if replaced[0].stage in _KEPT else ""
    work = f"This would replace finished work in {plan.root}: {' and '.join(parts)}{because}.{kept}"
    return f"{work} {left_out}".rstrip()


def set_aside(plan: Plan, replaced: Sequence[Replaced]) -> None:
    """Move checkpoints out of the way of those that take their place."""
    stamp = datetime.now().strftime("%Y-%m-%d %H-%M-%S")
    for each in replaced:
        if each.stage in _KEPT:
            target = plan.root / ASIDE / stamp / plan.folder.name(each.folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            each.folder.rename(target)


def _say_drawn_again(plan: Plan) -> str:
    """What has to be drawn a second time because it was not kept, in a sentence; "" where nothing has."""
    again = {each.id: keeping.needed_again(plan, each) for each in plan.checkpoints}
    images = sum(len(prompt_set.requests) for sets in again.values() for prompt_set in sets)
    if not images:
        return ""
    checkpoints = count(sum(bool(sets) for sets in again.values()), "checkpoint")
    return (
        f"What this study asks for now needs {images} images of {checkpoints} in {plan.root} that were not kept "
        "(images.keep): they would be drawn again."
    )


def _say_left_out(plan: Plan) -> str:
    """What tables and report there tell of and would not any more, in a sentence: the files themselves stay."""
    before = store.read_manifest(plan.root)[0].study
    told = f"The tables and the report in {plan.root} tell of"
    pictures = (before.get("data") or {}).get("folder", plan.study.data.folder)
    if pictures != plan.study.data.folder and not _saw_same_pictures(plan):
        return f"{told} the pictures in {pictures}, and those of {plan.study.data.folder} would take their place."
    configs = expand(plan.study)
    every = (*drawings(plan.study, configs), *merge_drawings(plan.study, configs))
    own = {(drawn_as(each.name, way.setting.name), seed) for each, _, way in every for seed in plan.study.seeds}
    gone = sorted(_trainings_told(plan) - own)
    if not plan.runs or not gone:
        return ""
    names = listed([f"{name} (seed {seed})" for name, seed in gone])
    return f"{told} trainings that this study does not have and would be left out: {names}."


def _saw_same_pictures(plan: Plan) -> bool:
    """Whether what lies there was measured on these pictures, wherever they lay then: a run and its data may move."""
    encoders = plan.measuring.encoders_where(stored=True)
    views = (view for name in encoders for view in plan.measuring.views(name, DATASET))
    metas = ((view, plan.folder.meta(plan.places.features(view))) for view in views)
    return any(meta is not None and meta.key == plan.keys.features(view) for view, meta in metas)


def _trainings_told(plan: Plan) -> set[tuple[str, int]]:
    """(config, seed) of the trainings in the tables there; none of tables that cannot be read."""
    try:
        told = store.read_table(plan.root / "scores.parquet", columns=["config", "seed"]).dropna().drop_duplicates()
    except UserError:  # damaged, or not there yet
        return set()
    return {(str(name), int(seed)) for name, seed in told.itertuples(index=False)}


def _studies_in(root: Path) -> set[str]:
    """The studies whose results lie in a folder, as far as it says so."""
    named = {str(store.read_manifest(root)[0].study.get("name", ""))}
    with contextlib.suppress(UserError):  # damaged, or not there yet
        named |= set(checked_facts(root / FACTS_FILE))
    return (named - {""}) or _studies_of_artifacts(root)


def _studies_of_artifacts(root: Path) -> set[str]:
    """The study that made the first artifact: of a run that was ended before its tables."""
    run = store.RunFolder(root)
    for room in ROOMS:
        for folder, _, files in os.walk(root / room):
            meta = run.meta(Path(folder)) if files else None
            if meta is not None:
                return {meta.study}
    return set()


def changes(before: Mapping[str, Any], now: Mapping[str, Any], place: str = "") -> list[str]:
    """The settings of a study that are others now, in words."""
    found = []
    for name in now if before else ():
        old, new = before.get(name), now[name]
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += changes(old, new, f"{place}{name}.")
        elif old != new:
            plain = not isinstance(old, list | tuple | Mapping) and not isinstance(new, list | tuple | Mapping)
            found.append(f"{place}{name} {old} -> {new}" if plain else f"{place}{name}")
    return found if place else found[:_SHOWN]
