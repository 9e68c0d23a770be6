"""BOFT: the outputs of a layer are rotated by a product of butterfly stages."""

from __future__ import annotations

import torch
from torch import Tensor

from lorabench.algorithms._factors import shaped_like, zeros
from lorabench.algorithms._rotations import RESCALE, rotations_of, sizes_of
from lorabench.components import Algorithm, Params
from lorabench.records import AdapterConfig


def init(weight: Tensor, config: AdapterConfig, rng: torch.Generator) -> Params:
    """Zero blocks [m, n, b, b]: as many stages as reach from every output to every other. ValueError as `blocks_of`."""
    size, count = blocks_of(weight.shape[0], config.dim)
    return {"oft_blocks": zeros((count.bit_length(), count, size, size), weight)}


def blocks_of(width: int, limit: int) -> tuple[int, int]:
    """(b, n) with b n = width, b even and at most `limit`, n a power of two, as the butterfly needs them.

    The largest such b, as in the authors' library. ValueError if there is none: SD1.5's widths need 10 or more.
    """
    counts = [2**power for power in range(width.bit_length())]
    sizes = [width // count for count in counts if width % (2 * count) == 0]
    fitting = [size for size in sizes if size <= limit]
    if not fitting:
        smallest = f"the least that does is {min(sizes)}" if sizes else "no block does"
        raise ValueError(f"{width} outputs are no power of two times an even block of at most {limit}; {smallest}")
    return max(fitting), width // max(fitting)


def delta_weight(params: Params, weight: Tensor, config: AdapterConfig) -> Tensor:
    """(B_m ... B_1 - I) W, every B_i orthogonal (BOFT, Liu et al. 2023, as in LyCORIS); alpha is its constraint.

    ValueError if the blocks do not make up the outputs.
    """
    rotated, width = weight.flatten(1), weight.shape[0]
    for stage, rotations in enumerate(rotations_of(params["oft_blocks"], width, config.alpha)):
        count, size, _ = rotations.shape
        order = _order(width, 2**stage * (size // 2), weight.device)
        mixed = (rotations @ rotated[order].reshape(count, size, -1)).reshape(rotated.shape)
        rotated = mixed[order.argsort()]
    return shaped_like(params.get(RESCALE, 1.0) * rotated.reshape(weight.shape) - weight, weight)


def _order(width: int, distance: int, device: torch.device) -> Tensor:
    """The outputs as a stage takes them into its blocks: each beside the one at that distance."""
    return torch.arange(width, device=device).view(-1, 2, distance).transpose(1, 2).flatten()


boft = Algorithm(
    name="boft",
    init=init,
    delta_weight=delta_weight,
    hyperparameters=("dim", "alpha"),
    suffixes=("oft_blocks", RESCALE),
    capacity_from="dim",
    neutral_alpha=0.0,
    recognises=lambda params: params["oft_blocks"].ndim == 4,
    sizes_of=sizes_of,
    description="Butterfly product of rotations of the outputs.",
)
