"""Schedules of the learning rate: diffusers' own, stepped as its users step them."""

from __future__ import annotations

import pytest
import torch
from diffusers import optimization

from lorabench import schedules
from lorabench.records import ScheduleConfig

THEIRS = {
    "constant": lambda optimizer, warm, total: optimization.get_constant_schedule_with_warmup(optimizer, warm),
    "linear": optimization.get_linear_schedule_with_warmup,
    "cosine": optimization.get_cosine_schedule_with_warmup,
    "cosine_with_restarts": lambda *each: optimization.get_cosine_with_hard_restarts_schedule_with_warmup(*each, 3),
    "polynomial": lambda *each: optimization.get_polynomial_decay_schedule_with_warmup(*each, power=2.0),
}


@pytest.mark.parametrize("warmup", [{"warmup_steps": 6}, {"warmup_share": 0.2}, {"warmup_epochs": 2.0}, {}])
@pytest.mark.parametrize("name", THEIRS)
def test_the_rate_of_every_step_is_diffusers(name, warmup):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    theirs = THEIRS[name](optimizer, 6 if warmup else 0, 30)
    config = ScheduleConfig(schedule=name, cycles=3, power=2.0, **warmup)
    ours = schedules.multiplier(config, 0.5, 30, 3)
    for step in range(30):
        assert 0.5 * ours(step) == pytest.approx(theirs.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        theirs.step()
    assert (name == "constant") == (ours(29) == 1)
