"""Adapters as people have them: without alphas, of many ranks, with words; and what is named because it is none."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from saved_adapters import saved, tiny, trained

from lorabench import adapters, formats
from lorabench.api import adapter_tools
from lorabench.errors import UserError

X = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
DOWN, UP = "lora_down.weight", "lora_up.weight"
BLOCK = "down_blocks.1.attentions.0.transformer_blocks.1.attn2.to_k"


@pytest.fixture
def lora(tmp_path):
    return load_file(saved(tmp_path, trained(tiny(), "lora", dim=4, alpha=2.0)))


def loaded(folder, tensors, metadata=None, name="x"):
    file = folder / f"{name}.safetensors"
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, file, metadata=metadata)
    return formats.load_adapter(file, tiny())


@pytest.mark.parametrize("algorithm", ["lora", "loha"])
def test_without_alpha_the_scale_is_one_and_it_says_so(tmp_path, algorithm):
    base = tiny()
    with_one = trained(base, algorithm, dim=4, alpha=4.0)
    tensors = load_file(saved(tmp_path, with_one))
    bare = {key: tensor for key, tensor in tensors.items() if not key.endswith(".alpha")}
    found, file = loaded(tmp_path, bare, name="bare")
    assert found.config.alpha == 4 and "alpha = rank" in file.notes[0]
    for name in found.modules:
        expected, update = (adapters.updates(base, each, name)[0][2] for each in (with_one, found))
        torch.testing.assert_close(update, expected)


def test_ranks_that_differ_are_a_span_and_no_factor(tmp_path, lora):
    modules = sorted(key.removesuffix(f".{UP}") for key in lora if key.endswith(UP))
    for number, module in enumerate(modules):
        rank = 1 + number % 4
        lora[f"{module}.{UP}"], lora[f"{module}.{DOWN}"] = (
            lora[f"{module}.{UP}"][:, :rank],
            lora[f"{module}.{DOWN}"][:rank],
        )
    found, file = loaded(tmp_path, lora, {"ss_network_dim": "Dynamic"})
    assert found.config.dim is None
    assert adapter_tools._spans(found)["dim"] == "1-4"


def test_bundled_words_are_read_and_what_has_no_place_is_named(tmp_path, lora):
    vectors = {"<my.word>.clip_l": 16, "<my.word>.clip_g": 20, "wide.string_to_param.*": 20, "a1111.emb_params": 16}
    lora |= {f"bundle_emb.{key}": torch.randn(2, width) for key, width in vectors.items()}
    found, file = loaded(tmp_path, lora)
    assert set(found.words) == {"<my.word>", "a1111"}
    torch.testing.assert_close(found.words["<my.word>"]["text_encoder"], lora["bundle_emb.<my.word>.clip_l"])
    second, wide = formats.unused_words(file, found)
    assert "'<my.word>' the vectors for text_encoder_2" in second
    assert "'wide'" in wide and "20 wide" in wide


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        ({"emb_params": (3, 16)}, ["toy"]),  # as in A1111 the file's name is the word
        ({"<cat>": (16,)}, ["<cat>"]),
        ({"<a>": (1, 16), "<b>": (1, 16)}, ["<a>", "<b>"]),
        ({"string_to_param.*": (2, 16)}, ["toy"]),
    ],
)
def test_textual_inversion_is_an_adapter_of_words_alone(tmp_path, tensors, words):
    found, _ = loaded(tmp_path, {key: torch.randn(shape) for key, shape in tensors.items()}, name="toy")
    assert (sorted(found.words), found.modules, found.config.trained_layers) == (words, {}, "embeddings")
    with pytest.raises(UserError, match="are 20 wide and this base has a text encoder of width 16"):
        loaded(tmp_path, {"emb_params": torch.randn(2, 20)}, name="wide")


def lora_of(module: str, width: int, down: str = DOWN, up: str = UP):
    return {f"{module}.{down}": (4, width), f"{module}.{up}": (width, 4)}


NAMED = {
    "SDXL by metadata": (lora_of("lora_unet_x", 64), {"ss_base_model_version": "sdxl_base_v1-0"}, "adapter of SDXL"),
    "SDXL by its second encoder": (lora_of("lora_te2_text_model_encoder_layers_0_fc1", 1280), {}, "adapter of SDXL"),
    "SDXL by width": (lora_of(X, 2048), {}, "adapter of SDXL .*2048 wide"),
    "SDXL of diffusers": (lora_of(f"unet.{BLOCK}", 2048, "lora_A.weight", "lora_B.weight"), {}, "adapter of SDXL"),
    "SDXL LoHa": (
        {f"{X}.hada_w{i}_{side}": (4, 2048) if side == "b" else (640, 4) for i in (1, 2) for side in "ab"},
        {},
        "adapter of SDXL",
    ),
    "FLUX": (
        lora_of("transformer.single_transformer_blocks.0.attn.to_q", 64, "lora_A.weight", "lora_B.weight"),
        {},
        "adapter of a transformer .*FLUX",
    ),
    "FLUX of kohya": (lora_of("lora_unet_double_blocks_0_img_attn_qkv", 64), {}, "adapter of a transformer .*FLUX"),
    "SD3": (
        lora_of("transformer.transformer_blocks.0.attn.to_q", 64, "lora_A.weight", "lora_B.weight"),
        {},
        "adapter of a transformer",
    ),
    "Wan": (
        lora_of("diffusion_model.blocks.0.self_attn.q", 64, "lora_A.weight", "lora_B.weight"),
        {},
        "adapter of a transformer",
    ),
    "U-Net": ({"conv_in.weight": (8, 4, 3, 3), "time_embedding.linear_1.weight": (8, 4)}, {}, "U-Net .*--base"),
    "whole checkpoint": (
        {"model.diffusion_model.input_blocks.0.0.weight": (8, 4), "first_stage_model.encoder.conv_in.weight": (8, 3)},
        {},
        "a base model; give it .*--base",
    ),
    "SDXL checkpoint": ({"conditioner.embedders.0.transformer.x.weight": (8, 8)}, {}, "a whole checkpoint.*--base"),
    "FLUX itself": ({"double_blocks.0.img_attn.qkv.weight": (8, 8)}, {}, "base model, a transformer"),
    "Wan itself": ({"blocks.0.self_attn.q.weight": (8, 8)}, {}, "base model, a transformer"),
    "VAE": ({"encoder.conv_in.weight": (8, 3, 3, 3), "post_quant_conv.weight": (4, 4)}, {}, "autoencoder"),
    "text encoder": ({"text_model.encoder.layers.0.mlp.fc1.weight": (8, 8)}, {}, "text encoder.*--base"),
    "ControlNet": ({"controlnet_cond_embedding.conv_in.weight": (8, 3)}, {}, "a ControlNet"),
    "SDXL embedding": ({"clip_l": (2, 16), "clip_g": (2, 1280)}, {}, "are 16 and 1280 wide and this base has a text"),
    "peft without config": (
        lora_of("base_model.model.mid_block.attentions.0.proj_in", 8, "lora_A.weight", "lora_B.weight"),
        {},
        "adapter_config.json is missing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", NAMED)
def test_what_cannot_be_used_is_named_with_what_to_do(tmp_path, kind):
    shapes, metadata, words = NAMED[kind]
    with pytest.raises(UserError, match=words):
        loaded(tmp_path, {key: torch.randn(shape) for key, shape in shapes.items()}, metadata)


def test_a_peft_folder_of_another_model_is_named(tmp_path):
    save_file(
        {f"base_model.model.{BLOCK}.lora_{side}.weight": torch.randn(shape) for side, shape in
         (("A", (4, 2048)), ("B", (640, 4)))}, tmp_path / "adapter_model.safetensors",
    )  # fmt: skip
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 4}))
    with pytest.raises(UserError, match="adapter of SDXL"):
        formats.load_adapter(tmp_path, tiny())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"<!DOCTYPE html><html><title>Sign in</title></html>", "a web page"),
        (b"trained on my dog\n" * 100, "is text, not an adapter"),
        (b"", "is not a whole safetensors file"),
    ],
)
def test_text_under_an_adapters_name_is_named(tmp_path, content, words):
    (tmp_path / "x.safetensors").write_bytes(content)
    with pytest.raises(UserError, match=words):
        formats.read_adapter(tmp_path / "x.safetensors")


def test_the_trainers_that_write_no_ss_epoch_say_it_elsewhere(tmp_path, lora):
    metadata = {"ss_output_name": "x", "training_info": '{"step": 500, "epoch": 12}'}
    _, file = loaded(tmp_path, lora, metadata)
    assert (file.origin.epoch, file.origin.step) == (12, 500)
