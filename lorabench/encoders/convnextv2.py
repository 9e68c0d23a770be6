"""ConvNeXt V2: a convolutional second opinion, also on pictures that are not square."""

from __future__ import annotations

from pathlib import Path

import torch

from lorabench import components
from lorabench.encoders._pictures import PictureEncoder
from lorabench.encoders._timm import Published, outline, timm_encoder
from lorabench.encoders._weights import WEIGHTS

RESIZE_MODES = ("letterbox", "center_crop", "stretch", "scale")
PUBLISHED = Published("convnextv2_large.fcmae_ft_in22k_in1k_384", 384, "timm/convnextv2_large.fcmae_ft_in22k_in1k_384")


@components.encoder(
    resize_modes=RESIZE_MODES, published=(PUBLISHED.hub_id, WEIGHTS), outline=lambda: outline("convnextv2", PUBLISHED)
)
def convnextv2(weights: Path | None, device: torch.device) -> PictureEncoder:
    """ConvNeXt V2 L, pooled features before the classifier (1536), pictures at 384 pixels (LyCORIS D.5)."""
    return timm_encoder("convnextv2", PUBLISHED, weights, device, RESIZE_MODES)
