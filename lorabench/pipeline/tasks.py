"""How each task is done, in whatever process: read its inputs, call the stage, write the artifact.

The stages know nothing of files; this module knows nothing of mathematics.
"""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from lorabench import adapters, components, diffusion, formats, images, store
from lorabench.components import Advance, Encoder
from lorabench.pipeline.plan import DATASET, TEXTS, MetricRequest, Plan, TrainingRun
from lorabench.records import Checkpoint, Features, ImageSet, PromptSet, Task
from lorabench.stages import encode, generate, score, train

ENCODER_BATCH = 16  # fixed: a batch of another size rounds differently in the last digits
WEIGHTS_FILE = "adapter.safetensors"
TRAINING_FILE = "training.json"  # how many steps led to a checkpoint, and their losses


def execute(plan: Plan, task: Task, advance: Advance) -> None:
    """Do one task of any stage."""
    for path in plan.study.plugins:  # a fresh process knows the package's own components only
        components.load_plugin(Path(path))
    _STAGES[task.stage](plan, task.item, advance)


# --- train -----------------------------------------------------------------------------------------------------------


def train_run(plan: Plan, item: str, advance: Advance) -> None:
    """Train one config with one seed, from the last saved state on, and save a checkpoint at each wanted epoch."""
    run = plan.run_by_id[item]
    missing = missing_epochs(plan, run)
    state = _last_state(plan, run, before=missing[0])
    if state is not None:
        advance(state.step)
    base = _base(plan)
    algorithm = components.find("algorithms", run.config.algorithm)
    config = replace(run.config, epochs=missing[-1], checkpoint_epochs=missing)
    inputs = [plan.base_id, plan.dataset.fingerprint]
    since = time.perf_counter()
    trained = train.train(
        base,
        plan.dataset.images,
        config,
        algorithm,
        run.seed,
        latents=_latents(plan),
        resume=state,
        on_step=lambda *_: advance(1),
    )
    for result in trained:
        folder, key = plan.checkpoint_folder(run, result.epoch), plan.training_key(run, result.epoch)
        with plan.folder.writing(folder, key, inputs, plan.device, since) as scratch:
            counts = {"seed": run.seed, "epoch": result.epoch, "step": result.step}
            # The file says the config as the study has it, not the part of it that a resumed run had left to do.
            adapter = replace(result.adapter, config=run.config)
            formats.save_adapter(scratch / WEIGHTS_FILE, adapter, plan.base_id, **counts)
            store.write_json(scratch / TRAINING_FILE, {"step": result.step, "losses": _own_losses(run, result)})
        if result.epoch != missing[-1]:
            state_folder = plan.training_state_folder(run)
            with plan.folder.writing(state_folder, key, inputs, plan.device) as scratch:
                torch.save(vars(result.state), scratch / "state.pt")
        since = time.perf_counter()
    shutil.rmtree(plan.training_state_folder(run), ignore_errors=True)


def _own_losses(run: TrainingRun, result: train.Trained) -> list[float]:
    """Losses since the checkpoint before this one, however far back a resumed run had to begin."""
    before = max((epoch for epoch in run.config.checkpoint_epochs if epoch < result.epoch), default=0)
    count = result.step * (result.epoch - before) // result.epoch
    return [float(loss) for loss in result.losses[-count:]]


def missing_epochs(plan: Plan, run: TrainingRun) -> tuple[int, ...]:
    """The checkpoints of a run that are still to be made, first to last."""
    return tuple(
        epoch
        for epoch in sorted(run.config.checkpoint_epochs)
        if not store.is_complete(plan.checkpoint_folder(run, epoch), plan.training_key(run, epoch))
    )


def _last_state(plan: Plan, run: TrainingRun, before: int) -> train.TrainState | None:
    """The training state saved at the last checkpoint before that epoch, if it is there."""
    folder = plan.training_state_folder(run)
    for epoch in sorted(run.config.checkpoint_epochs, reverse=True):
        if epoch < before and store.is_complete(folder, plan.training_key(run, epoch)):
            return train.TrainState(**torch.load(folder / "state.pt", weights_only=True))
    return None


# --- generate --------------------------------------------------------------------------------------------------------


def generate_images(plan: Plan, item: str, advance: Advance) -> None:
    """Draw every missing image set of one checkpoint."""
    checkpoint = plan.checkpoint_by_id[item]
    base = _base(plan)
    missing = {id(prompt_set) for prompt_set in missing_sets(plan, checkpoint)}
    if checkpoint.is_base:
        _draw(plan, checkpoint, base, missing, advance)
        return
    adapter, _ = formats.load_adapter(weights_of(plan, checkpoint), base.components, plan.study.unused_keys)
    with adapters.swapped(base.components, (adapter, checkpoint.scale)):
        _draw(plan, checkpoint, base, missing, advance)


