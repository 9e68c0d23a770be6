"""VGG-19's Gram matrices in half precision, as the code of the paper's authors computes them."""

from __future__ import annotations

from pathlib import Path

import torch

from lorabench import components
from lorabench.encoders._pictures import PictureEncoder
from lorabench.encoders._weights import WEIGHTS
from lorabench.encoders.vgg19 import HUB_ID, RESIZE_MODES, outline, vgg19_encoder


@components.encoder(stored=False, resize_modes=RESIZE_MODES, published=(HUB_ID, WEIGHTS), outline=outline)
def vgg19_half(weights: Path | None, device: torch.device) -> PictureEncoder:
    """The Gram matrices of vgg19 in float16, by autocast, as the authors' code has them."""
    return vgg19_encoder("vgg19_half", weights, device, half=True)
