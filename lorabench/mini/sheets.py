"""Contact sheets: the world, the concepts, what the base draws, and what an adapter changes."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from lorabench.mini.architectures import to_model
from lorabench.mini.concepts import CONCEPTS
from lorabench.mini.measure import concept_renders
from lorabench.mini.renderer import held_out
from lorabench.mini.styles import Pixels
from lorabench.mini.train_base import sample

ENLARGED = 2
PROMPTS = (
    "a red robot on the beach",
    "a green bunny in the snow",
    "a girl in a blue dress in the city",
    "a yellow house in the forest",
    "a purple castle at night",
    "a pink bear in space",
    "a black cat in a room",
    "a white dog in the desert",
    "a man in a orange shirt wearing a hat at sunset",
    "a blue penguin holding a balloon in the meadow",
    "a woman in a red dress waving in the meadow",
    "a boy in a green shirt wearing headphones in the forest",
    "an orange car in the city",
    "a brown bear wearing a scarf in the snow",
    "a yellow robot cheering in the snow",
    "a woman in a purple dress holding an umbrella on the beach",
    "a pink bunny wearing sunglasses in the desert",
    "a white castle at sunset, in the style of watercolor painting",
    "a red cat in the meadow, in the style of pixel art",
    "a girl in a black dress at night, in the style of pencil drawing",
    "a blue house on the beach, in the style of sepia photograph",
    "a green car in the forest, in the style of woodcut print",
    "a black penguin on a plain background",
    "beach scenery, no people",
)


def write_sheets(weights: Path, folder: Path) -> list[Path]:
    """mini_world.png, mini_concepts.png, mini_autoencoder.png and mini_base.png in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    drawn = list(sample(weights / "base", list(PROMPTS), seed=1))
    sheets = {
        "mini_world": _rows(list(held_out(72, 5)[0]), 12),
        "mini_concepts": concept_rows(),
        "mini_autoencoder": autoencoder_rows(weights),
        "mini_base": _rows(drawn, 8),
    }
    return [save_sheet(rows, folder / f"{name}.png") for name, rows in sheets.items()]


def concept_rows(concepts: int = 4, decoys: int = 2) -> list[list[Pixels]]:
    """Two concepts a row: held-out renders, then decoys."""
    each = [[*concept_renders(c, concepts), *concept_renders(c, decoys, "decoy")] for c in CONCEPTS]
    return [each[k] + (each[k + 1] if k + 1 < len(each) else []) for k in range(0, len(each), 2)]


def autoencoder_rows(weights: Path, n: int = 12) -> list[list[Pixels]]:
    """Held-out renders above their reconstructions: ordinary pictures, then concepts."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(weights / "base" / "vae").float().eval()
    concepts = np.concatenate([concept_renders(c, 1) for c in CONCEPTS[:: max(1, len(CONCEPTS) // n)]])[:n]
    rows = []
    for pixels in (held_out(n, 6)[0], concepts):
        with torch.no_grad():
            found = vae.decode(vae.encode(to_model(pixels)).latent_dist.mode()).sample.clamp(-1, 1)
        rows += [list(pixels), list(((found.permute(0, 2, 3, 1).numpy() + 1) * 127.5).round().astype(np.uint8))]
    return rows


def adapter_rows(images: pd.DataFrame, config: str, concepts: Sequence[str], n: int = 4) -> list[list[Pixels]]:
    """Of the images table of a run, a row a concept: training images, the base's and the last epoch's, same noise."""
    rows = []
    for concept in concepts:
        own = images[(images["concept"] == concept) & images["thumbnail"].notna()]
        trigger = own[own["prompt_type"] == "trigger"]
        trained = trigger[trigger["config"] == config]
        last = trained[(trained["epoch"] == trained["epoch"].max()) & (trained["seed"] == trained["seed"].min())]
        parts = (own[own["prompt_type"] == "dataset"], trigger[trigger["algorithm"] == "none"], last)
        shown = [part.sort_values("index")["thumbnail"][:n] for part in parts]
        rows.append([_picture(thumbnail) for thumbnails in shown for thumbnail in thumbnails])
    return rows


def save_sheet(rows: Sequence[Sequence[Pixels]], path: Path, enlarged: int = ENLARGED) -> Path:
    """Rows of equal pictures as one PNG; shorter rows end in white."""
    height, width = (enlarged * side + 2 for side in rows[0][0].shape[:2])
    sheet = Image.new("RGB", (width * max(map(len, rows)), height * len(rows)), "white")
    for y, row in enumerate(rows):
        for x, pixels in enumerate(row):
            picture = Image.fromarray(pixels).resize((width - 2, height - 2), Image.Resampling.NEAREST)
            sheet.paste(picture, (x * width + 1, y * height + 1))
    sheet.save(path, optimize=True)
    return path


def _rows(pictures: list[Pixels], columns: int) -> list[list[Pixels]]:
    return [pictures[start : start + columns] for start in range(0, len(pictures), columns)]


def _picture(data: bytes) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
