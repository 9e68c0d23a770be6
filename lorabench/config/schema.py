"""What a study file may say: every key with its kind, its bounds, its default and what it means.

Defaults are the paper's (LyCORIS, section 5 and appendix D), so a file holds only what a study changes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from lorabench.config.section import NAME, Alone, Once, Section
from lorabench.config.training import Changed, Training
from lorabench.errors import unknown
from lorabench.records import ExecutorName, MergeMethod, Milestone, PromptType, Recipe, Sampling
from lorabench.values import (
    MOST_CONFIGS,
    BudgetText,
    Devices,
    Few,
    Guidance,
    Holdout,
    Many,
    Name,
    Pictures,
    Quality,
    Rate,
    Ratio,
    Scheduler,
    Seed,
    Share,
    Side,
    Skip,
    Steps,
    Strength,
    Switch,
    Vectors,
    Width,
    Workers,
)


class Data(Section):
    """The pictures to learn from."""

    later = ("class_images", "holdout", "holdout_seed", "reference")
    folder: Name = Field("", description="of pictures in any usual layout, or the TOML file that describes it")
    concepts: tuple[str, ...] = Field((), description="glob patterns over concept ids; empty = all")
    trigger: str = Field("", description="the word that calls the concept, where its pictures do not say it")
    class_word: str = Field("", description="what it is one of, where its pictures do not say it")
    class_images: Name = Field(
        "", description="folder of pictures of the classes, captioned or called by them, for training.prior_weight"
    )
    holdout: Holdout = Field(
        0,
        description="pictures of each concept that no training sees, to measure against as well: a share (0.2), a "
        "number, or a list of names of files, glob patterns too",
    )
    holdout_seed: Seed = Field(0, description="another one holds out others")
    reference: Name = Field(
        "", description="instead: folder of other pictures of the same concepts, in any layout, to measure against"
    )

    @model_validator(mode="after")
    def _one_kind_of_held_out(self) -> Data:
        if self.holdout and self.reference:
            raise ValueError("holdout and reference are two ways to say the same: leave one out")
        return self

    @property
    def has_held_out(self) -> bool:
        """Whether it is also measured against pictures that no training sees."""
        return bool(self.holdout or self.reference)


class Variation(Changed):
    """What one config changes against the row it stands in."""

    name: str | None = Field(None, description="of the config; default: made of its values")
    trained_layers: str | None = Field(None, description="attention, linear, full or regex:<expression>")
    lr: Rate | None = Field(None, description="learning rate")
    dim: Width | None = Field(None, description="rank; lokr: none = a full second block")
    alpha: Strength | None = Field(None, description="the update's scale is alpha / dim; none = dim")
    factor: Width | None = Field(None, description="of lokr: into how many blocks a side of a matrix is divided")
    conv_dim: Width | None = Field(None, description="dim of kernels larger than 1 x 1; none = dim")
    conv_alpha: Strength | None = Field(None, description="alpha of the same; none = alpha")
    tucker: Switch | None = Field(None, description="kernels larger than 1 x 1 by Tucker decomposition")
    dora: Switch | None = Field(None, description="magnitude and direction apart: lora with it is DoRA")
    decompose_both: Switch | None = Field(None, description="of lokr: the first block of low rank too")
    peft: dict[str, Any] | None = Field(
        None, description='of algorithm peft: { peft_type = "VERA", r = 8 }, or another method and its settings'
    )
    vectors: Vectors | None = Field(
        None, description="train each concept's trigger as a word of so many vectors (textual inversion); none = not"
    )
    initial_word: str | None = Field(None, description="that the vectors begin as; none = the concept's class word")
    text_encoder_lr: Rate | None = Field(None, description="learning rate of the text encoder; none = lr")
    text_encoder_2_lr: Rate | None = Field(None, description="of SDXL's second; none = text_encoder_lr")
    embedding_lr: Rate | None = Field(None, description="learning rate of trained words; none = lr")
    concepts: Annotated[tuple[str, ...], Once] | None = Field(
        None, min_length=1, description="trained on these alone, glob patterns over concept ids; none = all"
    )


class GridRow(Variation):
    """An algorithm's default config, then variations of it: one thing at a time, or all combinations."""

    algorithm: str = Field(description="lora, loha, lokr, native, ...: see `lorabench list algorithms`")
    trained_layers: str = Field(
        "linear", description="attention, linear, full or regex:<expression>; textual_inversion has none"
    )
    lr: Rate = Field(description="learning rate")
    vary: tuple[Variation, ...] = Field((), description="further configs: each a table of the keys that it changes")
    product: dict[str, list[Any]] = Field({}, description="all combinations of lists of values, each under its key")

    @model_validator(mode="after")
    def _one_way_to_vary(self) -> GridRow:
        if self.product and (self.vary or self.name):
            raise ValueError("product makes all configs of a row: put vary, or a name, into a row of its own")
        _check_product(self.product, VARIED, "configs")
        for combination in combinations(self.product):
            Variation.model_validate(combination)
        return self


