"""What OFT and BOFT share: orthogonal blocks by the Cayley transform, held near the identity."""

from __future__ import annotations

import torch
from torch import Tensor

from lorabench.components import Params

RESCALE = "rescale"  # one factor an output after the rotation; files of the authors' library may have it


def rotations_of(blocks: Tensor, outputs: int, constraint: float | None) -> Tensor:
    """Orthogonal matrices of the shape of `blocks` [..., n, b, b]; `constraint`, the alpha, is a share of the outputs.

    ValueError if n blocks do not make up the outputs. No constraint (None) and 0 leave the rotations free.
    """
    count, size = blocks.shape[-3:-1]
    if count * size != outputs:
        raise ValueError(f"{count} blocks of {size} rotate {count * size} outputs, the layer has {outputs}")
    return cayley(blocks, (constraint or 0.0) * outputs)


def cayley(blocks: Tensor, limit: float) -> Tensor:
    """(I + Q) (I - Q)^-1 of every Q = A - A^T, blocks [..., b, b] -> orthogonal [..., b, b] (OFT, Qiu et al. 2023).

    A limit above 0 bounds the Frobenius norm of all Q together, as the constraint of the authors' library does.
    """
    skew = blocks - blocks.mT
    if limit > 0:
        norm = torch.linalg.vector_norm(skew)
        skew = skew * (limit / norm.clamp_min(limit))
    identity = torch.eye(blocks.shape[-1], device=blocks.device)
    # R (I - Q) = I + Q, and I + Q commutes with the inverse; I - Q is never singular, for Q has imaginary eigenvalues.
    return torch.linalg.solve(identity - skew, identity + skew)


def sizes_of(params: Params) -> dict[str, int]:
    """The side of a block."""
    return {"dim": params["oft_blocks"].shape[-1]}