def missing_sets(plan: Plan, checkpoint: Checkpoint) -> list[PromptSet]:
    """The image sets of a checkpoint that are still to be drawn."""
    return [
        prompt_set
        for prompt_set in plan.prompt_sets
        if not store.is_complete(plan.images_folder(checkpoint, prompt_set), plan.images_key(checkpoint, prompt_set))
    ]


def weights_of(plan: Plan, checkpoint: Checkpoint) -> Path:
    """The weights file of a checkpoint: given, or made by this study's training."""
    if checkpoint.weights is not None:
        return checkpoint.weights
    run = plan.run_by_id[f"{checkpoint.config}-s{checkpoint.seed}"]
    return plan.checkpoint_folder(run, checkpoint.epoch or 0) / WEIGHTS_FILE


def _draw(plan: Plan, checkpoint: Checkpoint, base: diffusion.BaseModel, missing: set[int], advance: Advance) -> None:
    settings = plan.study.images
    since = time.perf_counter()
    drawn = generate.generate(
        base,
        plan.prompt_sets,
        plan.study.sampling,
        settings.batch_size,
        wanted=[id(prompt_set) in missing for prompt_set in plan.prompt_sets],
        on_images=advance,
    )
    for result in drawn:
        folder = plan.images_folder(checkpoint, result.prompt_set)
        key = plan.images_key(checkpoint, result.prompt_set)
        with plan.folder.writing(folder, key, [plan.checkpoint_key(checkpoint)], plan.device, since) as scratch:
            for request, picture in zip(result.prompt_set.requests, result.images, strict=True):
                images.write(scratch / image_name(request.index), picture)
        since = time.perf_counter()


def image_name(index: int) -> str:
    return f"{index:04d}.png"


# --- encode ----------------------------------------------------------------------------------------------------------


def encode_source(plan: Plan, item: str, advance: Advance) -> None:
    """Features of one source (a checkpoint, the data set or the texts) through one encoder, as one artifact."""
    since = time.perf_counter()
    source, name = item.rsplit("|", 1)
    encoder = _encoder(plan, name)
    arrays: dict[str, np.ndarray] = {}
    if source == TEXTS:
        arrays = {TEXTS: encoder.encode_texts(plan.texts)} if plan.texts else {}
        advance(1)
    else:
        for image_set in image_sets(plan, source, name):
            features = encode.encode_set(encoder, image_set, _resize(plan, name), ENCODER_BATCH)
            arrays[set_name(image_set.concept.id, image_set.prompt_type)] = features.array
            advance(1)
    key = features_key(plan, source, name)
    with plan.folder.writing(plan.features_folder(source, name), key, [], plan.device, since) as scratch:
        store.write_arrays(scratch / "features.safetensors", arrays, {"encoder_id": encoder.id})


def features_key(plan: Plan, source: str, encoder: str) -> str:
    if source == DATASET:
        return plan.dataset_features_key(encoder)
    if source == TEXTS:
        return plan.text_features_key(encoder)
    return plan.features_key(plan.checkpoint_by_id[source], encoder)


def set_name(concept_id: str, prompt_type: str) -> str:
    return f"{concept_id}|{prompt_type}"


def image_sets(plan: Plan, source: str, encoder: str) -> list[ImageSet]:
    """What there is to see through an encoder: a checkpoint's image sets, or the data set's pictures."""
    if source == DATASET:
        return [_dataset_images(plan, concept_id) for concept_id in plan.measured_concepts]
    checkpoint = plan.checkpoint_by_id[source]
    return [generated_images(plan, checkpoint, prompt_set) for prompt_set in plan.sets_for(encoder)]


def generated_images(plan: Plan, checkpoint: Checkpoint, prompt_set: PromptSet) -> ImageSet:
    """The image set as it lies on disk."""
    folder = plan.images_folder(checkpoint, prompt_set)
    return ImageSet(
        checkpoint_id=checkpoint.id,
        concept=prompt_set.concept,
        prompt_type=prompt_set.type,
        ids=tuple(str(request.index) for request in prompt_set.requests),
        paths=tuple(folder / image_name(request.index) for request in prompt_set.requests),
        texts=tuple(request.prompt.text_for_alignment for request in prompt_set.requests),
    )


