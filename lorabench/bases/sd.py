"""Stable Diffusion 1.x and 2.x: one text encoder; the U-Net is told the prompt and nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lorabench.bases.kind import Kind, Texts

if TYPE_CHECKING:
    from torch import Tensor, nn


def encode(encoders: Mapping[str, nn.Module], ids: Tensor, clip_skip: int) -> Texts:
    """The last layer's states; of an earlier one, through the norm that the last one has, as A1111 and diffusers do."""
    encoder = encoders["text_encoder"]
    if clip_skip == 1:
        return Texts(encoder(ids[:, 0]).last_hidden_state)
    layers = encoder(ids[:, 0], output_hidden_states=True).hidden_states
    inner = getattr(encoder, "text_model", encoder)  # transformers 5.6 took it out
    return Texts(inner.final_layer_norm(layers[-clip_skip]))


def conditions(texts: Texts, sizes: Tensor) -> Mapping[str, Any]:
    return {}


SD = Kind(
    title="Stable Diffusion 1.x and 2.x",
    pipeline="StableDiffusionPipeline",
    parts={
        "unet": ("diffusers", "UNet2DConditionModel"),
        "vae": ("diffusers", "AutoencoderKL"),
        "text_encoder": ("transformers", "CLIPTextModel"),
        "tokenizer": ("transformers", "CLIPTokenizer"),
        "scheduler": ("diffusers", "DDIMScheduler"),
    },
    index={
        **{name: [None, None] for name in ("safety_checker", "feature_extractor", "image_encoder")},
        "requires_safety_checker": False,
    },
    config_source="stable-diffusion-v1-5/stable-diffusion-v1-5",
    in_file=r"cond_stage_model\.",
    encode=encode,
    conditions=conditions,
)
