"""Image sets on disk, what an encoder sees in them as artifacts, and how the score stage reads those."""

from __future__ import annotations

import functools
import time
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lorabench import store
from lorabench.components import Advance
from lorabench.pipeline import models
from lorabench.pipeline.measuring import DATASET, HELD_OUT, TEXTS, View
from lorabench.pipeline.plan import Plan
from lorabench.pipeline.remembered import Remembered
from lorabench.records import Checkpoint, Features, ImageSet, PromptSet, Task
from lorabench.stages import encode, score

FEATURES_FILE = "features.safetensors"
# SD1.5's Grams are 2.4 MB an image: eight sets of a hundred. Computing them is what a score takes longest for.
_fresh = Remembered(2 << 30)
REAL = (DATASET, HELD_OUT)
ENCODER_BATCH = 16  # fixed: a batch of another size rounds differently in the last digits


def image_name(index: int) -> str:
    return f"{index:04d}.png"


def encode_source(plan: Plan, task: Task, advance: Advance) -> None:
    """Features of one source (a checkpoint, the data set or the texts) through one encoder, as one artifact.

    Those of a checkpoint may have been taken while it was drawn, see `Looking`.
    """
    view = View(task.source, task.encoder, task.resize)
    if plan.folder.holds(plan.places.features(view), plan.keys.features(view)):
        advance(task.units)
        return
    since = time.perf_counter()
    arrays: dict[str, np.ndarray] = {}
    if view.source == TEXTS:
        encoder = models.encoder(plan, view.encoder)
        arrays = {TEXTS: encoder.encode_texts(plan.measuring.texts)} if plan.measuring.texts else {}
        advance(1)
    else:
        for image_set in _image_sets(plan, view):
            arrays[set_name(image_set.concept.id, image_set.prompt_type)] = _looked_at(plan, view, image_set.paths)
            advance(1)
    _write(plan, view, arrays, (since, time.perf_counter()))


def _write(plan: Plan, view: View, arrays: Mapping[str, np.ndarray], took: tuple[float, float]) -> None:
    folder, key, seen = plan.places.features(view), plan.keys.features(view), _seen_by(plan, view.source, view.encoder)
    with plan.folder.writing(folder, key, seen, device=plan.device, took=took) as scratch:
        store.write_arrays(scratch / FEATURES_FILE, arrays, {"encoder_id": models.encoder(plan, view.encoder).id})


def _looked_at(plan: Plan, view: View, pictures: Sequence[np.ndarray | Path]) -> np.ndarray:
    """Features of the pictures of a set, float32 [n, d]."""
    quality = None if view.source in (*REAL, *plan.own_sets) else plan.study.images.webp_quality
    resize = view.resize or plan.measuring.resize_modes(view.encoder)[0]
    return encode.encode_images(models.encoder(plan, view.encoder), pictures, resize, ENCODER_BATCH, quality)


class Looking:
    """The features of a checkpoint, taken from its pictures while they are in memory.

    What fails here is left to the encoder's own task, which says why.
    """

    def __init__(self, plan: Plan, checkpoint: Checkpoint) -> None:
        self._plan = plan
        self._checkpoint = checkpoint
        encoders = plan.measuring.encoders_where(stored=True)
        views = [view for encoder in encoders for view in plan.measuring.views(encoder, checkpoint.id)]
        views = [view for view in views if not plan.folder.holds(plan.places.features(view), plan.keys.features(view))]
        self._arrays: dict[View, dict[str, np.ndarray]] = {view: {} for view in views}
        self._seconds = dict.fromkeys(views, 0.0)

    def look(self, prompt_set: PromptSet, pictures: Sequence[np.ndarray]) -> None:
        """At a set that has just been drawn."""
        for view in list(self._arrays):
            if prompt_set not in self._plan.measuring.sets_for(view.encoder, self._checkpoint):
                continue
            since = time.perf_counter()
            try:
                found = _looked_at(self._plan, view, pictures)
            except Exception:
                del self._arrays[view]
            else:
                self._arrays[view][set_name(prompt_set.concept.id, prompt_set.type)] = found
                self._seconds[view] += time.perf_counter() - since

    def write(self) -> None:
        """The artifacts of what has seen all sets; what was drawn by an earlier run is on disk, for the task."""
        for view, arrays in self._arrays.items():
            if len(arrays) == len(self._plan.measuring.sets_for(view.encoder, self._checkpoint)):
                now = time.perf_counter()
                _write(self._plan, view, arrays, (now - self._seconds[view], now))


