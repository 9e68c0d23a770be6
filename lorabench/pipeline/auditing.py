"""The audit of a study's metrics: probes on the data set's own images, one artifact an encoder."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pandas as pd

from lorabench import images, store
from lorabench.components import Advance, Encoder
from lorabench.pipeline import models
from lorabench.pipeline.features import ENCODER_BATCH
from lorabench.pipeline.plan import Plan
from lorabench.prompts import text_for_alignment
from lorabench.records import Concept, Task, TrainingImage
from lorabench.stages import audit
from lorabench.statistics.columns import PROBE_COLUMNS

PROBES_FILE = "probes.parquet"


def probe_encoder(plan: Plan, task: Task, advance: Advance) -> None:
    """Probe every metric on one encoder, concept by concept."""
    since, name = time.perf_counter(), task.encoder
    encoder = models.encoder(plan, name)
    requests = [request for request in plan.requests if request.encoder == name]
    reads_text = any("text" in plan.measuring.metric(request.metric).compares_with for request in requests)
    rows = []
    for concept in _measured(plan):
        for resize in plan.measuring.resize_modes(name):
            probed = _probed(plan, concept, encoder, resize, reads_text)
            for request in requests if probed else ():
                metric = plan.measuring.metric(request.metric)
                if request.resize == resize and concept.category in (metric.categories or [concept.category]):
                    place = [request.metric, name, resize, concept.category, concept.class_name, concept.subclass]
                    rows += [[*place, probe, value] for probe, value in audit.probe(metric, probed).items()]
        advance(1)
    with plan.folder.writing(
        plan.places.audit(name), plan.keys.audit(name), device=plan.device, since=since
    ) as scratch:
        store.write_table(pd.DataFrame(rows, columns=PROBE_COLUMNS), scratch / PROBES_FILE)


def is_audited(plan: Plan, encoder: str) -> bool:
    return plan.folder.holds(plan.places.audit(encoder), plan.keys.audit(encoder))


def gathered_probes(plan: Plan) -> pd.DataFrame:
    """The probes of all encoders that have been audited."""
    done = [name for name in plan.encoder_ids if is_audited(plan, name)]
    parts = [store.read_table(plan.folder.intact(plan.places.audit(name), PROBES_FILE)) for name in done]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=PROBE_COLUMNS)


def _measured(plan: Plan) -> list[Concept]:
    return [concept for concept in plan.dataset.concepts if concept.id in plan.measuring.concepts]


def _probed(plan: Plan, concept: Concept, encoder: Encoder, resize: str, reads_text: bool) -> audit.Probed | None:
    """None where a concept has too few images to be probed."""
    own, other = plan.dataset.images_of(concept.id), _easily_confused(plan, concept)
    held_out = plan.dataset.held_out_of(concept.id)[: audit.COMPARED]
    if len(own) < audit.LEAST:
        return None
    probed, compared = audit.split(len(own), concept.id)
    pictures = [
        _pictures(own, probed),
        _pictures(own, compared),
        _pictures(other, np.arange(len(other))[: len(probed)]),
        _pictures(held_out, np.arange(len(held_out))),
    ]
    seen = audit.look(encoder, *pictures, resize, ENCODER_BATCH)
    if not reads_text:
        return seen
    texts = [text_for_alignment(own[row].caption, concept) for row in probed]
    text, other_text = (_read(encoder, each) for each in (texts, _swapped(texts)))
    return replace(seen, text=text, other_text=other_text)


def _easily_confused(plan: Plan, concept: Concept) -> tuple[TrainingImage, ...]:
    """Images of the next concept of its category, or of the next one where it is alone; () if there is no other."""
    measured = _measured(plan)
    place = next(index for index, each in enumerate(measured) if each.id == concept.id)
    following = measured[place + 1 :] + measured[:place]
    nearest = sorted(following, key=lambda each: each.category != concept.category)
    return plan.dataset.images_of(nearest[0].id) if nearest else ()


def _pictures(own: tuple[TrainingImage, ...], rows: np.ndarray) -> list[np.ndarray]:
    return [images.read(own[row].path) for row in rows]


def _swapped(texts: list[str]) -> list[str]:
    """For each text the next one that differs; "" if all are equal."""
    return [
        next((text for text in texts[place + 1 :] + texts[:place] if text not in (own, "")), "")
        for place, own in enumerate(texts)
    ]


def _read(encoder: Encoder, texts: list[str]) -> np.ndarray | None:
    """Features of texts, NaN rows for ""; None if there is no text at all."""
    known = [text for text in texts if text]
    if not known:
        return None
    read = encoder.encode_texts(known)
    rows = np.full((len(texts), read.shape[1]), np.nan, np.float32)
    rows[[bool(text) for text in texts]] = read
    return rows
