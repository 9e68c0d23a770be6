"""`algorithm = "peft"`: any of peft's methods on the same road, equal to peft's own merge."""

import peft as library
import pytest
import torch
from drawn_updates import LAYERS, layer_of
from saved_adapters import saved, stated, tiny, trained
from torch import nn

from lorabench import adapters, base_models, components, formats, mini
from lorabench.algorithms import peft as module
from lorabench.components import Origin
from lorabench.errors import UserError
from lorabench.records import AdapterConfig

LINEAR = {
    "LORA": {"r": 4, "lora_alpha": 2},
    "LOHA": {"r": 3, "alpha": 2},
    "LOKR": {"r": 2, "alpha": 2},
    "VERA": {"r": 4},
    "HRA": {"r": 4},
    "MISS": {"r": 4},
    "C3A": {"block_size": 8},
    "OFT": {"oft_block_size": 8, "r": 0},
    "BOFT": {"boft_block_size": 4},
    "FOURIERFT": {"n_frequency": 20},
    "RANDLORA": {"r": 4},
    "WAVEFT": {"n_frequency": 20},
}
KERNELS = {name: LINEAR[name] for name in ("LORA", "LOHA", "LOKR", "HRA", "BOFT")}
# By their names alone: peft's defaults, and what is chosen where those do not fit a layer.
NAMED = [*LINEAR, "BEFT", "GRALORA", "HIRA", "IA3", "PEANUT", "PVERA", "ROAD", "SHIRA", "UNILORA", "VBLORA", "MiSS"]
CASES = [("linear", name) for name in LINEAR] + [("conv3x3", name) for name in KERNELS]


def config_of(method: str, settings: dict | None = None) -> AdapterConfig:
    settings = LINEAR[method] if settings is None else settings
    return AdapterConfig("peft", "linear", peft={"peft_type": method, **settings})


@pytest.mark.parametrize(("kind", "method"), CASES)
def test_same_update_as_peft_merges(kind, method):
    algorithm, config = components.find("algorithms", "peft"), config_of(method)
    weight = layer_of(kind).weight.detach()
    rng = torch.Generator().manual_seed(5)
    params = algorithm.init(weight, config, rng)
    if method not in ("C3A", "FOURIERFT"):  # these two do not start at zero
        assert params and algorithm.delta_weight(params, weight, config).norm() <= 1e-5 * weight.norm()
    params = {name: tensor + 0.1 * torch.randn(tensor.shape, generator=rng) for name, tensor in params.items()}
    trained_ = {name: tensor.requires_grad_(True) for name, tensor in params.items()}
    update = algorithm.delta_weight(trained_, weight, config)
    model = nn.Sequential()
    model.add_module("layer", layer_of(kind))
    torch.manual_seed(0)
    settings = library.PEFT_TYPE_TO_CONFIG_MAPPING[method](target_modules=["layer"], **LINEAR[method])
    model = library.get_peft_model(model, settings).base_model.model
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, tensor in params.items():
            own[name.removeprefix("peft.")].copy_(tensor)
        for name, buffer in model.named_buffers():  # what the method draws and does not train
            buffer.copy_(dict(skeleton(kind, config).named_buffers())[name])
        model.layer.merge()
    expected = model.layer.base_layer.weight.detach() - weight
    assert expected.norm() > 1e-3 * weight.norm()
    # float32 sums in another order, and W' - W loses the digits that W' and W share.
    assert (update - expected).norm() <= 1e-4 * expected.norm()
    (update * torch.randn(update.shape, generator=rng)).sum().backward()
    assert all(tensor.grad is not None and tensor.grad.isfinite().all() for tensor in trained_.values())


@pytest.mark.parametrize(("kind", "method"), [("linear", "IA3"), ("conv3x3", "IA3"), ("linear", "BEFT")])
def test_methods_that_move_the_bias_answer_as_peft_does(kind, method):
    settings = {"feedforward_modules": []} if method == "IA3" else {}
    algorithm, config = components.find("algorithms", "peft"), config_of(method, settings)
    model = nn.Sequential()
    model.add_module("layer", layer_of(kind))
    weight, bias = model.layer.weight.detach().clone(), model.layer.bias.detach().normal_().clone()
    rng = torch.Generator().manual_seed(5)
    params = {
        name: torch.randn(tensor.shape, generator=rng) for name, tensor in algorithm.init(weight, config, rng).items()
    }
    wrapped = library.get_peft_model(
        model, library.PEFT_TYPE_TO_CONFIG_MAPPING[method](target_modules=["layer"], **settings)
    ).base_model.model.eval()
    inputs = torch.randn(3, weight.shape[1], *(5,) * (weight.ndim - 2), generator=rng)
    with torch.no_grad():
        for name, tensor in params.items():
            wrapped.get_parameter(name.removeprefix("peft.")).copy_(tensor)
        merged = layer_of(kind)
        merged.weight.add_(algorithm.delta_weight(params, weight, config))
        merged.bias.copy_(bias + algorithm.delta_bias(params, weight, bias, config))
        torch.testing.assert_close(merged(inputs), wrapped(inputs), rtol=1e-4, atol=1e-4)


