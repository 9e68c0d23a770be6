"""Diversity of sets of images, and of classes within their data set (LyCORIS D.4 and H.1)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from lorabench.statistics.similarity import mean_cosines, vendi_score

MOST = 1000  # larger sets are sub-sampled to it
MORE_THAN = 50  # classes of this size and below are left out
_MEASUREMENT = ["metric", "encoder", "resize"]


def diversities(features: np.ndarray) -> dict[str, float]:
    """Vendi score, intra-dissimilarity (1 - mean cosine) and variance (total, by 1 / n) of `features` [n, d].

    Intra-dissimilarity is the variance of the normalised rows (LyCORIS eq. 23). ValueError as of `unit_rows`.
    """
    rows = np.asarray(features, dtype=np.float64)
    return {
        "vendi": vendi_score(rows),
        "intra_dissimilarity": 1 - float(mean_cosines(rows, rows).mean()),
        "variance": float(rows.var(axis=0).sum()),
    }


def diversity_ratios(table: pd.DataFrame, whole: str = "") -> pd.DataFrame:
    """Diversity of each class over that of the data set, by metric, encoder and resize mode.

    `table` has the columns set, n_images, metric, encoder, resize and value, where a set may come in several sizes; the
    largest of at most 1000 images counts. `whole` is the set that holds all; classes are the sets below it (by "/")
    that hold no other set, of more than 50 images. Columns: class_name, n_images, metric, encoder, resize, diversity,
    whole, ratio.
    """
    sized = table[table["n_images"] <= MOST].sort_values("n_images", kind="stable")
    sized = sized.drop_duplicates(["set", *_MEASUREMENT], keep="last")
    below = sized[(sized["set"] != whole) & sized["set"].str.startswith(f"{whole}/" if whole else "")]
    holders = {name.rpartition("/")[0] for name in below["set"]}
    classes = below[~below["set"].isin(holders) & (below["n_images"] > MORE_THAN)]
    classes = classes.rename(columns={"set": "class_name", "value": "diversity"})
    wholes = sized.loc[sized["set"] == whole, [*_MEASUREMENT, "value"]].rename(columns={"value": "whole"})
    ratios = classes.merge(wholes, on=_MEASUREMENT)
    ratios["ratio"] = (ratios["diversity"] / ratios["whole"]).where(ratios["whole"] > 0)
    ratios = ratios.sort_values([*_MEASUREMENT, "class_name"], ignore_index=True)
    return ratios[["class_name", "n_images", *_MEASUREMENT, "diversity", "whole", "ratio"]]
