"""The models of the miniature world, freshly initialised, and how each is written in the format others load."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from lorabench.mini.tokenizer import CONTEXT_LENGTH, END, PAD, START, vocabulary, write_tokenizer

IMAGE_SIZE = 64
LATENT_SIZE = 16
LATENT_CHANNELS = 8  # SD1.5 has 4, at 64 times the pixels: with 4 here, faces are gone before the base draws them
MEAN, STD = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]

VIT = "vit_tiny_r_s16_p8_224"
VIT_ARGS: dict[str, Any] = {"img_size": 64, "patch_size": 2, "embed_dim": 128, "depth": 4, "num_heads": 4}
CONVNEXT = "convnextv2_atto"
CONVNEXT_ARGS: dict[str, Any] = {"dims": [24, 48, 96, 160], "depths": [1, 1, 2, 1], "patch_size": 2}
JUDGE_ARGS: dict[str, Any] = {"dims": [32, 64, 128, 192], "depths": [1, 1, 2, 1], "patch_size": 2}
VGG_LAYERS: list[int | str] = [16, "M", 32, "M", 64, 64, "M", 96, 96, "M", 128, "M"]
CLIP_CONFIG: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": IMAGE_SIZE, "layers": [1, 1, 1, 1], "width": 12},
    "text_cfg": {
        "context_length": CONTEXT_LENGTH,
        "vocab_size": 0,  # set by `clip_config`
        "width": 96,
        "heads": 4,
        "layers": 2,
        "hf_tokenizer_name": "tokenizer-of-this-folder",  # open_clip reads the tokenizer beside the config
        "tokenizer_kwargs": {"clean": "whitespace"},
    },
}


def to_model(pixels: np.ndarray) -> torch.Tensor:
    """uint8 [n, h, w, 3] to float32 [n, 3, h, w] in [-1, 1]."""
    return torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def autoencoder() -> nn.Module:
    """AutoencoderKL, 64 x 64 pixels <-> 8 x 16 x 16 latents, 0.65 M parameters."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=8,
        sample_size=IMAGE_SIZE,
        mid_block_add_attention=False,
    )


def unet() -> nn.Module:
    """The noise predictor on 8 x 16 x 16 latents, conditioned on 32 text vectors of 128; 5.3 M parameters."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(48, 96, 128),
        layers_per_block=1,
        cross_attention_dim=128,
        attention_head_dim=4,  # in this class: the number of heads
        norm_num_groups=8,
    )


def text_encoder() -> nn.Module:
    """CLIPTextModel of 2 layers and width 128 over the tokenizer of the world."""
    from transformers import CLIPTextConfig, CLIPTextModel

    tokens, _ = vocabulary()
    config = CLIPTextConfig(
        vocab_size=len(tokens),
        hidden_size=128,
        intermediate_size=512,
        projection_dim=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT_LENGTH,
        pad_token_id=tokens[PAD],
        bos_token_id=tokens[START],
        eos_token_id=tokens[END],
    )
    model = CLIPTextModel(config)
    # CLIP's own scale (0.02) is for 49,408 tokens and long training; short training needs words far apart at once.
    with torch.no_grad():
        model.get_input_embeddings().weight.normal_(0, 0.3)
    return model


def vit(num_classes: int = 0) -> nn.Module:
    """A vision transformer behind a convolutional stem; class token pooling."""
    import timm

    return timm.create_model(VIT, num_classes=num_classes, **VIT_ARGS)


def convnext(num_classes: int = 0) -> nn.Module:
    """A small ConvNeXt V2."""
    import timm

    return timm.create_model(CONVNEXT, num_classes=num_classes, **CONVNEXT_ARGS)


def judge(classes: dict[str, int]) -> nn.Module:
    """A ConvNeXt V2 ("encoder") with a linear head for each of `classes` (name -> how many): what a picture shows."""
    import timm

    encoder = timm.create_model(CONVNEXT, num_classes=0, **JUDGE_ARGS)
    heads = nn.ModuleDict({name: nn.Linear(JUDGE_ARGS["dims"][-1], count) for name, count in classes.items()})
    return nn.ModuleDict({"encoder": encoder, "heads": heads})


def vgg(num_classes: int = 0) -> nn.Module:
    """Torchvision's VGG with five narrow stages; with `num_classes` = 0 the head is left empty."""
    from torchvision.models.vgg import VGG, make_layers

    model = VGG(make_layers(VGG_LAYERS), num_classes=1, init_weights=True)
    model.avgpool = nn.AdaptiveAvgPool2d(1)
    width = [layer for layer in VGG_LAYERS if layer != "M"][-1]
    model.classifier = nn.Linear(width, num_classes) if num_classes else nn.Identity()
    return model


