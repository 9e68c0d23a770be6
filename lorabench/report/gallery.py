"""The image grids: rows are checkpoints, columns the same prompts and noise; each thumbnail is embedded once."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pandas as pd

from lorabench.report.points import Points
from lorabench.report.tables import DATASET, HELD_OUT

BUDGET = 6_500_000  # characters of base64: leaves room for plotly.js and the numbers in a page of 15 MB
_PROMPTS = ("trigger", "alter", "train", "style", "together", "drift")


@dataclass(frozen=True)
class Selection:
    """The pictures that fit into the page, and in words what was left out ("" = nothing)."""

    rows: pd.DataFrame
    left_out: str


def gallery_data(images: pd.DataFrame, points: Points, budget: int = BUDGET) -> dict[str, Any]:
    """Concepts with their columns and rows of thumbnail numbers, and the thumbnails as data URLs."""
    pictures: dict[str, int] = {}
    shown = images[images["thumbnail"].notna()] if len(images) else images
    if shown.empty:
        return {"concepts": [], "pictures": [], "seeds": [], "left_out": ""}
    shown = shown.assign(
        point=shown["checkpoint"].map(points.of_checkpoint),
        training_seed=shown["seed"],
        length=shown["thumbnail"].map(lambda picture: len(picture) * 4 // 3 + 40),
    )
    selection = select(shown, points, budget)
    concepts = [_concept_data(name, rows, pictures) for name, rows in selection.rows.groupby("concept", sort=False)]
    seeds = [str(seed) for seed in sorted(selection.rows["training_seed"].dropna().unique())]
    return {"concepts": concepts, "pictures": list(pictures), "seeds": seeds, "left_out": selection.left_out}


def select(shown: pd.DataFrame, points: Points, budget: int) -> Selection:
    """The largest selection within `budget`: first fewer columns, then one training seed, then last epochs only.

    Where even that is too much, whole concepts are left out, the first of each category last.
    """
    for rows, words in _candidates(shown, points):
        if rows["length"].sum() <= budget:
            return Selection(rows, words)
    rank = rows.drop_duplicates("concept").groupby("category").cumcount()
    order = rows.loc[rank.sort_values(kind="stable").index, "concept"]
    total = rows.groupby("concept")["length"].sum().reindex(order).cumsum()
    kept = total.index[total <= budget]
    words += f"; concepts: {len(kept)} of {len(total)} shown"
    return Selection(rows[rows["concept"].isin(kept)], words)


def _candidates(shown: pd.DataFrame, points: Points) -> Iterator[tuple[pd.DataFrame, str]]:
    place = shown.groupby(["concept", "prompt_type"])["index"].rank("dense")
    most = int(place.max())
    first_seed = shown["training_seed"].min()
    one_seed = shown["training_seed"].isna() | (shown["training_seed"] == first_seed)
    last = ~(shown["point"] >= 0) | shown["point"].isin(points.last)
    nothing = pd.Series(True, index=shown.index)
    for seeds, ages, words in (
        (nothing, nothing, ""),
        (one_seed, nothing, f"; training seeds: {first_seed} only"),
        (one_seed, last, f"; training seeds: {first_seed} only; last epochs only"),
    ):
        for width in range(most, 0, -1):
            fewer = f"pictures of each prompt type: {width} of {most}" if width < most else ""
            yield shown[seeds & ages & (place <= width)], (fewer + words).removeprefix("; ")


def _concept_data(name: str, rows: pd.DataFrame, pictures: dict[str, int]) -> dict[str, Any]:
    generated = rows[rows["checkpoint"] != DATASET]
    order = {prompt: place for place, prompt in enumerate(_PROMPTS)}
    # Pictures that were made elsewhere may be of other prompts in each checkpoint.
    generated = generated.assign(drawn=[_drawn(row) for row in generated.to_dict("records")])
    keys = generated.drop_duplicates("drawn")
    keys = keys.assign(place=keys["prompt_type"].map(order).fillna(len(order))).sort_values(["place", "index"])
    place = {key: number for number, key in enumerate(keys["drawn"])}
    grid: dict[tuple[int, str | None], list[int]] = {}
    files: dict[tuple[int, str | None], list[str]] = {}  # where the whole pictures lie, from the page
    for row in generated.to_dict("records"):
        if pd.isna(row["point"]):
            continue
        seed = _digits(row["training_seed"])
        cells = grid.setdefault((int(row["point"]), seed), [-1] * len(place))
        cells[place[row["drawn"]]] = _number(row["thumbnail"], pictures)
        if isinstance(row.get("file"), str):
            own = files.setdefault((int(row["point"]), seed), [""] * len(place))
            own[place[row["drawn"]]] = quote(row["file"])
    real = rows[rows["checkpoint"] == DATASET]
    held_out = real["prompt_type"] == HELD_OUT
    return {
        "name": name,
        "category": rows["category"].iloc[0],
        "columns": [_column_data(row) for row in keys.to_dict("records")],
        "floors": {
            str(p): {"cells": cells, "files": files.get((p, seed))} for (p, seed), cells in grid.items() if p < 0
        },
        "rows": [
            {"point": p, "seed": seed, "cells": cells, "files": files.get((p, seed))}
            for (p, seed), cells in grid.items()
            if p >= 0
        ],
        "dataset": _real_data(real[~held_out], pictures),
        "held_out": _real_data(real[held_out], pictures),
    }


def _real_data(rows: pd.DataFrame, pictures: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {"picture": _number(row["thumbnail"], pictures), "caption": row["prompt"]} for row in rows.to_dict("records")
    ]


def _drawn(row: dict[str, Any]) -> tuple[str, int, str, str | None]:
    """What a picture was drawn from: a column."""
    return row["prompt_type"], row["index"], row["prompt"], _digits(row.get("noise_seed"))


def _column_data(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": row["prompt_type"],
        "index": int(row["index"]),
        "prompt": row["prompt"],
        "noise": _digits(row.get("noise_seed")),
    }


def _digits(seed: int | None) -> str | None:
    """A seed as text: of its 63 bits a number of JavaScript keeps 53."""
    return None if pd.isna(seed) else str(seed)


def _number(picture: bytes, pictures: dict[str, int]) -> int:
    """The number of a picture; equal pictures share one."""
    kind = "png" if picture[:4] == b"\x89PNG" else "webp" if picture[8:12] == b"WEBP" else "jpeg"
    url = f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
    return pictures.setdefault(url, len(pictures))
