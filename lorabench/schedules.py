"""How the learning rate goes from step to step, by diffusers' own functions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers.optimization import get_scheduler

from lorabench.records import ScheduleConfig

_NAMES = {"constant": "constant_with_warmup"}


def multiplier(config: ScheduleConfig, lr: float, total: int, steps_per_epoch: float) -> Callable[[int], float]:
    """Of each step, counted from 0, what the learning rate `lr` is multiplied by; `total` steps in all.

    A linear warm-up from 0, then the schedule down to its end; cosine_with_restarts goes down `cycles` times.
    """
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    found = get_scheduler(
        _NAMES.get(config.schedule, config.schedule),
        optimizer,
        num_warmup_steps=warmup_steps(config, total, steps_per_epoch),
        num_training_steps=total,
        num_cycles=config.cycles,
        power=config.power,
    )
    return found.lr_lambdas[0]


def warmup_steps(config: ScheduleConfig, total: int, steps_per_epoch: float) -> float:
    """As the config says it: in steps, as a share of all, or in epochs, of which it may be a part."""
    return config.warmup_steps or config.warmup_share * total or config.warmup_epochs * steps_per_epoch
