"""Kinds of base models: a file each, with all that one has of its own. A new kind is a file more, and a line here."""

from __future__ import annotations

from lorabench.bases.kind import UNET, ZEROES, Kind, Texts, sizes_of
from lorabench.bases.sd import SD
from lorabench.bases.sdxl import SDXL

KINDS = (SD, SDXL)

__all__ = ["KINDS", "SD", "SDXL", "UNET", "ZEROES", "Kind", "Texts", "sizes_of"]
