"""The metadata of safetensors files as records: lorabench's own header, which is needed, and kohya's, which informs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import pydantic
from pydantic import BaseModel, ConfigDict, Field, Json, ValidationError, WrapValidator

from lorabench.components import Origin
from lorabench.records import TrainConfig
from lorabench.untrusted import FileRecord, Seed, Size, Whole

MOST_CONCEPTS = 100_000
_Name = Annotated[str, Field(min_length=1, max_length=500)]
_Chosen = Annotated[int, Field(ge=1, lt=2**63)]
_Rate = Annotated[float, Field(gt=0)]


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(strict=True, extra="ignore", allow_inf_nan=False))
class SavedConfig(TrainConfig):
    """A TrainConfig as a file states it; fields of other versions, which TrainConfig does not have, are left out."""

    name: _Name
    algorithm: _Name
    lr: _Rate | None = None  # None where it is not known
    dim: Size | None = None
    factor: Size | None = None
    conv_dim: Size | None = None
    epochs: _Chosen = 1
    checkpoint_epochs: tuple[_Chosen, ...] = (1,)
    batch_size: _Chosen = 8
    resolution: Size = 512
    max_tokens: Size = 75
    peft: dict[str, Any] | None = None

    def known(self) -> TrainConfig:
        """The config itself, with NaN for an unknown learning rate."""
        return TrainConfig(**{**vars(self), "lr": float("nan") if self.lr is None else self.lr})


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
