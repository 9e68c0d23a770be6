"""How many floating-point operations a second this machine sustains, from a matrix product of a few seconds."""

from __future__ import annotations

import time

import torch

SECONDS = 2.0
LARGEST = 8192  # side of the matrices
# Of the peak of a matrix product, what training and drawing reach. On a CPU 0.80 to 0.85 was measured on the miniature
# world; on a GPU 0.45 is what compiled code of others reaches, and was not measured with ours.
SHARES = {"cpu": 0.8}
SHARE = 0.45


def sustained(device: torch.device, dtype: torch.dtype) -> float:
    """FLOP/s that a study may count on."""
    return peak(device, dtype) * SHARES.get(device.type, SHARE)


def peak(device: torch.device, dtype: torch.dtype, seconds: float = SECONDS) -> float:
    """FLOP/s of square matrix products, the largest that do not take a tenth of the time each."""
    side = 256
    while side < LARGEST and _rate(device, dtype, side, 0.0)[1] < seconds / 80:  # twice the side takes eight times
        side *= 2
    return _rate(device, dtype, side, seconds)[0]


def _rate(device: torch.device, dtype: torch.dtype, side: int, seconds: float) -> tuple[float, float]:
    """FLOP/s, and seconds of a product, after one that warms up."""
    a = torch.ones(side, side, device=device, dtype=dtype)
    b = a.clone()
    _finished(a @ b)
    count, start = 0, time.perf_counter()
    while True:
        _finished(a @ b)
        count += 1
        taken = time.perf_counter() - start
        if taken >= seconds:
            return count * 2 * side**3 / taken, taken / count


def _finished(product: torch.Tensor) -> None:
    """Wait for it: an accelerator answers before it has worked."""
    product[0, 0].item()
