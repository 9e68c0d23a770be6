"""Base models of the real classes, tiny and random, for tests of several layers: Stable Diffusion and SDXL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from diffusers import AutoencoderKL

WORDS = ("a", "red", "green", "blue", "robot", "dog", "castle", "on", "the", "beach", "snow", "[V_x]")


def write_tiny_base(folder: Path) -> Path:
    """Write a diffusers folder: 16 x 16 pixels, 4 x 8 x 8 latents, 16 tokens; padded with the end token, as SD1.5."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel

    end = _write_tokenizer(folder / "tokenizer")["<|endoftext|>"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=16,
            attention_head_dim=2,
            norm_num_groups=8,
        ).save_pretrained(folder / "unet")
        _autoencoder().save_pretrained(folder / "vae")
        _text_encoder(CLIPTextModel, end, hidden_size=16, num_hidden_layers=2).save_pretrained(folder / "text_encoder")
    _write_scheduler(folder / "scheduler")
    parts = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "scheduler": "DDIMScheduler"}
    index = {name: ["diffusers", class_] for name, class_ in parts.items()}
    index |= {"text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"]}
    index |= {name: [None, None] for name in ("safety_checker", "feature_extractor", "image_encoder")}
    index |= {"_class_name": "StableDiffusionPipeline", "requires_safety_checker": False}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def write_tiny_sdxl(folder: Path) -> Path:
    """The same of SDXL: two text encoders, 16 and 24 wide, the second padded with another token; U-Net of two depths.

    The second one's config names its end token as SDXL's does, by a number that is none of it.
    """
    from diffusers import UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    end = _write_tokenizer(folder / "tokenizer")["<|endoftext|>"]
    _write_tokenizer(folder / "tokenizer_2", pad="a")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        UNet2DConditionModel(
            sample_size=8, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 2), cross_attention_dim=40, attention_head_dim=(2, 4),
            use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 24,
        ).save_pretrained(folder / "unet")  # fmt: skip
        _autoencoder(scaling_factor=0.13025).save_pretrained(folder / "vae")
        first = _text_encoder(CLIPTextModel, end, hidden_size=16, num_hidden_layers=2)
        first.save_pretrained(folder / "text_encoder")
        second = _text_encoder(
            CLIPTextModelWithProjection, end, hidden_size=24, num_hidden_layers=3, projection_dim=24, hidden_act="gelu",
            eos_token_id=2,
        )  # fmt: skip
        second.save_pretrained(folder / "text_encoder_2")
    _write_scheduler(folder / "scheduler")
    index = {"unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}
    index |= {"scheduler": ["diffusers", "DDIMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"]}
    index |= {"text_encoder_2": ["transformers", "CLIPTextModelWithProjection"]}
    index |= {name: ["transformers", "CLIPTokenizer"] for name in ("tokenizer", "tokenizer_2")}
    index |= {"_class_name": "StableDiffusionXLPipeline", "force_zeros_for_empty_prompt": True}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def _autoencoder(**others: float) -> AutoencoderKL:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        mid_block_add_attention=False,
        **others,
    )


def _text_encoder(class_: type, end: int, hidden_size: int, **others: object) -> torch.nn.Module:
    from transformers import CLIPTextConfig

    settings = {"projection_dim": 16, "eos_token_id": end, **others}
    text = class_(
        CLIPTextConfig(
            vocab_size=end + 1, hidden_size=hidden_size, intermediate_size=32, num_attention_heads=2,
            max_position_embeddings=16, bos_token_id=end - 1, pad_token_id=end, **settings,
        )
    )  # fmt: skip
    # At CLIP's own scale random texts are all alike, and no test would see a text mixed up.
    torch.nn.init.normal_(text.get_input_embeddings().weight)
    return text


def _write_scheduler(folder: Path) -> None:
    from diffusers import DDIMScheduler

    DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    ).save_pretrained(folder)  # fmt: skip


def _write_tokenizer(folder: Path, pad: str = "<|endoftext|>") -> dict[str, int]:
    """One token a word: merges that build each word letter by letter."""
    folder.mkdir(parents=True)
    tokens, merges = [], []
    for word in WORDS:
        letters = [*word[:-1], f"{word[-1]}</w>"]
        tokens += [*word, *(f"{letter}</w>" for letter in word), *letters]
        left = letters[0]
        for letter in letters[1:]:
            merges.append(f"{left} {letter}")
            left += letter
            tokens.append(left)
    tokens = [*dict.fromkeys(tokens), "<|startoftext|>", "<|endoftext|>"]
    vocabulary = {token: number for number, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *dict.fromkeys(merges)]) + "\n")
    special = {"bos_token": "<|startoftext|>", "pad_token": pad}
    special |= dict.fromkeys(("eos_token", "unk_token"), "<|endoftext|>")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 16, "do_lower_case": True, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return vocabulary
