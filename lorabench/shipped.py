"""Where the studies and prompt templates that come with lorabench lie."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).resolve().parents[1]

STUDIES = _HERE / "configs"
PROMPTS = _HERE / "prompts"  # the paper's templates, and general ones for what it has none for