def set_name(concept_id: str, prompt_type: str) -> str:
    return f"{concept_id}|{prompt_type}"


def _image_sets(plan: Plan, view: View) -> Iterator[ImageSet]:
    """What there is to see: a checkpoint's image sets, or real pictures."""
    if view.source in REAL:
        sets = (_real_images(plan, view.source, concept_id) for concept_id in plan.measuring.concepts)
        yield from (each for each in sets if each.paths)
        return
    checkpoint = plan.checkpoint_by_id[view.source]
    for prompt_set in plan.measuring.sets_for(view.encoder, checkpoint):
        yield _generated_images(plan, checkpoint, prompt_set)


def _seen_by(plan: Plan, source: str, encoder: str) -> list[Path]:
    """The artifacts that an encoder's features of a source are made from."""
    checkpoint = plan.checkpoint_by_id.get(source)
    sets = plan.measuring.sets_for(encoder, checkpoint) if checkpoint else ()
    return [plan.places.images(checkpoint, each) for each in sets]


def scored_from(plan: Plan, checkpoint: Checkpoint) -> list[Path]:
    """The artifacts that the scores of a checkpoint are made from."""
    sources = [each.id for each in plan.measuring.compared_with(checkpoint)]
    folders = []
    for encoder in plan.encoder_ids:
        if plan.measuring.encoder(encoder).stored:
            read = [
                each
                for source in (*sources, *plan.measuring.real, TEXTS)
                for each in plan.measuring.views(encoder, source)
            ]
            folders += [plan.places.features(view) for view in read]
        else:
            folders += [folder for source in sources for folder in _seen_by(plan, source, encoder)]
    return list(dict.fromkeys(folders))


def _generated_images(plan: Plan, checkpoint: Checkpoint, prompt_set: PromptSet) -> ImageSet:
    """The image set as it lies on disk. DamagedArtifact if a picture is not the one that was drawn."""
    folder = plan.places.images(checkpoint, prompt_set)
    return ImageSet(
        checkpoint_id=checkpoint.id,
        concept=prompt_set.concept,
        prompt_type=prompt_set.type,
        ids=tuple(str(request.index) for request in prompt_set.requests),
        paths=tuple(plan.folder.intact(folder, image_name(request.index)) for request in prompt_set.requests),
        texts=tuple(request.prompt.text_for_alignment for request in prompt_set.requests),
    )


def _real_images(plan: Plan, source: str, concept_id: str) -> ImageSet:
    concept = next(concept for concept in plan.dataset.concepts if concept.id == concept_id)
    paths = tuple(image.path for image in plan.measuring.pictures_of(source, concept_id))
    return ImageSet(source, concept, "dataset", tuple(str(path) for path in paths), paths)


