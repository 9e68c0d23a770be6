"""Which modules are trained, how many numbers that is, and weights that go in and come out."""

import copy
from dataclasses import replace

import pytest
import torch
from diffusers import UNet2DConditionModel
from saved_adapters import tiny, trained
from torch import nn
from torch.func import functional_call
from transformers import CLIPTextConfig, CLIPTextModel

from lorabench import adapters, components
from lorabench.errors import UserError
from lorabench.layers import canonical, recognise_layers, trained_modules
from lorabench.records import AdapterConfig

# LyCORIS table 5, counted: parameters of SD1.5's text encoder and U-Net together.
TABLE_5 = [
    ("lora", "attention", 8, None, 2_184_192),
    ("lora", "linear", 8, None, 4_718_592),
    ("lora", "full", 8, None, 9_992_512),
    ("lora", "linear", 32, None, 18_874_368),
    ("loha", "attention", 4, None, 2_184_192),
    ("loha", "linear", 4, None, 4_718_592),
    ("loha", "full", 4, None, 9_992_512),
    ("loha", "linear", 16, None, 18_874_368),
    ("lokr", "linear", None, 12, 3_257_856),
    ("lokr", "attention", None, 8, 1_914_752),
    ("lokr", "linear", None, 8, 5_515_520),
    ("lokr", "full", None, 8, 14_973_504),
    ("lokr", "linear", None, 4, 21_998_720),
    ("native", "attention", None, None, 121_885_056),
    ("native", "linear", None, None, 352_157_120),
    ("native", "full", None, None, 944_537_924),
]
ALGORITHMS = [
    ("lora", {"dim": 4, "alpha": 1.0}),
    ("loha", {"dim": 3}),
    ("lokr", {"factor": 4}),
    ("native", {}),
    ("lora", {"dim": 4, "alpha": 1.0, "conv_dim": 2, "conv_alpha": 0.5, "tucker": True}),
    ("loha", {"dim": 3, "alpha": 2.0, "dora": True}),
    ("lokr", {"factor": 4, "dim": 1, "alpha": 0.1, "decompose_both": True}),
    ("glora", {"dim": 3, "alpha": 2.0}),
    ("ia3", {}),
    ("oft", {"dim": 4}),
    ("boft", {"dim": 4}),
    ("dylora", {"dim": 4, "alpha": 1.0}),
]


def text_encoder(width: int, layers: int, heads: int) -> nn.Module:
    sizes = {"hidden_size": width, "intermediate_size": 4 * width, "projection_dim": width}
    return CLIPTextModel(
        CLIPTextConfig(vocab_size=100, num_hidden_layers=layers, num_attention_heads=heads, **sizes)
    ).requires_grad_(False)


@pytest.fixture(scope="module")
def sd15() -> dict[str, nn.Module]:
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            sample_size=64,
            block_out_channels=(320, 640, 1280, 1280),
            layers_per_block=2,
            cross_attention_dim=768,
            attention_head_dim=8,
        )
        return {"unet": unet, "text_encoder": text_encoder(768, 12, 12)}


