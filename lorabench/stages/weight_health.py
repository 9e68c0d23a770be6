"""The health of an update's weights, block by block: what is wrong with them shows before any picture does."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import svds

from lorabench import adapters
from lorabench.adapters import Adapter
from lorabench.layers import Components, module_of

WHOLE = "all"  # the block that stands for all of them
SMALL = 256  # sides up to which all singular values are computed, sooner than the first one is found in turns
_BLOCKS = (
    (r"unet\.(down_blocks|up_blocks)\.(\d+)\.", r"unet.\1.\2"),
    (r"unet\.mid_block\.", "unet.mid_block"),
    (r"(text_encoder(?:_2)?)\.(?:.*\.)?layers\.(\d+)\.", r"\1.layers.\2"),
)


@dataclass(frozen=True)
class BlockHealth:
    """The update of the matrices of a block (kernels as matrices, a row an output); NaN where it is zero.

    `spectral_norm` is the largest of them, `stable_rank` their mean of |dW|^2 / spectral norm^2 (Frobenius norms),
    `first_direction` the share of their squared norm that lies in each one's first direction, in [0, 1], and
    `relative_norm` |dW| / |W0| of all together.
    """

    block: str
    matrices: int
    spectral_norm: float
    stable_rank: float
    first_direction: float
    relative_norm: float


@torch.no_grad()
def weight_health(components: Components, adapter: Adapter) -> list[BlockHealth]:
    """A row a block of the base model, and one for all: of the update at merge ratio 1, norms and biases left out.

    Of modules without weights (on the meta device) NaN stands for what depends on them.
    """
    found: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for name in adapter.modules:
        weight = module_of(components, name).weight
        known = torch.full(weight.shape, torch.nan) if weight.is_meta else weight.detach().float()
        update = adapters.weight_update(adapter, name, known)
        if update.ndim > 1:
            numbers = (*_norms(update), float(known.norm()))
            for block in (block_of(name), WHOLE):
                found[block].append(numbers)
    return [_block(name, np.array(found[name])) for name in sorted(found, key=lambda name: (name == WHOLE, name))]


def block_of(name: str) -> str:
    """The block of a base model that a module lies in: unet.up_blocks.1, text_encoder.layers.0, or unet.others."""
    for pattern, block in _BLOCKS:
        found = re.match(pattern, name)
        if found:
            return found.expand(block)
    return f"{name.partition('.')[0]}.others"


def _norms(update: torch.Tensor) -> tuple[float, float]:
    """The spectral and the Frobenius norm."""
    matrix = update.float().flatten(1)
    whole = float(matrix.double().norm())
    if not np.isfinite(whole) or whole == 0:
        return (whole, whole)
    if min(matrix.shape) <= SMALL:
        return float(torch.linalg.matrix_norm(matrix, 2)), whole
    start = np.random.default_rng(0).normal(size=min(matrix.shape))
    return float(svds(matrix.cpu().numpy(), k=1, v0=start, tol=1e-6, return_singular_vectors=False)[0]), whole


def _block(name: str, numbers: np.ndarray) -> BlockHealth:
    first, whole, pristine = numbers.T
    with np.errstate(divide="ignore", invalid="ignore"):
        stable = (whole / first)[first > 0] ** 2
        energy = (first**2).sum() / (whole**2).sum()
        relative = np.sqrt((whole**2).sum() / (pristine**2).sum())
    rank = float(stable.mean()) if len(stable) else float("nan")
    return BlockHealth(name, len(numbers), float(first.max()), rank, float(energy), float(relative))
