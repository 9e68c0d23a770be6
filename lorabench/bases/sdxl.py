"""SDXL: two text encoders side by side, and a U-Net that is told the whole prompt's vector and the picture's sizes.

Podell et al., "SDXL" (2023): 2.1 the text encoders, 2.2 the sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lorabench.bases.kind import ZEROES, Kind, Texts

if TYPE_CHECKING:
    from torch import Tensor, nn


def encode(encoders: Mapping[str, nn.Module], ids: Tensor, clip_skip: int) -> Texts:
    """States of both encoders' last layer but one, without a norm; the second one's vector of the whole prompt."""
    import torch

    answers = [encoder(ids[:, place], output_hidden_states=True) for place, encoder in enumerate(encoders.values())]
    states = torch.cat([answer.hidden_states[-1 - clip_skip] for answer in answers], dim=-1)
    return Texts(states, answers[-1].text_embeds)


def conditions(texts: Texts, sizes: Tensor) -> Mapping[str, Any]:
    return {"added_cond_kwargs": {"text_embeds": texts.pooled, "time_ids": sizes}}


SDXL = Kind(
    title="SDXL",
    pipeline="StableDiffusionXLPipeline",
    parts={
        "unet": ("diffusers", "UNet2DConditionModel"),
        "vae": ("diffusers", "AutoencoderKL"),
        "text_encoder": ("transformers", "CLIPTextModel"),
        "text_encoder_2": ("transformers", "CLIPTextModelWithProjection"),
        "tokenizer": ("transformers", "CLIPTokenizer"),
        "tokenizer_2": ("transformers", "CLIPTokenizer"),
        "scheduler": ("diffusers", "DDIMScheduler"),
    },
    index={name: [None, None] for name in ("feature_extractor", "image_encoder")},
    config_source="stabilityai/stable-diffusion-xl-base-1.0",
    in_file=r"conditioner\.embedders\.1\.",
    encode=encode,
    conditions=conditions,
    options={ZEROES: True},
    upcasts=True,
)
