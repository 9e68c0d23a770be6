"""Everything that flows between stages: frozen records, in the field's words. numpy and the standard library only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from lorabench.records.training import ADJUSTED_TAGS as ADJUSTED_TAGS
from lorabench.records.training import ALL_TAGS as ALL_TAGS
from lorabench.records.training import EMBEDDINGS as EMBEDDINGS
from lorabench.records.training import HYPERPARAMETERS as HYPERPARAMETERS
from lorabench.records.training import NO_TAGS as NO_TAGS
from lorabench.records.training import TEXTUAL_INVERSION as TEXTUAL_INVERSION
from lorabench.records.training import AdapterConfig as AdapterConfig
from lorabench.records.training import HuberSchedule as HuberSchedule
from lorabench.records.training import LossConfig as LossConfig
from lorabench.records.training import LossName as LossName
from lorabench.records.training import Milestone as Milestone
from lorabench.records.training import OptimizerConfig as OptimizerConfig
from lorabench.records.training import SampleConfig as SampleConfig
from lorabench.records.training import ScheduleConfig as ScheduleConfig
from lorabench.records.training import ScheduleName as ScheduleName
from lorabench.records.training import TrainConfig as TrainConfig
from lorabench.records.training import TrainingConfig as TrainingConfig
from lorabench.records.training import told as told

PromptType = Literal["train", "trigger", "alter", "style", "together", "drift"]
ExecutorName = Literal["local", "ray"]
MergeMethod = Literal["linear", "svd", "ties", "dare", "dlf"]
ResizeMode = Literal["stretch", "letterbox", "center_crop", "scale"]

PROMPT_TYPES: tuple[PromptType, ...] = ("train", "trigger", "alter", "style", "together", "drift")
RESIZE_MODES: tuple[ResizeMode, ...] = ("stretch", "letterbox", "center_crop", "scale")


@dataclass(frozen=True)
class Concept:
    """One leaf of a data set: a class, or a sub-class of one, with the words that name it in prompts."""

    category: str
    class_name: str
    subclass: str  # "" for a class without sub-classes
    trigger: str
    class_word: str
    keyword: str = ""  # sub-class keyword, e.g. "[V_dark uniform] outfit"
    alter: str = ""  # stem of the template file in prompts/alter; "" = no `alter` prompts
    alter_else: tuple[str, ...] = ()  # stems that stand for it where prompts lack it; () = the data set names it
    alignment: str | None = (
        None  # stands for the descriptor in text for alignment; None = the class word, of outfits ""; "" removes it
    )
    has_style_prompts: bool = True
    evaluated: bool = True  # False: trained, but no prompts (sub-class "others" of the paper's movie characters)

    @cached_property  # a large study asks for it a million times
    def id(self) -> str:
        return "/".join(part for part in (self.category, self.class_name, self.subclass) if part)

    @property
    def descriptor(self) -> str:
        """The words that call the concept: `trigger class_word[, keyword]` (LyCORIS appendix D.3)."""
        words = f"{self.trigger} {self.class_word}".strip()
        return f"{words}, {self.keyword}" if self.keyword else words


@dataclass(frozen=True)
class TrainingImage:
    """One captioned image of a data set."""

    concept_id: str
    path: Path
    caption: str
    repeats: int = 1
    is_class_image: bool = False  # of its class, not of the concept: what training is to keep (prior preservation)
    sha256: str = ""  # of the file; "" = it has not been read


@dataclass(frozen=True)
class Dataset:
    """Captioned images of several concepts, and where they come from.

    `images` are those that training sees; `held_out`, of the same concepts, are to measure against alone.
    """

    name: str
    revision: str
    license: str
    citation: str
    concepts: tuple[Concept, ...]
    images: tuple[TrainingImage, ...]
    fingerprint: str  # sha256 over captions, pixels' files and the words of every concept
    contents: Mapping[str, str] = field(default_factory=dict)  # concept id -> hash of its pictures and captions
    assumptions: tuple[str, ...] = ()  # what no dataset.toml says, and what is left out
    held_out: tuple[TrainingImage, ...] = ()
    held_out_fingerprint: str = ""  # of those, as `fingerprint` is of what training sees

    @property
    def samples(self) -> int:
        """That an epoch shows: pictures, each with its repeats; class images come beside them."""
        return sum(image.repeats for image in self.images if not image.is_class_image)

    def images_of(self, concept_id: str) -> tuple[TrainingImage, ...]:
        return tuple(image for image in self.images if image.concept_id == concept_id)

    def held_out_of(self, concept_id: str) -> tuple[TrainingImage, ...]:
        return tuple(image for image in self.held_out if image.concept_id == concept_id)


@dataclass(frozen=True)
class Prompt:
    """One text to generate from, and the text its images are compared with."""

    concept_id: str
    type: PromptType
    text: str
    text_for_alignment: str  # "" = text similarity has no meaning here (the trigger prompt of a style)


@dataclass(frozen=True)
class Picture:
    """A picture that was made elsewhere."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class ImageRequest:
    """Image `index` of a prompt set: what to draw and from which noise, or the picture that was drawn so elsewhere."""

    prompt: Prompt
    index: int
    noise_seed: int | None  # None: of a picture that does not say it
    made: Picture | None = None


