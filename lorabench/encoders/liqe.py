"""Image quality by LIQE."""

from __future__ import annotations

from pathlib import Path

import torch

from lorabench import components
from lorabench.encoders._iqa import QualityEncoder, quality_encoder


@components.encoder(resize_modes=QualityEncoder.resize_modes)
def liqe(weights: Path | None, device: torch.device) -> QualityEncoder:
    """LIQE's score of a picture at its own size, by pyiqa (LyCORIS H.2); optional: `pip install pyiqa`."""
    return quality_encoder("liqe", weights, device)
