"""Native fine-tuning: every weight and bias of the trained layers has an update of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from lorabench.algorithms._factors import shaped_like, zeros
from lorabench.components import Algorithm, Params
from lorabench.records import AdapterConfig


def init(weight: Tensor, config: AdapterConfig, rng: torch.Generator) -> Params:
    """A zero in the weight's shape; biases are the adapter's business."""
    return {"diff": zeros(tuple(weight.shape), weight)}


def delta_weight(params: Params, weight: Tensor, config: AdapterConfig) -> Tensor:
    """The difference itself. Weight decay pulls it towards the base model's weight, not the weight towards zero."""
    return shaped_like(params["diff"], weight)


native = Algorithm(
    name="native",
    init=init,
    delta_weight=delta_weight,
    hyperparameters=(),
    suffixes=("diff",),
    trains_bias=True,
    description="Full update of weights and biases.",
)
