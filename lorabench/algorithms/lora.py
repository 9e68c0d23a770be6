"""LoRA, and LoCon for convolutions: an update of low rank."""

from __future__ import annotations

import torch
from torch import Tensor

from lorabench.algorithms._factors import merge_ratio, shaped_like, uniform, zeros
from lorabench.components import Algorithm, Params
from lorabench.records import TrainConfig


def init(weight: Tensor, config: TrainConfig, rng: torch.Generator) -> Params:
    """A drawn, B zero; a kernel is split into one of k x k with `dim` outputs and one of 1 x 1 (appendix B.2)."""
    rows, columns, *kernel = weight.shape
    return {
        "lora_down.weight": uniform((config.dim, columns, *kernel), weight, rng),
        "lora_up.weight": zeros((rows, config.dim, *(1 for _ in kernel)), weight),
    }


def delta_weight(params: Params, weight: Tensor, config: TrainConfig) -> Tensor:
    """(alpha / dim) B A, kernels unrolled to [c_out, c_in k^2] (LyCORIS eq. 2)."""
    down, up = params["lora_down.weight"], params["lora_up.weight"]
    ratio = merge_ratio(config.alpha, down.shape[0])
    update = up.flatten(1) @ (ratio * down.flatten(1))
    return shaped_like(update.reshape(up.shape[0], *down.shape[1:]), weight)


def sizes_of(params: Params) -> dict[str, int]:
    """The rank."""
    return {"dim": params["lora_down.weight"].shape[0]}


lora = Algorithm(
    name="lora",
    init=init,
    delta_weight=delta_weight,
    hyperparameters=("dim", "alpha"),
    suffixes=("lora_down.weight", "lora_up.weight"),
    capacity_from="dim",
    sizes_of=sizes_of,
    description="Low-rank update B A.",
)