@dataclass(frozen=True)
class PromptSet:
    """All images asked for of one concept and prompt type."""

    concept: Concept
    type: PromptType
    requests: tuple[ImageRequest, ...]


@dataclass(frozen=True)
class Recipe:
    """How several weight updates become one."""

    method: MergeMethod = "linear"
    rank: int | None = None  # of the merged matrices, compressed again; None = as they come out
    density: float = 0.5  # ties, dare: the share of each update's numbers that is kept
    seed: int = 0  # dare: of the choice


@dataclass(frozen=True)
class Sampling:
    """How images are drawn, with classifier-free guidance (the paper: DDIM, 25 steps, guidance 7, 512 x 512)."""

    first: ClassVar[frozenset[str]] = frozenset({"steps", "guidance", "size", "max_tokens", "negative_prompt"})
    steps: int = 25
    guidance: float = 7.0
    size: int = 512  # pixels, width = height
    max_tokens: int = 75
    negative_prompt: str = ""
    scheduler: str = "DDIM"  # diffusers' name without "Scheduler", with " karras" by Karras' spacing of the noise
    clip_skip: int = 1  # text vectors of this layer of the text encoder, counted from the last
    zero_terminal_snr: bool = False  # nothing of a picture in the noise that is begun with, for models trained so


@dataclass(frozen=True)
class Setting:
    """A way to draw that a study compares with others: a factor of checkpoints, as their training is."""

    name: str  # in their ids; "" = the study's own way
    sampling: Sampling
    base: str = ""  # another base model than the study's, as it is named there
    vae: str | None = None  # another autoencoder than the study's; "" = the base model's own
    companion: str = ""  # a second adapter's file, merged beside each; "" = none
    companion_scale: float = 1.0  # its merge ratio
    factors: Mapping[str, str | float] = field(default_factory=dict)  # of tables: what differs within the study


@dataclass(frozen=True)
class Checkpoint:
    """Weights to measure, or pictures drawn with them elsewhere. The base model's algorithm is "none"."""

    id: str
    config: str
    algorithm: str
    trained_layers: str = ""
    lr: float = float("nan")
    dim: int | None = None
    alpha: float | None = None
    factor: int | None = None
    seed: int | None = None
    epoch: int | None = None
    step: int | None = None
    scale: float = 1.0  # merge ratio lambda
    setting: str = ""  # by its name
    base: str = ""
    weights: Path | None = None  # None = the base model itself
    sha256: str = ""
    own: Mapping[str, str | float] = field(default_factory=dict)  # a person's own factors, by their names in tables

    @property
    def is_base(self) -> bool:
        return self.algorithm == "none"

    @property
    def milestone(self) -> Milestone:
        """Of its training, where this study trains it."""
        return Milestone(self.step or 0, True) if self.epoch is None else Milestone(self.epoch)


