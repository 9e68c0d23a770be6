"""Several algorithms in one file, a module of each: what LyCORIS trains with one algorithm for each kind of layer."""

from __future__ import annotations

import torch
from torch import Tensor

from lorabench.components import SUFFIXES_OF_ANY, Algorithm, Params, algorithm_using
from lorabench.records import AdapterConfig


def own(params: Params) -> Algorithm:
    """The algorithm of one module. ValueError if there is none."""
    suffixes = params.keys() - SUFFIXES_OF_ANY
    found = algorithm_using(suffixes, params)
    if found is None:
        raise ValueError(f"no algorithm has {', '.join(sorted(suffixes))}")
    return found


def init(weight: Tensor, config: AdapterConfig, rng: torch.Generator) -> Params:
    """ValueError: a config names one algorithm."""
    raise ValueError("it is what a file may hold, not what a config can train; name one algorithm")


def delta_weight(params: Params, weight: Tensor, config: AdapterConfig) -> Tensor:
    """dW by the module's own algorithm."""
    return own(params).delta_weight(params, weight, config)


def delta_bias(params: Params, weight: Tensor, bias: Tensor, config: AdapterConfig) -> Tensor | None:
    """What the module's own algorithm does to the bias."""
    algorithm = own(params)
    return algorithm.delta_bias(params, weight, bias, config) if algorithm.delta_bias else None


mixed = Algorithm(
    name="mixed",
    init=init,
    delta_weight=delta_weight,
    delta_bias=delta_bias,
    hyperparameters=(),
    suffixes=(),
    of_module=own,
    sizes_of=lambda params: own(params).sizes_of(params),
    description="A file whose modules are of several algorithms; read, merged and written as kohya, not trained.",
)
