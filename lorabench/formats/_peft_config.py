"""peft's hyperparameters, as its folders and diffusers' metadata spell them."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from lorabench.errors import UserError

METHODS = {"LORA": "lora", "LOHA": "loha", "LOKR": "lokr"}  # peft_type -> algorithm; all others are "peft"
IA3 = "IA3"  # read as our own (IA)^3, since its layers do not share one setting; not written: LyCORIS keeps biases
# What a config says of the model rather than of the method.
_OF_THE_MODEL = {
    *("peft_version", "task_type", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save"),
}
_PATTERNS = ("rank_pattern", "alpha_pattern")
_NUMBERS = ("r", "lora_alpha", "alpha")
# Initialisations that leave the base model's weights alone; all others by name (PiSSA, OLoRA, ...) train what remains
# of them, so that their files are no updates of the base model.
_OF_AN_UPDATE = ("gaussian", "orthogonal", "eva")
# Settings of a LoRA that do more than a LoRA does; "" or its like where they are not used.
_VARIANTS = (
    *("use_qalora", "use_bdlora", "kasa_config", "velora_config", "monteclora_config", "arrow_config"),
    *("alora_invocation_tokens", "layer_replication", "lora_bias", "trainable_token_indices", "target_parameters"),
)
Number = TypeVar("Number", int, float)


def check_config(config: Any, place: Path) -> None:
    """UserError if it is no config, holds what is no number or pattern, or asks for more than an update of weights."""
    if not isinstance(config, Mapping):
        raise UserError(f"{place} must hold peft's settings by name; save the adapter again.")
    if config.get("modules_to_save") or config.get("bias") not in (None, "none"):
        raise UserError(
            f"{place}: modules_to_save and bias say that more than an adapter was trained, which cannot be read; merge "
            "it with peft and evaluate the merged model."
        )
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start not in _OF_AN_UPDATE:
        raise UserError(
            f"{place}: init_lora_weights '{start}' changes the base model, so the file is no update of it; save it "
            "with peft's path_initial_model_for_weight_conversion."
        )
    variant = next((name for name in _VARIANTS if config.get(name)), None)
    if variant:
        raise UserError(f"{place}: {variant} makes it another method than LoRA, and none of that kind is read.")
    patterns = {name: config.get(name) or {} for name in _PATTERNS}
    for name, table in patterns.items():
        if not isinstance(table, Mapping):
            raise UserError(f"{place}: {name} must be a table, got {table!r}.")
        for pattern in table:
            _check_pattern(pattern, f"{place}: {name}")
    numbers = {name: config[name] for name in _NUMBERS if name in config and algorithm_of(config) in METHODS.values()}
    numbers |= {f"{name} of '{pattern}'": value for name in _PATTERNS for pattern, value in patterns[name].items()}
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"{place}: {name} must be a number, got {value!r}.")


def _check_pattern(pattern: str, place: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise UserError(f"{place}: '{pattern}' is no regular expression ({error}).") from error


def algorithm_of(config: Mapping[str, Any]) -> str:
    """The algorithm of peft_type: "peft" for all that we have no formula of our own for."""
    method = config.get("peft_type", "LORA")
    return "ia3" if method == IA3 else METHODS.get(method, "peft")


def settings_of(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The config's settings as algorithm "peft" takes them. UserError where layers have settings of their own."""
    for name in _PATTERNS:
        if config.get(name):
            raise UserError(f"{path}: {config['peft_type']} with {name} cannot be read; save it with equal layers.")
    return {name: value for name, value in config.items() if name not in _OF_THE_MODEL and name not in _PATTERNS}


def alpha_of(config: Mapping[str, Any], path: str, rank: int) -> float:
    """The alpha of a module such that gamma = alpha / rank, from its alpha, alpha_pattern and use_rslora.

    `path` is without component. Without a config, as in older files of diffusers, it is the rank.
    """
    alpha = _of_pattern(config.get("alpha_pattern"), path, config.get("lora_alpha", config.get("alpha", rank)))
    return float(alpha) * math.sqrt(rank) if config.get("use_rslora") else float(alpha)


def rank_of(config: Mapping[str, Any], path: str) -> int:
    """The rank that peft divides alpha by, from r and rank_pattern; peft's own default is 8."""
    return int(_of_pattern(config.get("rank_pattern"), path, config.get("r", 8)))


def scales_inputs(config: Mapping[str, Any], path: str) -> bool:
    """Whether IA3 scales what goes into the module at `path` rather than what comes out of it."""
    named = config.get("feedforward_modules") or []
    if isinstance(named, str):
        return re.fullmatch(named, path) is not None
    return any(path.endswith(name) for name in named)


def pattern_of(values: Mapping[str, Number]) -> tuple[Number, dict[str, Number]]:
    """The most frequent of the modules' values, and those of the modules that have another."""
    usual = Counter(values.values()).most_common(1)[0][0]
    return usual, {f"^{re.escape(path)}": value for path, value in values.items() if value != usual}


def _of_pattern(patterns: Mapping[str, float] | None, path: str, otherwise: float) -> float:
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", path):
            return value
    return otherwise
