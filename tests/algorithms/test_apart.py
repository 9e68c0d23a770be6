"""Updates as layers of their own: the same answers and gradients as merged, wherever they are run."""

import pytest
import torch
from drawn_updates import LAYERS, layer_of, update_of
from saved_adapters import tiny, trained
from torch import nn

from lorabench import adapters, components
from lorabench.records import TrainConfig


@pytest.mark.parametrize("kind", [*LAYERS, "strided"])
def test_same_answer_as_merged(kind):
    algorithm, params, config, weight = update_of("lora", "conv3x3" if kind == "strided" else kind)
    layer = nn.Conv2d(24, 40, 3, stride=2, padding=1) if kind == "strided" else layer_of(kind)
    params = {name: tensor.requires_grad_(True) for name, tensor in params.items()}
    apart = algorithm.apart(params, config)
    shape = (2, 3, weight.shape[1]) if kind == "linear" else (2, weight.shape[1], 8, 8)
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    update = algorithm.delta_weight(params, weight, config)
    if kind == "linear":
        expected = nn.functional.linear(inputs, update)
    else:
        expected = nn.functional.conv2d(inputs, update, None, layer.stride, layer.padding)
    answer = apart.answer(inputs, layer)
    # float32 sums of up to 216 products in another order.
    assert (answer - expected).norm() <= 1e-5 * expected.norm()
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(4))
    wanted = torch.autograd.grad((expected * weights).sum(), list(params.values()), retain_graph=True)
    for gradient, other in zip(
        torch.autograd.grad((answer * weights).sum(), list(params.values())), wanted, strict=True
    ):
        assert (gradient - other).norm() <= 1e-4 * other.norm()


@pytest.mark.parametrize("case", ["lora tucker", "lora dora", "loha", "lokr full block", "native", "glora", "oft"])
def test_what_must_be_merged_is(case):
    algorithm, params, config, _ = update_of(case, "conv3x3")
    assert algorithm.apart is None or algorithm.apart(params, config) is None


def test_cost_is_that_of_the_layers_in_a_row():
    algorithm, params, config, _ = update_of("lora", "linear")
    apart = algorithm.apart(params, config)
    assert (apart.multiplications, apart.activations) == (4 * (24 + 40), 4 + 40 + 40)


def test_wide_layers_run_apart_and_narrow_ones_are_merged():
    for width, apart in ((64, False), (640, True)):
        model = {"unet": nn.Sequential(nn.Linear(width, width))}
        config = TrainConfig("c", "lora", "regex:.", 1e-3, dim=8)
        adapter = adapters.create(model, components.find("algorithms", "lora"), config, seed=1)
        with adapters.run_apart(model, adapter) as others:
            assert (not others.modules) == apart


@pytest.mark.parametrize(("name", "values"), [("lora", {"dim": 1, "alpha": 0.5}), ("loha", {"dim": 2})])
def test_a_model_with_updates_apart_answers_as_merged(name, values, monkeypatch):
    monkeypatch.setattr(adapters, "WRITE", 0)  # these layers are so narrow that all would be merged
    base = tiny()
    adapter = trained(base, name, "full", **values)
    inputs = (torch.randn(2, 4, 8, 8), torch.tensor([3, 500]), torch.randn(2, 5, 16))
    with adapters.swapped(base, (adapter, 1.0)), torch.no_grad():
        expected = base["unet"](*inputs).sample
    with adapters.run_apart(base, adapter) as others:
        weights = adapters.merged_weights(base, others)
        of_unet = {key.removeprefix("unet."): weight for key, weight in weights.items() if key.startswith("unet.")}
        answer = torch.func.functional_call(base["unet"], of_unet, inputs).sample
    assert 0 < len(others.modules) <= len(adapter.modules)
    assert (len(others.modules) < len(adapter.modules)) == (name != "loha")
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-4)
    with torch.no_grad():  # the hooks are gone
        assert not torch.allclose(base["unet"](*inputs).sample, expected)
