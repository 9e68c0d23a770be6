"""Tucker, DoRA, GLoRA, (IA)^3, OFT, BOFT and DyLoRA against the authors' library (lycoris), peft and their formulas."""

import os

os.environ["LYCORIS_KERNEL_BACKEND"] = "torch"  # read when lycoris is imported

import numpy as np
import pytest
import torch
from drawn_updates import LAYERS, VARIANTS, layer_of, update_of
from lycoris.modules.boft import ButterflyOFTModule
from lycoris.modules.diag_oft import DiagOFTModule
from lycoris.modules.dylora import DyLoraModule
from lycoris.modules.glora import GLoRAModule
from lycoris.modules.ia3 import IA3Module
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from peft.tuners.loha import LoHaConfig
from peft.tuners.loha.layer import Conv2d as PeftLoHaConv2d
from peft.tuners.loha.layer import Linear as PeftLoHaLinear
from peft.tuners.lokr import LoKrConfig
from peft.tuners.lokr.layer import Conv2d as PeftLoKrConv2d
from peft.tuners.lokr.layer import Linear as PeftLoKrLinear
from peft.tuners.lora import LoraConfig
from peft.tuners.lora.layer import Conv2d as PeftConv2d
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import nn

from lorabench import components
from lorabench.algorithms.boft import blocks_of
from lorabench.records import AdapterConfig

ORACLES = {
    "lora": LoConModule,
    "loha": LohaModule,
    "lokr": LokrModule,
    "glora": GLoRAModule,
    "ia3": IA3Module,
    "oft": DiagOFTModule,
    "boft": ButterflyOFTModule,
}
# float32 sums in another order; Tucker's have three factors, and lycoris contracts them in another one.
TOLERANCE = {"tucker": 2e-4}


def tolerance(case: str) -> float:
    return TOLERANCE.get(case.split()[-1], 1e-5)


def lycoris_module(case: str, layer: nn.Module) -> nn.Module:
    values = VARIANTS[case]
    name = case.split()[0]
    options = {
        "lora_dim": values.get("dim", 4),
        "alpha": values.get("alpha", 1),
        "factor": values.get("factor", -1),
        "use_tucker": values.get("tucker", False),
        "weight_decompose": values.get("dora", False),
        "decompose_both": values.get("decompose_both", False),
    }
    if name in ("oft", "boft"):
        options["constraint"] = values.get("alpha", 0)
    return ORACLES[name]("x", layer, **options)