class FeatureReader:
    """Features for the score stage: read from artifacts, or computed on the spot for encoders that store none."""

    def __init__(self, plan: Plan, checkpoint: Checkpoint) -> None:
        self._plan = plan
        self._checkpoint = checkpoint
        self._read = functools.lru_cache(maxsize=None)(self._read_artifact)
        # Grams of a set are many; the other sources' are asked for right after the checkpoint's own.
        self._compute = functools.lru_cache(maxsize=4)(self._compute_set)

    def __call__(
        self, source: score.Source, concept_id: str, prompt_type: str, encoder: str, resize: str
    ) -> Features | None:
        if source in ("dataset", "held_out"):
            if not self._plan.measuring.pictures_of(source, concept_id):
                return None
            array = self._seen(View(source, encoder, resize), concept_id, "dataset")
            return self._features(encoder, resize, tuple(map(str, range(len(array)))), array)
        if source == "text":
            return self._texts(concept_id, prompt_type, encoder)
        own = self._of(self._checkpoint, concept_id, prompt_type, encoder, resize)
        base = self._plan.floor_of(self._checkpoint)
        if source == "generated" or own is None or base is None:
            return own if source == "generated" else None
        return _in_order(self._of(base, concept_id, prompt_type, encoder, resize), own.ids)

    def _of(
        self, checkpoint: Checkpoint, concept_id: str, prompt_type: str, encoder: str, resize: str
    ) -> Features | None:
        prompt_set = self._set(checkpoint, concept_id, prompt_type)
        if prompt_set is None:
            return None
        view = View(checkpoint.id, encoder, resize if checkpoint.id in self._plan.own_sets else "")
        array = self._seen(view, concept_id, prompt_type)
        return self._features(encoder, resize, _ids(prompt_set), array)

    def _set(self, checkpoint: Checkpoint, concept_id: str, prompt_type: str) -> PromptSet | None:
        sets = self._plan.sets_of(checkpoint)
        return next((each for each in sets if (each.concept.id, each.type) == (concept_id, prompt_type)), None)

    def _seen(self, view: View, concept_id: str, kind: str) -> np.ndarray | None:
        if self._plan.measuring.encoder(view.encoder).stored:
            return self._read(view).get(set_name(concept_id, kind))
        if view.source == self._checkpoint.id:
            return self._compute(view, concept_id, kind)
        return _fresh.of(self._content(view, concept_id, kind), lambda: self._compute(view, concept_id, kind))

    def _content(self, view: View, concept_id: str, kind: str) -> tuple[Hashable, ...]:
        """What features of the base model's or the data set's pictures depend on."""
        plan, source = self._plan, self._plan.dataset.fingerprint
        if view.source == HELD_OUT:
            source = plan.dataset.held_out_fingerprint
        elif view.source != DATASET:
            checkpoint = plan.checkpoint_by_id[view.source]
            source = plan.folder.content(plan.places.images(checkpoint, self._set(checkpoint, concept_id, kind)))
        return plan.root, plan.device, plan.keys.features(view), source, concept_id, kind

    def _features(self, encoder: str, resize: str, ids: tuple[str, ...], array: np.ndarray | None) -> Features | None:
        return None if array is None else Features(encoder, self._plan.encoder_ids[encoder], resize, ids, array)

    def _texts(self, concept_id: str, prompt_type: str, encoder: str) -> Features | None:
        """Row i is the text of image i; NaN where an image has none."""
        prompt_set = self._set(self._checkpoint, concept_id, prompt_type)
        all_texts = self._read(View(TEXTS, encoder)).get(TEXTS)
        if all_texts is None or prompt_set is None:
            return None
        row_of = {text: row for row, text in enumerate(self._plan.measuring.texts)}
        array = np.full((len(prompt_set.requests), all_texts.shape[1]), np.nan, dtype=np.float32)
        for row, request in enumerate(prompt_set.requests):
            if request.prompt.text_for_alignment:
                array[row] = all_texts[row_of[request.prompt.text_for_alignment]]
        return self._features(encoder, "", _ids(prompt_set), array)

    def _read_artifact(self, view: View) -> dict[str, np.ndarray]:
        folder = self._plan.places.features(view)
        return store.read_arrays(self._plan.folder.intact(folder, FEATURES_FILE))

    def _compute_set(self, view: View, concept_id: str, prompt_type: str) -> np.ndarray:
        plan = self._plan
        if view.source in REAL:
            image_set = _real_images(plan, view.source, concept_id)
        else:
            checkpoint = plan.checkpoint_by_id[view.source]
            image_set = _generated_images(plan, checkpoint, self._set(checkpoint, concept_id, prompt_type))
        return _looked_at(plan, view, image_set.paths)


def _ids(prompt_set: PromptSet) -> tuple[str, ...]:
    """What each picture was drawn from: rows of two checkpoints pair where it is the same.

    What is drawn here has its index; of what was made elsewhere prompt and seed say it; without a seed nothing does.
    """
    if not any(request.made for request in prompt_set.requests):
        return tuple(str(request.index) for request in prompt_set.requests)
    counts: Counter[str] = Counter()
    ids = []
    for request in prompt_set.requests:
        known = request.noise_seed is not None
        drawn = f"{request.noise_seed} {request.prompt.text}" if known else str(request.made and request.made.path)
        counts[drawn] += 1
        ids.append(f"{drawn} {counts[drawn]}")
    return tuple(ids)


def _in_order(found: Features | None, ids: tuple[str, ...]) -> Features | None:
    """The rows with these ids; None where one is lacking."""
    if found is None or found.ids == ids:
        return found
    row_of = {id_: row for row, id_ in enumerate(found.ids)}
    if not row_of.keys() >= set(ids):
        return None
    return replace(found, ids=ids, array=found.array[[row_of[id_] for id_ in ids]])
