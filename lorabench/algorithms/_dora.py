"""DoRA as an option of additive updates: the weight's magnitude is trained apart from its direction."""

from __future__ import annotations

import torch
from torch import Tensor

from lorabench.components import Params
from lorabench.records import AdapterConfig

SUFFIX = "dora_scale"


def magnitude(weight: Tensor, config: AdapterConfig) -> Params:
    """With `dora`, the norm of each output's weights, [p, 1, ...], as peft and the authors' library begin."""
    return {SUFFIX: _norm(weight.float(), of_outputs=True)} if config.dora else {}


def decomposed(update: Tensor, params: Params, weight: Tensor) -> Tensor:
    """W' - W with W' = m (W + dW) / |W + dW| (DoRA, Liu et al. 2024, eq. 5); dW itself where there is no magnitude m.

    The gradient goes through the norm, as in the authors' library; peft detaches it. Files may hold a magnitude of
    each input instead, [1, q, ...]. ValueError if it is neither.
    """
    if SUFFIX not in params:
        return update
    scale, total = params[SUFFIX], weight + update
    for of_outputs in (True, False):
        norm = _norm(total, of_outputs)
        if norm.shape == scale.shape:
            return total * (scale / norm) - weight
    raise ValueError(f"the magnitude is {list(scale.shape)}, the weight {list(weight.shape)}")


def _norm(weight: Tensor, of_outputs: bool) -> Tensor:
    """Of every row, [p, 1, ...], or column, [1, q, ...]. A weight of zeros has a tiny one, not NaN for an update."""
    dims = tuple(dim for dim in range(weight.ndim) if dim != (0 if of_outputs else 1))
    return torch.linalg.vector_norm(weight, dim=dims, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)
