"""What draws in the base model's place: half-precision copies that take merged weights, and compiled blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from tiny_base import write_tiny_base
from torch._dynamo.utils import counters

from lorabench import adapters, base_models, components, diffusion
from lorabench.records import AdapterConfig, Sampling
from lorabench.sampler import BLOCKS, sampler_of

SAMPLING = Sampling(steps=4, guidance=5.0, size=16, max_tokens=14)
CONFIGS = [
    AdapterConfig("lora", dim=2, alpha=2, trained_layers="linear"),
    AdapterConfig("loha", dim=2, alpha=2, trained_layers="full"),
    AdapterConfig("lokr", factor=2, trained_layers="full"),
    AdapterConfig("native", trained_layers="full"),
]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = write_tiny_base(tmp_path_factory.mktemp("base"))
    return base_models.load_base(base_models.base_of(str(folder)), torch.device("cpu"))


def some_adapter(base, config, size=0.05):
    """An adapter whose updates are not zero."""
    made = adapters.create(base.components, components.find("algorithms", config.algorithm), config, 1)
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for tensor in adapters.parameters(made):
            tensor += size * torch.randn(tensor.shape, generator=rng)
    return made


def drawn(sampler):
    with torch.no_grad():
        text, none = (diffusion.encode_prompts(sampler.base, [each] * 2, 14) for each in ("a red dog", ""))
    noise = torch.stack([diffusion.gaussian_noise(seed, (4, 8, 8)) for seed in (1, 2)])
    sampler.check(text, noise, SAMPLING)
    return sampler.sample(text, none[:1], noise, SAMPLING).astype(int)


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.algorithm)
def test_half_copies_hold_the_merged_weights_and_the_masters_stay(base, config):
    sampler = sampler_of(replace(base, dtype=torch.bfloat16))
    adapter = some_adapter(base, config)
    masters = {name: weight.clone() for name, weight in base.unet.state_dict().items()}
    before = {name: weight.clone() for name, weight in sampler.unet.state_dict().items()}
    places = {name: (weight.data_ptr(), weight.stride()) for name, weight in sampler.unet.state_dict().items()}
    with adapters.swapped(base.components, (adapter, 0.7), into=sampler.components):
        expected = {**before}
        for name, merged in adapters.merged_weights({**base.components}, adapter, 0.7).items():
            part, _, path = name.partition(".")
            if part == "unet":
                expected[path] = merged.half()
        held = sampler.unet.state_dict()
        assert sum(not torch.equal(held[name], before[name]) for name in held) > 10
        assert all(torch.equal(held[name], expected[name]) for name in held)
        assert all((held[name].data_ptr(), held[name].stride()) == places[name] for name in held)
        assert all(torch.equal(weight, masters[name]) for name, weight in base.unet.state_dict().items())
        half = drawn(sampler)
    assert all(torch.equal(weight, before[name]) for name, weight in sampler.unet.state_dict().items())
    with adapters.swapped(base.components, (adapter, 0.7)):
        exact = drawn(sampler_of(base))
    # Levels of 255 after four steps of a float16 U-Net (11 bits); without the adapter they are many away.
    assert np.abs(half - exact).mean() < 0.5 < np.abs(drawn(sampler) - exact).mean()


def test_compiled_blocks_see_every_adapter_and_are_compiled_once(base):
    compiling = sampler_of(base, compiled=True)
    for block in compiling.unet.modules():
        if isinstance(block, BLOCKS):
            block.compile(dynamic=False, backend="aot_eager")  # traced and guarded as ever, without the C++ compiler
    drawn(compiling)
    graphs = counters["stats"]["unique_graphs"]
    assert graphs > 4
    for config in CONFIGS:
        adapter = some_adapter(base, config)
        with adapters.swapped(base.components, (adapter, 1.0), into=compiling.components):
            fast = drawn(compiling)
        with adapters.swapped(base.components, (adapter, 1.0)):
            exact = drawn(sampler_of(base))
        assert np.abs(fast - exact).max() <= 1 < np.abs(drawn(compiling) - exact).max()
    assert counters["stats"]["unique_graphs"] == graphs


def test_compiled_code_draws_the_same(base, monkeypatch):
    monkeypatch.setattr("lorabench.sampler.BLOCKS", (BasicTransformerBlock,))  # all of them take a minute
    assert np.abs(drawn(sampler_of(base, compiled=True)) - drawn(sampler_of(base))).max() <= 1


def test_a_compiled_unet_that_answers_otherwise_is_found_out(base):
    sampler = sampler_of(base, compiled=True)
    block = next(module for module in sampler.unet.modules() if isinstance(module, ResnetBlock2D))

    def wrong(graph, _):
        return lambda *inputs: tuple(1.01 * answer for answer in graph(*inputs))

    block.compile(backend=wrong)
    with pytest.raises(RuntimeError, match="the compiled U-Net is .* away from the same U-Net uncompiled"):
        drawn(sampler)
