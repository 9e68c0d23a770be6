"""Published architectures by name, as their config files state them: enough to list and count modules, no weights.

Keys are those of diffusers' UNet2DConditionModel and transformers' CLIPTextConfig; what is not named is their default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lorabench.bases import SD, SDXL, Kind

_SD1_UNET = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 768,
    "attention_head_dim": 8,
}
_SD2_UNET = _SD1_UNET | {
    "sample_size": 96,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),
    "use_linear_projection": True,
}
_SDXL_UNET = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "layers_per_block": 2,
    "cross_attention_dim": 2048,
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
_SD1_TEXT = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_SD2_TEXT = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16}

_SDXL_TEXT_2 = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 20,
    "projection_dim": 1280,
}

# The autoencoder that all of them share, but for the scale of its latents. Keys are those of AutoencoderKL.
AUTOENCODER: Mapping[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
}


@dataclass(frozen=True)
class Architecture:
    """A published base model without its weights."""

    kind: Kind
    configs: Mapping[str, Mapping[str, Any]]  # of its U-Net and each text encoder


ARCHITECTURES: Mapping[str, Architecture] = {
    "sd15": Architecture(SD, {"unet": _SD1_UNET, "text_encoder": _SD1_TEXT}),
    "sd2": Architecture(SD, {"unet": _SD2_UNET, "text_encoder": _SD2_TEXT}),
    "sdxl": Architecture(SDXL, {"unet": _SDXL_UNET, "text_encoder": _SD1_TEXT, "text_encoder_2": _SDXL_TEXT_2}),
}

# Repositories of the hub that hold one of them: its U-Net, and the side of its latents where it is another.
_REPOSITORIES = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": ("sd15", 64),
    "runwayml/stable-diffusion-v1-5": ("sd15", 64),
    "compvis/stable-diffusion-v1-4": ("sd15", 64),
    "stabilityai/stable-diffusion-2": ("sd2", 96),
    "stabilityai/stable-diffusion-2-1": ("sd2", 96),
    "stabilityai/stable-diffusion-2-base": ("sd2", 64),
    "stabilityai/stable-diffusion-2-1-base": ("sd2", 64),
    "stabilityai/stable-diffusion-xl-base-1.0": ("sdxl", 128),
}


def published_as(repository: str) -> tuple[str, int] | None:
    """Name of the architecture in a repository of the hub, and the side of its latents; None of one not known here."""
    return _REPOSITORIES.get(repository.lower())