def _dataset_images(plan: Plan, concept_id: str) -> ImageSet:
    concept = next(concept for concept in plan.dataset.concepts if concept.id == concept_id)
    paths = tuple(image.path for image in plan.dataset.images_of(concept_id))
    return ImageSet(DATASET, concept, "dataset", tuple(str(path) for path in paths), paths)


# --- score -----------------------------------------------------------------------------------------------------------


def score_checkpoint(plan: Plan, item: str, advance: Advance) -> None:
    """All metrics of one checkpoint on all leaves, as one small table."""
    since = time.perf_counter()
    checkpoint = plan.checkpoint_by_id[item]
    leaves = [score.Leaf(s.concept, s.type, _prompt_index(s)) for s in plan.prompt_sets]
    choices = [score.MetricChoice(plan.metric(r.metric), r.encoder, r.resize) for r in plan.requests]
    reader = FeatureReader(plan, checkpoint)
    scores = score.score_checkpoint(checkpoint.id, leaves, reader, choices)
    if checkpoint.is_base:  # the one checkpoint that every run has, and a reference itself
        scores += score.score_dataset(DATASET, leaves, reader, choices)
    key = plan.scores_key(checkpoint)
    with plan.folder.writing(
        plan.scores_folder(checkpoint), key, [plan.checkpoint_key(checkpoint)], plan.device, since
    ) as scratch:
        store.write_records(scores, scratch / "scores.parquet")
    advance(1)


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
        name = set_name(concept_id, "dataset" if source == "dataset" else prompt_type)
        if self._plan.encoder_spec(encoder).stored:
            array = self._read(place[source], encoder).get(name)
        else:
            array = self._compute(place[source], encoder, name)
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
        return store.read_arrays(self._plan.features_folder(source, encoder) / "features.safetensors")

    def _compute_set(self, source: str, encoder: str, name: str) -> np.ndarray | None:
        for image_set in image_sets(self._plan, source, encoder):
            if set_name(image_set.concept.id, image_set.prompt_type) == name:
                plan = self._plan
                return encode.encode_set(
                    _encoder(plan, encoder), image_set, _resize(plan, encoder), ENCODER_BATCH
                ).array
        return None


def _prompt_index(prompt_set: PromptSet) -> np.ndarray:
    """Which distinct prompt of the set drew image i: int [n]."""
    texts = [request.prompt.text for request in prompt_set.requests]
    number = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    return np.array([number[text] for text in texts])


# --- models, loaded once a process -----------------------------------------------------------------------------------


def _base(plan: Plan) -> diffusion.BaseModel:
    return _load_base(plan.study.base, plan.device, plan.study.run.precision)


def _latents(plan: Plan) -> tuple[torch.Tensor, ...]:
    """The pictures' latents: the same for every training of a study, so each process encodes them once."""
    key = (plan.base_id, plan.dataset.fingerprint, plan.study.training.resolution)
    if key not in _cached_latents:
        _cached_latents.clear()
        _cached_latents[key] = train.cache_latents(_base(plan), plan.dataset.images, plan.study.training.resolution)
    return _cached_latents[key]


_cached_latents: dict[tuple[str, str, int], tuple[torch.Tensor, ...]] = {}


@functools.lru_cache(maxsize=1)
def _load_base(source: str, device: str, precision: str) -> diffusion.BaseModel:
    return diffusion.load_base(source, torch.device(device), getattr(torch, precision))


def _encoder(plan: Plan, name: str) -> Encoder:
    choice = plan.study.encoders.get(name)
    return _load_encoder(name, choice.weights if choice else "", plan.device)


@functools.lru_cache(maxsize=8)
def _load_encoder(name: str, weights: str, device: str) -> Encoder:
    spec: components.EncoderSpec = components.find("encoders", name)
    return spec.load(Path(weights) if weights else None, torch.device(device))


def check_inputs(plan: Plan) -> None:
    """Read every training picture and load each encoder once, so that what is broken shows before the hours of work."""
    for image in plan.dataset.images:
        images.read(image.path)
    for name in plan.encoder_ids:
        choice = plan.study.encoders.get(name)
        plan.encoder_spec(name).load(Path(choice.weights) if choice and choice.weights else None, torch.device("cpu"))


def _resize(plan: Plan, encoder: str) -> str:
    request: MetricRequest = next(request for request in plan.requests if request.encoder == encoder)
    return request.resize


_STAGES: dict[str, Callable[[Plan, str, Advance], None]] = {
    "train": train_run,
    "generate": generate_images,
    "encode": encode_source,
    "score": score_checkpoint,
}
