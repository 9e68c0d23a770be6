"""What is trained and how: the records of a config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, field, fields, replace
from typing import Any, ClassVar, Literal

LossName = Literal["l2", "l1", "huber", "smooth_l1"]
HuberSchedule = Literal["constant", "exponential", "snr"]
ScheduleName = Literal["constant", "linear", "cosine", "cosine_with_restarts", "polynomial"]


@dataclass(frozen=True, order=True)
class Milestone:
    """A point of a training: after so many epochs, or steps."""

    number: int
    by_step: bool = False

    def __str__(self) -> str:
        return f"{'step' if self.by_step else 'epoch'} {self.number}"

    @property
    def word(self) -> str:
        """In names of checkpoints."""
        return f"{'t' if self.by_step else 'e'}{self.number}"

    @property
    def folder(self) -> str:
        return f"step-{self.number:06d}" if self.by_step else f"epoch-{self.number:04d}"

    @property
    def columns(self) -> dict[str, int | None]:
        """What tables say of it, and files."""
        return {"epoch": None, "step": self.number} if self.by_step else {"epoch": self.number, "step": None}

    def step(self, per_epoch: int) -> int:
        """How many steps lead to it."""
        return self.number if self.by_step else self.number * per_epoch


@dataclass(frozen=True)
class AdapterConfig:
    """What is trained: the algorithm of a weight update, the modules that it is of, and its size."""

    first: ClassVar[frozenset[str]] = frozenset(
        {"algorithm", "trained_layers", "dim", "alpha", "factor", "conv_dim", "conv_alpha", "tucker", "dora"}
        | {"decompose_both", "peft", "train_text_encoder", "train_unet"}
    )
    algorithm: str
    trained_layers: str = ""  # "" = not known yet: a file's are read off its weights
    dim: int | None = None
    alpha: float | None = None
    factor: int | None = None
    conv_dim: int | None = None  # of kernels larger than 1 x 1; None = dim
    conv_alpha: float | None = None  # of the same; None = alpha
    tucker: bool = False  # kernels larger than 1 x 1 by Tucker decomposition
    dora: bool = False  # magnitude and direction apart
    decompose_both: bool = False  # LoKr: the first block of low rank too
    peft: Mapping[str, Any] | None = None  # algorithm "peft": peft_type and the settings of its config
    train_text_encoder: bool = True
    train_unet: bool = True
    vectors: int | None = None  # of each concept's trigger, trained as a word of its own; None = no word is
    initial_word: str = ""  # that they begin as; "" = the concept's class word

    @property
    def method(self) -> str:
        """The algorithm as tables have it: "dora" is LoRA's, "dora:loha" LoHa's; peft's methods apart, "peft:VERA"."""
        if self.peft:
            return f"{self.algorithm}:{str(self.peft.get('peft_type', '')).upper()}"
        if self.dora:
            return "dora" if self.algorithm == "lora" else f"dora:{self.algorithm}"
        return self.algorithm


# How training pictures are described (LyCORIS H.3): as the data set does, by the descriptor alone, by all tags.
ADJUSTED_TAGS, NO_TAGS, ALL_TAGS = "adjusted tags", "no tags", "all tags"
TEXTUAL_INVERSION = "textual_inversion"  # the algorithm that trains words alone
EMBEDDINGS = "embeddings"  # its trained layers
HYPERPARAMETERS = ("dim", "alpha", "factor", "conv_dim", "conv_alpha", "tucker", "dora", "decompose_both", "peft")


@dataclass(frozen=True)
class LossConfig:
    """What a step makes small."""

    loss: LossName = "l2"
    huber_c: float = 0.1  # threshold of huber and smooth_l1
    huber_schedule: HuberSchedule = "snr"  # how it follows the timestep
    min_snr_gamma: float = 0.0  # 0 = none
    debiased_estimation: bool = False
    noise_offset: float = 0.0
    input_perturbation: float = 0.0
    zero_terminal_snr: bool = False
    prior_weight: float = 0.0  # of the loss on class images, as many a step as pictures; 0 = none are seen


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate goes, from step to step."""

    schedule: ScheduleName = "constant"
    cycles: int = 1  # of cosine_with_restarts
    power: float = 1.0  # of polynomial
    warmup_epochs: float = 0.0
    warmup_steps: int = 0  # in the place of epochs, where it is not 0
    warmup_share: float = 0.0  # likewise, of all steps

    @property
    def knows_its_end(self) -> bool:
        """Whether a step's rate depends on how many steps there are in all."""
        return self.schedule != "constant" or self.warmup_share > 0


