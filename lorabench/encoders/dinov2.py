"""DINOv2: the main encoder for similarity, squared centroid distance and diversity."""

from __future__ import annotations

from pathlib import Path

import torch

from lorabench import components
from lorabench.encoders._pictures import PictureEncoder
from lorabench.encoders._timm import Published, outline, timm_encoder
from lorabench.encoders._weights import WEIGHTS

RESIZE_MODES = ("letterbox", "center_crop", "stretch")
PUBLISHED = Published(
    "vit_large_patch14_dinov2.lvd142m", 224, "timm/vit_large_patch14_dinov2.lvd142m", {"img_size": 224}
)


@components.encoder(
    resize_modes=RESIZE_MODES, published=(PUBLISHED.hub_id, WEIGHTS), outline=lambda: outline("dinov2", PUBLISHED)
)
def dinov2(weights: Path | None, device: torch.device) -> PictureEncoder:
    """DINOv2 ViT-L/14, class token after the last norm (1024), pictures at 224 pixels (LyCORIS D.5)."""
    return timm_encoder("dinov2", PUBLISHED, weights, device, RESIZE_MODES)