def test_methods_that_leave_the_bias_alone_say_so():
    weight, bias = torch.randn(16, 16), torch.randn(16)
    algorithm, config = components.find("algorithms", "peft"), config_of("HRA")
    assert algorithm.delta_bias(algorithm.init(weight, config, torch.Generator()), weight, bias, config) is None


@pytest.mark.parametrize("method", NAMED)
def test_a_method_named_alone_trains_matrices_and_projections_that_are_convolutions(method):
    base = base_models.architecture(str(mini.base_path()))
    config = AdapterConfig(
        "peft", r"regex:down_blocks\.1\.attentions\.0\.(proj_in|.*attn1\.to_q)$", peft={"peft_type": method}
    )
    adapter = adapters.create(base, components.find("algorithms", "peft"), config, 1)
    shapes = [base["unet"].get_submodule(name.removeprefix("unet.")).weight.ndim for name in adapter.modules]
    assert shapes == [4, 2] and adapters.count_parameters(adapter) > 0 and config.method == f"peft:{method.upper()}"


@pytest.mark.parametrize("method", ["VERA", "MISS", "C3A", "ROAD", "BEFT"])
def test_a_1x1_convolution_is_the_matrix_that_it_is(method):
    algorithm, config = components.find("algorithms", "peft"), config_of(method, {"r": 4} if method == "MISS" else {})
    weight, bias = layer_of("conv1x1").weight.detach(), torch.randn(40)
    of_kernel, of_matrix = (
        algorithm.init(each, config, torch.Generator().manual_seed(5)) for each in (weight, weight.flatten(1))
    )
    assert all(torch.equal(tensor, of_matrix[name]) for name, tensor in of_kernel.items())
    params = {name: torch.randn_like(tensor) for name, tensor in of_kernel.items()}
    update = algorithm.delta_weight(params, weight, config)
    assert update.shape == weight.shape and (update.any() or method == "BEFT")
    torch.testing.assert_close(update.flatten(1), algorithm.delta_weight(params, weight.flatten(1), config))
    moved = [algorithm.delta_bias(params, each, bias, config) for each in (weight, weight.flatten(1))]
    assert (moved[0] is None and moved[1] is None) or torch.equal(*moved)


def test_a_size_of_each_layer_s_own_is_nothing_for_peft_s_files(tmp_path):
    base = tiny()
    adapter = trained(base, "peft", r"regex:mid_block.*attn1\.to_q$", peft={"peft_type": "C3A"})
    with pytest.raises(UserError, match="one block_size for all layers"):
        formats.save_adapter(tmp_path / "peft", adapter, stated(adapter), Origin("tiny-0", 1, 1, 1), format_name="peft")
    assert formats.load_adapter(saved(tmp_path, adapter), base)[0].config == adapter.config


def skeleton(kind: str, config: AdapterConfig) -> nn.Module:
    return module._skeleton(tuple(layer_of(kind).weight.shape), module._settings(config), torch.device("cpu"))


@pytest.mark.parametrize("method", ["VERA", "HRA", "SHIRA"])
def test_saved_and_read_like_any_other(tmp_path, method):
    base = tiny()
    layers = r"regex:mid_block.*attn1\.to_[qkv]$"
    adapter = trained(base, "peft", layers, peft={"peft_type": method, "r": 2})
    found, loaded = formats.load_adapter(saved(tmp_path, adapter), base)
    assert found.config == adapter.config and loaded.algorithm == "peft"
    ours, read = adapters.merged_weights(base, adapter), adapters.merged_weights(base, found)
    assert all(torch.equal(read[key], weight) for key, weight in ours.items())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (None, "it needs a table of its settings"),
        ({"peft_type": "VEAR"}, "has no method 'VEAR'; it has BEFT"),
        ({"peft_type": "LORA", "init_lora_weights": "pissa"}, "changes the base model's weight"),
        ({"peft_type": "VERA", "rank": 8}, "Unknown setting 'rank'"),
        ({"peft_type": "VERA", "r": "8"}, "'r': input should be a valid integer, got '8'"),
        ({"peft_type": "SHADOW", "shadow_model": "somebody/repository"}, "has no method 'SHADOW'"),
        ({"peft_type": "LILY", "r": 4}, "not linear in its inputs"),
        ({"peft_type": "DELORA", "r": 4}, "matrices made from the base model's weights"),
        ({"peft_type": "OSF"}, "matrices made from the base model's weights"),
        ({"peft_type": "DEFT"}, "starts from the base model's weights"),
        ({"peft_type": "GLORA"}, "trains more where a layer has a bias"),
        ({"peft_type": "POLY"}, "cannot be asked about a layer alone"),
    ],
)
def test_settings_that_cannot_be(settings, words):
    config = AdapterConfig("peft", "attention", peft=settings)
    with pytest.raises(UserError, match=words):
        adapters.create(tiny(), components.find("algorithms", "peft"), config, 1)


def test_rotations_of_a_kernel_s_patches_are_refused():
    config = AdapterConfig("peft", r"regex:unet\.conv_in$", peft={"peft_type": "OFT", "oft_block_size": 4, "r": 0})
    with pytest.raises(UserError, match="no update of its weight"):
        adapters.create(tiny(), components.find("algorithms", "peft"), config, 1)


def test_layers_are_those_of_the_other_tests():
    assert {kind for kind, _ in CASES} <= LAYERS.keys()
