"""All that a study comes to, worked out and checked before the first expensive step."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from lorabench import adapters, base_files, components, config, datasets, diffusion, prompts, store
from lorabench.components import EncoderSpec, Metric
from lorabench.config import Study
from lorabench.errors import UserError, unknown
from lorabench.records import Checkpoint, Dataset, PromptSet, TrainConfig

# A stage's number rises when its results change for the same inputs: old artifacts are then made anew.
STAGE_VERSIONS = {"train": 1, "generate": 1, "encode": 1, "score": 1, "rank": 1, "explain": 1, "report": 1}
BASE_CHECKPOINT = "base"


@dataclass(frozen=True)
class MetricRequest:
    """One metric on one encoder, and how data-set pictures are resized for it."""

    metric: str
    encoder: str
    resize: str


@dataclass(frozen=True)
class TrainingRun:
    """One config with one seed: one training, several checkpoints."""

    config: TrainConfig
    seed: int

    @property
    def id(self) -> str:
        return f"{self.config.name}-s{self.seed}"


@dataclass(frozen=True)
class Plan:
    """A checked study: its data, prompts, checkpoints and metrics, and the keys of everything it will make."""

    study: Study
    root: Path
    dataset: Dataset
    prompt_sets: tuple[PromptSet, ...]
    runs: tuple[TrainingRun, ...]
    checkpoints: tuple[Checkpoint, ...]  # the base model first
    requests: tuple[MetricRequest, ...]
    base_id: str
    encoder_ids: dict[str, str]
    device: str

    @cached_property
    def folder(self) -> store.RunFolder:
        return store.RunFolder(self.root)

    @cached_property
    def checkpoint_by_id(self) -> dict[str, Checkpoint]:
        return {checkpoint.id: checkpoint for checkpoint in self.checkpoints}

    @cached_property
    def run_by_id(self) -> dict[str, TrainingRun]:
        return {run.id: run for run in self.runs}

    # Keys: what an artifact was made from. What only says how the work is done (batches, workers) is part of none.

    def checkpoint_key(self, checkpoint: Checkpoint) -> str:
        """Key of the weights: the base's id, a file's hash, or the training that makes them."""
        if checkpoint.is_base:
            return self.base_id
        if checkpoint.weights is not None:
            return store.key_of("weights", 1, [checkpoint.sha256, self.base_id], [])
        run = self.run_by_id[f"{checkpoint.config}-s{checkpoint.seed}"]
        return self.training_key(run, checkpoint.epoch or 0)

    def training_key(self, run: TrainingRun, epoch: int) -> str:
        # When a run ends and what else it saves does not change the weights at this epoch; its name neither.
        same = replace(run.config, name="", epochs=epoch, checkpoint_epochs=(epoch,))
        return store.key_of(
            "train", STAGE_VERSIONS["train"], [same, run.seed], [self.base_id, self.dataset.fingerprint]
        )

    def images_key(self, checkpoint: Checkpoint, prompt_set: PromptSet) -> str:
        drawn = [[request.prompt.text, request.noise_seed] for request in prompt_set.requests]
        parameters = [drawn, self.study.sampling, self.study.run.precision, checkpoint.scale]
        return store.key_of("generate", STAGE_VERSIONS["generate"], parameters, [self.checkpoint_key(checkpoint)])

    def features_key(self, checkpoint: Checkpoint, encoder: str) -> str:
        sets = [self.images_key(checkpoint, prompt_set) for prompt_set in self.sets_for(encoder)]
        return store.key_of("encode", STAGE_VERSIONS["encode"], [self.encoder_ids[encoder]], sets)

    def dataset_features_key(self, encoder: str) -> str:
        resize = next(request.resize for request in self.requests if request.encoder == encoder)
        parameters = [self.encoder_ids[encoder], resize]
        return store.key_of("encode", STAGE_VERSIONS["encode"], parameters, [self.dataset.fingerprint])

    def text_features_key(self, encoder: str) -> str:
        return store.key_of("encode", STAGE_VERSIONS["encode"], [self.encoder_ids[encoder], self.texts], [])

    def scores_key(self, checkpoint: Checkpoint) -> str:
        metrics = [[request, self.metric(request.metric).version] for request in self.requests]
        inputs = [self.images_key(checkpoint, prompt_set) for prompt_set in self.prompt_sets]
        inputs += [self.images_key(self.checkpoints[0], prompt_set) for prompt_set in self.prompt_sets]
        inputs += [*self.encoder_ids.values(), self.dataset.fingerprint]
        return store.key_of("score", STAGE_VERSIONS["score"], [metrics, self.texts], inputs)

    # Where artifacts lie, in names that a person can read.

    def checkpoint_folder(self, run: TrainingRun, epoch: int) -> Path:
        return self.folder.path("checkpoints", run.config.name, f"seed-{run.seed}", f"epoch-{epoch:04d}")

    def training_state_folder(self, run: TrainingRun) -> Path:
        return self.folder.path("checkpoints", run.config.name, f"seed-{run.seed}", "training-state")

    def images_folder(self, checkpoint: Checkpoint, prompt_set: PromptSet) -> Path:
        concept = prompt_set.concept
        leaf = [part for part in (concept.category, concept.class_name, concept.subclass) if part]
        return self.folder.path("images", checkpoint.id, *leaf, prompt_set.type)

    def features_folder(self, source: str, encoder: str) -> Path:
        return self.folder.path("features", source, encoder)

    def scores_folder(self, checkpoint: Checkpoint) -> Path:
        return self.folder.path("scores", checkpoint.id)

    # What follows from the choice of metrics.

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """Distinct texts for alignment, sorted."""
        prompts_ = (request.prompt for prompt_set in self.prompt_sets for request in prompt_set.requests)
        return tuple(sorted({prompt.text_for_alignment for prompt in prompts_} - {""}))

    def metric(self, name: str) -> Metric:
        return components.find("metrics", name)

    def encoder_spec(self, name: str) -> EncoderSpec:
        return components.find("encoders", name)

    def encoders_where(self, stored: bool) -> tuple[str, ...]:
        return tuple(name for name in self.encoder_ids if self.encoder_spec(name).stored == stored)

    def sets_for(self, encoder: str) -> tuple[PromptSet, ...]:
        """The prompt sets that some metric looks at through this encoder."""
        wanted = {
            kind
            for request in self.requests
            if request.encoder == encoder
            for kind in self.metric(request.metric).prompt_types
        }
        return tuple(prompt_set for prompt_set in self.prompt_sets if prompt_set.type in wanted)


def make_plan(study: Study, root: Path, *, only: Sequence[str] = (), limit: int | None = None) -> Plan:
    """Check a study and work out all it comes to. UserError for whatever cannot work.

    `only`: glob patterns over config names; `limit`: at most so many trainings (config x seed), in order of the grid.
    """
    configs = _selected(_checked_configs(study), only)
    runs = tuple(TrainingRun(each, seed) for each in configs for seed in study.seeds)[:limit]
    if not runs:
        raise UserError(f"Study '{study.name}' trains nothing: add a [[grid]] row with algorithm and lr.")
    trained = [
        _trained_checkpoint(run, epoch, scale)
        for run in runs
        for epoch in run.config.checkpoint_epochs
        for scale in study.images.scales
    ]
    return _plan(study, root, runs, trained)


def plan_of_checkpoints(study: Study, root: Path, checkpoints: Sequence[Checkpoint]) -> Plan:
    """The plan that measures given checkpoints and trains nothing."""
    scaled = [
        replace(checkpoint, id=_scaled_id(checkpoint.id, scale), scale=scale)
        for checkpoint in checkpoints
        for scale in study.images.scales
    ]
    return _plan(study, root, (), scaled)


def _plan(study: Study, root: Path, runs: tuple[TrainingRun, ...], checkpoints: list[Checkpoint]) -> Plan:
    dataset = _selected_dataset(study)
    prompt_sets = prompts.build_prompt_sets(
        dataset,
        Path(study.images.prompts),
        study.images.prompt_types,
        study.images.per_set,
        study.images.noise_seed,
        study.images.noise,
    )
    requests = metric_requests(study)
    _check_layers(study, runs)
    base_id = base_files.base_id(study.base)
    base = Checkpoint(id=BASE_CHECKPOINT, config="base", algorithm="none")
    # The id of its content names the base in tables: a path would mean nothing on another machine.
    every = tuple(replace(checkpoint, base=base_id) for checkpoint in (base, *checkpoints))
    return Plan(
        study=study,
        root=root.resolve(),
        dataset=dataset,
        prompt_sets=tuple(prompt_sets),
        runs=runs,
        checkpoints=every,
        requests=requests,
        base_id=base_id,
        encoder_ids={name: encoder_id(study, name) for name in dict.fromkeys(r.encoder for r in requests)},
        device=str(diffusion.pick_device(study.run.device)),
    )


def _check_layers(study: Study, runs: Sequence[TrainingRun]) -> None:
    """UserError where trained layers are unknown or match nothing in this base model, found without its weights."""
    if not runs:
        return
    model = diffusion.architecture(study.base)
    for layers in dict.fromkeys(run.config.trained_layers for run in runs):
        adapters.trained_modules(model, layers, study.training.train_unet, study.training.train_text_encoder)


def metric_requests(study: Study) -> tuple[MetricRequest, ...]:
    """Every metric on every encoder that the study asks for, checked against what the metric knows."""
    requests = []
    for index, choice in enumerate(study.metrics):
        metric: Metric = components.find("metrics", choice.name, f"study '{study.name}', metrics[{index}].name")
        for encoder in choice.encoders or metric.encoders[:1]:
            place = f"study '{study.name}', metrics[{index}].encoders"
            if encoder not in metric.encoders:
                raise UserError(unknown(f"encoder of metric {metric.name}", encoder, metric.encoders, place))
            requests.append(MetricRequest(metric.name, encoder, _resize_mode(study, encoder, place)))
    for name in study.encoders:
        components.find("encoders", name, f"study '{study.name}', encoders")
    return tuple(requests)


def encoder_id(study: Study, name: str) -> str:
    """Name and hash of the weights' files; "published" stands for those that the library pins by name."""
    choice = study.encoders.get(name)
    if choice is None or not choice.weights:
        return f"{name}-published"
    path = Path(choice.weights)
    if not path.exists():
        raise UserError(
            f"Weights of encoder '{name}' do not exist: {path} (study '{study.name}', encoders.{name}.weights)."
        )
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    digest = hashlib.sha256("".join(store.file_hash(file) for file in files).encode()).hexdigest()
    return f"{name}-{digest[:12]}"


