"""A study as a TOML file: strict to read, expanded to configs, printed as a value.

Every key has a default from the paper (LyCORIS, section 5 and appendix D), so a file holds only what a study changes.
Unknown keys are errors. Paths are relative to the file; `lorabench:mini/...` points into the installed package.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from lorabench.errors import UserError, unknown
from lorabench.records import PromptType, Sampling, TrainConfig
from lorabench.values import (
    MOST_CONFIGS,
    Few,
    Fraction,
    Many,
    Name,
    NotNegative,
    Pictures,
    Positive,
    Real,
    Seed,
    Side,
    Steps,
    Width,
    Workers,
    read_toml,
    sentence,
)

PACKAGE_SCHEME = "lorabench:"


def _each_once(values: tuple[Any, ...]) -> tuple[Any, ...]:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ValueError(f"{getattr(twice[0], 'name', twice[0])!r} is there twice")
    return values


Once = AfterValidator(_each_once)  # a second mention would be the same work, and the same rows, twice


class Section(BaseModel):
    """A table of the study file: frozen, and no key passes unread."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Data(Section):
    """The pictures to learn from."""

    folder: Name = Field("", description="image folder, with a dataset.toml or category/class[/sub-class] folders")
    concepts: tuple[str, ...] = Field((), description="glob patterns over concept ids; empty = all")


class Training(Section):
    """What all configs share while training (LyCORIS appendix D.2)."""

    epochs: Many = Field(50, description="passes over the images, repeats counted")
    checkpoint_epochs: Annotated[tuple[Many, ...], Once] = Field((10, 30, 50), min_length=1)
    batch_size: Pictures = Field(8, description="images a step, all of one aspect-ratio bucket")
    weight_decay: NotNegative = Field(0.1, description="of AdamW")
    betas: tuple[Fraction, Fraction] = Field((0.9, 0.99), description="of AdamW")
    max_grad_norm: Positive = Field(1.0, description="gradients are clipped at this norm")
    warmup_epochs: NotNegative = Field(5.0, description="linear warm-up of the learning rate, constant after it")
    caption_dropout: Fraction = Field(0.05, description="share of samples trained with the empty caption")
    resolution: Side = Field(512, description="pixels; buckets have at most its square in area")
    max_tokens: Width = Field(150, description="of a caption, in whole chunks of the text encoder's length")
    train_text_encoder: bool = Field(True, description="at the U-Net's rate, or a row's text_encoder_lr")
    train_unet: bool = Field(True, description="false: the text encoder alone")

    @model_validator(mode="after")
    def _checkpoints_within_epochs(self) -> Training:
        if max(self.checkpoint_epochs) > self.epochs:
            raise ValueError(f"checkpoint_epochs go up to {max(self.checkpoint_epochs)}, but epochs = {self.epochs}")
        return self


class Variation(Section):
    """What one config changes against the row it stands in."""

    name: str | None = None
    trained_layers: str | None = None
    lr: Positive | None = None
    dim: Width | None = None
    alpha: Positive | None = None
    factor: Width | None = None
    conv_dim: Width | None = None
    conv_alpha: Positive | None = None
    tucker: bool | None = None
    dora: bool | None = None
    decompose_both: bool | None = None
    peft: dict[str, Any] | None = None
    text_encoder_lr: Positive | None = None