@torch.no_grad()
def lycoris_update(case: str, module: nn.Module, weight: torch.Tensor) -> torch.Tensor:
    name = case.split()[0]
    if name in ("loha", "lokr"):  # not get_diff_weight, which applies alpha / dim twice
        update = module.get_weight(module.shape).reshape(weight.shape)
    else:
        update = module.get_diff_weight()[0].reshape(weight.shape)
    return module.apply_weight_decompose(weight + update) - weight if VARIANTS[case].get("dora") else update


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("case", VARIANTS)
def test_same_update_as_lycoris_from_the_same_factors(case, kind):
    algorithm, params, config, weight = update_of(case, kind)
    module = lycoris_module(case, layer_of(kind))
    own = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    own = {suffix: tensor for suffix, tensor in own.items() if suffix not in ("alpha", "scalar", "dtype_tensor")}
    assert {suffix: tensor.shape for suffix, tensor in params.items()} == {
        suffix: tensor.shape for suffix, tensor in own.items()
    }, "the files of one cannot be read by the other"
    with torch.no_grad():
        for suffix, tensor in params.items():
            own[suffix].copy_(tensor)
    update = algorithm.delta_weight(params, weight, config)
    expected = lycoris_update(case, module, weight)
    assert update.norm() > 1e-2 * weight.norm()
    assert (update - expected).norm() <= tolerance(case) * expected.norm()


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("case", VARIANTS)
def test_update_is_zero_at_first_and_its_gradient_is_finite(case, kind):
    algorithm, params, config, weight = update_of(case, kind, fresh=True)
    trained = [tensor.requires_grad_(True) for tensor in params.values() if tensor.is_floating_point()]
    update = algorithm.delta_weight(params, weight, config)
    assert update.shape == weight.shape and not update.any()
    assert set(params) <= set(algorithm.suffixes)
    (update * torch.randn(weight.shape)).sum().backward()
    gradients = [tensor.grad for tensor in trained if tensor.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("case", ["lora tucker", "loha tucker", "lokr tucker", "lokr both", "glora"])
def test_initial_params_are_distributed_as_lycoris_has_them(case):
    algorithm = components.find("algorithms", case.split()[0])
    config = AdapterConfig(algorithm.name, "linear", **VARIANTS[case])
    layer = nn.Conv2d(128, 256, 3)
    ours, theirs = [], []
    for seed in range(40):
        ours.append(algorithm.init(layer.weight.detach(), config, torch.Generator().manual_seed(seed)))
        torch.manual_seed(seed)
        theirs.append(dict(lycoris_module(case, layer).named_parameters()))
    for suffix in ours[0]:
        drawn = torch.cat([params[suffix].flatten() for params in ours])
        other = torch.cat([params[suffix].detach().flatten() for params in theirs])
        assert drawn.shape == other.shape
        # 40 draws of at least 4 numbers: the deviation is known to 1 / sqrt(2 * 160) = 6 %; 25 % is four of these.
        torch.testing.assert_close(drawn.std(), other.std(), rtol=0.25, atol=0)


@pytest.mark.parametrize("kind", ["linear", "conv1x1", "conv3x3"])
def test_same_dora_as_peft(kind):
    algorithm, params, config, weight = update_of("lora dora", kind)
    layer, wrapper = layer_of(kind), PeftLinear if kind == "linear" else PeftConv2d
    settings = LoraConfig(r=config.dim, lora_alpha=config.alpha, use_dora=True)
    module = wrapper(layer, adapter_name="default", config=settings, r=config.dim, lora_alpha=config.alpha)
    with torch.no_grad():
        module.lora_A["default"].weight.copy_(params["lora_down.weight"])
        module.lora_B["default"].weight.copy_(params["lora_up.weight"])
        magnitude = module.lora_magnitude_vector["default"].weight
        magnitude.copy_(params["dora_scale"].reshape(magnitude.shape))
        module.merge()
    expected = layer.weight.detach() - weight
    update = algorithm.delta_weight(params, weight, config)
    assert (update - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize("kind", ["linear", "conv1x1", "conv3x3"])
@pytest.mark.parametrize("case", ["loha", "loha tucker", "lokr low rank", "lokr tucker"])
def test_same_loha_and_lokr_as_peft(case, kind):
    algorithm, params, config, weight = update_of(case, kind)
    common = {"r": config.dim, "alpha": config.alpha, "use_effective_conv2d": config.tucker}
    if algorithm.name == "loha":
        wrapper, settings = (PeftLoHaLinear if kind == "linear" else PeftLoHaConv2d), LoHaConfig(**common)
    else:
        wrapper = PeftLoKrLinear if kind == "linear" else PeftLoKrConv2d
        settings = LoKrConfig(**common, decompose_factor=config.factor)
    module = wrapper(layer_of(kind), adapter_name="default", config=settings, r=config.dim, alpha=config.alpha)
    with torch.no_grad():
        for suffix, tensor in params.items():
            getattr(module, suffix)["default"].copy_(tensor)
        expected = module.get_delta_weight("default").reshape(weight.shape)
    update = algorithm.delta_weight(params, weight, config)
    assert (update - expected).norm() <= tolerance(case) * expected.norm()


def test_tucker_follows_equation_18():
    algorithm, params, config, weight = update_of("lora tucker", "conv3x3")
    up, down = params["lora_up.weight"][:, :, 0, 0].double(), params["lora_down.weight"][:, :, 0, 0].double()
    core = params["lora_mid.weight"].double()
    expected = np.stack(
        [[config.alpha / config.dim * up @ core[:, :, i, j] @ down for j in range(3)] for i in range(3)]
    ).transpose(2, 3, 0, 1)
    np.testing.assert_allclose(algorithm.delta_weight(params, weight, config).numpy(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("case", ["oft", "oft constrained", "boft"])
def test_rotations_keep_norms_and_angles(case):
    """W' = R W has the Gram matrix of W: what makes the method orthogonal."""
    algorithm, params, config, weight = update_of(case, "linear")
    turned = (weight + algorithm.delta_weight(params, weight, config)).double()
    torch.testing.assert_close(turned.T @ turned, (weight.T @ weight).double(), rtol=1e-4, atol=1e-5)


def test_dora_keeps_what_it_is_given_as_magnitude():
    algorithm, params, config, weight = update_of("loha dora", "conv3x3")
    merged = weight + algorithm.delta_weight(params, weight, config)
    torch.testing.assert_close(merged.flatten(1).norm(dim=1), params["dora_scale"].flatten(), rtol=1e-5, atol=0)
    by_input = {**params, "dora_scale": torch.rand(1, 24, 1, 1) + 0.5}
    of_inputs = (weight + algorithm.delta_weight(by_input, weight, config)).transpose(0, 1).flatten(1)
    torch.testing.assert_close(of_inputs.norm(dim=1), by_input["dora_scale"].flatten(), rtol=1e-5, atol=0)


def test_dora_of_a_weight_of_zeros_stays_finite():
    algorithm, params, config, _ = update_of("lora dora", "linear", fresh=True)
    assert not algorithm.delta_weight({**params, "dora_scale": torch.zeros(40, 1)}, torch.zeros(40, 24), config).any()


def test_ia3_scales_inputs_where_a_file_says_so():
    algorithm, _, config, weight = update_of("ia3", "conv3x3")
    params = {"weight": torch.randn(1, 24, 1, 1), "on_input": torch.tensor(1)}
    torch.testing.assert_close(algorithm.delta_weight(params, weight, config), weight * params["weight"])


def test_dylora_trains_one_rank_of_those_that_a_step_draws():
    algorithm = components.find("algorithms", "dylora")
    config = AdapterConfig("dylora", "linear", dim=4, alpha=2.0)
    weight = layer_of("linear").weight.detach()
    params = {"lora_down.weight": torch.randn(4, 24), "lora_up.weight": torch.randn(40, 4)}
    oracle = DyLoraModule("x", layer_of("linear"), lora_dim=4, alpha=2.0, block_size=1)
    with torch.no_grad():
        for i in range(4):
            oracle.down_list[i].copy_(params["lora_down.weight"][i : i + 1])
            oracle.up_list[i].copy_(params["lora_up.weight"][:, i : i + 1])
    drawn = set()
    for seed in range(20):
        trained = {suffix: tensor.clone().requires_grad_(True) for suffix, tensor in params.items()}
        part = algorithm.for_step(trained, config, torch.Generator().manual_seed(seed))
        rank = part["lora_down.weight"].shape[0]
        drawn.add(rank)
        update = algorithm.delta_weight(part, weight, config)
        torch.testing.assert_close(update, oracle.get_diff_weight(rank=rank - 1)[0], rtol=1e-5, atol=1e-5)
        update.sum().backward()
        reached = trained["lora_down.weight"].grad.any(dim=1)
        assert reached.nonzero().flatten().tolist() == [rank - 1]
    assert drawn == {1, 2, 3, 4}


@pytest.mark.parametrize(("width", "limit", "blocks"), [(40, 10, (10, 4)), (320, 16, (10, 32)), (768, 8, (6, 128))])
def test_butterfly_blocks(width, limit, blocks):
    assert blocks_of(width, limit) == blocks


@pytest.mark.parametrize(("width", "limit", "words"), [(320, 8, "the least that does is 10"), (7, 8, "no block does")])
def test_widths_without_a_butterfly_are_refused(width, limit, words):
    with pytest.raises(ValueError, match=words):
        blocks_of(width, limit)


def test_sizes_are_read_off_the_params():
    sizes = {
        case: components.find("algorithms", case.split()[0]).sizes_of(update_of(case, "conv3x3")[1])
        for case in VARIANTS
        if "dora" not in case
    }
    assert sizes == {
        "lora tucker": {"dim": 4},
        "loha tucker": {"dim": 3},
        "lokr tucker": {"factor": 2, "dim": 2},
        "lokr both": {"factor": 3, "dim": 1},
        "glora": {"dim": 3},
        "ia3": {},
        "oft": {"dim": 5},
        "oft constrained": {"dim": 5},
        "boft": {"dim": 10},
    }


@pytest.mark.parametrize("case", VARIANTS)
def test_update_of_another_layer_is_refused(case):
    algorithm, params, config, _ = update_of(case, "linear")
    with pytest.raises((ValueError, RuntimeError)):
        algorithm.delta_weight(params, torch.zeros(24, 24), config)