def _resize_mode(study: Study, encoder: str, place: str) -> str:
    spec: EncoderSpec = components.find("encoders", encoder, place)
    choice = study.encoders.get(encoder)
    resize = choice.resize if choice and choice.resize else spec.resize_modes[0]
    if resize not in spec.resize_modes:
        where = f"study '{study.name}', encoders.{encoder}.resize"
        raise UserError(unknown(f"resize mode of encoder {encoder}", resize, spec.resize_modes, where))
    return resize


def _checked_configs(study: Study) -> tuple[TrainConfig, ...]:
    """The grid's configs, each with an algorithm that exists and exactly the hyperparameters it takes."""
    configs = config.expand(study)
    for each in configs:
        place = f"study '{study.name}', config '{each.name}'"
        adapters.check_config(components.find("algorithms", each.algorithm, place), each)
    return configs


def _selected(configs: tuple[TrainConfig, ...], only: Sequence[str]) -> list[TrainConfig]:
    names = [each.name for each in configs]
    for pattern in only:
        if not fnmatch.filter(names, pattern):
            raise UserError(unknown("config", pattern, names, "--only"))
    return [each for each in configs if not only or any(fnmatch.fnmatch(each.name, pattern) for pattern in only)]


def _selected_dataset(study: Study) -> Dataset:
    if not study.data.folder:
        raise UserError(f"Study '{study.name}' names no data set: set data.folder.")
    dataset = datasets.load_dataset(Path(study.data.folder))
    if not study.data.concepts:
        return dataset
    ids = [concept.id for concept in dataset.concepts]
    for pattern in study.data.concepts:
        if not fnmatch.filter(ids, pattern):
            raise UserError(unknown("concept", pattern, ids, f"study '{study.name}', data.concepts"))
    wanted = {id_ for id_ in ids if any(fnmatch.fnmatch(id_, pattern) for pattern in study.data.concepts)}
    return replace(
        dataset,
        concepts=tuple(concept for concept in dataset.concepts if concept.id in wanted),
        images=tuple(image for image in dataset.images if image.concept_id in wanted),
        fingerprint=store.key_of("concepts", 1, sorted(wanted), [dataset.fingerprint]),
    )


def _trained_checkpoint(run: TrainingRun, epoch: int, scale: float) -> Checkpoint:
    config_ = run.config
    return Checkpoint(
        id=_scaled_id(f"{run.id}-e{epoch}", scale),
        config=config_.name,
        algorithm=config_.algorithm,
        trained_layers=config_.trained_layers,
        lr=config_.lr,
        dim=config_.dim,
        alpha=config_.alpha,
        factor=config_.factor,
        seed=run.seed,
        epoch=epoch,
        scale=scale,
    )


def _scaled_id(id_: str, scale: float) -> str:
    return id_ if scale == 1 else f"{id_}-x{scale:g}"
