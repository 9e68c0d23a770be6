"""What a step makes small: how far a prediction is off, and how much each sample counts."""

from __future__ import annotations

import torch
from torch import Tensor

from lorabench.records import LossConfig

LARGEST_SNR = 1000.0  # debiased estimation counts no sample less than by this one


def sample_losses(
    config: LossConfig,
    predicted: Tensor,
    target: Tensor,
    timesteps: Tensor,
    alphas_cumprod: Tensor,
    velocity: bool,
    mask: Tensor | None = None,
) -> Tensor:
    """The loss of each sample, float32 [n].

    predicted and target [n, c, h, w], timesteps int64 [n], alphas_cumprod [T] of all timesteps. `velocity`: it is
    predicted in the place of the noise. The mean over all numbers of `distance`, times `mask` [n, 1, h, w] where there
    is one (as in kohya's trainer, what is left out counts as 0), times `weights`.
    """
    alphas = alphas_cumprod[timesteps]
    distances = distance(config, predicted - target, timesteps, alphas, len(alphas_cumprod))
    counted = distances if mask is None else distances * mask
    return counted.mean(dim=(1, 2, 3)) * weights(config, alphas, velocity)


def distance(config: LossConfig, difference: Tensor, timesteps: Tensor, alphas: Tensor, total: int) -> Tensor:
    """Number by number: d^2, |d|, or with the threshold c of the timestep 2c (sqrt(d^2 + c^2) - c) (huber) and
    2 (sqrt(d^2 + c^2) - c) (smooth_l1), as kohya's trainer has them."""
    if config.loss == "l2":
        return difference.square()
    if config.loss == "l1":
        return difference.abs()
    c = threshold(config, timesteps, alphas, total).view(-1, 1, 1, 1)
    beyond = (difference.square() + c.square()).sqrt() - c
    return 2 * (c * beyond if config.loss == "huber" else beyond)


def threshold(config: LossConfig, timesteps: Tensor, alphas: Tensor, total: int) -> Tensor:
    """c of each sample [n]: c itself, exp(t ln(c) / T), or with sigma = sqrt((1 - alpha) / alpha) by the
    signal-to-noise ratio (1 - c) / (1 + sigma)^2 + c."""
    c = config.huber_c
    if config.huber_schedule == "constant":
        return torch.full_like(alphas, c)
    if config.huber_schedule == "exponential":
        return torch.as_tensor(c, dtype=alphas.dtype, device=alphas.device) ** (timesteps / total)
    sigma = ((1 - alphas) / alphas).sqrt()
    return (1 - c) / (1 + sigma).square() + c


def weights(config: LossConfig, alphas: Tensor, velocity: bool) -> Tensor:
    """How much each sample counts [n], by its signal-to-noise ratio alpha / (1 - alpha).

    Min-SNR gamma (Hang et al. 2023): min(SNR, gamma) / SNR of noise, over SNR + 1 of velocity. Debiased estimation
    (Yu et al. 2023): 1 / sqrt(SNR) of noise, 1 / (SNR + 1) of velocity, the SNR being at most 1000.
    """
    snr = alphas / (1 - alphas)
    found = torch.ones_like(snr)
    if config.min_snr_gamma:
        found = found * snr.clamp(max=config.min_snr_gamma) / (snr + 1 if velocity else snr)
    if config.debiased_estimation:
        capped = snr.clamp(max=LARGEST_SNR)
        found = found / (capped + 1 if velocity else capped.sqrt())
    return found


def zero_terminal(alphas_cumprod: Tensor) -> Tensor:
    """Noise that leaves nothing of the picture at its last timestep, from [T] to [T] (Lin et al. 2024, algorithm 1)."""
    roots = alphas_cumprod.sqrt()
    return ((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])).square()
