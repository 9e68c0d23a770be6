"""LoHa: the element-wise product of two low-rank matrices, of rank up to dim squared."""

from __future__ import annotations

import torch
from torch import Tensor

from lorabench.algorithms._factors import merge_ratio, normal, shaped_like, zeros
from lorabench.components import Algorithm, Params
from lorabench.records import TrainConfig


def init(weight: Tensor, config: TrainConfig, rng: torch.Generator) -> Params:
    """The authors' library: w1_a normal of deviation 0.1, w1_b and w2_b normal of deviation 1, w2_a zero."""
    rows, columns = weight.flatten(1).shape
    return {
        "hada_w1_a": normal((rows, config.dim), 0.1, weight, rng),
        "hada_w1_b": normal((config.dim, columns), 1.0, weight, rng),
        "hada_w2_a": zeros((rows, config.dim), weight),
        "hada_w2_b": normal((config.dim, columns), 1.0, weight, rng),
    }


def delta_weight(params: Params, weight: Tensor, config: TrainConfig) -> Tensor:
    """(alpha / dim) (B1 A1) * (B2 A2), kernels unrolled to [c_out, c_in k^2] (LyCORIS eq. 3)."""
    ratio = merge_ratio(config.alpha, params["hada_w1_b"].shape[0])
    first = params["hada_w1_a"] @ (ratio * params["hada_w1_b"])
    second = params["hada_w2_a"] @ params["hada_w2_b"]
    return shaped_like(first * second, weight)


def sizes_of(params: Params) -> dict[str, int]:
    """The rank of each of the two matrices."""
    return {"dim": params["hada_w1_b"].shape[0]}


loha = Algorithm(
    name="loha",
    init=init,
    delta_weight=delta_weight,
    hyperparameters=("dim", "alpha"),
    suffixes=("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"),
    capacity_from="dim",
    sizes_of=sizes_of,
    description="Hadamard product of two low-rank updates.",
)
