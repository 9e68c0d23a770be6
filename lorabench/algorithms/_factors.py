"""What several algorithms share: the factors of eq. 5, the merge ratio, initial draws, shapes."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def merge_ratio(alpha: float | None, dim: int) -> float:
    """gamma = alpha / dim (LyCORIS eq. 2). No alpha, and alpha 0, mean alpha = dim, as in the authors' library."""
    return alpha / dim if alpha else 1.0


def factorise(width: int, factor: int) -> tuple[int, int]:
    """(u, v) with u * v = width and u the largest divisor within min(factor, sqrt(width)) (LyCORIS eq. 5).

    The authors' library agrees, but where factor divides width and exceeds its root: 4 at factor 4 is (2, 2) here and
    (1, 4) there.
    """
    limit = min(factor, math.isqrt(width))
    small = max(divisor for divisor in range(1, limit + 1) if width % divisor == 0)
    return small, width // small


def uniform(shape: tuple[int, ...], weight: Tensor, rng: torch.Generator) -> Tensor:
    """Uniform within +-1 / sqrt(fan in), float32 on the weight's device: a torch layer's own initialisation."""
    if weight.is_meta:  # to be counted, whatever its size
        return torch.empty(shape, device="meta")
    values = torch.empty(shape, dtype=torch.float32)
    torch.nn.init.kaiming_uniform_(values, a=math.sqrt(5), generator=rng)
    return values.to(weight.device)


def normal(shape: tuple[int, ...], deviation: float, weight: Tensor, rng: torch.Generator) -> Tensor:
    """Normal around 0, float32 on the weight's device; drawn on the CPU, so that every device gets the same."""
    if weight.is_meta:
        return torch.empty(shape, device="meta")
    return (torch.randn(shape, generator=rng, dtype=torch.float32) * deviation).to(weight.device)


def zeros(shape: tuple[int, ...], weight: Tensor) -> Tensor:
    """Float32 zeros on the weight's device."""
    return torch.zeros(shape, dtype=torch.float32, device=weight.device)


def is_kernel(weight: Tensor) -> bool:
    """Whether the weight is a convolution's of more than 1 x 1: what `conv_dim` and Tucker decomposition are for."""
    return weight[:1, :1].numel() > 1


def tucker(core: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """core [r, s, k, k] with factors rows [r, c_out] and columns [s, c_in] -> [c_out, c_in, k, k] (LyCORIS eq. 18)."""
    return torch.einsum("rs...,rp,sq->pq...", core, rows, columns)


def shaped_like(update: Tensor, weight: Tensor) -> Tensor:
    """The update, [p, q] or [c_out, c_in, k, k], in the shape of the weight; ValueError if it is another layer's."""
    if update.flatten(1).shape != weight.flatten(1).shape:
        raise ValueError(f"the update is {list(update.shape)}, the weight {list(weight.shape)}")
    return update.reshape(weight.shape)
