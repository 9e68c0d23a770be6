"""What ConvNeXt V2's classifier says, as the code of the paper's authors has it."""

from __future__ import annotations

from pathlib import Path

import torch

from lorabench import components
from lorabench.encoders._pictures import PictureEncoder
from lorabench.encoders._timm import outline, timm_encoder
from lorabench.encoders._weights import WEIGHTS
from lorabench.encoders.convnextv2 import PUBLISHED, RESIZE_MODES

CLASSES = 1000  # of ImageNet


@components.encoder(
    resize_modes=RESIZE_MODES,
    published=(PUBLISHED.hub_id, WEIGHTS),
    outline=lambda: outline("convnextv2_logits", PUBLISHED, CLASSES),
)
def convnextv2_logits(weights: Path | None, device: torch.device) -> PictureEncoder:
    """ConvNeXt V2 L, the 1000 logits of its classifier, as the authors' code takes them; the paper says pre-logits."""
    return timm_encoder("convnextv2_logits", PUBLISHED, weights, device, RESIZE_MODES, CLASSES)