class GridRow(Variation):
    """An algorithm's default config, then variations of it: one thing at a time, or all combinations."""

    algorithm: str
    trained_layers: str = "linear"
    lr: Positive
    vary: tuple[Variation, ...] = ()
    product: dict[str, list[Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_way_to_vary(self) -> GridRow:
        if self.product and (self.vary or self.name):
            raise ValueError("product makes all configs of a row: put vary, or a name, into a row of its own")
        for key in self.product:
            if key not in _VARIED:
                raise ValueError(unknown("key of product", key, _VARIED))
        if any(not values for values in self.product.values()):
            raise ValueError("product has an empty list, which makes no config")
        if math.prod(len(each) for each in self.product.values()) > MOST_CONFIGS:
            raise ValueError(f"product makes more than {MOST_CONFIGS} configs")
        for combination in self.combinations():
            Variation.model_validate(combination)
        return self

    def combinations(self) -> list[dict[str, Any]]:
        """What each config of `product` sets."""
        return [dict(zip(self.product, values, strict=True)) for values in itertools.product(*self.product.values())]


class Images(Section):
    """What is generated from every checkpoint (LyCORIS appendix D.3)."""

    prompts: Name = Field("", description="folder of alter/<template>.txt and style.txt")
    prompt_types: Annotated[tuple[PromptType, ...], Once] = ("train", "trigger", "alter", "style")
    per_set: Pictures = Field(100, description="images of a concept and prompt type")
    steps: Steps = Field(25, description="of DDIM, which knows 1000")
    guidance: NotNegative = Field(7.0, description="classifier-free guidance; at most 1 = none")
    size: Side = Field(512, description="pixels, width = height")
    max_tokens: Width = Field(75, description="of a prompt")
    negative_prompt: str = Field("", description="takes the place of the empty prompt in guidance")
    noise: Literal["hashed", "index"] = Field("hashed", description="index: the authors' seeds, 1000 + k")
    noise_seed: Seed = Field(0, description="another one draws another sample of images")
    batch_size: Pictures = Field(16, description="images drawn at once; moves no pixel by more than one level")
    scales: Annotated[tuple[Real, ...], Once] = Field((1.0,), min_length=1, description="merge ratios lambda")
    thumbnails: Few = Field(4, description="images of each set shown in the report")


class EncoderChoice(Section):
    """Which weights an encoder takes, and how data-set pictures are resized for it."""

    weights: Name = Field("", description="safetensors file or folder; empty = the published weights")
    resize: str = Field("", description="letterbox, center_crop, stretch or scale; empty = the encoder's default")


class MetricChoice(Section):
    """A metric to compute, and on which encoders; empty = its default encoder."""

    name: str
    encoders: Annotated[tuple[str, ...], Once] = ()


class Explain(Section):
    """The CatBoost + SHAP analysis (LyCORIS appendix D.6)."""

    exclude: tuple[str, ...] = Field((), description="configs left out of the explanation, as glob patterns")


class Run(Section):
    """How the work is done; of all this only the precision changes numbers."""

    device: str = Field("auto", description="auto, cpu, cuda, cuda:1 or mps")
    workers: Workers = Field(0, description="processes; 0 = one, or with a small model on the CPU one a core")
    precision: Literal["float32", "bfloat16"] = Field("float32", description="of matrix products while training")


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

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = Field("", description="a sentence for the head of the report")
    base: Name = Field(
        "stable-diffusion-v1-5/stable-diffusion-v1-5", description="hub id, diffusers folder or .safetensors"
    )
    seeds: Annotated[tuple[Seed, ...], Once] = Field((1,), min_length=1, description="training seeds")
    plugins: tuple[Name, ...] = Field((), description="Python files with metrics, encoders, ... of your own")
    data: Data = Data()
    training: Training = Training()
    grid: tuple[GridRow, ...] = Field((), description="rows of configs to train, see above")
    images: Images = Images()
    encoders: dict[str, EncoderChoice] = Field({}, description="weights and resize mode of encoders, see above")
    metrics: Annotated[tuple[MetricChoice, ...], Once] = Field(
        DEFAULT_METRICS, min_length=1, description="what to measure"
    )
    unused_keys: tuple[str, ...] = Field((), description="keys of adapter files that may stay unused, as glob patterns")
    anchors: Name = Field("", description="scores.parquet of a run whose checkpoints are the population of all ranks")
    explain: Explain = Explain()
    run: Run = Run()

    @property
    def sampling(self) -> Sampling:
        images = self.images
        return Sampling(images.steps, images.guidance, images.size, images.max_tokens, images.negative_prompt)


def load_study(path: Path) -> Study:
    """Read a study file. UserError, naming file and key, for whatever is wrong in it."""
    if not path.exists():
        raise UserError(f"Study file {path} does not exist.{_study_files_near(path)}")
    return study_from(read_toml(path), path)


def study_from(content: dict[str, Any], origin: Path) -> Study:
    """A Study from the content of a TOML file at `origin` (paths in it are resolved against its folder)."""
    try:
        study = Study(**content)
    except ValidationError as error:
        problems = [sentence(each, origin, _keys_of(each["loc"][:-1])) for each in error.errors()]
        raise UserError("\n".join(problems)) from error
    return _with_paths(study, origin.resolve().parent)


def expand(study: Study) -> tuple[TrainConfig, ...]:
    """The configs of the grid, in the order of the file, each with a readable unique name."""
    configs = [config for row in study.grid for config in _row_configs(row, study.training)]
    twice = [name for name, count in Counter(config.name for config in configs).items() if count > 1]
    if twice:
        raise UserError(
            f"Study '{study.name}': two configs are both called '{twice[0]}'; remove one or give it a name."
        )
    return tuple(configs)


def config_name(algorithm: str, values: dict[str, Any]) -> str:
    """A readable id: `lora-linear-d8a4-lr5e-4`, `lokr-full-f8-lr1e-3`, `native-linear-lr1e-6`."""
    size = "".join(f"{letter}{_short(values[key])}" for key, letter in _LETTERS if values.get(key) is not None)
    options = [word for key, word in _OPTIONS if values.get(key)]
    options += [str((values.get("peft") or {}).get("peft_type", "")).lower()]
    rates = [f"{word}{_scientific(values[key])}" for key, word in _RATES if values.get(key) is not None]
    parts = [algorithm, values["trained_layers"].split(":")[0], size, *options, *rates]
    return "-".join(part.replace(":", "-") for part in parts if part)


_LETTERS = (("dim", "d"), ("alpha", "a"), ("factor", "f"), ("conv_dim", "cd"), ("conv_alpha", "ca"))
_OPTIONS = (("tucker", "tucker"), ("dora", "dora"), ("decompose_both", "both"))
_RATES = (("lr", "lr"), ("text_encoder_lr", "te"))
_VARIED = tuple(name for name in Variation.model_fields if name != "name")


def _row_configs(row: GridRow, training: Training) -> list[TrainConfig]:
    default = {key: value for key in _VARIED if (value := getattr(row, key)) is not None}
    changes: list[dict[str, Any]] = [{"name": row.name}]
    changes += [variation.model_dump(exclude_none=True) for variation in row.vary]
    if row.product:
        changes = [Variation.model_validate(each).model_dump(exclude_none=True) for each in row.combinations()]
    shared = training.model_dump()
    configs = []
    for change in changes:
        values = default | {key: value for key, value in change.items() if key != "name"}
        name = change.get("name") or config_name(row.algorithm, values)
        configs.append(TrainConfig(name=name, algorithm=row.algorithm, **values, **shared))
    return configs


def _short(value: float) -> str:
    return f"{value:g}"


def _scientific(value: float) -> str:
    digits, exponent = f"{value:e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"


def resolve_path(text: str, folder: Path) -> Path:
    """A path of a study file: inside the package (`lorabench:mini/...`), absolute, or relative to `folder`."""
    if text.startswith(PACKAGE_SCHEME):
        return Path(__file__).parent / text.removeprefix(PACKAGE_SCHEME)
    return (folder / Path(text).expanduser()).resolve()


def portable(path: str) -> str:
    """A path inside the package as `lorabench:...`, which means the same everywhere; any other text as it is."""
    package = Path(__file__).parent
    return f"{PACKAGE_SCHEME}{Path(path).relative_to(package)}" if Path(path).is_relative_to(package) else path


def _with_paths(study: Study, folder: Path) -> Study:
    """The same study with every path absolute. A base that is no path here is a hub id and stays as it is."""

    def absolute(text: str) -> str:
        return str(resolve_path(text, folder)) if text else ""

    looks_local = study.base.startswith((PACKAGE_SCHEME, ".", "/", "~")) or study.base.endswith(".safetensors")
    base = absolute(study.base) if looks_local or (folder / study.base).exists() else study.base
    encoders = {
        name: choice.model_copy(update={"weights": absolute(choice.weights)}) for name, choice in study.encoders.items()
    }
    return study.model_copy(
        update={
            "base": base,
            "plugins": tuple(absolute(path) for path in study.plugins),
            "data": study.data.model_copy(update={"folder": absolute(study.data.folder)}),
            "images": study.images.model_copy(update={"prompts": absolute(study.images.prompts)}),
            "encoders": encoders,
            "anchors": absolute(study.anchors),
        }
    )


def _keys_of(location: tuple[str | int, ...]) -> list[str]:
    """The keys allowed in the table at that place, for "did you mean"."""
    tables = {"data": Data, "training": Training, "images": Images, "grid": GridRow, "vary": Variation}
    tables |= {"encoders": EncoderChoice, "metrics": MetricChoice, "explain": Explain, "run": Run}
    named = [part for part in location if part in tables]
    table = tables[str(named[-1])] if named else Study
    return list(table.model_fields)


def _study_files_near(path: Path) -> str:
    files = sorted(str(file) for file in path.parent.glob("*.toml")) if path.parent.is_dir() else []
    return f" Study files there: {', '.join(files)}." if files else ""
