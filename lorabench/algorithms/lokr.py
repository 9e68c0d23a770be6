"""LoKr: the Kronecker product of a small block with a large one, each full or of low rank."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lorabench.algorithms._dora import SUFFIX, decomposed, magnitude
from lorabench.algorithms._factors import factorise, is_kernel, merge_ratio, shaped_like, tucker, uniform, zeros
from lorabench.components import Algorithm, Apart, Params
from lorabench.records import AdapterConfig


def init(weight: Tensor, config: AdapterConfig, rng: torch.Generator) -> Params:
    """C [u_p, u_q] drawn, the second block [v_p, v_q, k, k] zero (LyCORIS eqs. 4 and 5).

    A block is full if dim is None or at least half of its larger width; C is full besides unless `decompose_both`.
    """
    rows, columns = factorise(weight.shape[0], config.factor), factorise(weight.shape[1], config.factor)
    return {
        **_small_block(rows[0], columns[0], weight, config, rng),
        **_large_block(rows[1], columns[1], weight, config, rng),
        **magnitude(weight, config),
    }


def delta_weight(params: Params, weight: Tensor, config: AdapterConfig) -> Tensor:
    """(alpha / dim) C (x) W2, each block full or a product of low rank (LyCORIS eq. 4); two full ones have no alpha."""
    update = kronecker(_small_of(params, config), _large_of(params, weight))
    return decomposed(shaped_like(update, weight), params, weight)


def apart(params: Params, weight: Tensor, config: AdapterConfig) -> Apart | None:
    """W2 on each of the u_q groups of inputs, then C across the groups (LyCORIS appendix B.3); None for DoRA."""
    if SUFFIX in params:
        return None
    small, large = _small_of(params, config), _large_of(params, weight)
    (u_p, u_q), (v_p, v_q) = small.shape, large.shape[:2]

    def answer(inputs: Tensor, layer: nn.Module) -> Tensor:
        if large.ndim == 2:
            return (small @ functional.linear(inputs.unflatten(-1, (u_q, v_q)), large)).flatten(-2)
        groups = inputs.unflatten(1, (u_q, v_q)).flatten(0, 1)
        inner = functional.conv2d(groups, large, None, layer.stride, layer.padding, layer.dilation)
        return (small @ inner.unflatten(0, (-1, u_q)).flatten(2)).unflatten(2, inner.shape[1:]).flatten(1, 2)

    return Apart(u_q * large.numel() + small.numel() * v_p, u_q * v_p + 2 * u_p * v_p, answer)


def _small_block(rows: int, columns: int, weight: Tensor, config: AdapterConfig, rng: torch.Generator) -> Params:
    if not config.decompose_both or _is_full(config.dim, rows, columns):
        return {"lokr_w1": uniform((rows, columns), weight, rng)}
    return {
        "lokr_w1_a": uniform((rows, config.dim), weight, rng),
        "lokr_w1_b": uniform((config.dim, columns), weight, rng),
    }


def _large_block(rows: int, columns: int, weight: Tensor, config: AdapterConfig, rng: torch.Generator) -> Params:
    dim, kernel = config.dim, weight.shape[2:]
    if _is_full(dim, rows, columns):
        return {"lokr_w2": zeros((rows, columns, *kernel), weight)}
    if config.tucker and is_kernel(weight):
        return {
            "lokr_t2": uniform((dim, dim, *kernel), weight, rng),
            "lokr_w2_a": uniform((dim, rows), weight, rng),
            "lokr_w2_b": zeros((dim, columns), weight),
        }
    return {
        "lokr_w2_a": uniform((rows, dim), weight, rng),
        "lokr_w2_b": zeros((dim, columns * kernel.numel()), weight),
    }


def _is_full(dim: int | None, rows: int, columns: int) -> bool:
    return dim is None or dim >= max(rows, columns) / 2


def _small_of(params: Params, config: AdapterConfig) -> Tensor:
    """C, [u_p, u_q], with alpha / dim in it if there is a rank."""
    small = params["lokr_w1"] if "lokr_w1" in params else params["lokr_w1_a"] @ params["lokr_w1_b"]
    rank = sizes_of(params).get("dim")
    return small if rank is None else merge_ratio(config.alpha, rank) * small


def _large_of(params: Params, weight: Tensor) -> Tensor:
    """The second block, [v_p, v_q, k, k]."""
    if "lokr_w2" in params:
        return params["lokr_w2"]
    rows, columns = params["lokr_w2_a"], params["lokr_w2_b"]
    if "lokr_t2" in params:
        return tucker(params["lokr_t2"], rows, columns)
    return (rows @ columns.flatten(1)).reshape(rows.shape[0], -1, *weight.shape[2:])


def kronecker(small: Tensor, large: Tensor) -> Tensor:
    """small [a, c] (x) large [b, d, ...] -> [a b, c d, ...], as an outer product of vectors."""
    (a, c), (b, d, *kernel) = small.shape, large.shape
    products = small.reshape(-1, 1) @ large.reshape(1, -1)
    return products.view(a, c, b, -1).transpose(1, 2).reshape(a * b, c * d, *kernel)


def sizes_of(params: Params) -> dict[str, int]:
    """The larger side of C, which is the factor where the layer's widths allow it, and the rank of low-rank blocks."""
    if "lokr_w1" in params:
        sizes = {"factor": max(params["lokr_w1"].shape)}
    else:
        sizes = {"factor": max(params["lokr_w1_a"].shape[0], params["lokr_w1_b"].shape[1])}
    low = next((params[suffix] for suffix in ("lokr_w2_b", "lokr_w1_b") if suffix in params), None)
    return sizes if low is None else {**sizes, "dim": low.shape[0]}


lokr = Algorithm(
    name="lokr",
    init=init,
    delta_weight=delta_weight,
    hyperparameters=("dim", "alpha", "factor", "conv_dim", "conv_alpha", "tucker", "dora", "decompose_both"),
    suffixes=("lokr_w1", "lokr_w1_a", "lokr_w1_b", "lokr_w2", "lokr_w2_a", "lokr_w2_b", "lokr_t2", SUFFIX),
    capacity_from="factor",
    apart=apart,
    larger_is_more=False,
    sizes_of=sizes_of,
    description="Kronecker product of two blocks.",
)
