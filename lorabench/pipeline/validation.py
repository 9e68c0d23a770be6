"""How a checkpoint is validated: its losses on draws that are the same for all, and the health of its weights."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lorabench import store
from lorabench.base_models import BaseModel
from lorabench.components import Advance
from lorabench.pipeline import models
from lorabench.pipeline.measuring import DATASET, HELD_OUT
from lorabench.pipeline.plan import Plan
from lorabench.records import Checkpoint, SampleConfig, Task
from lorabench.stages import samples, validate
from lorabench.stages.weight_health import weight_health
from lorabench.statistics.columns import HEALTH_COLUMNS, VALIDATION_COLUMNS

DRAWS_FILE, HEALTH_FILE = "draws.parquet", "health.parquet"


def validate_checkpoint(plan: Plan, task: Task, advance: Advance) -> None:
    """One artifact of a checkpoint: a row a draw with its loss, and a row a block with the health of its weights."""
    since = time.perf_counter()
    checkpoint = plan.checkpoint_by_id[task.source]
    base = models.base_model(plan, plan.base_for(checkpoint))
    adapter = models.adapter_of(plan, checkpoint, base)
    health = [] if adapter is None else [vars(row) for row in weight_health(base.components, adapter)]
    advance(1)
    drawn, sampling = _draws(plan, checkpoint, base), plan.sampling_of(checkpoint)
    with models.merged(plan, checkpoint, base, adapter) as knowing:
        losses = validate.losses(
            knowing, [each.noised for each in drawn], sampling.max_tokens, sampling.clip_skip, advance
        )
    timesteps = len(base.alphas_cumprod)
    rows = [
        [each.concept_id, _PICTURES[each.source], validate.band_of(each.noised.draw.timestep, timesteps), loss]
        for each, loss in zip(drawn, losses.tolist(), strict=True)
    ]
    folder, key = plan.places.validation(checkpoint), plan.keys.validation(checkpoint)
    made_from = [each for each in [plan.places.weights(checkpoint)] if each]
    with plan.folder.writing(folder, key, made_from, device=plan.device, since=since) as scratch:
        store.write_table(pd.DataFrame(rows, columns=_DRAWN), scratch / DRAWS_FILE)
        store.write_table(pd.DataFrame(health, columns=HEALTH_COLUMNS), scratch / HEALTH_FILE)


_DRAWN = ["concept", "pictures", "band", "loss"]
_PICTURES = {DATASET: "training", HELD_OUT: "held_out"}  # which they are, as tables say it


@dataclass(frozen=True)
class _Drawn:
    concept_id: str
    source: str
    noised: validate.Noised


def _draws(plan: Plan, checkpoint: Checkpoint, base: BaseModel) -> tuple[_Drawn, ...]:
    """All draws of a plan: the same for all checkpoints of a base model, so encoded once a process."""
    data = plan.dataset.fingerprint, plan.dataset.held_out_fingerprint, plan.validating.draws
    training = plan.study.training
    key = (plan.base_for(checkpoint).id, plan.device, *data, training.resolution, training.bucket_step)
    if key not in _encoded:
        _encoded.clear()
        _encoded[key] = _encode(plan, base)
    return _encoded[key]


_encoded: dict[tuple[object, ...], tuple[_Drawn, ...]] = {}


def _encode(plan: Plan, base: BaseModel) -> tuple[_Drawn, ...]:
    found = []
    training = plan.study.training
    config = SampleConfig(resolution=training.resolution, bucket_step=training.bucket_step)
    for concept_id, source, pictures in plan.validating.sides():
        draws = validate.draws_of(
            concept_id, [each.sha256 for each in pictures], plan.validating.draws, len(base.alphas_cumprod)
        )
        seen = sorted({draw.picture for draw in draws})
        encoded = dict(zip(seen, samples.encode_images(base, [pictures[place] for place in seen], config)))
        found += [
            _Drawn(concept_id, source, validate.Noised(encoded[draw.picture], pictures[draw.picture].caption, draw))
            for draw in draws
        ]
    return tuple(found)


# --- as tables --------------------------------------------------------------------------------------------------------


def validated(plan: Plan) -> Iterator[tuple[Checkpoint, Path]]:
    """The checkpoints that have been validated, each with its artifact."""
    for each in plan.validating.checkpoints:
        folder = plan.places.validation(each)
        if plan.folder.holds(folder, plan.keys.validation(each)):
            yield each, folder


def loss_table(plan: Plan) -> pd.DataFrame:
    """The mean loss of each validated checkpoint on each concept's pictures, by band of timesteps."""
    concepts = {concept.id: concept for concept in plan.dataset.concepts}
    rows = []
    for checkpoint, folder in validated(plan):
        drawn = store.read_table(plan.folder.intact(folder, DRAWS_FILE))
        for (concept_id, pictures, band), of in drawn.groupby(["concept", "pictures", "band"], sort=False)["loss"]:
            leaf = concepts[concept_id]
            # Rounded once: the same whatever the order.
            mean = math.fsum(of) / len(of)
            names = [leaf.category, leaf.class_name, leaf.subclass]
            rows.append([checkpoint.id, *names, pictures, int(band), mean, len(of)])
    return pd.DataFrame(rows, columns=["checkpoint", *VALIDATION_COLUMNS])


def health_table(plan: Plan) -> pd.DataFrame:
    """The health of the weights of each validated checkpoint, block by block."""
    parts = [
        store.read_table(plan.folder.intact(folder, HEALTH_FILE)).assign(checkpoint=checkpoint.id)
        for checkpoint, folder in validated(plan)
    ]
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=["checkpoint", *HEALTH_COLUMNS])
    return found[["checkpoint", *HEALTH_COLUMNS]]
