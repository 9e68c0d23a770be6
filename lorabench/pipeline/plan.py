"""All that a study comes to: its data, prompts, checkpoints and measurements. What it is made from, and where it lies,
are rooms of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from lorabench import datasets, store
from lorabench.base_models import Base
from lorabench.config import Study
from lorabench.devices import pick_device
from lorabench.pipeline.keys import Keys
from lorabench.pipeline.measuring import DATASET, HELD_OUT, TEXTS, Measuring, MetricRequest
from lorabench.pipeline.places import Places
from lorabench.pipeline.showing import Showing
from lorabench.pipeline.training_sets import balanced, subset, trained_words, with_class_images
from lorabench.pipeline.validating import Validating
from lorabench.records import (
    Checkpoint,
    Dataset,
    Milestone,
    PromptSet,
    Recipe,
    Sampling,
    Setting,
    Shard,
    TrainConfig,
    TrainingImage,
)

BASE_CHECKPOINT = "base"
RESERVED_IDS = (DATASET, HELD_OUT, TEXTS)


def drawn_as(name: str, setting: str) -> str:
    """A config or a checkpoint drawn in another way than the study's own: one of its own, as it is compared."""
    return f"{name}+{setting}" if setting else name


@dataclass(frozen=True)
class TrainingRun:
    """One config with one seed: one training, several checkpoints."""

    config: TrainConfig
    seed: int

    @property
    def id(self) -> str:
        return f"{self.config.name}-s{self.seed}"


@dataclass(frozen=True)
class Parent:
    """What a merge is made of: a checkpoint that the study trains, or a file."""

    name: str  # of the config, or of the file
    ratio: float
    run: TrainingRun | None = None
    weights: Path | None = None  # of a file
    sha256: str = ""  # likewise


@dataclass(frozen=True)
class Merging:
    """One merge of one training seed and milestone."""

    name: str
    recipe: Recipe
    parents: tuple[Parent, ...]
    seed: int
    milestone: Milestone

    @property
    def id(self) -> str:
        return f"{self.name}-s{self.seed}-{self.milestone.word}"

    @property
    def runs(self) -> tuple[TrainingRun, ...]:
        """The trainings whose checkpoints of its milestone it takes."""
        return tuple(parent.run for parent in self.parents if parent.run)


@dataclass(frozen=True)
class Round:
    """One round of images: what each checkpoint draws in it, of every set a part."""

    number: int  # from 1
    sets: Mapping[str, tuple[PromptSet, ...]]  # by checkpoint
    part_sizes: Mapping[str, int]  # images of a part, by prompt type


