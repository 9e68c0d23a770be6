"""OFT: the outputs of a layer are rotated block by block."""

from __future__ import annotations

import torch
from torch import Tensor

from lorabench.algorithms._factors import factorise, shaped_like, zeros
from lorabench.algorithms._rotations import RESCALE, rotations_of, sizes_of
from lorabench.components import Algorithm, Params
from lorabench.records import AdapterConfig


def init(weight: Tensor, config: AdapterConfig, rng: torch.Generator) -> Params:
    """Zero blocks [n, b, b], n b = outputs, b the largest divisor within min(dim, root of the outputs), as in LoKr."""
    size, count = factorise(weight.shape[0], config.dim)
    return {"oft_blocks": zeros((count, size, size), weight)}


def delta_weight(params: Params, weight: Tensor, config: AdapterConfig) -> Tensor:
    """(R^T - I) W, R block-diagonal and orthogonal (OFT, Qiu et al. 2023, as in LyCORIS); alpha is its constraint.

    ValueError if the blocks do not make up the outputs.
    """
    rotations = rotations_of(params["oft_blocks"], weight.shape[0], config.alpha)
    count, size, _ = rotations.shape
    rotated = (rotations.mT @ weight.reshape(count, size, -1)).reshape(weight.shape)
    return shaped_like(params.get(RESCALE, 1.0) * rotated - weight, weight)


oft = Algorithm(
    name="oft",
    init=init,
    delta_weight=delta_weight,
    hyperparameters=("dim", "alpha"),
    suffixes=("oft_blocks", RESCALE),
    capacity_from="dim",
    neutral_alpha=0.0,
    recognises=lambda params: params["oft_blocks"].ndim == 3,
    sizes_of=sizes_of,
    description="Block-diagonal rotation of the outputs.",
)
