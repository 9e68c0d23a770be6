"""LoKr: the Kronecker product of a small block with a large one, the large one full or of low rank."""

from __future__ import annotations

import torch
from torch import Tensor

from lorabench.algorithms._factors import factorise, merge_ratio, shaped_like, uniform, zeros
from lorabench.components import Algorithm, Params
from lorabench.records import TrainConfig


def init(weight: Tensor, config: TrainConfig, rng: torch.Generator) -> Params:
    """C [u_p, u_q] drawn, the second block [v_p, v_q, k, k] zero; full if dim is None or at least half of its width."""
    rows, columns, *kernel = weight.shape
    (small_rows, large_rows), (small_columns, large_columns) = (
        factorise(rows, config.factor),
        factorise(columns, config.factor),
    )
    params = {"lokr_w1": uniform((small_rows, small_columns), weight, rng)}
    if config.dim is None or config.dim >= max(large_rows, large_columns) / 2:
        return {**params, "lokr_w2": zeros((large_rows, large_columns, *kernel), weight)}
    unrolled = large_columns * weight[0, 0].numel()
    return {
        **params,
        "lokr_w2_a": uniform((large_rows, config.dim), weight, rng),
        "lokr_w2_b": zeros((config.dim, unrolled), weight),
    }


def delta_weight(params: Params, weight: Tensor, config: TrainConfig) -> Tensor:
    """C (x) W2 with a full second block, whose merge ratio is 1; else (alpha / dim) C (x) (B A) (LyCORIS eq. 4)."""
    small = params["lokr_w1"]
    if "lokr_w2" in params:
        return shaped_like(kronecker(small, params["lokr_w2"]), weight)
    rows, columns = params["lokr_w2_a"], params["lokr_w2_b"]
    kernel = weight.shape[2:]
    large = (rows @ columns).reshape(rows.shape[0], -1, *kernel)
    return shaped_like(kronecker(merge_ratio(config.alpha, rows.shape[1]) * small, large), weight)


def kronecker(small: Tensor, large: Tensor) -> Tensor:
    """small [a, c] (x) large [b, d, ...] -> [a b, c d, ...], as an outer product of vectors."""
    (a, c), (b, d, *kernel) = small.shape, large.shape
    products = small.reshape(-1, 1) @ large.reshape(1, -1)
    return products.view(a, c, b, -1).transpose(1, 2).reshape(a * b, c * d, *kernel)


def sizes_of(params: Params) -> dict[str, int]:
    """The larger side of C, which is the factor where the layer's widths allow it, and the rank of a low-rank block."""
    sizes = {"factor": max(params["lokr_w1"].shape)}
    return {**sizes, "dim": params["lokr_w2_b"].shape[0]} if "lokr_w2_b" in params else sizes


lokr = Algorithm(
    name="lokr",
    init=init,
    delta_weight=delta_weight,
    hyperparameters=("dim", "alpha", "factor"),
    suffixes=("lokr_w1", "lokr_w2", "lokr_w2_a", "lokr_w2_b"),
    capacity_from="factor",
    larger_is_more=False,
    sizes_of=sizes_of,
    description="Kronecker product of two blocks.",
)