@dataclass(frozen=True)
class Plan:
    """A checked study."""

    study: Study
    root: Path
    dataset: Dataset
    prompt_sets: tuple[PromptSet, ...]  # what every checkpoint draws
    runs: tuple[TrainingRun, ...]
    checkpoints: tuple[Checkpoint, ...]  # the base model first, where there is one
    requests: tuple[MetricRequest, ...]
    base: Base | None  # None: nothing is drawn here, the pictures were made elsewhere
    encoder_ids: Mapping[str, str]
    devices: tuple[str, ...]  # a process uses the first; several have a process each, see `on`; "auto" on a cluster
    settings: Mapping[str, Setting] = field(default_factory=dict)  # ways to draw, the study's own too, by name
    bases: Mapping[str, Base] = field(default_factory=dict)  # of settings that draw with another, by the setting's name
    mergings: tuple[Merging, ...] = ()
    companions: Mapping[str, str] = field(default_factory=dict)  # files of settings -> hash of what they hold
    shard: Shard | None = None  # the share of the tasks that this process is for; None = all
    class_images: Dataset | None = None  # that some training sees beside the data set
    round: Round | None = None  # of the images, where they are drawn in rounds; None = all at once
    rounds: tuple[Plan, ...] = ()  # of what was drawn in rounds: all that were
    remarks: tuple[str, ...] = ()  # what a reader of the results should know of their inputs
    own_sets: Mapping[str, tuple[PromptSet, ...]] = field(
        default_factory=dict
    )  # checkpoint id -> pictures made elsewhere

    @property
    def device(self) -> str:
        return self.devices[0]

    def on(self, place: int) -> Plan:
        """The same for the process of this number, counted from 0, in which it is called: each has a device of its own
        as far as there are."""
        return replace(self, devices=(str(pick_device(self.devices[place % len(self.devices)])),))

    @property
    def inputs(self) -> tuple[Path, ...]:
        """The files and folders outside of its own that tasks read; published weights of encoders lie in a cache."""
        made = (request.made.path for _, each in self.every_set for request in each.requests if request.made)
        weights = (choice.weights for name, choice in self.study.encoders.items() if name in self.encoder_ids)
        given = (
            *(Path(path) for path in (*self.study.plugins, *weights) if path),
            *(checkpoint.weights for checkpoint in self.checkpoints if checkpoint.weights),
            *map(Path, self.companions),
            *(parent.weights for merging in self.mergings for parent in merging.parents if parent.weights),
            *(image.path for image in self.pictures),
            *made,
        )
        every = [base for base in (self.base, *self.bases.values()) if base]
        models = [base.files.path for base in every] + [base.vae.weights for base in every if base.vae]
        return tuple(dict.fromkeys((*models, *given)))

    @cached_property
    def keys(self) -> Keys:
        """What each artifact is made from."""
        return Keys(self)

    @cached_property
    def places(self) -> Places:
        """Where each artifact lies."""
        return Places(self)

    @cached_property
    def measuring(self) -> Measuring:
        """What follows from the choice of metrics."""
        return Measuring(self)

    @cached_property
    def validating(self) -> Validating:
        """What is asked of checkpoints before any image is drawn."""
        return Validating(self)

    @cached_property
    def showing(self) -> Showing:
        """Which pictures a page can show."""
        return Showing(self)

    @cached_property
    def folder(self) -> store.RunFolder:
        return store.RunFolder(self.root, self.study.name, self.shard.name if self.shard else "")

    def training_set(self, run: TrainingRun) -> Dataset:
        """What a training sees. UserError for concepts of its config that the data set has not."""
        training = run.config.training
        key = training.concepts, training.captions, training.balance, training.prior_weight > 0
        if key not in self._training_sets:
            place = f"study '{self.study.name}', concepts of config '{run.config.name}'"
            chosen = subset(self.dataset, training.concepts, place)
            chosen = datasets.with_captions(balanced(chosen) if training.balance else chosen, training.captions)
            self._training_sets[key] = with_class_images(chosen, self.class_images) if key[-1] else chosen
        return self._training_sets[key]

    @property
    def training_images(self) -> tuple[TrainingImage, ...]:
        """All that some training sees."""
        return (*self.dataset.images, *(self.class_images.images if self.class_images else ()))

    @property
    def pictures(self) -> tuple[TrainingImage, ...]:
        """All that are looked at: training pictures, and those held out."""
        return (*self.training_images, *self.dataset.held_out)

    def words_of(self, run: TrainingRun) -> dict[str, str]:
        """The words that a training makes, each with the text that it begins as. UserError."""
        return trained_words(self.training_set(run), run.config)

    @cached_property
    def _training_sets(self) -> dict[tuple[tuple[str, ...], str, bool, bool], Dataset]:
        return {}

    def sampling_of(self, checkpoint: Checkpoint) -> Sampling:
        """How its pictures are drawn."""
        setting = self.settings.get(checkpoint.setting)
        return setting.sampling if setting else self.study.sampling

    def beside(self, checkpoint: Checkpoint) -> tuple[str, float] | None:
        """The file of the adapter that is merged beside a checkpoint, and its merge ratio."""
        setting = self.settings.get(checkpoint.setting)
        return (setting.companion, setting.companion_scale) if setting and setting.companion else None

    def base_for(self, checkpoint: Checkpoint) -> Base | None:
        """The base model that its pictures are drawn with."""
        return self.bases.get(checkpoint.setting, self.base)

    @property
    def base_checkpoint(self) -> Checkpoint | None:
        """The base model as the study draws it, where its pictures are among what is measured."""
        return self._floors.get("")

    def floor_of(self, checkpoint: Checkpoint) -> Checkpoint | None:
        """The base model drawn as a checkpoint is, which that one is compared with."""
        return self._floors.get(checkpoint.setting)

    @cached_property
    def _floors(self) -> Mapping[str, Checkpoint]:
        return {checkpoint.setting: checkpoint for checkpoint in self.checkpoints if checkpoint.is_base}

    @cached_property
    def checkpoint_by_id(self) -> Mapping[str, Checkpoint]:
        return {checkpoint.id: checkpoint for checkpoint in self.checkpoints}

    @cached_property
    def run_by_id(self) -> Mapping[str, TrainingRun]:
        return {run.id: run for run in self.runs}

    @cached_property
    def merging_by_id(self) -> Mapping[str, Merging]:
        return {merging.id: merging for merging in self.mergings}

    def merging_of(self, checkpoint: Checkpoint) -> Merging | None:
        """The merge that a checkpoint is; None of others."""
        return self._merging_of.get((checkpoint.config, checkpoint.seed, checkpoint.milestone))

    @cached_property
    def _merging_of(self) -> Mapping[tuple[str, int | None, Milestone], Merging]:
        settings = ("", *self.settings)
        return {
            (drawn_as(each.name, name), each.seed, each.milestone): each for each in self.mergings for name in settings
        }

    def runs_of(self, checkpoint: Checkpoint) -> tuple[TrainingRun, ...]:
        """The trainings that a checkpoint comes from: one, or those of a merge's parents."""
        merging = self.merging_of(checkpoint)
        return merging.runs if merging else (self.run_of(checkpoint),)

    def run_of(self, checkpoint: Checkpoint) -> TrainingRun:
        """The training that makes a checkpoint of this study's grid."""
        return self._run_of[checkpoint.config, checkpoint.seed]

    @cached_property
    def _run_of(self) -> Mapping[tuple[str, int | None], TrainingRun]:
        settings = ("", *self.settings)
        return {(drawn_as(run.config.name, name), run.seed): run for run in self.runs for name in settings}

    def sets_of(self, checkpoint: Checkpoint) -> tuple[PromptSet, ...]:
        """The pictures of a checkpoint: what all draw, its share of a round, or what was made of it elsewhere."""
        if self.round:
            return self.round.sets.get(checkpoint.id, ())
        return self.own_sets.get(checkpoint.id, self.prompt_sets)

    @property
    def drawn_in(self) -> tuple[Plan, ...]:
        """The plans that its images are drawn by: its rounds, or itself."""
        return self.rounds or (self,)

    @cached_property
    def every_set(self) -> tuple[tuple[str, PromptSet], ...]:
        """(whose, set): what all checkpoints draw is "", what was made elsewhere its checkpoint's."""
        own = ((id_, each) for id_, sets in self.own_sets.items() for each in sets)
        return (*(("", each) for each in self.prompt_sets), *own)
