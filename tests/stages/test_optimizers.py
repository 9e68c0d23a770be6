"""Optimizers by name: each is its library's, with what a config says of it."""

from __future__ import annotations

import prodigyopt
import pytest
import torch

from lorabench.errors import UserError
from lorabench.records import OptimizerConfig
from lorabench.stages import optimizers


def moved(optimizer: torch.optim.Optimizer, weight: torch.Tensor, steps: int = 12) -> torch.Tensor:
    """Where it takes a weight that wants to be 3."""
    for _ in range(steps):
        optimizer.zero_grad()
        ((weight - 3) ** 2).sum().backward()
        optimizer.step()
    return weight.detach()


def start() -> torch.Tensor:
    return torch.linspace(-1, 1, 7).requires_grad_()


@pytest.mark.parametrize(
    ("config", "theirs"),
    [
        (OptimizerConfig(1.0, optimizer="prodigy", optimizer_options={"d_coef": 2.0, "safeguard_warmup": True}),
         lambda p: prodigyopt.Prodigy(p, 1.0, (0.9, 0.99), weight_decay=0.1, d_coef=2.0, safeguard_warmup=True)),
        (OptimizerConfig(0.1, optimizer="sgd", optimizer_options={"momentum": 0.9}, weight_decay=0.0),
         lambda p: torch.optim.SGD(p, 0.1, momentum=0.9)),
        (OptimizerConfig(0.1, optimizer="radam", betas=(0.8, 0.9)),
         lambda p: torch.optim.RAdam(p, 0.1, (0.8, 0.9), weight_decay=0.1)),
        (OptimizerConfig(0.1), lambda p: torch.optim.AdamW(p, 0.1, (0.9, 0.99), weight_decay=0.1)),
    ],
    ids=["prodigy", "sgd", "radam", "adamw"],
)  # fmt: skip
def test_an_optimizer_is_its_librarys(config, theirs):
    ours, other = start(), start()
    optimizers.require(config)
    optimizer = optimizers.optimizer_of([{"params": [ours], "ratio": 1.0}], config, torch.device("cpu"))
    torch.testing.assert_close(moved(optimizer, ours), moved(theirs([other]), other), rtol=0, atol=1e-6)
    assert ours[0].item() != -1


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (OptimizerConfig(0.1, optimizer="adamv"), "Unknown optimizer 'adamv'. Did you mean 'adam'?"),
        (OptimizerConfig(0.1, optimizer_options={"epz": 1}), "Unknown option of adamw 'epz'. Did you mean 'eps'?"),
        (OptimizerConfig(0.1, optimizer_options={"lr": 1}), "Unknown option of adamw 'lr'"),
        (OptimizerConfig(0.1, optimizer="sgd", optimizer_options={"momentum": -1.0}), "Optimizer sgd takes no such"),
        (OptimizerConfig(0.1, optimizer="lbfgs"), "Unknown optimizer 'lbfgs'"),
    ],
)
def test_what_an_optimizer_is_not_or_takes_not_is_a_sentence(config, words):
    with pytest.raises(UserError) as error:
        optimizers.require(config)
    assert words in str(error.value)
