"""GLoRA: a low-rank change of the weight's inputs beside a low-rank update."""

from __future__ import annotations

import torch
from torch import Tensor

from lorabench.algorithms._factors import merge_ratio, shaped_like, uniform, zeros
from lorabench.components import Algorithm, Params
from lorabench.records import AdapterConfig


def init(weight: Tensor, config: AdapterConfig, rng: torch.Generator) -> Params:
    """The authors' library: a1 and b1 drawn, a2 and b2 zero; kernels of 1 x 1, but for b2, which has the weight's."""
    rows, columns, *kernel = weight.shape
    points = [1 for _ in kernel]
    return {
        "a1.weight": uniform((columns, config.dim, *points), weight, rng),
        "a2.weight": zeros((config.dim, columns, *points), weight),
        "b1.weight": uniform((rows, config.dim, *points), weight, rng),
        "b2.weight": zeros((config.dim, columns, *kernel), weight),
    }


def delta_weight(params: Params, weight: Tensor, config: AdapterConfig) -> Tensor:
    """(alpha / dim) (W A + B) with A = a1 a2 on the inputs and B = b1 b2 (GLoRA, Chavan et al. 2023, as in LyCORIS)."""
    a1, a2, b1, b2 = (params[f"{name}.weight"].flatten(1) for name in ("a1", "a2", "b1", "b2"))
    changed = torch.einsum("pq...,qr,rs->ps...", weight, a1, a2)
    added = (b1 @ b2).reshape(b1.shape[0], *params["b2.weight"].shape[1:])
    return merge_ratio(config.alpha, a2.shape[0]) * (shaped_like(changed, weight) + shaped_like(added, weight))


def sizes_of(params: Params) -> dict[str, int]:
    """The rank of both products."""
    return {"dim": params["a2.weight"].shape[0]}


glora = Algorithm(
    name="glora",
    init=init,
    delta_weight=delta_weight,
    hyperparameters=("dim", "alpha", "conv_dim", "conv_alpha"),
    suffixes=("a1.weight", "a2.weight", "b1.weight", "b2.weight"),
    capacity_from="dim",
    sizes_of=sizes_of,
    description="Low-rank update W A + B, relative to the weight and absolute.",
)
