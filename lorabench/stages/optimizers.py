"""Optimizers of training by name."""

from __future__ import annotations

import importlib.util
from typing import Any, get_args

import torch

from lorabench.errors import UserError, unknown
from lorabench.records import OptimizerName, TrainingConfig

_PACKAGES = {"adamw8bit": ("bitsandbytes", "gpu")}  # name -> what it needs, and the extra that brings it


def require(name: str) -> None:
    """UserError for an optimizer that there is not, or whose package is not installed."""
    if name not in get_args(OptimizerName):
        raise UserError(unknown("optimizer", name, get_args(OptimizerName)))
    package, extra = _PACKAGES.get(name, ("", ""))
    if package and importlib.util.find_spec(package) is None:
        raise UserError(
            f"training.optimizer '{name}' needs the package {package}, which is not installed: "
            f"pip install 'lorabench[{extra}]'. \"adamw\", with 32-bit states, needs nothing."
        )


def optimizer_of(groups: list[dict[str, Any]], training: TrainingConfig, device: torch.device) -> torch.optim.Optimizer:
    """The optimizer that a config names, over groups of parameters.

    adamw8bit is AdamW with states of 8 bits in blocks (Dettmers et al., 2022), those of tensors below 4,096 numbers
    in 32 bits, as bitsandbytes has it.
    """
    require(training.optimizer)
    if training.optimizer == "adamw8bit":
        import bitsandbytes

        make = bitsandbytes.optim.AdamW8bit
        return make(groups, training.lr, training.betas, weight_decay=training.weight_decay)
    fused = device.type in ("cpu", "cuda")
    return torch.optim.AdamW(groups, training.lr, training.betas, weight_decay=training.weight_decay, fused=fused)