class OlderTextEncoder(nn.Module):
    """The same modules where transformers had them before 5.6."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.text_model = model


@pytest.mark.parametrize(
    ("preset", "text", "unet", "norms"),
    [("attention", 48, 128, 0), ("linear", 72, 192, 0), ("full", 72, 282, 108)],
)
def test_presets_on_sd15(sd15, preset, text, unet, norms):
    older = {"unet": sd15["unet"], "text_encoder": OlderTextEncoder(sd15["text_encoder"])}
    for base in (sd15, older):
        names = trained_modules(base, preset)
        of_unet = [base["unet"].get_submodule(name[5:]) for name in names if name.startswith("unet.")]
        is_norm = [isinstance(module, nn.GroupNorm | nn.LayerNorm) for module in of_unet]
        assert (len(names) - len(of_unet), is_norm.count(False), is_norm.count(True)) == (text, unet, norms)
        assert recognise_layers(base, frozenset(names)) == preset
    assert len(trained_modules(sd15, preset, train_unet=False)) == text
    assert len(trained_modules(sd15, preset, train_text_encoder=False)) == unet + norms


@pytest.mark.parametrize(("name", "layers", "dim", "factor", "count"), TABLE_5)
def test_parameter_counts_of_table_5(sd15, name, layers, dim, factor, count):
    config = AdapterConfig(name, layers, dim=dim, factor=factor)
    adapter = adapters.create(sd15, components.find("algorithms", name), config, seed=1)
    assert adapters.count_parameters(adapter) == count


def test_custom_layers_match_by_expression():
    names = trained_modules(tiny(), r"regex:mid_block.*attn2\.to_[kv]$")
    block = "unet.mid_block.attentions.0.transformer_blocks.0.attn2"
    assert names == (f"{block}.to_k", f"{block}.to_v")


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ("linaer", ("'linaer'", "Did you mean 'linear'", "attention, linear, full, regex:")),
        ("regex:text_encoder.*q_porj", ("matches no module", "q_proj")),
        ("regex:(", ("is not a regular expression",)),
    ],
)
def test_layers_that_do_not_exist(layers, words):
    with pytest.raises(UserError) as error:
        trained_modules(tiny(), layers)
    assert all(word in str(error.value) for word in words)


def test_nothing_to_train():
    with pytest.raises(UserError, match="train_unet and train_text_encoder are both false"):
        trained_modules(tiny(), "linear", train_unet=False, train_text_encoder=False)


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("lora", {}, "Algorithm 'lora' needs dim"),
        ("lokr", {"dim": 4}, "Algorithm 'lokr' needs factor"),
        ("native", {"dim": 4}, "Algorithm 'native' has no dim"),
        ("loha", {"dim": 0}, "dim must be a number above zero, got 0"),
    ],
)
def test_configs_that_cannot_be(name, values, sentence):
    with pytest.raises(UserError, match=sentence):
        adapters.create(tiny(), components.find("algorithms", name), AdapterConfig(name, "linear", **values), 1)


@pytest.mark.parametrize(("name", "values"), ALGORITHMS)
def test_a_fresh_adapter_changes_nothing(name, values):
    base = tiny()
    config = AdapterConfig(name, "full", **values)
    adapter = adapters.create(base, components.find("algorithms", name), config, seed=1)
    assert all(tensor.dtype == torch.float32 and tensor.requires_grad for tensor in adapters.parameters(adapter))
    pristine = named(base)
    merged = adapters.merged_weights(base, adapter)
    assert {key for key in merged if key.endswith(".weight")} == {f"{name}.weight" for name in adapter.modules}
    assert all(torch.equal(weight, pristine[key]) for key, weight in merged.items())


def test_initial_draws_depend_on_seed_and_module_alone():
    base, lora = tiny(), components.find("algorithms", "lora")
    older = {"unet": base["unet"], "text_encoder": OlderTextEncoder(base["text_encoder"])}

    def draws(of, layers, seed):
        adapter = adapters.create(of, lora, AdapterConfig("lora", layers, dim=4), seed)
        return {canonical(name): params["lora_down.weight"] for name, params in adapter.modules.items()}

    few, many, other = draws(base, "attention", 1), draws(older, "linear", 1), draws(base, "attention", 2)
    assert all(torch.equal(tensor, many[name]) for name, tensor in few.items())
    assert not any(torch.equal(tensor, other[name]) for name, tensor in few.items())
    assert len({tensor.sum().item() for tensor in many.values()}) == len(many)  # no two modules draw the same


@pytest.mark.parametrize(("name", "values"), ALGORITHMS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_swapping_puts_merged_weights_in_and_the_same_bytes_back(name, values, dtype):
    base = {key: module.to(dtype) for key, module in tiny().items()}
    adapter = trained(base, name, **values)
    merged = adapters.merged_weights(base, adapter, scale=0.7)
    before, storage = copy.deepcopy(named(base)), {key: value.data_ptr() for key, value in named(base).items()}
    with adapters.swapped(base, (adapter, 0.7)):
        inside = named(base)
        assert {key: value.data_ptr() for key, value in inside.items()} == storage
        assert all(torch.equal(inside[key], weight.to(dtype)) for key, weight in merged.items())
        assert all(torch.equal(inside[key], value) for key, value in before.items() if key not in merged)
        assert not torch.equal(inside[next(iter(merged))], before[next(iter(merged))])
    assert all(value.equal(before[key]) for key, value in named(base).items())


def test_weights_come_back_after_an_error():
    base = tiny()
    adapter = trained(base, "lora", dim=4)
    before = copy.deepcopy(named(base))
    with pytest.raises(RuntimeError, match="generation failed"), adapters.swapped(base, (adapter, 1.0)):
        raise RuntimeError("generation failed")
    last = list(adapter.modules)[-1]
    adapter.modules[last]["lora_up.weight"] = torch.zeros(3, 4)
    with pytest.raises(ValueError, match="the weight"), adapters.swapped(base, (adapter, 1.0)):
        pass
    assert all(value.equal(before[key]) for key, value in named(base).items())


@pytest.mark.parametrize(("name", "values"), ALGORITHMS)
def test_training_and_generation_see_the_same_model(name, values):
    base = tiny()
    adapter = trained(base, name, **values)
    inputs = (torch.randn(2, 4, 8, 8), torch.tensor([3, 500]), torch.randn(2, 5, 16))
    merged = adapters.merged_weights(base, adapter, scale=0.5)
    weights = {key.removeprefix("unet."): value for key, value in merged.items() if key.startswith("unet.")}
    training = functional_call(base["unet"], weights, inputs).sample
    training.square().mean().backward()
    with adapters.swapped(base, (adapter, 0.5)), torch.no_grad():
        assert torch.equal(base["unet"](*inputs).sample, training)
    of_unet = {key: params for key, params in adapter.modules.items() if key.startswith("unet.")}
    reached = adapters.parameters(replace(adapter, modules=of_unet))
    # The key's bias adds the same number to every logit of a row, so softmax takes its gradient away; all others count.
    assert all(tensor.grad is not None and torch.isfinite(tensor.grad).all() for tensor in reached)
    assert all(tensor.grad.abs().max() > 0 for tensor in reached)


def test_copies_are_apart_from_what_is_trained():
    adapter = trained(tiny(), "lora", dim=4)
    kept = adapters.copy_to(adapter, "cpu")
    before = [tensor.clone() for tensor in adapters.parameters(kept)]
    with torch.no_grad():
        for tensor in adapters.parameters(adapter):
            tensor.add_(1)
    assert all(torch.equal(a, b) for a, b in zip(adapters.parameters(kept), before, strict=True))
    assert not any(tensor.requires_grad for tensor in adapters.parameters(kept))


def named(base: dict[str, nn.Module]) -> dict[str, torch.Tensor]:
    return {f"{key}.{name}": tensor for key, module in base.items() for name, tensor in module.named_parameters()}


def test_adapters_of_several_algorithms_are_merged_together():
    base = tiny()
    first = trained(base, "lora", "attention", dim=4, alpha=1.0)
    second, third = trained(base, "lokr", "full", factor=4), trained(base, "oft", "linear", dim=4)
    scaled = [(first, 0.5), (second, -1.0), (third, 0.3)]
    before = copy.deepcopy(named(base))
    merged = [(adapters.merged_weights(base, adapter), scale) for adapter, scale in scaled]
    with adapters.swapped(base, *scaled):
        for key, value in named(base).items():
            # Each dW is of the pristine weight, also where another adapter has changed it already.
            parts = [scale * (weights[key] - before[key]) for weights, scale in merged if key in weights]
            torch.testing.assert_close(value, before[key] + sum(parts), rtol=1e-5, atol=1e-5)
    assert all(torch.equal(value, before[key]) for key, value in named(base).items())


def test_kernels_have_a_dim_and_an_alpha_of_their_own():
    values = {"dim": 4, "alpha": 2.0, "conv_dim": 2, "conv_alpha": 0.5}
    adapter = adapters.create(tiny(), components.find("algorithms", "lora"), AdapterConfig("lora", "full", **values), 1)
    assert adapter.modules["unet.conv_in"]["lora_down.weight"].shape == (2, 4, 3, 3)
    assert adapter.modules["unet.mid_block.attentions.0.proj_in"]["lora_down.weight"].shape == (4, 16, 1, 1)
    assert adapter.alphas["unet.conv_in"] == 0.5 and "unet.mid_block.attentions.0.proj_in" not in adapter.alphas


def test_a_width_without_a_butterfly_is_named():
    config = AdapterConfig("boft", "linear", dim=2)
    base = tiny()
    base["unet"].mid_block.attentions[0].proj_in = nn.Conv2d(16, 12, 1)
    with pytest.raises(UserError, match="Cannot train unet.mid_block.attentions.0.proj_in with boft: 12 outputs"):
        adapters.create(base, components.find("algorithms", "boft"), config, 1)
