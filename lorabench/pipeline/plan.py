"""All that a study comes to: its checkpoints, the keys of everything it will make, and where that lies."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from lorabench import components, store
from lorabench.components import EncoderSpec, Metric
from lorabench.config import Study
from lorabench.records import Checkpoint, Dataset, PromptSet, TrainConfig

# A stage's number rises when its results change for the same inputs: old artifacts are then made anew.
STAGE_VERSIONS = {"train": 2, "generate": 2, "encode": 1, "score": 3, "audit": 1, "rank": 3, "explain": 1, "report": 6}
BASE_CHECKPOINT, DATASET, TEXTS = "base", "dataset", "texts"  # sources of features beside the adapters
RESERVED_IDS = (DATASET, TEXTS)
TRAINING_STATE = "training-state"  # beside the checkpoints of a training that is not over


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
    remarks: tuple[str, ...] = ()  # what a reader of the results should know of their inputs

    @cached_property
    def folder(self) -> store.RunFolder:
        return store.RunFolder(self.root, self.study.name)

    @cached_property
    def checkpoint_by_id(self) -> dict[str, Checkpoint]:
        return {checkpoint.id: checkpoint for checkpoint in self.checkpoints}

    @cached_property
    def run_by_id(self) -> dict[str, TrainingRun]:
        return {run.id: run for run in self.runs}

    def run_of(self, checkpoint: Checkpoint) -> TrainingRun:
        """The training that makes a checkpoint of this study's grid."""
        return self._run_of[checkpoint.config, checkpoint.seed]

    @cached_property
    def _run_of(self) -> dict[tuple[str, int | None], TrainingRun]:
        return {(run.config.name, run.seed): run for run in self.runs}

    # Keys: what an artifact was made from. What only says how the work is done (batches, workers) is part of none.

    def checkpoint_key(self, checkpoint: Checkpoint) -> str:
        """Key of the weights: the base's id, a file's hash, or the training that makes them."""
        if checkpoint.is_base:
            return self.base_id
        if checkpoint.weights is not None:
            return store.key_of("weights", 1, [checkpoint.sha256, self.base_id], [])
        return self.training_key(self.run_of(checkpoint), checkpoint.epoch or 0)

    def training_key(self, run: TrainingRun, epoch: int) -> str:
        # When a run ends and what else it saves does not change the weights at this epoch; its name neither.
        same = replace(run.config, name="", epochs=epoch, checkpoint_epochs=(epoch,))
        version = components.find("algorithms", run.config.algorithm).version
        parameters = [same, run.seed, self.study.run.precision, version]
        return store.key_of("train", STAGE_VERSIONS["train"], parameters, [self.base_id, self.dataset.fingerprint])

    def images_key(self, checkpoint: Checkpoint, prompt_set: PromptSet) -> str:
        place = (checkpoint.id, prompt_set.concept.id, prompt_set.type)
        if place not in self._image_keys:
            inputs = [self.checkpoint_key(checkpoint), self._drawn[place[1:]]]
            parameters = [self.study.sampling, self.study.run.precision, checkpoint.scale]
            parameters += [self.study.unused_keys] if self.study.unused_keys else []
            self._image_keys[place] = store.key_of("generate", STAGE_VERSIONS["generate"], parameters, inputs)
        return self._image_keys[place]

    # A study of the paper's size asks for each of its 35,000 keys several times.
    @cached_property
    def _image_keys(self) -> dict[tuple[str, str, str], str]:
        return {}

    @cached_property
    def _drawn(self) -> dict[tuple[str, str], str]:
        """(concept id, prompt type) -> hash of what is drawn: texts and noise."""
        return {
            (prompt_set.concept.id, prompt_set.type): store.key_of(
                "prompts", 1, [[request.prompt.text, request.noise_seed] for request in prompt_set.requests], []
            )
            for prompt_set in self.prompt_sets
        }

    def features_key(self, checkpoint: Checkpoint, encoder: str) -> str:
        sets = [self.images_key(checkpoint, prompt_set) for prompt_set in self.sets_for(encoder)]
        return store.key_of("encode", STAGE_VERSIONS["encode"], [self.encoder_ids[encoder]], sets)

    def dataset_features_key(self, encoder: str) -> str:
        resize = next(request.resize for request in self.requests if request.encoder == encoder)
        parameters = [self.encoder_ids[encoder], resize, self.measured_concepts]
        return store.key_of("encode", STAGE_VERSIONS["encode"], parameters, [self.dataset.fingerprint])

    def text_features_key(self, encoder: str) -> str:
        return store.key_of("encode", STAGE_VERSIONS["encode"], [self.encoder_ids[encoder], self.texts], [])

    def scores_key(self, checkpoint: Checkpoint) -> str:
        metrics = [[request, self.metric(request.metric).version] for request in self.requests]
        inputs = [self._scores_inputs]
        for encoder in self.encoder_ids:  # features that are not stored have a key all the same: what they come from
            inputs.append(self.features_key(checkpoint, encoder))
        return store.key_of("score", STAGE_VERSIONS["score"], [checkpoint.id, metrics], inputs)

    def audit_key(self, encoder: str) -> str:
        """Key of the probes of the metrics on one encoder: real images only, no checkpoint."""
        metrics = [[r, self.metric(r.metric).version] for r in self.requests if r.encoder == encoder]
        inputs = [self.dataset_features_key(encoder)]
        return store.key_of("audit", STAGE_VERSIONS["audit"], metrics, inputs)

    def metric_id(self, request: MetricRequest, prompt_type: str, concept_id: str | None) -> str:
        """Hash of all that a number means but the checkpoint: equal ids compare, across studies too.

        `concept_id` None = all concepts at once.
        """
        metric = self.metric(request.metric)
        drawn = [
            [*place, key]
            for place, key in self._drawn.items()
            if place[1] == prompt_type and concept_id in (None, place[0])
        ]
        parameters = [request, metric.version, self.encoder_ids[request.encoder], self.study.sampling, drawn]
        if "text" in metric.compares_with:  # texts for alignment, which no prompt says
            sets = [s for s in self.prompt_sets if s.type == prompt_type and concept_id in (None, s.concept.id)]
            parameters.append([request.prompt.text_for_alignment for each in sets for request in each.requests])
        base = [self.base_id] if "base" in metric.compares_with else []
        return store.key_of("metric", 1, parameters, [self.dataset.fingerprint, *base])[:12]

    @cached_property
    def _scores_inputs(self) -> str:
        """What the scores of every checkpoint are made from beside its own images."""
        texts = [request.prompt.text_for_alignment for each in self.prompt_sets for request in each.requests]
        inputs = [self.text_features_key(encoder) for encoder in self.encoder_ids]
        inputs += [self.dataset_features_key(encoder) for encoder in self.encoder_ids]
        inputs += [self.features_key(self.checkpoints[0], encoder) for encoder in self.encoder_ids]
        return store.key_of("score inputs", 1, texts, inputs)

    # Where artifacts lie, in names that a person can read.

    def checkpoint_folder(self, run: TrainingRun, epoch: int) -> Path:
        return self.folder.path("checkpoints", run.config.name, f"seed-{run.seed}", f"epoch-{epoch:04d}")

    def training_state_folder(self, run: TrainingRun) -> Path:
        return self.folder.path("checkpoints", run.config.name, f"seed-{run.seed}", TRAINING_STATE)

    def weights_folder(self, checkpoint: Checkpoint) -> Path | None:
        """Where this study's training puts the weights of a checkpoint; None where they are given."""
        if checkpoint.is_base or checkpoint.weights is not None:
            return None
        return self.checkpoint_folder(self.run_of(checkpoint), checkpoint.epoch or 0)

    def images_folder(self, checkpoint: Checkpoint, prompt_set: PromptSet) -> Path:
        concept = prompt_set.concept
        leaf = [part for part in (concept.category, concept.class_name, concept.subclass) if part]
        return self.folder.path("images", checkpoint.id, *leaf, prompt_set.type)

    def features_folder(self, source: str, encoder: str) -> Path:
        return self.folder.path("features", source, encoder)

    def scores_folder(self, checkpoint: Checkpoint) -> Path:
        return self.folder.path("scores", checkpoint.id)

    def audit_folder(self, encoder: str) -> Path:
        return self.folder.path("audit", encoder)

    # What follows from the choice of metrics.

    @cached_property
    def measured_concepts(self) -> tuple[str, ...]:
        """Ids of the concepts that have prompts."""
        return tuple(dict.fromkeys(prompt_set.concept.id for prompt_set in self.prompt_sets))

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
