"""Losses against the formulas written out number by number, and against diffusers where it has them."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from diffusers.training_utils import compute_snr

from lorabench.records import LossConfig
from lorabench.stages import losses

SCHEDULER = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
ALPHAS = SCHEDULER.alphas_cumprod
STEPS = torch.tensor([0, 1, 250, 500, 999])


def far(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(step)
    return tuple(torch.randn(5, 4, 3, 3, generator=rng) for _ in range(2))


def written_out(config: LossConfig, predicted: np.ndarray, target: np.ndarray, velocity: bool) -> list[float]:
    """One sample after the other, in float64, from the formulas as they are published."""
    found = []
    for row, t in enumerate(STEPS.tolist()):
        alpha = float(ALPHAS[t])
        snr, sigma = alpha / (1 - alpha), math.sqrt((1 - alpha) / alpha)
        c = {
            "constant": config.huber_c,
            "exponential": math.exp(t * math.log(config.huber_c) / 1000),
            "snr": (1 - config.huber_c) / (1 + sigma) ** 2 + config.huber_c,
        }[config.huber_schedule]
        total = 0.0
        for d in (predicted[row] - target[row]).ravel().tolist():
            total += {
                "l2": d * d,
                "l1": abs(d),
                "huber": 2 * c * (math.sqrt(d * d + c * c) - c),
                "smooth_l1": 2 * (math.sqrt(d * d + c * c) - c),
            }[config.loss]
        loss = total / predicted[row].size
        if config.min_snr_gamma:
            loss *= min(snr, config.min_snr_gamma) / (snr + 1 if velocity else snr)
        if config.debiased_estimation:
            loss *= 1 / (min(snr, 1000) + 1) if velocity else 1 / math.sqrt(min(snr, 1000))
        found.append(loss)
    return found


CONFIGS = [LossConfig(loss=loss) for loss in ("l2", "l1")]
CONFIGS += [
    LossConfig(loss=loss, huber_schedule=schedule, huber_c=c)
    for loss, schedule, c in product(("huber", "smooth_l1"), ("constant", "exponential", "snr"), (0.1, 0.7))
]
CONFIGS += [LossConfig(min_snr_gamma=5), LossConfig(debiased_estimation=True), LossConfig("huber", min_snr_gamma=1)]


@pytest.mark.parametrize("velocity", [False, True])
@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_a_loss_is_what_its_formula_says(config, velocity):
    predicted, target = far(1)
    ours = losses.sample_losses(config, predicted, target, STEPS, ALPHAS, velocity)
    theirs = written_out(config, predicted.double().numpy(), target.double().numpy(), velocity)
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=2e-5)


def test_weights_follow_the_ratio_that_diffusers_computes():
    snr = compute_snr(SCHEDULER, STEPS)
    ours = losses.weights(LossConfig(min_snr_gamma=5), ALPHAS[STEPS], False)
    torch.testing.assert_close(ours, torch.stack([snr, 5 * torch.ones(5)]).amin(0) / snr)


def test_zero_terminal_snr_is_diffusers_and_counts_its_last_step_in_velocity():
    betas = rescale_zero_terminal_snr(SCHEDULER.betas)
    ours = losses.zero_terminal(ALPHAS)
    torch.testing.assert_close(ours, (1 - betas).cumprod(0), rtol=1e-4, atol=1e-6)
    assert ours[-1] == 0 and ours[0] == ALPHAS[0]
    predicted, target = far(2)
    for config in (
        LossConfig(),
        LossConfig("huber"),
        LossConfig(min_snr_gamma=5),
        LossConfig(debiased_estimation=True),
    ):
        assert losses.sample_losses(config, predicted, target, STEPS, ours, True).isfinite().all()
