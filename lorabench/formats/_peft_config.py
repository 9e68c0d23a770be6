"""peft's hyperparameters, as its folders and diffusers' metadata spell them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lorabench.errors import UserError


def alpha_of(config: Mapping[str, Any], path: str, rank: int) -> float:
    """The alpha of a module such that gamma = alpha / rank, from lora_alpha, alpha_pattern and use_rslora.

    `path` is without component. Without lora_alpha it is the rank.
    """
    alpha = config.get("lora_alpha", rank)
    for pattern, value in (config.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", path):
            alpha = value
    return float(alpha) * math.sqrt(rank) if config.get("use_rslora") else float(alpha)


def refuse_variants(config: Mapping[str, Any], path: Path) -> None:
    """UserError for a peft adapter that is not a plain LoRA."""
    method = config.get("peft_type", "LORA")
    if method != "LORA":
        raise UserError(f"{path}: peft_type '{method}' cannot be read from peft's files yet; of these, LORA can.")
    if config.get("use_dora"):
        raise UserError(f"{path}: use_dora is set, and DoRA cannot be read from peft's files yet.")
