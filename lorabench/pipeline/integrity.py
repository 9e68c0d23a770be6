"""What a study's artifacts are, and which of them are not what was written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lorabench.pipeline import thumbnails
from lorabench.pipeline.measuring import DATASET, TEXTS, View
from lorabench.pipeline.plan import Plan
from lorabench.statistics.columns import with_whole_numbers

COST_COLUMNS = ["stage", "item", "config", "seed", "epoch", "checkpoint", "seconds", "bytes", "process_memory_bytes"]
COST_COLUMNS += ["device_memory_bytes", "device_energy_joules", "device", "device_name", "artifact"]


@dataclass(frozen=True)
class Artifact:
    """An artifact that a plan comes to."""

    stage: str
    item: str
    config: str | None
    checkpoint: str | None
    folder: Path
    key: str
    seed: int | None = None  # of a training, and how far it had come
    epoch: int | None = None


@dataclass(frozen=True)
class Fault:
    """Something in a run's folder that counts as missing, and why."""

    stage: str  # that makes it
    name: str  # its folder in the run
    reason: str


def artifacts(plan: Plan) -> Iterator[Artifact]:
    """Every artifact that the plan comes to."""
    for run in plan.runs:
        for milestone in run.config.training.milestones:
            name = f"{run.id}-{milestone.word}"
            place = plan.places.checkpoint(run, milestone), plan.keys.training(run, milestone)
            yield Artifact("train", name, run.config.name, name, *place, run.seed, milestone.columns["epoch"])
    for each in plan.mergings:
        place = plan.places.merging(each), plan.keys.merging(each)
        yield Artifact("merge", each.id, each.name, each.id, *place, each.seed, each.milestone.columns["epoch"])
    validated = {each.id for each in plan.validating.checkpoints}
    for checkpoint in plan.checkpoints:
        if checkpoint.id in validated:
            place = plan.places.validation(checkpoint), plan.keys.validation(checkpoint)
            yield Artifact("validate", checkpoint.id, checkpoint.config, checkpoint.id, *place)
    for each in plan.drawn_in:
        yield from _of_pictures(each)
    for encoder in plan.measuring.encoders_where(stored=True):
        for view in (
            each for source in (*plan.measuring.real, TEXTS) for each in plan.measuring.views(encoder, source)
        ):
            yield Artifact("encode", f"{view.source} {encoder}", None, None, *_features(plan, view))
    small = plan.places.thumbnails(DATASET), thumbnails.key_of(plan, DATASET)
    yield Artifact("report", f"thumbnails {DATASET}", None, None, *small)
    for encoder in plan.encoder_ids if plan.dataset.images else ():
        yield Artifact("audit", encoder, None, None, plan.places.audit(encoder), plan.keys.audit(encoder))


def _of_pictures(plan: Plan) -> Iterator[Artifact]:
    """The pictures of all checkpoints, and what is seen in them."""
    for checkpoint in plan.checkpoints:
        owner = checkpoint.config, checkpoint.id
        for prompt_set in plan.sets_of(checkpoint):
            item = f"{checkpoint.id} {prompt_set.concept.id} {prompt_set.type}"
            place = plan.places.images(checkpoint, prompt_set), plan.keys.images(checkpoint, prompt_set)
            yield Artifact("generate", item, *owner, *place)
        for encoder in plan.measuring.encoders_where(stored=True):
            for view in plan.measuring.views(encoder, checkpoint.id):
                yield Artifact("encode", f"{checkpoint.id} {encoder}", *owner, *_features(plan, view))
        small = plan.places.thumbnails(checkpoint.id), thumbnails.key_of(plan, checkpoint.id)
        yield Artifact("report", f"thumbnails {checkpoint.id}", *owner, *small)
        yield Artifact("score", checkpoint.id, *owner, plan.places.scores(checkpoint), plan.keys.scores(checkpoint))


def _features(plan: Plan, view: View) -> tuple[Path, str]:
    return plan.places.features(view), plan.keys.features(view)


def maker_of(plan: Plan, folder: Path) -> str:
    """The stage that makes what lies in a folder of the run."""
    makers = {artifact.folder: artifact.stage for artifact in artifacts(plan)}
    return makers.get(folder, "train")  # the training states are in no table


def faults(plan: Plan, stages: Sequence[str]) -> list[Fault]:
    """What counts as missing among the artifacts of some stages, though something lies there.

    Of what was made for another plan only damage is a fault: it is made anew from other inputs anyway.
    """
    asked = [each for each in artifacts(plan) if each.stage in stages]
    found = [(each.stage, each.folder, _fault(plan, each)) for each in asked]
    if "train" in stages:
        states = [plan.places.training_state(run) for run in plan.runs]
        found += [("train", folder, plan.folder.fault(folder)) for folder in states]
    return [Fault(stage, plan.folder.name(folder), reason) for stage, folder, reason in found if reason]


def _fault(plan: Plan, artifact: Artifact) -> str:
    meta = plan.folder.meta(artifact.folder)
    is_outdated = meta is not None and meta.key != artifact.key
    return plan.folder.damage(artifact.folder) if is_outdated else plan.folder.fault(artifact.folder)


def costs(plan: Plan) -> pd.DataFrame:
    """Seconds, bytes, peaks of memory, energy and device of every artifact, as its meta.json says.

    Those of a training are seconds since its checkpoint before.
    """
    rows = []
    for artifact in artifacts(plan):
        meta = plan.folder.meta(artifact.folder)
        if meta:
            made = meta.provenance
            used = [made.process_memory_bytes, made.device_memory_bytes, made.device_energy_joules]
            device = [made.device, made.device_name]
            owner = [artifact.stage, artifact.item, artifact.config, artifact.seed, artifact.epoch, artifact.checkpoint]
            rows.append([*owner, made.seconds, meta.bytes, *used, *device, plan.folder.name(artifact.folder)])
    return with_whole_numbers(pd.DataFrame(rows, columns=COST_COLUMNS).astype({"device_energy_joules": "float64"}))


def stored(plan: Plan) -> dict[Path, int]:
    """Bytes of each artifact that is there."""
    folders = [artifact.folder for artifact in artifacts(plan)] + [plan.places.training_state(run) for run in plan.runs]
    metas = [(folder, plan.folder.meta(folder)) for folder in folders]
    return {folder: meta.bytes for folder, meta in metas if meta}
