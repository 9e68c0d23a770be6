"""The metadata of safetensors files as records: lorabench's own header, which is needed, and kohya's, which informs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, Json, ValidationError, WrapValidator, create_model

from lorabench.components import Origin
from lorabench.config.section import kind_of
from lorabench.config.training import Trained
from lorabench.records import TrainConfig
from lorabench.untrusted import FileRecord, Seed, Size, Whole

MOST_CONCEPTS = 100_000
_Name = Annotated[str, Field(min_length=1, max_length=500)]
_Chosen = Annotated[int, Field(ge=1, lt=2**63)]
_Rate = Annotated[float, Field(gt=0)]


class _KnownConfig(FileRecord):
    name: _Name
    algorithm: _Name
    trained_layers: str
    lr: _Rate | None = None  # None where it is not known
    dim: Size | None = None
    alpha: float | None = None
    factor: Size | None = None
    epochs: _Chosen = 1
    checkpoint_epochs: tuple[_Chosen, ...] = (1,)
    steps: Whole = 0
    checkpoint_steps: tuple[_Chosen, ...] = ()
    batch_size: _Chosen = 8
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.99)
    max_grad_norm: float = 1.0
    warmup_epochs: float = 0.0
    caption_dropout: float = 0.05
    resolution: Size = 512
    max_tokens: Size = 75
    train_text_encoder: bool = True
    train_unet: bool = True
    conv_dim: Size | None = None
    conv_alpha: float | None = None
    tucker: bool = False
    dora: bool = False
    decompose_both: bool = False
    text_encoder_lr: float | None = None
    text_encoder_2_lr: _Rate | None = None
    embedding_lr: _Rate | None = None
    vectors: Size | None = None
    initial_word: str = Field("", max_length=500)
    peft: dict[str, Any] | None = None
    optimizer: _Name = "adamw"
    concepts: tuple[_Name, ...] = Field((), max_length=MOST_CONCEPTS)


_LATER = {name: field for name, field in Trained.model_fields.items() if name not in _KnownConfig.model_fields}


class SavedConfig(
    create_model(
        "_", __base__=_KnownConfig, **{name: (kind_of(field), field.default) for name, field in _LATER.items()}
    )
):
    """A TrainConfig as a file states it: flat, in this order; what an older file does not say has its default."""

    def known(self) -> TrainConfig:
        """The config itself, with NaN for an unknown learning rate."""
        return TrainConfig.from_flat(vars(self) | {"lr": float("nan") if self.lr is None else self.lr})


def table_of(config: TrainConfig) -> dict[str, Any]:
    """What a file states of a config: the fields of SavedConfig."""
    flat = config.flat | {"lr": None if math.isnan(config.training.lr) else config.training.lr}
    return {key: flat[key] for key in SavedConfig.model_fields if key in flat}


class OwnHeader(FileRecord):
    """What `kohya.metadata_of` writes under "lorabench"."""

    config: SavedConfig | None
    base: str
    seed: Seed | None
    epoch: Whole | None
    step: Whole | None
    pictures: dict[_Name, _Name] = Field(default_factory=dict, max_length=MOST_CONCEPTS)  # no older file says it


def _or_unknown(value: Any, handler: Callable[[Any], Any]) -> Any:
    try:
        return handler(value)
    except ValidationError:
        return None


_Unknown = WrapValidator(_or_unknown)  # kohya writes "None" for what was not set, and other tools anything


class _TrainingInfo(FileRecord):
    epoch: Whole | None = None
    step: Whole | None = None


class KohyaHeader(BaseModel):
    """What kohya's trainer writes, all of it text. Nothing of it is needed: what is no number is not known."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)

    ss_sd_model_name: str = ""
    ss_seed: Annotated[Seed | None, _Unknown] = None
    ss_epoch: Annotated[Whole | None, _Unknown] = None
    ss_steps: Annotated[Whole | None, _Unknown] = None
    ss_num_epochs: Annotated[_Chosen | None, _Unknown] = None
    ss_unet_lr: Annotated[_Rate | None, _Unknown] = None
    ss_learning_rate: Annotated[_Rate | None, _Unknown] = None
    training_info: Annotated[Json[_TrainingInfo], _Unknown] = _TrainingInfo()  # ai-toolkit's

    @property
    def moment(self) -> tuple[int | None, int | None, int | None]:
        """Seed, epoch and step."""
        said = self.training_info or _TrainingInfo()
        if self.ss_epoch is None and self.ss_steps is None:
            return self.ss_seed, said.epoch, said.step
        return self.ss_seed, self.ss_epoch, self.ss_steps

    @property
    def origin(self) -> Origin:
        return Origin(self.ss_sd_model_name, *self.moment)


def kohya_header(metadata: Mapping[str, str]) -> KohyaHeader | None:
    """None of a file that kohya's trainer, or a tool that writes as it does, has not written."""
    return KohyaHeader.model_validate(dict(metadata)) if any(key.startswith("ss_") for key in metadata) else None
