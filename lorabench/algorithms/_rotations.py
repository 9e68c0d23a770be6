"""What OFT and BOFT share: orthogonal blocks by the Cayley transform, held near the identity."""

from __future__ import annotations

import torch
from torch import Tensor

RESCALE = "rescale"  # one factor an output after the rotation; files of the authors' library may have it


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


def limit_of(constraint: float | None, weight: Tensor) -> float:
    """The bound that an alpha stands for: a share of the layer's outputs; None and 0 are none."""
    return (constraint or 0.0) * weight.shape[0]
