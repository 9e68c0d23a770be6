"""Weight updates against their formulas, the authors' library (lycoris) and peft."""

import os

os.environ["LYCORIS_KERNEL_BACKEND"] = "torch"  # read when lycoris is imported

import numpy as np
import pytest
import torch
from drawn_updates import CASES, LAYERS, layer_of, update_of
from lycoris.functional.general import factorization
from lycoris.modules.full import FullModule
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from peft.tuners.lora import LoraConfig
from peft.tuners.lora.layer import Conv2d as PeftConv2d
from peft.tuners.lora.layer import Linear as PeftLinear
from torch import nn

from lorabench import components
from lorabench.algorithms._factors import factorise
from lorabench.records import AdapterConfig

ORACLES = {"lora": LoConModule, "loha": LohaModule, "lokr": LokrModule, "native": FullModule}


def by_formula(params: dict[str, np.ndarray], config: AdapterConfig, shape: tuple[int, ...]) -> np.ndarray:
    """LyCORIS eqs. 2-4 in float64 on the unrolled weight, one row of the update at a time where it is a kernel."""
    rows, columns, size = shape[0], shape[1], int(np.prod(shape[2:]))
    if "diff" in params:
        return params["diff"]
    if "lora_up.weight" in params:
        up, down = params["lora_up.weight"].reshape(rows, -1), params["lora_down.weight"].reshape(config.dim, -1)
        return (config.alpha / config.dim * up @ down).reshape(shape)
    if "hada_w1_a" in params:
        first, second = (params[f"hada_w{i}_a"] @ params[f"hada_w{i}_b"] for i in (1, 2))
        return (config.alpha / config.dim * first * second).reshape(shape)
    small, scale = params["lokr_w1"], 1.0
    large = params.get("lokr_w2")
    if large is None:
        large, scale = params["lokr_w2_a"] @ params["lokr_w2_b"], config.alpha / config.dim
    large = large.reshape(rows // small.shape[0], columns // small.shape[1], size)
    positions = [np.kron(small, large[:, :, i]) for i in range(size)]
    return scale * np.stack(positions, axis=-1).reshape(shape)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("case", CASES)
def test_update_is_zero_at_first_and_follows_its_formula(case, kind):
    algorithm, params, config, weight = update_of(case, kind, fresh=True)
    start = algorithm.delta_weight(params, weight, config)
    assert start.shape == weight.shape and not start.any()
    assert set(params) <= set(algorithm.suffixes)
    algorithm, params, config, weight = update_of(case, kind)
    update = algorithm.delta_weight(params, weight, config)
    expected = by_formula({key: value.double().numpy() for key, value in params.items()}, config, tuple(weight.shape))
    # float32 sums of at most 4 products of numbers near 1: a few 1e-7 each.
    np.testing.assert_allclose(update.numpy(), expected, rtol=1e-5, atol=1e-5)


def lycoris_module(case: str, kind: str):
    values = CASES[case]
    name = case.split()[0]
    arguments = {
        "lora_dim": values.get("dim", 10000),
        "alpha": values.get("alpha", 1),
        "factor": values.get("factor", -1),
    }
    return ORACLES[name]("x", layer_of(kind), **arguments)


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("case", [case for case in CASES if case != "native"])
def test_same_update_as_lycoris_from_the_same_factors(case, kind):
    algorithm, params, config, weight = update_of(case, kind)
    module = lycoris_module(case, kind)
    own = dict(module.named_parameters())
    assert {suffix: tensor.shape for suffix, tensor in params.items()} == {
        suffix: own[suffix].shape for suffix in params
    }, "the files of one cannot be read by the other"
    with torch.no_grad():
        for suffix, tensor in params.items():
            own[suffix].copy_(tensor)
        # Not get_diff_weight, which applies alpha / dim twice for LoHa and low-rank LoKr.
        weight_of = module.make_weight() if case == "lora" else module.get_weight(module.shape)
    expected = weight_of * (module.scale if case == "lora" else 1)
    update = algorithm.delta_weight(params, weight, config)
    # The same float32 products in another order.
    torch.testing.assert_close(update, expected.reshape(weight.shape), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", [case for case in CASES if case != "native"])
def test_initial_params_are_distributed_as_lycoris_has_them(case):
    algorithm = components.find("algorithms", case.split()[0])
    config = AdapterConfig(algorithm.name, "linear", **CASES[case])
    layer = nn.Conv2d(128, 256, 3)
    values = CASES[case]
    arguments = {"lora_dim": values.get("dim", 10000), "factor": values.get("factor", -1)}
    ours, theirs = [], []
    for seed in range(20):
        ours.append(algorithm.init(layer.weight.detach(), config, torch.Generator().manual_seed(seed)))
        torch.manual_seed(seed)
        theirs.append(dict(ORACLES[algorithm.name]("x", layer, **arguments).named_parameters()))
    for suffix in ours[0]:
        drawn = torch.cat([params[suffix].flatten() for params in ours])
        other = torch.cat([params[suffix].detach().flatten() for params in theirs])
        assert drawn.shape == other.shape
        # 20 draws of at least 64 numbers: the deviation is known to 1 / sqrt(2 * 1280) = 2 %; 10 % is five of these.
        torch.testing.assert_close(drawn.std(), other.std(), rtol=0.1, atol=0)
        # A uniform draw ends at sqrt(3) deviations and a normal one does not; zeros have neither.
        assert (drawn.abs().max() > 2 * drawn.std()) == (other.abs().max() > 2 * other.std())


@pytest.mark.parametrize("kind", ["linear", "conv1x1", "conv3x3"])
def test_same_lora_as_peft(kind):
    algorithm, params, config, weight = update_of("lora", kind)
    wrapper = PeftLinear if kind == "linear" else PeftConv2d
    peft_config = LoraConfig(r=config.dim, lora_alpha=config.alpha)
    module = wrapper(layer_of(kind), adapter_name="default", config=peft_config, r=config.dim, lora_alpha=config.alpha)
    with torch.no_grad():
        module.lora_A["default"].weight.copy_(params["lora_down.weight"])
        module.lora_B["default"].weight.copy_(params["lora_up.weight"])
        expected = module.get_delta_weight("default")
    torch.testing.assert_close(algorithm.delta_weight(params, weight, config), expected, rtol=1e-5, atol=1e-5)


def test_lora_of_a_kernel_is_two_convolutions_in_a_row():
    algorithm, params, config, weight = update_of("lora", "conv3x3")
    pictures = torch.randn(2, 24, 7, 7)
    inner = nn.functional.conv2d(pictures, params["lora_down.weight"], padding=1)
    expected = config.alpha / config.dim * nn.functional.conv2d(inner, params["lora_up.weight"])
    merged = nn.functional.conv2d(pictures, algorithm.delta_weight(params, weight, config), padding=1)
    # float32 sums over 216 products near 1, in two orders: some 1e-5 of values near 10.
    torch.testing.assert_close(merged, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("alpha", [None, 0.0, 4.0])
def test_without_alpha_the_scale_is_one(alpha):
    algorithm, params, config, weight = update_of("lora", "linear")
    config = AdapterConfig("lora", "linear", dim=4, alpha=alpha)
    expected = params["lora_up.weight"] @ params["lora_down.weight"]
    torch.testing.assert_close(algorithm.delta_weight(params, weight, config), expected)


@pytest.mark.parametrize(
    ("width", "factor", "blocks"),
    [(320, 12, (10, 32)), (768, 12, (12, 64)), (320, 8, (8, 40)), (127, 8, (1, 127)), (4, 8, (2, 2)), (4, 4, (2, 2))],
)
def test_blocks_of_equation_5(width, factor, blocks):
    assert factorise(width, factor) == blocks


@pytest.mark.parametrize("factor", [2, 4, 8, 12, 16])
def test_blocks_agree_with_lycoris_on_the_widths_of_sd15(factor):
    for width in (320, 640, 768, 960, 1280, 1920, 2560, 3072, 5120, 10240):
        assert factorise(width, factor) == factorization(width, factor)


def test_sizes_are_read_off_the_params():
    sizes = {
        case: components.find("algorithms", case.split()[0]).sizes_of(update_of(case, "linear")[1]) for case in CASES
    }
    assert sizes == {
        "lora": {"dim": 4},
        "loha": {"dim": 3},
        "lokr full block": {"factor": 3},  # from 24 = 3 x 8; 40 has no divisor 3
        "lokr low rank": {"factor": 2, "dim": 2},
        "native": {},
    }


@pytest.mark.parametrize("case", CASES)
def test_update_of_another_layer_is_refused(case):
    algorithm, params, config, _ = update_of(case, "linear")
    with pytest.raises(ValueError, match="the weight"):
        algorithm.delta_weight(params, torch.zeros(24, 40), config)
