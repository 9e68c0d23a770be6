"""How much of a data set's diversity a class of it has: folders of pictures and an encoder in, ratios out (H.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lorabench import images
from lorabench.components import Encoder
from lorabench.errors import UserError
from lorabench.statistics.diversity import MORE_THAN, MOST, diversities, diversity_ratios

BATCH = 32  # pictures in memory at once


def measured_ratios(
    classes: Mapping[str, Sequence[Path]], encoder: Encoder, resize: str, seed: int, advance: Callable[[int], None]
) -> pd.DataFrame:
    """Rows of `diversity_ratios` for classes (name -> pictures) within all pictures together.

    Of a class, and of the whole, at most 1000 pictures are looked at, drawn without replacement by `seed`; `advance` is
    told how many have been encoded. UserError if no class has more than 50 pictures.
    """
    large = {name: paths for name, paths in classes.items() if len(paths) > MORE_THAN}
    if not large:
        most = max((len(paths) for paths in classes.values()), default=0)
        raise UserError(f"No class has more than {MORE_THAN} pictures (the largest has {most}): too few for a ratio.")
    rng = np.random.default_rng(seed)
    everything = [path for paths in classes.values() for path in paths]
    chosen = {name: _sample(paths, rng) for name, paths in {**large, "": everything}.items()}
    needed = list(dict.fromkeys(path for paths in chosen.values() for path in paths))
    features = dict(zip(needed, _encoded(needed, encoder, resize, advance)))
    rows = [
        {"set": name, "n_images": len(paths), "metric": metric, "value": value}
        for name, paths in chosen.items()
        for metric, value in diversities(np.stack([features[path] for path in paths])).items()
    ]
    table = pd.DataFrame(rows).assign(encoder=encoder.name, resize=resize)
    return diversity_ratios(table)


def _sample(paths: Sequence[Path], rng: np.random.Generator) -> list[Path]:
    if len(paths) <= MOST:
        return list(paths)
    return [paths[place] for place in np.sort(rng.choice(len(paths), MOST, replace=False))]


def _encoded(paths: Sequence[Path], encoder: Encoder, resize: str, advance: Callable[[int], None]) -> list[np.ndarray]:
    features: list[np.ndarray] = []
    for start in range(0, len(paths), BATCH):
        batch = [images.read(path) for path in paths[start : start + BATCH]]
        features += list(encoder.encode_images(batch, resize))
        advance(len(batch))
    return features
