"""A Stable Diffusion folder of the real classes, tiny and random, for tests of several layers."""

from __future__ import annotations

import json
from pathlib import Path

import torch

WORDS = ("a", "red", "green", "blue", "robot", "dog", "castle", "on", "the", "beach", "snow", "[V_x]")


def write_tiny_base(folder: Path) -> Path:
    """Write a diffusers folder: 16 x 16 pixels, 4 x 8 x 8 latents, 16 tokens; padded with the end token, as SD1.5."""
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    vocabulary = _write_tokenizer(folder / "tokenizer")
    end = vocabulary["<|endoftext|>"]
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
        AutoencoderKL(
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            mid_block_add_attention=False,
        ).save_pretrained(folder / "vae")
        text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(vocabulary), hidden_size=16, intermediate_size=32, num_hidden_layers=2,
                num_attention_heads=2, max_position_embeddings=16, projection_dim=16,
                bos_token_id=end - 1, eos_token_id=end, pad_token_id=end,
            )
        )  # fmt: skip
        # At CLIP's own scale random texts are all alike, and no test would see a text mixed up.
        torch.nn.init.normal_(text.get_input_embeddings().weight)
        text.save_pretrained(folder / "text_encoder")
    DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    ).save_pretrained(folder / "scheduler")  # fmt: skip
    parts = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "scheduler": "DDIMScheduler"}
    index = {name: ["diffusers", class_] for name, class_ in parts.items()}
    index |= {"text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"]}
    index |= {name: [None, None] for name in ("safety_checker", "feature_extractor", "image_encoder")}
    index |= {"_class_name": "StableDiffusionPipeline", "requires_safety_checker": False}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def _write_tokenizer(folder: Path) -> dict[str, int]:
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
    special = {"bos_token": "<|startoftext|>"} | dict.fromkeys(("eos_token", "pad_token", "unk_token"), "<|endoftext|>")
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 16, "do_lower_case": True, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return vocabulary
