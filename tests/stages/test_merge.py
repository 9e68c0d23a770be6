"""Merging against peft's own functions, and against the sums of updates."""

from __future__ import annotations

import pytest
import torch
from peft.utils import merge_utils
from saved_adapters import tiny, trained

from lorabench import adapters, formats
from lorabench.records import Recipe
from lorabench.stages.merge import compressed, dare, interference, layer_ratios, linear, merge, ties

RATIOS = (0.5, 1.0, -0.7)


@pytest.fixture(scope="module")
def base():
    return tiny()


@pytest.fixture(scope="module")
def tensors():
    rng = torch.Generator().manual_seed(0)
    return [torch.randn(12, 20, generator=rng) for _ in RATIOS]


@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
def test_each_way_is_pefts(tensors, density):
    weights = torch.tensor(RATIOS)
    torch.testing.assert_close(
        linear(tensors, RATIOS), merge_utils.task_arithmetic(tensors, weights), rtol=0, atol=1e-6
    )
    theirs = merge_utils.ties(tensors, weights, density)
    torch.testing.assert_close(ties(tensors, RATIOS, density), theirs, rtol=0, atol=1e-6)
    if density < 1:  # peft draws nothing where all is kept
        torch.manual_seed(5)
        theirs = merge_utils.dare_linear(tensors, weights, density)
        ours = dare(tensors, RATIOS, density, torch.Generator().manual_seed(5))
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def weights_of(base, *parents):
    """The merged model's weights: those that the adapters touch, by name."""
    with adapters.swapped(base, *parents):
        names = {name for adapter, _ in parents for name in adapter.modules}
        return {
            f"{name}.{kind}": tensor.clone()
            for name in names
            for kind, tensor in base[name.split(".")[0]].get_submodule(name.split(".", 1)[1]).named_parameters()
        }


def as_one(base, parents, recipe, tmp_path):
    """Merged, written, and read again."""
    found = merge(base, parents, recipe)
    downs = {name: params["lora_down.weight"] for name, params in found.modules.items() if "lora_down.weight" in params}
    alphas = {name: float(len(down)) for name, down in downs.items()}
    adapter = formats.adapter_of(found.modules, alphas, base, tmp_path, {})
    path = tmp_path / "merged.safetensors"
    formats.save_adapter(path, adapter, formats.TrainConfig("merged", adapter.config), formats.Origin(), "float32")
    return formats.load_adapter(path, base)[0], found


KINDS = [
    ("lora", "lora"), ("lora", "loha"), ("lokr", "native"), ("glora", "oft"), ("ia3", "lora"), ("boft", "dylora"),
]  # fmt: skip
SIZES = {"lora": {"dim": 4, "alpha": 1.0}, "loha": {"dim": 3}, "lokr": {"factor": 2}, "glora": {"dim": 3}} | {
    name: {"dim": 4} for name in ("oft", "boft", "dylora")
}


@pytest.mark.parametrize("kinds", KINDS, ids="-".join)
def test_a_linear_merge_is_the_sum_whatever_the_algorithms(base, kinds, tmp_path):
    parents = [(trained(base, name, **SIZES.get(name, {})), ratio) for name, ratio in zip(kinds, RATIOS)]
    adapter, found = as_one(base, parents, Recipe(), tmp_path)
    ours, theirs = weights_of(base, (adapter, 1.0)), weights_of(base, *parents)
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-5, atol=1e-5)
    if kinds == ("lora", "lora"):  # stays low-rank
        assert adapter.algorithm.name == "lora" and adapter.config.dim == 8 and found.error == 0


@pytest.mark.parametrize("method", ["linear", "svd", "dlf"])
def test_one_to_nought_is_the_parent(base, method, tmp_path):
    one, other = trained(base, "lora", dim=4, alpha=1.0), trained(base, "loha", dim=3)
    adapter, _ = as_one(base, [(one, 1.0), (other, 0.0)], Recipe(method), tmp_path)
    ours, theirs = weights_of(base, (adapter, 1.0)), weights_of(base, (one, 1.0))
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-5, atol=1e-5)


