"""Updates as layers of their own: the same answers and gradients as merged, wherever they are run."""

import pytest
import torch
from drawn_updates import LAYERS, layer_of, update_of
from saved_adapters import tiny, trained
from torch import nn

from lorabench import adapters, components
from lorabench.records import AdapterConfig


@pytest.mark.parametrize("kind", [*LAYERS, "strided"])
@pytest.mark.parametrize("case", ["lora", "lokr full block", "lokr low rank", "lokr tucker"])
def test_same_answer_as_merged(case, kind):
    algorithm, params, config, weight = update_of(case, "conv3x3" if kind == "strided" else kind)
    layer = nn.Conv2d(24, 40, 3, stride=2, padding=1) if kind == "strided" else layer_of(kind)
    params = {name: tensor.requires_grad_(True) for name, tensor in params.items()}
    apart = algorithm.apart(params, weight, config)
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


@pytest.mark.parametrize("case", ["lora tucker", "lora dora", "loha", "lokr dora", "native", "glora", "oft"])
def test_what_must_be_merged_is(case):
    algorithm, params, config, weight = update_of(case, "conv3x3")
    assert algorithm.apart is None or algorithm.apart(params, weight, config) is None


def test_cost_is_that_of_the_layers_in_a_row():
    algorithm, params, config, weight = update_of("lora", "linear")
    apart = algorithm.apart(params, weight, config)
    assert (apart.multiplications, apart.activations) == (4 * (24 + 40), 4 + 40 + 40)


@pytest.mark.parametrize(("name", "size"), [("lora", {"dim": 8}), ("lokr", {"factor": 8})])
def test_wide_layers_run_apart_and_narrow_ones_are_merged(name, size):
    for width, apart in ((64, False), (1280, True)):
        model = {"unet": nn.Sequential(nn.Linear(width, width))}
        config = AdapterConfig(name, "regex:.", **size)
        adapter = adapters.create(model, components.find("algorithms", name), config, seed=1)
        with adapters.run_apart(model, adapter, adapters.cheaper_apart(model, adapter)) as others:
            assert (not others.modules) == apart


@pytest.mark.parametrize(
    ("name", "values"), [("lora", {"dim": 1, "alpha": 0.5}), ("lokr", {"factor": 4}), ("loha", {"dim": 2})]
)
def test_a_model_with_updates_apart_answers_as_merged(name, values, monkeypatch):
    monkeypatch.setattr(adapters, "WRITE", 0)  # these layers are so narrow that all would be merged
    base = tiny()
    adapter = trained(base, name, "full", **values)
    inputs = (torch.randn(2, 4, 8, 8), torch.tensor([3, 500]), torch.randn(2, 5, 16))
    with adapters.swapped(base, (adapter, 1.0)), torch.no_grad():
        expected = base["unet"](*inputs).sample
    with adapters.run_apart(base, adapter, adapters.cheaper_apart(base, adapter)) as others:
        weights = adapters.merged_weights(base, others)
        of_unet = {key.removeprefix("unet."): weight for key, weight in weights.items() if key.startswith("unet.")}
        answer = torch.func.functional_call(base["unet"], of_unet, inputs).sample
    assert 0 < len(others.modules) <= len(adapter.modules)
    assert (len(others.modules) < len(adapter.modules)) == (name != "loha")
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-4)
    with torch.no_grad():  # the hooks are gone
        assert not torch.allclose(base["unet"](*inputs).sample, expected)


def test_loha_keeps_its_factors_for_the_backward_pass_and_no_product():
    algorithm, params, config, weight = update_of("loha", "conv3x3")
    params = {name: tensor.double().requires_grad_(True) for name, tensor in params.items()}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()) or tensor, lambda x: x):
        update = algorithm.delta_weight(params, weight, config)
    assert 0 < sum(kept) <= sum(tensor.numel() for tensor in params.values()) < update.numel()

    def of_factors(*factors: torch.Tensor) -> torch.Tensor:
        return algorithm.delta_weight(dict(zip(params, factors, strict=True)), weight, config)

    small = {name: tensor[:3] if name.endswith("a") else tensor[:, :4] for name, tensor in params.items()}
    weight = weight.flatten(1)[:3, :4]
    factors = [tensor.detach().contiguous().requires_grad_(True) for tensor in small.values()]
    assert torch.autograd.gradcheck(of_factors, factors)
