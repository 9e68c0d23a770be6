"""Image sets on disk, what an encoder sees in them as artifacts, and how the score stage reads those."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from lorabench import store
from lorabench.components import Advance
from lorabench.pipeline import models
from lorabench.pipeline.plan import DATASET, TEXTS, Plan
from lorabench.records import Checkpoint, Features, ImageSet, PromptSet, Task
from lorabench.stages import encode, score

FEATURES_FILE = "features.safetensors"
ENCODER_BATCH = 16  # fixed: a batch of another size rounds differently in the last digits


def image_name(index: int) -> str:
    return f"{index:04d}.png"


def encode_source(plan: Plan, task: Task, advance: Advance) -> None:
    """Features of one source (a checkpoint, the data set or the texts) through one encoder, as one artifact."""
    since = time.perf_counter()
    source, name = task.source, task.encoder
    encoder = models.encoder(plan, name)
    arrays: dict[str, np.ndarray] = {}
    if source == TEXTS:
        arrays = {TEXTS: encoder.encode_texts(plan.texts)} if plan.texts else {}
        advance(1)
    else:
        for image_set in image_sets(plan, source, name):
            features = encode.encode_set(encoder, image_set, models.resize_mode(plan, name), ENCODER_BATCH)
            arrays[set_name(image_set.concept.id, image_set.prompt_type)] = features.array
            advance(1)
    folder, key = plan.features_folder(source, name), features_key(plan, source, name)
    with plan.folder.writing(folder, key, _seen_by(plan, source, name), device=plan.device, since=since) as scratch:
        store.write_arrays(scratch / FEATURES_FILE, arrays, {"encoder_id": encoder.id})


def features_key(plan: Plan, source: str, encoder: str) -> str:
    if source == DATASET:
        return plan.dataset_features_key(encoder)
    if source == TEXTS:
        return plan.text_features_key(encoder)
    return plan.features_key(plan.checkpoint_by_id[source], encoder)


def set_name(concept_id: str, prompt_type: str) -> str:
    return f"{concept_id}|{prompt_type}"


def image_sets(plan: Plan, source: str, encoder: str) -> Iterator[ImageSet]:
    """What there is to see through an encoder: a checkpoint's image sets, or the data set's pictures."""
    if source == DATASET:
        yield from (_dataset_images(plan, concept_id) for concept_id in plan.measured_concepts)
        return
    checkpoint = plan.checkpoint_by_id[source]
    yield from (_generated_images(plan, checkpoint, prompt_set) for prompt_set in plan.sets_for(encoder))


def _seen_by(plan: Plan, source: str, encoder: str) -> list[Path]:
    """The artifacts that an encoder's features of a source are made from."""
    checkpoint = plan.checkpoint_by_id.get(source)
    return [plan.images_folder(checkpoint, each) for each in plan.sets_for(encoder)] if checkpoint else []


def scored_from(plan: Plan, checkpoint: Checkpoint) -> list[Path]:
    """The artifacts that the scores of a checkpoint are made from."""
    sources = dict.fromkeys((checkpoint.id, plan.checkpoints[0].id))
    folders = []
    for encoder in plan.encoder_ids:
        if plan.encoder_spec(encoder).stored:
            read = [*sources, DATASET, *([TEXTS] if plan.encoder_spec(encoder).reads_text else [])]
            folders += [plan.features_folder(source, encoder) for source in read]
        else:
            folders += [folder for source in sources for folder in _seen_by(plan, source, encoder)]
    return list(dict.fromkeys(folders))


def _generated_images(plan: Plan, checkpoint: Checkpoint, prompt_set: PromptSet) -> ImageSet:
    """The image set as it lies on disk. DamagedArtifact if a picture is not the one that was drawn."""
    folder = plan.images_folder(checkpoint, prompt_set)
    return ImageSet(
        checkpoint_id=checkpoint.id,
        concept=prompt_set.concept,
        prompt_type=prompt_set.type,
        ids=tuple(str(request.index) for request in prompt_set.requests),
        paths=tuple(plan.folder.intact(folder, image_name(request.index)) for request in prompt_set.requests),
        texts=tuple(request.prompt.text_for_alignment for request in prompt_set.requests),
    )


def _dataset_images(plan: Plan, concept_id: str) -> ImageSet:
    concept = next(concept for concept in plan.dataset.concepts if concept.id == concept_id)
    paths = tuple(image.path for image in plan.dataset.images_of(concept_id))
    return ImageSet(DATASET, concept, "dataset", tuple(str(path) for path in paths), paths)


class FeatureReader:
    """Features for the score stage: read from artifacts, or computed on the spot for encoders that store none."""

    def __init__(self, plan: Plan, checkpoint: Checkpoint) -> None:
        self._plan = plan
        self._checkpoint = checkpoint
        self._read = functools.lru_cache(maxsize=None)(self._read_artifact)
        # One set's Grams at a time are many; the base's are asked for right after the checkpoint's own.
        self._compute = functools.lru_cache(maxsize=4)(self._compute_set)

    def __call__(
        self, source: score.Source, concept_id: str, prompt_type: str, encoder: str, resize: str
    ) -> Features | None:
        place = {"generated": self._checkpoint.id, "base": self._plan.checkpoints[0].id, "dataset": DATASET}
        if source == "text":
            return self._texts(concept_id, prompt_type, encoder)
        kind = "dataset" if source == "dataset" else prompt_type
        if self._plan.encoder_spec(encoder).stored:
            array = self._read(place[source], encoder).get(set_name(concept_id, kind))
        else:
            array = self._compute(place[source], encoder, concept_id, kind)
        if array is None:
            return None
        return Features(encoder, self._plan.encoder_ids[encoder], resize, tuple(map(str, range(len(array)))), array)

    def _texts(self, concept_id: str, prompt_type: str, encoder: str) -> Features | None:
        """Row i is the text of image i; NaN where an image has none."""
        prompt_set = next(s for s in self._plan.prompt_sets if (s.concept.id, s.type) == (concept_id, prompt_type))
        all_texts = self._read(TEXTS, encoder).get(TEXTS)
        if all_texts is None:
            return None
        row_of = {text: row for row, text in enumerate(self._plan.texts)}
        array = np.full((len(prompt_set.requests), all_texts.shape[1]), np.nan, dtype=np.float32)
        for row, request in enumerate(prompt_set.requests):
            if request.prompt.text_for_alignment:
                array[row] = all_texts[row_of[request.prompt.text_for_alignment]]
        ids = tuple(str(request.index) for request in prompt_set.requests)
        return Features(encoder, self._plan.encoder_ids[encoder], "", ids, array)

    def _read_artifact(self, source: str, encoder: str) -> dict[str, np.ndarray]:
        folder = self._plan.features_folder(source, encoder)
        return store.read_arrays(self._plan.folder.intact(folder, FEATURES_FILE))

    def _compute_set(self, source: str, encoder: str, concept_id: str, prompt_type: str) -> np.ndarray | None:
        plan = self._plan
        if source == DATASET:
            image_set = _dataset_images(plan, concept_id)
        else:
            sets = {(each.concept.id, each.type): each for each in plan.sets_for(encoder)}
            prompt_set = sets.get((concept_id, prompt_type))
            if prompt_set is None:
                return None
            image_set = _generated_images(plan, plan.checkpoint_by_id[source], prompt_set)
        resize = models.resize_mode(plan, encoder)
        return encode.encode_set(models.encoder(plan, encoder), image_set, resize, ENCODER_BATCH).array
