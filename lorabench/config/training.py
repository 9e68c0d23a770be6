"""How a config is trained: what [training] says for all of a study, and a row of the grid for its own."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, SerializerFunctionWrapHandler, create_model, model_serializer, model_validator

from lorabench.config.section import Once, Section, kind_of
from lorabench.records import ADJUSTED_TAGS, HuberSchedule, LossName, Milestone, ScheduleName, TrainingConfig
from lorabench.values import (
    CaptionKind,
    Few,
    Fraction,
    Many,
    Momentum,
    NotNegative,
    Pictures,
    Positive,
    Share,
    Side,
    Skip,
    Switch,
    Width,
)


class Trained(Section):
    """What each config may have of its own."""

    batch_size: Pictures = Field(8, description="images a step, all of one aspect-ratio bucket")
    loss: LossName = Field("l2", description="l2, l1, huber or smooth_l1, of the predicted noise (or velocity)")
    huber_c: Share = Field(0.1, description="threshold of huber and smooth_l1")
    huber_schedule: HuberSchedule = Field("snr", description="of the threshold: constant, exponential or snr")
    min_snr_gamma: NotNegative = Field(0.0, description="losses weighted by min(SNR, gamma) / SNR; 0 = not")
    debiased_estimation: Switch = Field(False, description="losses weighted by 1 / sqrt(SNR)")
    noise_offset: Fraction = Field(0.0, description="of the mean of each channel's noise")
    input_perturbation: Fraction = Field(0.0, description="more noise in what is seen, not in what is predicted")
    zero_terminal_snr: Switch = Field(False, description="nothing of the picture at the last timestep (v-prediction)")
    prior_weight: NotNegative = Field(
        0.0, description="of the loss on data.class_images, a batch of them a step (prior preservation); 0 = not"
    )
    schedule: ScheduleName = Field(
        "constant",
        description="of the learning rate after its warm-up, over all `epochs`: constant, linear, cosine, "
        "cosine_with_restarts or polynomial, as diffusers has them",
    )
    cycles: Many = Field(1, description="of cosine_with_restarts")
    power: Positive = Field(1.0, description="of polynomial")
    warmup_epochs: NotNegative = Field(5.0, description="linear warm-up of the learning rate")
    warmup_steps: Few = Field(0, description="the same in steps; 0 = as warmup_epochs says")
    warmup_share: Fraction = Field(0.0, description="the same as a share of all steps; 0 = as warmup_epochs says")
    optimizer: str = Field("adamw", description="of torch by its name, adamw8bit and others of bitsandbytes, prodigy")
    optimizer_options: dict[str, Any] = Field({}, description="its own, beside weight_decay and betas")
    weight_decay: NotNegative = Field(0.1, description="of the optimizer, where it has one")
    betas: tuple[Momentum, Momentum] = Field((0.9, 0.99), description="of the optimizer, where it has them")
    max_grad_norm: Positive = Field(1.0, description="gradients are clipped at this norm")
    lora_plus_ratio: Positive = Field(1.0, description="learning rate of the second factor by the first's (LoRA+)")
    rank_dropout: Fraction = Field(0.0, description="share of an update's rows that a step leaves out")
    module_dropout: Fraction = Field(0.0, description="share of modules that a step leaves out")
    scale_weight_norms: NotNegative = Field(0.0, description="the largest norm of an update's matrix; 0 = any")
    caption_dropout: Fraction = Field(0.05, description="share of samples trained with the empty caption")
    flip: Switch = Field(False, description="half of the samples are mirrored, left to right")
    random_crop: Switch = Field(False, description="another cut of a picture each time, in the place of its middle")
    bucket_step: Few = Field(0, description="sides of buckets are multiples of it; 0 = 64, below resolution 256 16")
    masked_loss: Switch = Field(False, description="places count as much as pictures are opaque there (alpha channel)")
    balance: Switch = Field(False, description="pictures of small classes more often, all about equally")
    captions: CaptionKind = Field(
        ADJUSTED_TAGS,
        description='as the data set has them; "no tags": the descriptor alone; "all tags", or another name: those in '
        "files .all_tags beside pictures, which `lorabench captions` writes",
    )
    shuffle_captions: Switch = Field(False, description="the tags of a caption change places, but for the first")
    keep_tokens: Few = Field(1, description="tags at the start of a caption that stay, of shuffle and dropout")
    tag_dropout: Fraction = Field(0.0, description="share of the other tags that a step leaves out")
    clip_skip: Skip = Field(1, description="text is read off this layer of the text encoder, as images.clip_skip draws")
    train_text_encoder: Switch = Field(True, description="at the U-Net's rate, or a row's text_encoder_lr")
    train_unet: Switch = Field(True, description="false: the text encoder alone")


TRAINED = tuple(Trained.model_fields)
HOW = ("state_every",)  # keys of [training] that say how it is done: no config has them, since they change no result


class Training(Trained):
    """What all configs share while training (LyCORIS appendix D.2), but for what a row says itself."""

    epochs: Many = Field(50, description="passes over the images, repeats counted")
    checkpoint_epochs: Annotated[tuple[Many, ...], Once] = Field(
        (10, 30, 50), min_length=1, description="epochs after which an adapter is kept and measured"
    )
    steps: Few = Field(0, description="length in steps, in the place of epochs; 0 = as epochs says")
    checkpoint_steps: Annotated[tuple[Many, ...], Once] = Field(
        (), description="steps after which an adapter is kept, in the place of checkpoint_epochs; default: the last"
    )
    resolution: Side | None = Field(
        None, description="pixels; buckets have at most its square in area; default: the base model's own"
    )
    max_tokens: Width = Field(150, description="of a caption, in whole chunks of the text encoder's length")
    state_every: NotNegative = Field(
        10.0, description="minutes after which what a training needs to go on is saved once more, between checkpoints"
    )

    @model_validator(mode="after")
    def _checkpoints_within_its_length(self) -> Training:
        if self.checkpoint_steps and max(self.checkpoint_steps) > self.steps:
            raise ValueError(f"checkpoint_steps go up to {max(self.checkpoint_steps)}, but steps = {self.steps}")
        if not self.steps and max(self.checkpoint_epochs) > self.epochs:
            raise ValueError(f"checkpoint_epochs go up to {max(self.checkpoint_epochs)}, but epochs = {self.epochs}")
        return self

    @property
    def length(self) -> dict[str, Any]:
        """The keys of its length and checkpoints, of those that are counted in."""
        if not self.steps:
            return {"epochs": self.epochs, "checkpoint_epochs": self.checkpoint_epochs}
        kept = self.checkpoint_steps or (self.steps,)
        return {"steps": self.steps, "checkpoint_steps": kept, "epochs": 1, "checkpoint_epochs": (1,)}

    @property
    def milestones(self) -> tuple[Milestone, ...]:
        """When a checkpoint is kept, first to last."""
        return TrainingConfig(**self.length).milestones

    @model_serializer(mode="wrap")
    def _without_what_came_later(self, said: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Told, and hashed, as before there were the keys that have their defaults."""
        usual = {name: field.default for name, field in type(self).model_fields.items()}
        return {key: value for key, value in said(self).items() if key in _FIRST or getattr(self, key) != usual[key]}


_FIRST = TrainingConfig.first | {"optimizer", "train_text_encoder", "train_unet"}

Changed = create_model(
    "Changed",
    __base__=Section,
    __doc__="What a row of the grid, or a variation of it, says of its own training; None = as [training] says.",
    **{
        name: (kind_of(field) | None, Field(None, description=field.description))
        for name, field in Trained.model_fields.items()
    },
)
