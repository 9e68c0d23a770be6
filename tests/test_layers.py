"""Which modules the presets train on the published architectures, from their names and configs alone."""

from collections import Counter

import pytest
from torch import nn

from lorabench import base_models
from lorabench.layers import is_kernel, recognise_layers, trained_modules


@pytest.fixture(scope="module")
def models() -> dict[str, dict[str, nn.Module]]:
    return {name: base_models.architecture(name) for name in ("sd15", "sd2", "sdxl")}


# SDXL: 70 transformer blocks of 8 projections, 2 matrices each beside them, 11 pairs of projections around: the 722
# U-Net modules of kohya's SDXL files.
@pytest.mark.parametrize(
    ("name", "preset", "counts"),
    [
        ("sd15", "attention", {"unet": 128, "text_encoder": 48}),
        ("sd15", "linear", {"unet": 192, "text_encoder": 72}),
        ("sd15", "full", {"unet": 390, "text_encoder": 72}),
        ("sd2", "attention", {"unet": 128, "text_encoder": 92}),
        ("sd2", "linear", {"unet": 192, "text_encoder": 138}),
        ("sdxl", "attention", {"unet": 560, "text_encoder": 48, "text_encoder_2": 128}),
        ("sdxl", "full", {"unet": 1047, "text_encoder": 72, "text_encoder_2": 192}),
        ("sdxl", "linear", {"unet": 722, "text_encoder": 72, "text_encoder_2": 192}),
    ],
)
def test_presets_by_architecture(models, name, preset, counts):
    names = trained_modules(models[name], preset)
    assert Counter(module.split(".")[0] for module in names) == counts
    assert recognise_layers(models[name], frozenset(names)) == preset


@pytest.mark.parametrize(("name", "kernels"), [("sd15", 0), ("sd2", 0), ("sdxl", 0)])
def test_linear_layers_hold_no_kernel_beyond_1x1(models, name, kernels):
    modules = dict(models[name]["unet"].named_modules())
    chosen = [modules[each.removeprefix("unet.")] for each in trained_modules({"unet": models[name]["unet"]}, "linear")]
    assert sum(is_kernel(module) for module in chosen) == kernels