def test_a_rank_keeps_the_largest_directions_and_says_what_it_costs(base):
    """The error is that of the truncated singular values (Eckart and Young), of factors as of whole matrices."""
    parents = [(trained(base, "lora", "linear", dim=4, alpha=1.0), 1.0), (trained(base, "lora", "full", dim=2), 0.5)]
    lost = whole = 0.0
    for rank in (3, 6):
        found = merge(base, parents, Recipe("svd", rank))
        lost = whole = 0.0
        for name, params in merge(base, parents, Recipe()).modules.items():
            if "w_norm" in params:
                continue
            update = (params["lora_up.weight"].flatten(1) @ params["lora_down.weight"].flatten(1)).double()
            ours = found.modules[name]
            left = update - (ours["lora_up.weight"].flatten(1) @ ours["lora_down.weight"].flatten(1)).double()
            lost, whole = lost + float(left.square().sum()), whole + float(update.square().sum())
            best = torch.linalg.svdvals(update)[rank:].norm()
            assert float(left.norm()) == pytest.approx(float(best), abs=1e-4 * float(update.norm()))
        assert found.error == pytest.approx((lost / whole) ** 0.5, abs=1e-4)
    assert found.error < 1e-4  # ranks 4 and 2 are 6 together
    kernel = torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(1))
    params, error, size = compressed(kernel, 6)
    rebuilt = (params["lora_up.weight"].flatten(1) @ params["lora_down.weight"].flatten(1)).view(kernel.shape)
    torch.testing.assert_close(rebuilt, kernel, rtol=1e-4, atol=1e-4)
    assert error == 0 and size == pytest.approx(float(kernel.norm()), rel=1e-5)


def test_layers_are_given_to_those_that_spend_more_of_themselves_there(base):
    one, other = trained(base, "lora", "attention", dim=4), trained(base, "lora", "linear", dim=4)
    ratios = layer_ratios(base, [(one, 0.8), (other, 0.4)])
    both = [name for name in one.modules if name in other.modules]
    for name in both:
        first, second = ratios[name, 0] / 0.8, ratios[name, 1] / 0.4
        assert first + second == pytest.approx(2)
        assert first > second  # the same norms are a larger share of the smaller adapter
    assert all(ratios[name, 1] == pytest.approx(0.4) for name in other.modules if name not in one.modules)
    twins = layer_ratios(base, [(one, 0.8), (one, 0.4)])
    assert all(ratio == pytest.approx((0.8, 0.4)[place]) for (_, place), ratio in twins.items())


def test_interference_is_that_of_the_whole_matrices(base):
    one, other = trained(base, "lora", "linear", dim=4, alpha=1.0), trained(base, "loha", "linear", dim=2)
    for row in interference(base, (one, 0.5), (other, -2.0)):
        first, second = (
            ratio * adapters.updates(base, adapter, row.module)[0][2].flatten(1)
            for adapter, ratio in ((one, 0.5), (other, -2.0))
        )
        cosine = torch.nn.functional.cosine_similarity(first.flatten(), second.flatten(), dim=0)
        assert row.cosine == pytest.approx(float(cosine), abs=1e-5)
        assert 0 <= row.overlap <= 1 + 1e-6
    (same, *_) = interference(base, (one, 1.0), (one, 0.5))
    assert same.cosine == pytest.approx(1, abs=1e-5) and same.overlap == pytest.approx(1, abs=1e-5)
    assert same.strength[0] == pytest.approx(2 * same.strength[1])


def test_what_cannot_be_merged_is_said(base):
    one = trained(base, "native")
    with pytest.raises(ValueError, match="nothing is left"):
        merge(base, [(one, 0.0)], Recipe())
    with pytest.raises(ValueError, match="none of the adapters has a rank"):
        merge(base, [(one, 1.0)], Recipe("svd"))
    shapes = {name: module.to("meta") for name, module in tiny().items()}
    dora = trained(base, "lora", "linear", dim=4, dora=True)
    with pytest.raises(ValueError, match="depends on the base"):
        merge(shapes, [(dora, 1.0)], Recipe())