@dataclass(frozen=True)
class OptimizerConfig:
    """What makes the step."""

    lr: float = float("nan")  # NaN = not known: a file need not say it
    text_encoder_lr: float | None = None  # None = lr
    text_encoder_2_lr: float | None = None  # of SDXL's second; None = text_encoder_lr
    embedding_lr: float | None = None  # of trained words; None = lr
    lora_plus_ratio: float = 1.0  # learning rate of the second factor by that of the first
    optimizer: str = "adamw"
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    max_grad_norm: float = 1.0
    rank_dropout: float = 0.0
    module_dropout: float = 0.0
    scale_weight_norms: float = 0.0  # the largest Frobenius norm of an update; 0 = any


@dataclass(frozen=True)
class SampleConfig:
    """What a step sees."""

    batch_size: int = 8
    caption_dropout: float = 0.05
    resolution: int = 512
    max_tokens: int = 75
    flip: bool = False  # half of the samples left to right
    random_crop: bool = False  # another cut of the bucket's size each time
    bucket_step: int = 0  # of the sides of buckets; 0 = as the resolution has them
    masked_loss: bool = False  # weighted by pictures' opacity
    balance: bool = False  # classes about equally often
    captions: str = ADJUSTED_TAGS  # of which kind
    shuffle_captions: bool = False
    keep_tokens: int = 1  # tags at the start that are neither shuffled nor dropped
    tag_dropout: float = 0.0
    clip_skip: int = 1  # text vectors of this layer of the text encoder, counted from the last
    concepts: tuple[str, ...] = ()  # that it is trained on, as glob patterns; empty = all of the data set


@dataclass(frozen=True)
class TrainingConfig(LossConfig, ScheduleConfig, SampleConfig, OptimizerConfig):
    """How it is trained: loss, schedule, optimizer, samples, length."""

    first: ClassVar[frozenset[str]] = frozenset(
        {"lr", "text_encoder_lr", "epochs", "checkpoint_epochs", "batch_size", "weight_decay", "betas"}
        | {"max_grad_norm", "warmup_epochs", "caption_dropout", "resolution", "max_tokens"}
    )
    epochs: int = 1
    checkpoint_epochs: tuple[int, ...] = (1,)
    steps: int = 0  # in the place of epochs, where it is not 0
    checkpoint_steps: tuple[int, ...] = ()

    @property
    def milestones(self) -> tuple[Milestone, ...]:
        """When a checkpoint is kept, first to last."""
        by_step = self.steps > 0
        return tuple(
            Milestone(each, by_step) for each in sorted(self.checkpoint_steps if by_step else self.checkpoint_epochs)
        )


def told(settings: Any) -> dict[str, Any]:
    """The settings (AdapterConfig, TrainingConfig, Sampling) that keys are made of and files hold.

    Those that were not there from the first are left out where they have their defaults: that is what was always done.
    """
    usual = {each.name: _default(each) for each in fields(settings)}
    return {key: value for key, value in asdict(settings).items() if key in settings.first or value != usual[key]}


def _default(each: Field) -> Any:
    return each.default if each.default_factory is MISSING else each.default_factory()


@dataclass(frozen=True)
class TrainConfig:
    """One config of the grid, without its seed."""

    name: str  # the readable id, unique in a study
    adapter: AdapterConfig
    training: TrainingConfig = TrainingConfig()  # of a file that says nothing of it

    @property
    def flat(self) -> dict[str, Any]:
        """Name and settings in one table, as adapter files hold them and keys are made of them."""
        return {"name": self.name, **told(self.adapter), **told(self.training)}

    @property
    def factors(self) -> dict[str, Any]:
        """What tables say of it: the fields that a Checkpoint has of its config."""
        own = self.adapter
        sizes = {"dim": own.dim, "alpha": own.alpha, "factor": own.factor}
        return {"algorithm": own.method, "trained_layers": own.trained_layers, "lr": self.training.lr, **sizes}

    @classmethod
    def from_flat(cls, flat: Mapping[str, Any]) -> TrainConfig:
        """The config of such a table; what it lacks has its default."""
        own = {each.name for each in fields(AdapterConfig)}
        adapter = {key: value for key, value in flat.items() if key in own}
        training = {key: value for key, value in flat.items() if key not in {"name", *own}}
        training |= {"concepts": tuple(training.get("concepts", ()))}
        return cls(flat["name"], AdapterConfig(**adapter), TrainingConfig(**training))

    def saved_at(self, *milestones: Milestone) -> TrainConfig:
        """The same training with checkpoints at these milestones, ended at the last of them."""
        training, numbers = self.training, tuple(milestone.number for milestone in milestones)
        length, kept = ("steps", "checkpoint_steps") if training.steps else ("epochs", "checkpoint_epochs")
        end = getattr(training, length) if training.knows_its_end else max(numbers)
        return replace(self, training=replace(training, **{length: end, kept: numbers}))
