"""(IA)^3: one factor for every output of a layer."""

from __future__ import annotations

import torch
from torch import Tensor

from lorabench.algorithms._factors import shaped_like, zeros
from lorabench.components import Algorithm, Params
from lorabench.records import AdapterConfig


def init(weight: Tensor, config: AdapterConfig, rng: torch.Generator) -> Params:
    """A zero for every output, and the flag of LyCORIS files that says it is not the inputs which are scaled."""
    rows, _, *kernel = weight.shape
    shape = (1, rows, *(1 for _ in kernel)) if kernel else (rows,)
    return {"weight": zeros(shape, weight), "on_input": torch.zeros((), dtype=torch.int64, device=weight.device)}


def delta_bias(params: Params, weight: Tensor, bias: Tensor, config: AdapterConfig) -> Tensor | None:
    """l b where a file says so: peft scales what a layer answers, its bias included."""
    flag = params.get("on_bias")
    return None if flag is None or not bool(flag) else params["weight"].flatten() * bias


def delta_weight(params: Params, weight: Tensor, config: AdapterConfig) -> Tensor:
    """l W, one l for each output, or each input where a file says so (Liu et al. 2022; LyCORIS stores l - 1)."""
    scale, flag = params["weight"].flatten(), params["on_input"]
    # On the meta device the flag has no value, and only the update's shape is asked for.
    on_input = len(scale) != weight.shape[0] if flag.is_meta else bool(flag)
    return shaped_like(scale.reshape(-1, *(1 for _ in weight.shape[1 if not on_input else 2 :])) * weight, weight)


ia3 = Algorithm(
    name="ia3",
    init=init,
    delta_weight=delta_weight,
    delta_bias=delta_bias,
    hyperparameters=(),
    suffixes=("weight", "on_input", "on_bias"),
    description="A factor for every output.",
)
