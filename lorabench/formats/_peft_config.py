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
# What a config says of the model rather than of the method.
_OF_THE_MODEL = {
    *("peft_version", "task_type", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "modules_to_save"),
}
_PATTERNS = ("rank_pattern", "alpha_pattern")
Number = TypeVar("Number", int, float)


def algorithm_of(config: Mapping[str, Any]) -> str:
    """The algorithm of peft_type: "peft" for all that we have no formula of our own for."""
    return METHODS.get(config.get("peft_type", "LORA"), "peft")


def settings_of(config: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The config's settings as algorithm "peft" takes them. UserError where layers have settings of their own."""
    for name in _PATTERNS:
        if config.get(name):
            raise UserError(f"{path}: {config['peft_type']} with {name} cannot be read; save it with equal layers.")
    return {name: value for name, value in config.items() if name not in _OF_THE_MODEL and name not in _PATTERNS}


def alpha_of(config: Mapping[str, Any], path: str, rank: int) -> float:
    """The alpha of a module such that gamma = alpha / rank, from its alpha, alpha_pattern and use_rslora.

    `path` is without component. Without an alpha it is the rank.
    """
    alpha = _of_pattern(config.get("alpha_pattern"), path, config.get("lora_alpha", config.get("alpha", rank)))
    return float(alpha) * math.sqrt(rank) if config.get("use_rslora") else float(alpha)


def rank_of(config: Mapping[str, Any], path: str) -> int:
    """The rank that peft divides alpha by, from r and rank_pattern; peft's own default is 8."""
    return int(_of_pattern(config.get("rank_pattern"), path, config.get("r", 8)))


def pattern_of(values: Mapping[str, Number]) -> tuple[Number, dict[str, Number]]:
    """The most frequent of the modules' values, and those of the modules that have another."""
    usual = Counter(values.values()).most_common(1)[0][0]
    return usual, {f"^{re.escape(path)}": value for path, value in values.items() if value != usual}


def _of_pattern(patterns: Mapping[str, float] | None, path: str, otherwise: float) -> float:
    for pattern, value in (patterns or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", path):
            return value
    return otherwise
