"""What the LyCORIS paper proves, held by the code: theorem 1, appendices B.2 and B.3, equation 5."""

import math

import numpy as np
import pytest
import torch
from drawn_updates import CASES, LAYERS, VARIANTS, layer_of, update_of
from torch import nn

from lorabench import base_models, components
from lorabench.algorithms._factors import factorise
from lorabench.layers import trained_modules
from lorabench.records import AdapterConfig

# How many factors an update multiplies: theorem 1's m.
FACTORS = {
    "lora": 2,
    "lora tucker": 3,
    "loha": 4,
    "loha tucker": 6,
    "lokr low rank": 3,
    "lokr tucker": 4,
    "lokr both": 4,
}


def trained(case: str, gamma: float, spread: float, optimizer: str, lr: float) -> torch.Tensor:
    """dW after five steps on a quadratic loss, in float64, at that merge ratio, from params scaled by `spread`."""
    _, params, config, weight = update_of(case, "conv3x3")
    algorithm = components.find("algorithms", case.split()[0])
    values = (CASES | VARIANTS)[case]
    config = AdapterConfig(algorithm.name, "linear", **{**values, "alpha": gamma * values["dim"]})
    # Not the initial zeros: where a gradient is 0, Adam without epsilon divides 0 by 0.
    params = {suffix: (0.5 * spread * tensor.double()).requires_grad_(True) for suffix, tensor in params.items()}
    target = torch.randn(weight.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    if optimizer == "sgd":
        steps = torch.optim.SGD(list(params.values()), lr)
    else:
        steps = torch.optim.AdamW(list(params.values()), lr, eps=0, weight_decay=0)
    for _ in range(5):
        steps.zero_grad()
        (algorithm.delta_weight(params, weight.double(), config) - target).square().mean().backward()
        steps.step()
    return algorithm.delta_weight(params, weight.double(), config).detach()


@pytest.mark.parametrize(("optimizer", "exponent"), [("sgd", 2), ("adam", 1)])
@pytest.mark.parametrize("case", FACTORS)
def test_theorem_1(case, optimizer, exponent):
    """A merge ratio gamma is an initialisation scaled by gamma^(1/m) and a learning rate scaled by gamma^(c/m).

    c = 2 for SGD, 1 for Adam with epsilon 0 and no weight decay.
    """
    gamma, m, lr = 0.3, FACTORS[case], 1e-2
    scaled = trained(case, gamma, 1.0, optimizer, lr)
    folded = trained(case, 1.0, gamma ** (1 / m), optimizer, lr * gamma ** (exponent / m))
    torch.testing.assert_close(folded, scaled, rtol=1e-9, atol=1e-12)
    unscaled_rate = trained(case, 1.0, gamma ** (1 / m), optimizer, lr)
    assert not torch.allclose(unscaled_rate, scaled, rtol=1e-4)


@pytest.mark.parametrize("kind", LAYERS)
def test_parameters_of_appendix_b2(kind):
    """p x q, unrolled: LoRA r (p + q), LoHa twice that, LoKr u_p u_q + r (v_p + v_q), Tucker r (p + q + r k^2)."""
    p, q, *kernel = layer_of(kind).weight.shape
    size = math.prod(kernel)
    (up, vp), (uq, vq) = factorise(p, 2), factorise(q, 2)
    counts = {
        "lora": 4 * (p + q * size),
        "loha": 2 * 3 * (p + q * size),
        "lokr low rank": up * uq + 2 * (vp + vq * size),
        "native": p * q * size,
        "glora": 3 * (2 * q + p + q * size),
    }
    if size > 1:
        counts |= {
            "lora tucker": 4 * (p + q) + 16 * size,
            "loha tucker": 2 * (3 * (p + q) + 9 * size),
            "lokr tucker": up * uq + 2 * (vp + vq) + 4 * size,
        }
    if 2 >= max(vp, vq) / 2:
        counts = {case: count for case, count in counts.items() if "lokr" not in case}  # the block is full there
    for case, count in counts.items():
        assert sum(tensor.numel() for tensor in update_of(case, kind)[1].values()) == count, case


def test_ranks_that_updates_can_reach():
    """LoRA r, LoHa r^2, LoKr the product of its blocks' ranks (section 3)."""
    ranks = {}
    for case in ("lora", "loha", "lokr low rank"):
        algorithm, params, config, weight = update_of(case, "linear")
        ranks[case] = torch.linalg.matrix_rank(
            algorithm.delta_weight(params, weight, config).double(), rtol=1e-5
        ).item()
    assert ranks == {"lora": 4, "loha": 9, "lokr low rank": 2 * 2}


@pytest.mark.parametrize("case", ["lokr full block", "lokr low rank"])
def test_kronecker_product_is_two_linear_maps_in_a_row(case):
    """(C (x) W) vec(X) = vec(C X W^T) in rows (appendix B.3)."""
    algorithm, params, config, weight = update_of(case, "linear")
    params = {suffix: tensor.double() for suffix, tensor in params.items()}
    small = params["lokr_w1"]
    large = params.get("lokr_w2")
    if large is None:
        large = config.alpha / config.dim * params["lokr_w2_a"] @ params["lokr_w2_b"]
    inputs = torch.randn(5, 24, dtype=torch.float64)
    blocks = inputs.reshape(5, small.shape[1], large.shape[1])
    in_a_row = (small @ blocks @ large.T).reshape(5, 40)
    torch.testing.assert_close(inputs @ algorithm.delta_weight(params, weight.double(), config).T, in_a_row)


def test_equation_5_on_every_width_of_sd15():
    """u v = width, u <= v, u at most the factor, and no larger divisor is."""
    model = base_models.architecture("sd15")
    modules = [
        model[name.split(".", 1)[0]].get_submodule(name.split(".", 1)[1]) for name in trained_modules(model, "full")
    ]
    widths = {width for module in modules if module.weight.ndim > 1 for width in module.weight.shape[:2]}
    assert {4, 320, 640, 768, 960, 1280, 1920, 2560, 3072, 5120, 10240} <= widths
    for width in widths:
        for factor in range(1, 33):
            u, v = factorise(width, factor)
            divisors = [d for d in range(1, width + 1) if width % d == 0 and d <= factor and d * d <= width]
            assert u * v == width and u == max(divisors)


@pytest.mark.parametrize("scale", [0.5, 1.0, -1.0])
@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("case", [*CASES, *VARIANTS])
def test_a_merged_layer_answers_as_base_and_update_side_by_side(case, kind, scale):
    """|merged - (base + lambda update)| is below 1e-4 of what the update contributes, at |dW| / |W| >= 1e-2."""
    algorithm, params, config, weight = update_of(case, kind)
    if case.startswith(("oft", "boft", "ia3")):  # near the identity, where such methods live
        params = {name: 0.05 * value if value.is_floating_point() else value for name, value in params.items()}
    update = algorithm.delta_weight(params, weight, config)
    if not case.startswith(("oft", "boft", "ia3")) and "dora" not in case:
        update = update * (0.02 * weight.norm() / update.norm())
    assert update.norm() >= 1e-2 * weight.norm()
    shape = (7, weight.shape[1]) if kind == "linear" else (2, weight.shape[1], 6, 6)
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    forward = nn.functional.linear if kind == "linear" else nn.functional.conv2d
    contribution = scale * forward(inputs, update)
    merged = forward(inputs, torch.add(weight, update, alpha=scale))
    assert (merged - forward(inputs, weight) - contribution).norm() < 1e-4 * contribution.norm()


def test_low_rank_blocks_are_full_from_half_of_the_width_on():
    algorithm = components.find("algorithms", "lokr")
    weight = torch.zeros(40, 24)
    for dim, low in ((9, True), (10, False)):  # the larger block is 20 x 12 at factor 2
        config = AdapterConfig("lokr", "linear", dim=dim, factor=2)
        assert ("lokr_w2_a" in algorithm.init(weight, config, torch.Generator())) == low


def test_gamma_of_a_tucker_update_is_that_of_its_rank():
    algorithm, params, config, weight = update_of("loha tucker", "conv3x3")
    doubled = algorithm.delta_weight(params, weight, AdapterConfig("loha", "full", dim=3, alpha=4.0, tucker=True))
    np.testing.assert_allclose(doubled, 2 * algorithm.delta_weight(params, weight, config), rtol=1e-6)
