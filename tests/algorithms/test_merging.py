"""Merged weights answer as the update beside the frozen weight, at every merge ratio, and come out without a trace."""

import pytest
import torch
from drawn_updates import CASES, LAYERS, VARIANTS, layer_of, update_of
from torch import nn
from torch.nn import functional

from lorabench import adapters
from lorabench.adapters import Adapter


def answer(layer: nn.Module, inputs: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The layer's answer to `inputs` with that weight and without bias, in the weight's dtype."""
    inputs = inputs.to(weight.dtype)
    if weight.ndim == 2:
        return functional.linear(inputs, weight)
    return functional.conv2d(inputs, weight, None, layer.stride, layer.padding)


@pytest.mark.parametrize("ratio", [0.5, 1.0, -1.0])
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("case", [*CASES, *VARIANTS])
def test_merged_answers_are_those_of_the_adapter(case, kind, ratio):
    algorithm, params, config, weight = update_of(case, kind)
    assert config.alpha is None or config.alpha != config.dim
    layer = layer_of(kind).requires_grad_(False)
    layer.weight.copy_(weight)
    base = {"unet": nn.Sequential(layer)}
    adapter = Adapter(algorithm, config, {"unet.0": params})
    update = algorithm.delta_weight(params, weight, config)
    assert update.norm() >= 1e-2 * weight.norm()
    shape = (3, weight.shape[1]) if weight.ndim == 2 else (2, weight.shape[1], 6, 6)
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    contribution = ratio * answer(layer, inputs, update.double())
    expected = answer(layer, inputs, weight.double()) + contribution
    before = layer.weight.detach().clone()
    with adapters.swapped(base, (adapter, ratio)):
        merged = answer(layer, inputs, layer.weight).double()
    # The sum W0 + dW is rounded once to float32, 6e-8 of the larger: what is left of a small update is 1e-5 of it.
    assert (merged - expected).norm() <= 1e-4 * contribution.norm()
    assert torch.equal(layer.weight.view(torch.int32), before.view(torch.int32))
