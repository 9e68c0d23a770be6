"""Dropout of an update and its largest norm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from saved_adapters import trained

from lorabench import adapters, components
from lorabench.errors import UserError
from lorabench.layers import module_of
from lorabench.records import AdapterConfig, OptimizerConfig
from lorabench.stages import regularised


@torch.no_grad()
def update(base, adapter, name) -> torch.Tensor:
    return adapters.weight_update(adapter, name, module_of(base.components, name).weight.detach())


def test_a_step_leaves_out_its_share_of_modules_and_rows(base):
    adapter = trained(base.components, "lora", "linear", dim=2)
    config = OptimizerConfig(rank_dropout=0.25, module_dropout=0.4)
    steps = [regularised.dropped(base.components, adapter, config, 1, step) for step in range(40)]
    kept = np.mean([len(each.modules) / len(adapter.modules) for each in steps])
    assert kept == pytest.approx(0.6, abs=0.03)
    shares = []
    for each in steps[:5]:
        for name in each.modules:
            whole, part = update(base, adapter, name), update(base, each, name)
            rows = (part == whole).flatten(1).all(1)
            assert torch.equal(part, whole * rows.view(-1, *[1] * (part.ndim - 1)))
            shares.append(rows.float().mean())
    assert np.mean(shares) == pytest.approx(0.75, abs=0.03)
    again = regularised.dropped(base.components, adapter, config, 1, 0)
    other = regularised.dropped(base.components, adapter, config, 2, 0)
    assert again.modules.keys() == steps[0].modules.keys() != other.modules.keys()
    assert regularised.dropped(base.components, adapter, OptimizerConfig(), 1, 0) is adapter


def test_rows_are_left_out_beside_the_weight_as_in_it(base):
    """Merged or as two layers of its own, an update with dropout is one update."""
    adapter = trained(base.components, "lora", "full", dim=2)
    seen = regularised.dropped(base.components, adapter, OptimizerConfig(rank_dropout=0.5), 1, 0)
    names = frozenset(name for name in seen.modules if adapters.apart_of(base.components, seen, name) is not None)
    convolution = next(name for name in names if module_of(base.components, name).weight.ndim == 4)
    linear = next(name for name in names if module_of(base.components, name).weight.ndim == 2)
    for name in (convolution, linear):
        module = module_of(base.components, name)
        shape = (2, module.weight.shape[1], *[8] * (module.weight.ndim - 2))
        inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad(), adapters.run_apart(base.components, seen, frozenset({name})):
            apart = module(inputs)
        merged = module.weight.detach() + update(base, seen, name)
        torch.testing.assert_close(apart, torch.func.functional_call(module, {"weight": merged}, (inputs,)))


@pytest.mark.parametrize("algorithm", ["lora", "loha", "lokr", "native"])
def test_an_update_is_scaled_to_the_largest_norm(base, algorithm):
    sizes = {"native": {}, "lokr": {"factor": 4}}.get(algorithm, {"dim": 2})
    adapter = trained(base.components, algorithm, "full", **sizes)
    adapter = replace(
        adapter, modules={name: {k: v.clone() for k, v in of.items()} for name, of in adapter.modules.items()}
    )
    names = [name for name, params in adapter.modules.items() if "w_norm" not in params]
    before = {name: update(base, adapter, name).detach().clone() for name in names}
    largest = float(np.median([float(each.norm()) for each in before.values()]))
    regularised.check_norm(adapter.algorithm, adapter.config)
    regularised.within_norm(base.components, adapter, largest)
    for name in names:
        ratio = min(1.0, largest / float(before[name].norm()))
        torch.testing.assert_close(update(base, adapter, name), before[name] * ratio, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["oft", "dora", "textual_inversion"])
def test_what_is_no_product_of_factors_has_no_largest_norm(name):
    config = AdapterConfig("lora" if name == "dora" else name, "linear", dim=4, dora=name == "dora")
    with pytest.raises(UserError, match="products of factors"):
        regularised.check_norm(components.find("algorithms", config.algorithm), config)
