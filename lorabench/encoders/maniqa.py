"""Image quality by MANIQA."""

from __future__ import annotations

from pathlib import Path

import torch

from lorabench import components
from lorabench.encoders._iqa import QualityEncoder, quality_encoder


@components.encoder(resize_modes=QualityEncoder.resize_modes)
def maniqa(weights: Path | None, device: torch.device) -> QualityEncoder:
    """MANIQA's score of a picture at its own size, by pyiqa (LyCORIS H.2); optional: `pip install pyiqa`."""
    return quality_encoder("maniqa", weights, device)
