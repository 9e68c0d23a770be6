"""Textual inversion: a word of its own for the text encoder, and no weight update."""

from __future__ import annotations

import torch
from torch import Tensor

from lorabench.components import Algorithm, Params
from lorabench.records import TEXTUAL_INVERSION, AdapterConfig


def init(weight: Tensor, config: AdapterConfig, rng: torch.Generator) -> Params:
    """ValueError: words have no layer."""
    raise ValueError("words have no layer")


def delta_weight(params: Params, weight: Tensor, config: AdapterConfig) -> Tensor:
    """ValueError: words have no layer."""
    raise ValueError("textual inversion updates no weight")


textual_inversion = Algorithm(
    name=TEXTUAL_INVERSION,
    init=init,
    delta_weight=delta_weight,
    hyperparameters=(),
    suffixes=(),
    description="Vectors of a new word for each concept, and no weight update.",
)
