"""The same pictures from one checkpoint here and in the library that wrote it, or reads it."""

import os

os.environ["LYCORIS_KERNEL_BACKEND"] = "torch"  # read when lycoris is imported

import numpy as np
import peft
import pytest
import torch
from diffusers import StableDiffusionPipeline
from lycoris.modules import get_module, make_module
from lycoris.modules.full import FullModule
from lycoris.modules.locon import LoConModule
from lycoris.modules.loha import LohaModule
from lycoris.modules.lokr import LokrModule
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from saved_adapters import peft_models, saved, trained
from tiny_base import write_tiny_base

from lorabench import adapters, formats, layers
from lorabench.api.adapter_tools import convert
from lorabench.formats.kohya import kohya_name

PROMPTS = ["a red robot on the beach", "a [V_x] dog on the snow"]
# Merged weights, or a second layer beside the first: float32 sums in two orders, rounded to 8 bits.
LEVELS = 1
LYCORIS = {
    "lora": (LoConModule, {"lora_dim": 4, "alpha": 2}),
    "loha": (LohaModule, {"lora_dim": 3, "alpha": 1.5}),
    "lokr": (LokrModule, {"lora_dim": 10000, "factor": 4}),
    "native": (FullModule, {}),
}
OURS = {"lora": {"dim": 4, "alpha": 2.0}, "loha": {"dim": 3, "alpha": 1.5}, "lokr": {"factor": 4}, "native": {}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_base(tmp_path_factory.mktemp("base"))


def pipeline(folder):
    pipe = StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def parts(pipe):
    found = {"unet": pipe.unet, "text_encoder": pipe.text_encoder}
    for model in found.values():
        model.requires_grad_(False)
    return found


def images(pipe) -> np.ndarray:
    rngs = [torch.Generator().manual_seed(seed) for seed in range(len(PROMPTS))]
    drawn = pipe(
        PROMPTS, num_inference_steps=4, guidance_scale=3.0, height=16, width=16, generator=rngs, output_type="np"
    )
    return (drawn.images * 255).round().astype(int)


def ours(folder, path) -> np.ndarray:
    pipe = pipeline(folder)
    adapter, _ = formats.load_adapter(path, parts(pipe))
    with adapters.swapped(parts(pipe), (adapter, 1.0)):
        return images(pipe)


def assert_same(folder, first: np.ndarray, second: np.ndarray) -> None:
    plain = images(pipeline(folder))
    assert np.abs(first - second).max() <= LEVELS < 5 < np.abs(first - plain).max()


@pytest.mark.parametrize("name", LYCORIS)
def test_checkpoints_of_lycoris(folder, tmp_path, name):
    kind, arguments = LYCORIS[name]
    pipe, tensors = pipeline(folder), {}
    torch.manual_seed(1)
    for layer in layers.trained_modules(parts(pipe), "linear"):
        key = kohya_name(layer)
        module = kind(key, layers.module_of(parts(pipe), layer), **arguments)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_(0, 0.3)
        module.apply_to()
        state = module.custom_state_dict() if hasattr(module, "custom_state_dict") else module.state_dict()
        tensors |= {f"{key}.{suffix}": tensor.detach().contiguous() for suffix, tensor in state.items()}
    save_file(tensors, tmp_path / "theirs.safetensors")
    assert_same(folder, images(pipe), ours(folder, tmp_path / "theirs.safetensors"))


@pytest.mark.parametrize("name", LYCORIS)
def test_our_checkpoints_in_lycoris(folder, tmp_path, name):
    pipe = pipeline(folder)
    adapter = trained(parts(pipe), name, layers="linear", **OURS[name])
    path = saved(tmp_path, adapter)
    tensors = load_file(path)
    for layer in adapter.modules:
        kind, params = get_module(tensors, kohya_name(layer))
        make_module(kind, params, kohya_name(layer), layers.module_of(parts(pipe), layer)).apply_to()
    assert_same(folder, images(pipe), ours(folder, path))


def test_checkpoints_of_peft_and_diffusers(folder, tmp_path):
    pipe = pipeline(folder)
    wrapped = peft_models(parts(pipe))
    states = {}
    for component, model in wrapped.items():
        model.save_pretrained(tmp_path / "peft" / component)
        found = get_peft_model_state_dict(model)
        states[component] = {key.removeprefix("base_model.model."): tensor for key, tensor in found.items()}
    theirs = images(pipe)
    assert_same(folder, theirs, ours(folder, tmp_path / "peft"))
    settings = {component: model.peft_config["default"].to_dict() for component, model in wrapped.items()}
    for setting in settings.values():
        setting["target_modules"] = sorted(setting["target_modules"])
    StableDiffusionPipeline.save_lora_weights(
        tmp_path / "diffusers", states["unet"], states["text_encoder"],
        unet_lora_adapter_metadata=settings["unet"], text_encoder_lora_adapter_metadata=settings["text_encoder"],
    )  # fmt: skip
    again = pipeline(folder)
    again.load_lora_weights(tmp_path / "diffusers")
    assert_same(folder, images(again), theirs)
    assert_same(folder, images(again), ours(folder, tmp_path / "diffusers"))


@pytest.mark.parametrize("name", ["lora", "loha", "lokr"])
def test_our_checkpoints_in_peft(folder, tmp_path, name):
    pipe = pipeline(folder)
    path = saved(tmp_path, trained(parts(pipe), name, layers="linear", **OURS[name]))
    convert(path, tmp_path / "peft", "peft", str(folder), 1.0, "float32")
    for component, model in parts(pipe).items():
        peft.PeftModel.from_pretrained(model, tmp_path / "peft" / component)
    assert_same(folder, images(pipe), ours(folder, path))


@pytest.mark.parametrize("to", ["kohya", "diffusers"])
def test_our_lora_in_diffusers(folder, tmp_path, to):
    pipe = pipeline(folder)
    path = saved(tmp_path, trained(parts(pipe), "lora", layers="linear", **OURS["lora"]))
    convert(path, tmp_path / "out.safetensors", to, str(folder), 1.0, "float32")
    pipe.load_lora_weights(tmp_path, weight_name="out.safetensors")
    assert_same(folder, images(pipe), ours(folder, path))


@pytest.mark.parametrize("name", OURS)
def test_merged_folders(folder, tmp_path, name):
    path = saved(tmp_path, trained(parts(pipeline(folder)), name, layers="linear", **OURS[name]))
    convert(path, tmp_path / "merged", "merged", str(folder), 1.0, "float32")
    assert_same(folder, images(pipeline(tmp_path / "merged")), ours(folder, path))
