"""LoRA, and LoCon for convolutions: an update of low rank."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from lorabench.algorithms._dora import SUFFIX, decomposed, magnitude
from lorabench.algorithms._factors import is_kernel, merge_ratio, shaped_like, tucker, uniform, zeros
from lorabench.components import Algorithm, Apart, Params
from lorabench.records import AdapterConfig


def init(weight: Tensor, config: AdapterConfig, rng: torch.Generator) -> Params:
    """A drawn, B zero; a kernel is split into one of k x k with `dim` outputs and one of 1 x 1 (appendix B.2).

    Tucker: the k x k kernel has `dim` inputs as well, drawn too, with a 1 x 1 before it (eq. 18).
    """
    rows, columns, *kernel = weight.shape
    points = [1 for _ in kernel]
    up = {"lora_up.weight": zeros((rows, config.dim, *points), weight), **magnitude(weight, config)}
    if not (config.tucker and is_kernel(weight)):
        return {"lora_down.weight": uniform((config.dim, columns, *kernel), weight, rng), **up}
    return {
        "lora_down.weight": uniform((config.dim, columns, *points), weight, rng),
        "lora_mid.weight": uniform((config.dim, config.dim, *kernel), weight, rng),
        **up,
    }


def delta_weight(params: Params, weight: Tensor, config: AdapterConfig) -> Tensor:
    """(alpha / dim) B A, kernels unrolled to [c_out, c_in k^2] (LyCORIS eq. 2), or a Tucker product (eq. 18)."""
    down, up = params["lora_down.weight"], params["lora_up.weight"]
    ratio = merge_ratio(config.alpha, down.shape[0])
    if "lora_mid.weight" in params:
        update = tucker(ratio * params["lora_mid.weight"], up.flatten(1).T, down.flatten(1))
    else:
        update = (up.flatten(1) @ (ratio * down.flatten(1))).reshape(up.shape[0], *down.shape[1:])
    return decomposed(shaped_like(update, weight), params, weight)


def apart(params: Params, weight: Tensor, config: AdapterConfig) -> Apart | None:
    """A, then B, as two layers in a row; None for Tucker and DoRA."""
    if "lora_mid.weight" in params or SUFFIX in params:
        return None
    down, up = params["lora_down.weight"], params["lora_up.weight"]

    def answer(inputs: Tensor, layer: nn.Module) -> Tensor:
        first = merge_ratio(config.alpha, down.shape[0]) * down
        if down.ndim == 2:
            return functional.linear(functional.linear(inputs, first), up)
        inner = functional.conv2d(inputs, first, None, layer.stride, layer.padding, layer.dilation)
        return functional.conv2d(inner, up)

    return Apart(down.numel() + up.numel(), down.shape[0] + 2 * up.shape[0], answer)


def sizes_of(params: Params) -> dict[str, int]:
    """The rank."""
    return {"dim": params["lora_down.weight"].shape[0]}


lora = Algorithm(
    name="lora",
    init=init,
    delta_weight=delta_weight,
    hyperparameters=("dim", "alpha", "conv_dim", "conv_alpha", "tucker", "dora"),
    suffixes=("lora_down.weight", "lora_up.weight", "lora_mid.weight", SUFFIX),
    capacity_from="dim",
    apart=apart,
    sizes_of=sizes_of,
    description="Low-rank update B A.",
)