def clip_config() -> dict[str, Any]:
    """The model part of open_clip's configuration."""
    text = {**CLIP_CONFIG["text_cfg"], "vocab_size": len(vocabulary()[0])}
    return {**CLIP_CONFIG, "text_cfg": text}


def clip() -> nn.Module:
    """open_clip's CLIP: a small ModifiedResNet and a causal text transformer."""
    import open_clip

    config = clip_config()
    return open_clip.CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"])


def half(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The state in float16 (floating tensors only), contiguous, on the CPU."""
    return {
        name: (value.half() if value.is_floating_point() else value).detach().cpu().contiguous().clone()
        for name, value in state.items()
    }


def export_base(folder: Path, vae: nn.Module, unet_: nn.Module, text: nn.Module) -> None:
    """Write a folder for `StableDiffusionPipeline.from_pretrained`, weights in float16; modules stay untouched."""
    import copy

    from diffusers import DDIMScheduler

    folder.mkdir(parents=True, exist_ok=True)
    for name, module in (("vae", vae), ("unet", unet_), ("text_encoder", text)):
        copy.deepcopy(module).half().save_pretrained(folder / name)
    # transformers 5 loads in the dtype of the config, diffusers in float32: without this they would not fit.
    config = folder / "text_encoder" / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"float16"', '"float32"'), encoding="utf-8")
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    )  # fmt: skip
    scheduler.save_pretrained(folder / "scheduler")
    write_tokenizer(folder / "tokenizer")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.35.0",
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def export_timm(folder: Path, model: nn.Module, architecture: str, model_args: dict[str, Any]) -> None:
    """Write config.json and model.safetensors of a timm model; a head that `num_classes=0` lacks is dropped."""
    import timm

    wanted = timm.create_model(architecture, num_classes=0, **model_args).state_dict()
    state = {name: value for name, value in model.state_dict().items() if name in wanted}
    _write(folder, state, {"architecture": architecture, "model_args": model_args})


def export_vgg(folder: Path, model: nn.Module) -> None:
    """Write config.json and the features of a VGG."""
    state = {name: value for name, value in model.state_dict().items() if name.startswith("features.")}
    _write(folder, state, {"layers": VGG_LAYERS})


def export_clip(folder: Path, model: nn.Module) -> None:
    """Write a folder for `open_clip.create_model_from_pretrained("local-dir:<folder>")`, tokenizer included."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    preprocess = {"mean": MEAN, "std": STD, "interpolation": "bicubic", "resize_mode": "shortest"}
    config = {"model_cfg": clip_config(), "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    save_file(half(model.state_dict()), folder / "open_clip_model.safetensors")


def export_judge(folder: Path, model: nn.Module, classes: dict[str, list[str]]) -> None:
    """Write the judge with the names of its classes: attribute -> names in the order of its logits."""
    _write(folder, model.state_dict(), {"classes": classes})


def _write(folder: Path, state: dict[str, torch.Tensor], config: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    config = {**config, "image_size": IMAGE_SIZE, "mean": MEAN, "std": STD}
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    save_file(half(state), folder / "model.safetensors")


def export_random(out: Path, seed: int = 0) -> None:
    """Write every model freshly initialised, so that formats can be used before anything is trained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        export_base(out / "base", autoencoder(), unet(), text_encoder())
        export_timm(out / "dinov2", vit(), VIT, VIT_ARGS)
        export_timm(out / "convnextv2", convnext(), CONVNEXT, CONVNEXT_ARGS)
        export_vgg(out / "vgg19", vgg())
        export_clip(out / "clip", clip())
