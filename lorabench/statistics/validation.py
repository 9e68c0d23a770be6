"""Held-out losses by checkpoint, and weights that are unlike those of the others."""

from __future__ import annotations

import numpy as np
import pandas as pd

WHOLE = "all"  # the block that stands for all, as `stages.weight_health` has it
BANDS = 5  # `stages.validate`
HELD_OUT_LOSS, TRAINING_LOSS, LOSS_GAP = "held_out_loss", "training_loss", "loss_gap"
BAND = "held_out_loss|{}-{} % of the timesteps"
BY_CHECKPOINT = (
    *(HELD_OUT_LOSS, TRAINING_LOSS, LOSS_GAP),
    *(BAND.format(100 * band // BANDS, 100 * (band + 1) // BANDS) for band in range(BANDS)),
)
HEALTH_MEASURES = ("spectral_norm", "stable_rank", "first_direction", "relative_norm")
_KEPT = ["checkpoint", "config", "seed", "epoch", "step", "scale"]


def loss_means(validation: pd.DataFrame) -> pd.DataFrame:
    """A row a checkpoint: its mean loss over all draws of held-out and of training pictures, the difference, and the
    held-out loss by band of timesteps (least noise first). NaN where nothing is held out.

    Checkpoints have the same draws, so that differences between them are of the checkpoints alone.
    """
    if validation.empty:
        return pd.DataFrame(columns=[*_KEPT, *BY_CHECKPOINT])
    told = validation[_KEPT].drop_duplicates("checkpoint")
    return told.merge(losses_by(validation, ["checkpoint"]), left_on="checkpoint", right_index=True)


def losses_by(validation: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """The columns of `loss_means`, indexed by `keys`."""
    rows = validation.assign(weighted=validation["loss"] * validation["draws"])
    sides = _means(rows, keys, "pictures")
    found = pd.DataFrame(index=sides.index)
    found[HELD_OUT_LOSS] = sides.get("held_out", np.nan)
    found[TRAINING_LOSS] = sides.get("training", np.nan)
    found[LOSS_GAP] = found[HELD_OUT_LOSS] - found[TRAINING_LOSS]
    bands = _means(rows[rows["pictures"] == "held_out"], keys, "band").reindex(found.index)
    for band, name in enumerate(BY_CHECKPOINT[3:]):
        found[name] = bands.get(band, np.nan)
    return found


def _means(rows: pd.DataFrame, keys: list[str], by: str) -> pd.DataFrame:
    """A row for each of `keys`, a column for each of `by`."""
    sums = rows.groupby([*keys, by], sort=False)[["weighted", "draws"]].sum()
    return (sums["weighted"] / sums["draws"]).unstack()


def health_of_weights(health: pd.DataFrame) -> pd.DataFrame:
    """A row a checkpoint (the index), a column for each measure of its weights, all blocks together."""
    found = health[health["block"] == WHOLE].set_index("checkpoint")[list(HEALTH_MEASURES)]
    return found.astype("float64")  # the base model has none, so that joined tables hold objects


FAR, LEAST_FILES = 6.0, 4  # robust standard deviations from the median; files of which one can be unlike the others
_SPREAD = 0.1  # of a logarithm (base 10), at least: what varies by less than a quarter is all alike


def unlike_others(health: pd.DataFrame) -> pd.DataFrame:
    """Blocks whose update is unlike that of the other files: spectral norm, share of the first direction or relative
    norm far above their median on a logarithmic scale (Hampel's rule: median and MAD), or not a number.

    Of a block what is farthest; all blocks together where none is far by itself. Columns: checkpoint, block, measure,
    value, usual (the median); the farthest first. Empty of fewer than four files.
    """
    columns = ["checkpoint", "block", "measure", "value", "usual"]
    found = []
    for block, rows in health.groupby("block", sort=False):
        for measure in ("spectral_norm", "first_direction", "relative_norm") if len(rows) >= LEAST_FILES else ():
            values = rows.set_index("checkpoint")[measure]
            broken = values[~np.isfinite(values)] if np.isfinite(values).any() else values[:0]
            found += [(np.inf, name, block, measure, value, values.median()) for name, value in broken.items()]
            known = np.log10(values[np.isfinite(values) & (values > 0)])
            spread = max(_SPREAD, 1.4826 * (known - known.median()).abs().median())
            far = (known - known.median()) / spread
            usual = 10 ** known.median()
            found += [(far[n], n, block, measure, values[n], usual) for n in known.index[far > FAR]]
    found.sort(key=lambda row: (-row[0], row[2] == WHOLE))
    farthest = pd.DataFrame([row[1:] for row in found], columns=columns).drop_duplicates(["checkpoint", "block"])
    parts = farthest.loc[farthest["block"] != WHOLE, "checkpoint"]
    return farthest[(farthest["block"] != WHOLE) | ~farthest["checkpoint"].isin(parts)].reset_index(drop=True)
