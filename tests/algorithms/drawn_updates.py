"""Layers of every kind, and updates of every algorithm with random params, for tests of both."""

import torch
from torch import nn

from lorabench import components
from lorabench.records import AdapterConfig

LAYERS = {
    "linear": lambda: nn.Linear(24, 40),
    "conv1x1": lambda: nn.Conv2d(24, 40, 1),
    "conv3x3": lambda: nn.Conv2d(24, 40, 3, padding=1),
    "conv_in": lambda: nn.Conv2d(4, 40, 3, padding=1),
}
# The algorithms of the paper; the first word of a case is the algorithm's name.
CASES = {
    "lora": {"dim": 4, "alpha": 1.0},
    "loha": {"dim": 3, "alpha": 2.0},
    # Factors within the roots of the widths: beyond them eq. 5 and lycoris cut differently.
    "lokr full block": {"factor": 3},
    "lokr low rank": {"factor": 2, "dim": 2, "alpha": 5.0},
    "native": {},
}
VARIANTS = {
    "lora tucker": {"dim": 4, "alpha": 1.0, "tucker": True},
    "lora dora": {"dim": 4, "alpha": 1.0, "dora": True},
    "loha tucker": {"dim": 3, "alpha": 2.0, "tucker": True},
    "loha dora": {"dim": 3, "alpha": 2.0, "dora": True},
    "lokr tucker": {"factor": 2, "dim": 2, "alpha": 5.0, "tucker": True},
    "lokr dora": {"factor": 2, "dim": 2, "alpha": 5.0, "dora": True},
    "lokr both": {"factor": 3, "dim": 1, "alpha": 3.0, "decompose_both": True},
    "glora": {"dim": 3, "alpha": 2.0},
    "ia3": {},
    "oft": {"dim": 5},
    "oft constrained": {"dim": 5, "alpha": 0.001},
    "boft": {"dim": 10},
}


def layer_of(kind: str) -> nn.Module:
    torch.manual_seed(3)
    return LAYERS[kind]()


def update_of(case: str, kind: str, fresh: bool = False):
    """(algorithm, params, config, weight) with random params, or as they begin."""
    weight = layer_of(kind).weight.detach()
    algorithm = components.find("algorithms", case.split()[0])
    config = AdapterConfig(algorithm.name, "linear", **(CASES | VARIANTS)[case])
    rng = torch.Generator().manual_seed(5)
    params = algorithm.init(weight, config, rng)
    if not fresh:
        params = {suffix: _random(suffix, tensor, rng) for suffix, tensor in params.items()}
    return algorithm, params, config, weight


def _random(suffix: str, tensor: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    drawn = torch.randn(tensor.shape, generator=rng)
    return drawn.abs() + 0.5 if suffix == "dora_scale" else drawn  # a magnitude is positive