def combinations(product: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """All combinations of lists of values, each under its key."""
    return [dict(zip(product, values, strict=True)) for values in itertools.product(*product.values())]


def _check_product(product: Mapping[str, Sequence[Any]], known: Sequence[str], what: str) -> None:
    for key in product:
        if key not in known:
            raise ValueError(unknown("key of product", key, known))
    if any(not values for values in product.values()):
        raise ValueError(f"product has an empty list, which makes no {what}")
    if math.prod(len(each) for each in product.values()) > MOST_CONFIGS:
        raise ValueError(f"product makes more than {MOST_CONFIGS} {what}")


VARIED = tuple(name for name in Variation.model_fields if name != "name")


class Images(Section):
    """What is generated from every checkpoint (LyCORIS appendix D.3)."""

    later = ("companion", "companion_scale")

    prompts: Name = Field("", description="folder of alter/<template>.txt and style.txt; default: the shipped ones")
    prompt_types: Annotated[tuple[PromptType, ...], Once] = Field(
        ("train", "trigger", "alter", "style"),
        description="what is drawn; together: two concepts in one prompt; drift: none",
    )
    per_set: Pictures = Field(100, description="images of a concept and prompt type")
    steps: Steps = Field(25, description="of the scheduler, which knows 1000")
    guidance: Guidance = Field(7.0, description="classifier-free guidance; at most 1 = none")
    size: Side | None = Field(None, description="pixels, width = height; default: the base model's own")
    max_tokens: Width | None = Field(
        None,
        description="of a prompt, drawn with as many chunks of the text encoder as it needs; default: training's",
    )
    negative_prompt: str = Field("", description="takes the place of the empty prompt in guidance")
    scheduler: Scheduler = Field(
        "DDIM", description='of diffusers, with or without "Scheduler" at the end; "... karras": with Karras\' spacing'
    )
    clip_skip: Skip = Field(1, description="text is read off this layer of the text encoder; 2 = the last but one")
    zero_terminal_snr: Switch = Field(False, description="drawn as training.zero_terminal_snr trains")
    noise: Literal["hashed", "index"] = Field("hashed", description="index: the authors' seeds, 1000 + k")
    noise_seed: Seed = Field(0, description="another one draws another sample of images")
    batch_size: Pictures = Field(16, description="images drawn at once; moves no pixel by more than one level")
    webp_quality: Quality | None = Field(
        None, description="images are measured as lossy WebP of this quality shows them; the paper's authors: 80"
    )
    companion: Name = Field(
        "", description="a second adapter, merged beside each checkpoint and beside the base model: a speed or a style"
    )
    companion_scale: Ratio = Field(1.0, description="its merge ratio")
    scales: Annotated[tuple[Ratio, ...], Once] = Field((1.0,), min_length=1, description="merge ratios lambda")
    thumbnails: Few = Field(4, description="images of each set shown in the report")
    keep: Literal["all", "shown", "none"] = Field(
        "all",
        description="which images stay on disk once they are measured; shown: those with a thumbnail in the report",
    )


class Drawn(Section):
    """What pictures are drawn with, where it is another than [images] says."""

    scale: Ratio | None = Field(None, description="merge ratio lambda")
    steps: Steps | None = Field(None, description="of the scheduler")
    guidance: Guidance | None = Field(None, description="classifier-free guidance; at most 1 = none")
    scheduler: Scheduler | None = Field(None, description="of diffusers, as in [images]")
    negative_prompt: str | None = Field(None, description="takes the place of the empty prompt in guidance")
    clip_skip: Skip | None = Field(None, description="layer of the text encoder that text is read off, from the last")
    zero_terminal_snr: Switch | None = Field(None, description="as in [images]")
    base: Name | None = Field(None, description="another base model of the same architecture, as `base` of the study")
    vae: Name | None = Field(
        None, description='in the place of the base model\'s: file, diffusers folder or hub id; "" = its own'
    )
    companion: Name | None = Field(None, description='an adapter beside each checkpoint, as in [images]; "" = none')
    companion_scale: Ratio | None = Field(None, description="its merge ratio")

    @property
    def said(self) -> dict[str, Any]:
        """What is another."""
        return {name: getattr(self, name) for name in DRAWN if getattr(self, name) is not None}


DRAWN = tuple(Drawn.model_fields)


class Sweep(Drawn):
    """Ways to draw the same checkpoints once more: itself and variations of it, or all combinations."""

    later = ("checkpoint_steps",)
    configs: tuple[str, ...] = Field((), description="of these configs alone, as glob patterns; empty = all")
    epochs: Annotated[tuple[Many, ...], Once] = Field((), description="of these epochs alone; empty = all")
    checkpoint_steps: Annotated[tuple[Many, ...], Once] = Field(
        (), description="of these steps alone, where training is counted in steps; empty = all"
    )
    vary: tuple[Drawn, ...] = Field((), description="further ways: each a table of the keys that it changes")
    product: dict[str, list[Any]] = Field({}, description="all combinations of lists of values, each under its key")

    @model_validator(mode="before")
    @classmethod
    def _one_value_each(cls, said: Any) -> Any:
        for key in DRAWN if isinstance(said, dict) else ():
            if isinstance(said.get(key), list):
                raise ValueError(f"{key} is one value; several are a product: product = {{ {key} = {said[key]} }}")
        return said

    @model_validator(mode="after")
    def _one_way_to_vary(self) -> Sweep:
        if self.product and self.vary:
            raise ValueError("product makes all ways of a sweep: put vary into a sweep of its own")
        _check_product(self.product, DRAWN, "ways to draw")
        self.ways()
        return self

    @property
    def milestones(self) -> tuple[Milestone, ...]:
        return milestones_of(self)

    def ways(self) -> list[dict[str, Any]]:
        """What each way to draw changes against [images]."""
        if self.product:
            return [self.said | Drawn.model_validate(each).said for each in combinations(self.product)]
        return [self.said, *(self.said | each.said for each in self.vary)]


def milestones_of(chosen: Sweep | Merge) -> tuple[Milestone, ...]:
    """The epochs, or steps, that a sweep or a merge is of; empty = it does not say."""
    return (*(Milestone(each) for each in chosen.epochs), *(Milestone(each, True) for each in chosen.checkpoint_steps))


OPTIONS_OF = {"density": ("ties", "dare"), "seed": ("dare",)}  # which methods take what no other does


class Merge(Section):
    """A merge of adapters, each at a ratio, that is drawn and measured beside the configs."""

    later = ("checkpoint_steps",)
    name: str = Field(pattern=NAME, description="of the merge, as a config's")
    parents: Annotated[tuple[Name, ...], Once] = Field(
        description="configs by their names, and adapter files: what ends in .safetensors or has a / is a path"
    )
    ratios: tuple[Ratio, ...] = Field((), description="one a parent; default: 1 each")
    method: MergeMethod = Field("linear", description="linear, svd, ties, dare or dlf, as of `lorabench merge`")
    rank: Width | None = Field(None, description="compress to it; svd: the largest of the parents' by default")
    density: Share | None = Field(None, description="of ties and dare: the share that is kept; default: 0.5")
    seed: Seed | None = Field(None, description="of dare: chooses what is kept; default: 0")
    epochs: Annotated[tuple[Many, ...], Once] = Field(
        (), description="of parents that are configs, a merge each; default: their last that is kept"
    )
    checkpoint_steps: Annotated[tuple[Many, ...], Once] = Field(
        (), description="the same, where training is counted in steps"
    )

    @model_validator(mode="after")
    def _can_be_made(self) -> Merge:
        if len(self.parents) < 2:
            raise ValueError("a merge takes two parents or more")
        if self.ratios and len(self.ratios) != len(self.parents):
            raise ValueError(f"{len(self.ratios)} ratios for {len(self.parents)} parents: name one for each")
        if self.ratios and not any(self.ratios):
            raise ValueError("all ratios are 0, so nothing is left to merge")
        for option, methods in OPTIONS_OF.items():
            if getattr(self, option) is not None and self.method not in methods:
                raise ValueError(f"{option} is of {' and '.join(methods)}, and the method is {self.method}")
        return self

    @property
    def milestones(self) -> tuple[Milestone, ...]:
        return milestones_of(self)

    @property
    def weighted(self) -> tuple[tuple[str, float], ...]:
        """Each parent and its ratio."""
        return tuple(zip(self.parents, self.ratios or (1.0,) * len(self.parents), strict=True))

    @property
    def recipe(self) -> Recipe:
        said = {"rank": self.rank, "density": self.density, "seed": self.seed}
        return Recipe(self.method, **{key: value for key, value in said.items() if value is not None})


class EncoderChoice(Section):
    """Which weights an encoder takes, and how data-set pictures are resized for it."""

    weights: Name = Field("", description="safetensors file or folder; empty = the published weights")
    resize: Annotated[tuple[str, ...], Alone, Once] = Field(
        (),
        description="letterbox, center_crop, stretch or scale, or a list of them, each of which is measured; "
        "empty = the encoder's default",
    )


class MetricChoice(Section):
    """A metric to compute, and on which encoders; empty = its default encoder."""

    name: str = Field(description="see `lorabench list metrics`")
    encoders: Annotated[tuple[str, ...], Once] = Field((), description="empty = the metric's default encoder")


class Validation(Section):
    """What is asked of a checkpoint before any image is drawn: its held-out loss, and the health of its weights."""

    later = ("draws",)
    draws: Few | None = Field(
        None,
        description="noised pictures of each concept, both of those trained on and of those held out; default: as many "
        "as take a hundredth of drawing, where pictures are held out; 0 = no validation",
    )


class Explain(Section):
    """The CatBoost + SHAP analysis (LyCORIS appendix D.6)."""

    later = ("weights",)
    exclude: tuple[str, ...] = Field((), description="configs left out of the explanation, as glob patterns")
    epochs: dict[str, Annotated[tuple[Many, ...], Once, Field(min_length=1)]] = Field(
        {}, description="of a category, the epochs alone whose checkpoints are explained: { scenes = [10] }"
    )
    weights: Switch = Field(
        False,
        description="the health of each checkpoint's weights as factors beside those of the grid: spectral norm, "
        "stable rank, share of the first direction, norm relative to the base model's",
    )


class Decide(Section):
    """Whether images are drawn in rounds until it is known which configs are best."""

    until: Literal["all", "decided"] = Field(
        "all", description="all: every image of every checkpoint; decided: in rounds, until the criteria are decided"
    )
    criteria: Annotated[tuple[str, ...], Once] = Field(
        (), description="that are to be decided: fidelity, controllability, ...; empty = all that are measured"
    )
    rate: float = Field(
        0.05, gt=0, lt=1, description="of the differences that are called real, how many may be expected to be none"
    )
    equivalent: float | None = Field(
        None, gt=0, lt=1, description="scores (0 = last, 1 = first) that differ by less are as good as equal"
    )
    budget: BudgetText = Field(
        "",
        description="where to stop at the latest: 20h of work, 100000img, 15% of all images or 10kWh; empty = nowhere",
    )


class Run(Section):
    """How the work is done; of all this only the precision changes numbers by more than their rounding."""

    device: Devices = Field(
        "auto", description="auto (every GPU there is), cpu, cuda, cuda:1 or mps; several: cuda:0,cuda:2"
    )
    workers: Workers = Field(
        0,
        description="processes; 0 = one, or with a small model on the CPU one a core; of ray: as many as there is room",
    )
    executor: ExecutorName = Field("local", description="local: this machine; ray: all of a Ray cluster")
    address: Name = Field(
        "auto", description="of the cluster: auto (the one of this machine), or HOST:PORT of its head"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="of training's matrix products; bfloat16 draws in float16 and encodes in float32",
    )
    micro_batch: Pictures | None = Field(
        None,
        description="pictures of a training batch that are computed at once, for small GPUs; none = all. Their "
        "gradients are added",
    )
    gradient_checkpointing: Switch = Field(
        False, description="training keeps few activations and computes the others twice: less memory, a third slower"
    )
    tensorboard: Switch = Field(False, description="event files of trainings in the run's folder tensorboard")
    sample_every: Few = Field(
        0, description="steps of a training after which a picture of each concept is drawn, into samples; 0 = none"
    )
    compile: Switch = Field(
        False, description="the U-Net's blocks for drawing, by torch.compile: minutes at the start, faster pictures"
    )


DEFAULT_METRICS = (
    MetricChoice(name="image_similarity"),
    MetricChoice(name="squared_centroid_distance"),
    MetricChoice(name="text_similarity"),
    MetricChoice(name="vendi"),
    MetricChoice(name="style_loss_base"),
    MetricChoice(name="style_loss_data"),
)


class Study(Section):
    """A whole study: what to train, generate, measure and explain."""

    later = ("merge", "vae", "validation", "decide")
    name: str = Field(pattern=NAME, description="of the study and of its folder of results")
    extends: Name = Field(
        "", exclude=True, description="study whose keys hold where this file has none: a shipped one by name, or a path"
    )
    description: str = Field("", description="a sentence for the head of the report")
    base: Name = Field(
        "stable-diffusion-v1-5/stable-diffusion-v1-5",
        description="hub id[@revision][:variant], diffusers folder[:variant], .safetensors, or mini; "
        "path:... is a path, whatever it looks like",
    )
    vae: Name = Field(
        "", description="in the place of the base model's, in training and drawing: file, diffusers folder or hub id"
    )
    seeds: Annotated[tuple[Seed, ...], Once] = Field((1,), min_length=1, description="training seeds")
    plugins: tuple[Name, ...] = Field((), description="Python files with metrics, encoders, ... of your own")
    data: Data = Data()
    training: Training = Training()
    grid: tuple[GridRow, ...] = Field((), description="rows of configs to train, see above")
    merge: tuple[Merge, ...] = Field((), description="merges of configs and of adapter files, see above")
    images: Images = Images()
    sweep: tuple[Sweep, ...] = Field((), description="further ways to draw the checkpoints, see above")
    encoders: dict[str, EncoderChoice] = Field({}, description="weights and resize mode of encoders, see above")
    metrics: Annotated[tuple[MetricChoice, ...], Once] = Field(
        DEFAULT_METRICS, min_length=1, description="what to measure"
    )
    unused_keys: tuple[str, ...] = Field((), description="keys of adapter files that may stay unused, as glob patterns")
    anchors: Name = Field("", description="scores.parquet of a run whose checkpoints are the population of all ranks")
    validation: Validation = Validation()
    explain: Explain = Explain()
    decide: Decide = Decide()
    run: Run = Run()

    @property
    def sampling(self) -> Sampling:
        """How images are drawn; at the paper's size until one is set or worked out from the base model."""
        images = self.images
        size, tokens = images.size or Sampling().size, images.max_tokens or self.training.max_tokens
        drawn = (images.negative_prompt, images.scheduler, images.clip_skip, images.zero_terminal_snr)
        return Sampling(images.steps, images.guidance, size, tokens, *drawn)
