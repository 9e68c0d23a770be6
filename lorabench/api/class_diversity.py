"""`lorabench diversity`: how much of a labelled folder's diversity its classes have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from lorabench import components, devices
from lorabench.api.progress import open_progress
from lorabench.datasets import images_below
from lorabench.errors import UserError, unknown
from lorabench.stages.diversity import measured_ratios


def ratios(
    folder: Path, encoder: str, weights: Path | None, resize: str | None, device: str, seed: int, quiet: bool
) -> pd.DataFrame:
    """Ratios of every class (folder of pictures) below `folder`. UserError for names that do not exist."""
    if not folder.is_dir():
        raise UserError(f"There is no folder {folder}.")
    spec = components.find("encoders", encoder, "--encoder")
    mode = resize or spec.resize_modes[0]
    if mode not in spec.resize_modes:
        raise UserError(unknown(f"resize mode of {encoder}", mode, spec.resize_modes, "--resize"))
    classes: dict[str, list[Path]] = {}
    for file in images_below(folder):
        classes.setdefault(file.parent.relative_to(folder).as_posix(), []).append(file)
    if not classes:
        raise UserError(f"There are no pictures in {folder}.")
    loaded = spec.load(weights, torch.device(devices.pick_devices(device)[0]))
    with open_progress(quiet).stage("encode", len(classes), sum(map(len, classes.values()))) as advance:
        return measured_ratios(classes, loaded, mode, seed, advance)


def summary(table: pd.DataFrame) -> list[dict[str, Any]]:
    """One row a metric: the whole, and the quartiles of the classes' ratios."""
    return [
        {"metric": metric, "data set": round(rows["whole"].iloc[0], 3), "classes": len(rows)}
        | {f"ratio, {name}": round(rows["ratio"].quantile(part), 3) for name, part in _QUARTILES.items()}
        for metric, rows in table.groupby("metric", sort=False)
    ]


_QUARTILES = {"lowest": 0.0, "quartile": 0.25, "median": 0.5, "upper quartile": 0.75, "highest": 1.0}
