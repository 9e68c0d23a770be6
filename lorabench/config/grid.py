"""A grid as configs, each with a readable name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from lorabench.config.schema import VARIED, GridRow, Study, Variation, combinations
from lorabench.config.training import HOW, TRAINED, Training
from lorabench.errors import UserError
from lorabench.records import EMBEDDINGS, TEXTUAL_INVERSION, TrainConfig


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
    parts += [_word(key, values[key]) for key in TRAINED if values.get(key) is not None]
    words = [values.get("initial_word") or "", *(values.get("concepts") or ())]
    parts += [re.sub(r"\W+", "-", each).strip("-") for each in words]
    return "-".join(part.replace(":", "-") for part in parts if part)


_LETTERS = (("dim", "d"), ("alpha", "a"), ("factor", "f"), ("conv_dim", "cd"), ("conv_alpha", "ca"), ("vectors", "v"))
_OPTIONS = (("tucker", "tucker"), ("dora", "dora"), ("decompose_both", "both"))
_RATES = (("lr", "lr"), ("text_encoder_lr", "te"), ("text_encoder_2_lr", "te2-"), ("embedding_lr", "emb"))


def _word(key: str, value: Any) -> str:
    """ "huber", "min-snr-gamma5", "no-flip"."""
    name = key.replace("_", "-")
    if isinstance(value, bool):
        return name if value else f"no-{name}"
    if isinstance(value, str):
        return value.replace(" ", "-") if key in _PLAIN_WORDS else f"{name}-{value}"
    if isinstance(value, Mapping):
        return "-".join(_word(*each) for each in value.items())
    numbers = value if isinstance(value, tuple) else (value,)
    return name + "-".join(map(_short, numbers))


_PLAIN_WORDS = ("loss", "schedule", "optimizer", "captions")


def training_factors(configs: Sequence[TrainConfig]) -> dict[str, dict[str, str | float]]:
    """Of each config, by its name, how it is trained, as far as configs differ in it: factors of tables."""
    said = {each.name: {**vars(each.adapter), **vars(each.training)} for each in configs}
    varied = [key for key in (*TRAINED, *_OF_A_ROW) if len({repr(values[key]) for values in said.values()}) > 1]
    return {
        name: {_COLUMNS.get(key, key): _plain(_meant(key, values)) for key in varied} for name, values in said.items()
    }


# What a row alone says, beside what tables have of every config.
_OF_A_ROW = ("vectors", "initial_word", "text_encoder_lr", "text_encoder_2_lr", "embedding_lr")
_COLUMNS = {"loss": "loss_function"}  # `loss` is what a step comes to


def _meant(key: str, values: Mapping[str, Any]) -> Any:
    """The value that nothing stands for."""
    if values[key] is not None:
        return values[key]
    if key == "text_encoder_2_lr":
        return _meant("text_encoder_lr", values)
    return 0 if key == "vectors" else values["lr"]


def _plain(value: Any) -> str | float:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return float(value) if isinstance(value, (int, float)) else value if isinstance(value, str) else repr(value)


def _row_configs(row: GridRow, training: Training) -> list[TrainConfig]:
    default = {key: value for key in VARIED if (value := getattr(row, key)) is not None}
    if row.algorithm == TEXTUAL_INVERSION and "trained_layers" not in row.model_fields_set:
        default["trained_layers"] = EMBEDDINGS
    changes: list[dict[str, Any]] = [{"name": row.name}]
    changes += [variation.model_dump(exclude_none=True) for variation in row.vary]
    if row.product:
        changes = [Variation.model_validate(each).model_dump(exclude_none=True) for each in combinations(row.product)]
    shared = {key: getattr(training, key) for key in type(training).model_fields if key not in HOW} | training.length
    configs = []
    for change in changes:
        values = default | {key: value for key, value in change.items() if key != "name"}
        if row.algorithm == TEXTUAL_INVERSION:
            values = {"vectors": 1, **values}
        name = change.get("name") or config_name(row.algorithm, values)
        configs.append(TrainConfig.from_flat({"name": name, "algorithm": row.algorithm, **shared, **values}))
    return configs


def _short(value: float) -> str:
    return f"{value:g}"


def _scientific(value: float) -> str:
    digits, exponent = f"{value:e}".split("e")
    return f"{float(digits):g}e{int(exponent)}"
