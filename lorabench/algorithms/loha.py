"""LoHa: the element-wise product of two low-rank matrices, of rank up to dim squared."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lorabench.algorithms._dora import SUFFIX, decomposed, magnitude
from lorabench.algorithms._factors import is_kernel, merge_ratio, normal, shaped_like, tucker, zeros
from lorabench.components import Algorithm, Params
from lorabench.records import AdapterConfig


def init(weight: Tensor, config: AdapterConfig, rng: torch.Generator) -> Params:
    """The authors' library: w1_a normal of deviation 0.1, w1_b and w2_b normal of deviation 1, w2_a zero.

    Tucker: both cores normal of deviation 0.1, both factors with `dim` rows.
    """
    if config.tucker and is_kernel(weight):
        return {**_tucker_init(weight, config.dim, rng), **magnitude(weight, config)}
    rows, columns = weight.flatten(1).shape
    return {
        "hada_w1_a": normal((rows, config.dim), 0.1, weight, rng),
        "hada_w1_b": normal((config.dim, columns), 1.0, weight, rng),
        "hada_w2_a": zeros((rows, config.dim), weight),
        "hada_w2_b": normal((config.dim, columns), 1.0, weight, rng),
        **magnitude(weight, config),
    }


def delta_weight(params: Params, weight: Tensor, config: AdapterConfig) -> Tensor:
    """(alpha / dim) (B1 A1) * (B2 A2), kernels unrolled to [c_out, c_in k^2] (LyCORIS eq. 3), or of Tucker products."""
    first, second = ((params[f"hada_w{i}_a"], params[f"hada_w{i}_b"]) for i in (1, 2))
    ratio = merge_ratio(config.alpha, first[1].shape[0])
    if "hada_t1" in params:
        update = tucker(ratio * params["hada_t1"], *first) * tucker(params["hada_t2"], *second)
    else:
        update = _Hadamard.apply(first[0], ratio * first[1], *second)
    return decomposed(shaped_like(update, weight), params, weight)


class _Hadamard(torch.autograd.Function):
    """(B1 A1) * (B2 A2) that keeps its factors only: both products, large as the weight, are made again backwards."""

    @staticmethod
    def forward(ctx: Any, b1: Tensor, a1: Tensor, b2: Tensor, a2: Tensor) -> Tensor:
        ctx.save_for_backward(b1, a1, b2, a2)
        return (b1 @ a1).mul_(b2 @ a2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        b1, a1, b2, a2 = ctx.saved_tensors
        first, second = gradient * (b2 @ a2), gradient * (b1 @ a1)
        return first @ a1.T, b1.T @ first, second @ a2.T, b2.T @ second


def _tucker_init(weight: Tensor, dim: int, rng: torch.Generator) -> Params:
    rows, columns, *kernel = weight.shape
    return {
        "hada_t1": normal((dim, dim, *kernel), 0.1, weight, rng),
        "hada_w1_a": normal((dim, rows), 0.1, weight, rng),
        "hada_w1_b": normal((dim, columns), 1.0, weight, rng),
        "hada_t2": normal((dim, dim, *kernel), 0.1, weight, rng),
        "hada_w2_a": zeros((dim, rows), weight),
        "hada_w2_b": normal((dim, columns), 1.0, weight, rng),
    }


def sizes_of(params: Params) -> dict[str, int]:
    """The rank of each of the two matrices."""
    return {"dim": params["hada_w1_b"].shape[0]}


loha = Algorithm(
    name="loha",
    init=init,
    delta_weight=delta_weight,
    hyperparameters=("dim", "alpha", "conv_dim", "conv_alpha", "tucker", "dora"),
    suffixes=("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b", "hada_t1", "hada_t2", SUFFIX),
    capacity_from="dim",
    sizes_of=sizes_of,
    description="Hadamard product of two low-rank updates.",
)