@dataclass(frozen=True)
class ImageSet:
    """Pictures of one concept and prompt type: generated by a checkpoint, or the data set's own."""

    checkpoint_id: str  # "dataset" for the training images
    concept: Concept
    prompt_type: PromptType | Literal["dataset"]
    ids: tuple[str, ...]  # one an image; generated sets: the index in the prompt set
    paths: tuple[Path, ...]
    texts: tuple[str, ...] = ()  # text for alignment of each image; () where there is none


@dataclass(frozen=True)
class Features:
    """Vectors of an image set: float32 [n, d], row i belongs to ids[i]."""

    encoder: str
    encoder_id: str  # architecture, weights' hash and preprocessing: values of two ids never mix
    resize: str  # "" where the images are square already or for texts
    ids: tuple[str, ...]
    array: np.ndarray


@dataclass(frozen=True)
class Value:
    """What a metric answers: a number, or NaN and the reason there is none."""

    value: float
    reason: str = ""
    per_image: np.ndarray | None = field(default=None, compare=False)  # [n], whose mean it is; None: of the set alone

    def __post_init__(self) -> None:
        if np.isnan(self.value) != bool(self.reason):
            raise ValueError(
                f"A value is a number or NaN with a reason, got value={self.value}, reason={self.reason!r}"
            )


@dataclass(frozen=True)
class Score:
    """One metric of one leaf: what `scores.parquet` holds a row of."""

    checkpoint_id: str
    category: str
    class_name: str
    subclass: str
    prompt_type: str
    metric: str
    encoder: str
    resize: str
    value: float
    reason: str
    n_images: int
    blocks: tuple[float, ...] = ()  # the value block by block of images, with the value as their mean
    per_image: tuple[float, ...] = ()  # of each image in the order of its set, where the metric is a mean of such
    parts: tuple[float, ...] = ()  # of each part of a set that is drawn in rounds, see `stages.rounds`


@dataclass(frozen=True)
class Task:
    """One piece of work of a stage; `units` (steps, images, ...) drive the progress bar."""

    stage: str
    source: str  # what it is done to: a training, a checkpoint, the data set, the texts
    units: int
    encoder: str = ""  # through which it is looked at, where a stage looks
    resize: str = ""  # and how its pictures are resized for that; "" where that makes no difference

    @property
    def item(self) -> str:
        """What it is called to people."""
        seen = f"{self.encoder} ({self.resize})" if self.resize else self.encoder
        return f"{self.source} on {seen}" if seen else self.source


@dataclass(frozen=True)
class Shard:
    """One of so many shares of a study's tasks."""

    number: int  # from 1 on
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def name(self) -> str:
        """In names of files."""
        return f"{self.number}-of-{self.of}"


@dataclass(frozen=True)
class Outcome:
    """How a task ended: error None = done."""

    task: Task
    error: BaseException | None = None


@dataclass(frozen=True)
class Failure:
    """A task that did not end well; `status` keeps the three kinds apart."""

    stage: str
    item: str
    status: Literal["failed", "skipped", "interrupted"]
    message: str


@dataclass(frozen=True)
class Provenance:
    """Where an artifact comes from: in every meta.json."""

    version: str
    git_commit: str
    git_dirty: bool
    python: str
    packages: dict[str, str]
    device: str
    started: str  # ISO 8601, UTC
    seconds: float
    process_memory_bytes: int  # peak of the process since it started, whatever it did before
    device_memory_bytes: int | None  # peak of the accelerator's allocator during the task; None where none is kept
    inputs: Sequence[str] = field(default_factory=tuple)
    device_name: str = ""  # the model of a GPU: times of two models do not compare
    device_energy_joules: float | None = None  # of the device since the artifact before, see `store.energy`
