"""Tables of docs/questions.md, from the small files of three studies in results/reference."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from studies import REFERENCE, markdown

from lorabench.report.words import number
from lorabench.statistics.clustered import ClusteredMean, clustered_mean

WEIGHTS, MERGES, STEPS = (REFERENCE / name for name in ("mini_geralt", "mini_merge", "mini_pixel_miku"))
MEASURED = {
    "image similarity, `train`": ("image_similarity", "train"),
    "named right, `trigger`": ("identification", "trigger"),
    "text similarity, `alter`": ("text_similarity", "alter"),
    "copies, `train`": ("copy_rate", "train"),
}
PIXELS = ("psnr", "ssim")
JUDGES = ("identification", "image_similarity", "text_similarity")
NAMES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "identification": "named right",
    "image_similarity": "image similarity (DINOv2)",
    "text_similarity": "text similarity (CLIP)",
}


def weights() -> str:
    """By merge ratio and epoch, on the base model that was trained on: means over classes and seeds."""
    rows = _drawn(WEIGHTS, base_model="mini", sampling_steps=8)
    table: dict[str, dict[str, str]] = {}
    for (ratio, epoch), of in rows[~rows["algorithm"].isin(("none", "merge"))].groupby(["scale", "epoch"]):
        found = [_mean(of, *MEASURED[name]).mean for name in list(MEASURED)[:3]]
        table.setdefault(f"{ratio:g}", {})[f"epoch {epoch}"] = " / ".join(f"{value:.2f}" for value in found)
    return _indexed(table, "ratio")


def bases() -> str:
    """By merge ratio at the last epoch, on two base models: mean ± one standard error over seeds."""
    rows = _drawn(WEIGHTS, sampling_steps=8)
    rows = rows[(rows["epoch"] == rows["epoch"].max()) & (rows["algorithm"] != "merge")]
    return _table(rows.groupby(["base_model", "scale"]), ["base model", "ratio"])


def steps() -> str:
    """By sampling steps at the last epoch and ratio 1, on two base models."""
    rows = _drawn(WEIGHTS, scale=1.0)
    rows = rows[(rows["epoch"] == rows["epoch"].max()) & (rows["algorithm"] != "merge")]
    return _table(rows.groupby(["base_model", "sampling_steps"]), ["base model", "steps"])


def dilution() -> str:
    """What each merge leaves of its parents: the merge less the parent alone, with its interval over seeds."""
    table = pd.read_parquet(MERGES / "merges.parquet").query("category == 'all' and alone_scale == 1")
    columns = {
        "image similarity, `train`": ("train", "image_similarity"),
        "the same, both asked for": ("together", "image_similarity"),
        "text similarity, `alter`": ("alter", "text_similarity"),
    }
    rows = []
    for (merge, parent), of in table.groupby(["config", "parent"], sort=False):
        cells = {"merge": merge, "of": parent}
        for name, (prompts, metric) in columns.items():
            (row,) = of[(of["prompt_type"] == prompts) & (of["metric"] == metric)].to_dict("records")
            cells[name] = f"{row['alone']:.2f} → {row['mean']:.2f}: {_interval(row)}"
        rows.append(cells)
    return markdown(pd.DataFrame(rows))


def together() -> str:
    """One adapter that was trained on both, beside two merged: means over the classes of each parent."""
    rows = _drawn(MERGES, scale=1.0)
    rows = rows[rows["config"].isin(("base", "characters", "styles", "trained_together", "both"))]
    rows = rows.assign(of=np.where(rows["category"] == "styles", "styles", "characters"))
    table: dict[str, dict[str, str]] = {}
    for (config, of), part in rows.groupby(["config", "of"], sort=False):
        cells = {f"{of}, `{prompts}`": _plus_minus(_mean(part, "image_similarity", prompts)) for prompts in _ASKED}
        table.setdefault(config, {}).update(cells)
    return _indexed(table, "config")


_ASKED = ("train", "together")


def pixels() -> str:
    """Spearman's rho over steps and configs of two measurements, concept by concept and seed by seed."""
    values = _by_step()
    rows = []
    for one, other in itertools.product((*PIXELS, "image_similarity"), JUDGES):
        if one != other:
            mean, low, high = _agreement(values, one, other)
            pair = f"{NAMES[one]} and {NAMES[other]}"
            rows.append({"measurements": pair, "rho": f"{mean:+.2f}", "95 % interval": f"{low:+.2f} to {high:+.2f}"})
    return markdown(pd.DataFrame(rows))


def gains() -> str:
    """The last step of both configs less the base model, over concepts and seeds."""
    values = _by_step()
    mean = values.groupby(["metric", "class_name", "seed", "step"])["value"].mean().unstack()
    rows = []
    for metric, name in NAMES.items():
        gain = (mean[max(mean)] - mean[0]).loc[metric]
        found = clustered_mean(gain, *(gain.index.get_level_values(place) for place in (0, 1)))
        interval = f"{number(found.low)} to {number(found.high)}"
        rows.append({"measurement": name, "last step less base model": number(found.mean), "95 % interval": interval})
    return markdown(pd.DataFrame(rows))


def by_step() -> str:
    """Means over concepts and seeds by training step of the config of dimension 8, from the base model on."""
    values = _by_step()
    rows = values[values["config"].str.contains("d8") | values["config"].eq("base")]
    wide = rows.groupby(["step", "metric"])["value"].mean().unstack()[list(NAMES)].rename(columns=NAMES)
    return markdown(wide.map(number).rename_axis("step").reset_index())


# --- reading ----------------------------------------------------------------------------------------------------------


def _indexed(table: dict[str, dict[str, str]], name: str) -> str:
    return markdown(pd.DataFrame(table).T.rename_axis(name).reset_index())


def _drawn(study: Path, **where: object) -> pd.DataFrame:
    rows = pd.read_parquet(study / "scores.parquet")
    rows = rows[rows["checkpoint"] != "dataset"]
    for name, value in where.items():
        rows = rows[rows[name] == value]
    return rows.copy()


def _mean(rows: pd.DataFrame, metric: str, prompts: str) -> ClusteredMean:
    """Over classes, then seeds."""
    of = rows[(rows["metric"] == metric) & (rows["prompt_type"] == prompts)]
    by_seed = of.groupby("seed", dropna=False)["value"].mean()
    return clustered_mean(by_seed, by_seed.index.fillna(0))


def _plus_minus(found: ClusteredMean) -> str:
    return f"{found.mean:.2f} ± {found.se:.2f}" if np.isfinite(found.se) else f"{found.mean:.2f}"


def _interval(row: dict) -> str:
    return f"{row['difference']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})"


def _table(groups: Iterable[tuple[tuple, pd.DataFrame]], names: list[str]) -> str:
    rows = []
    for levels, of in groups:
        trained = of[of["algorithm"] != "none"]
        said = dict(zip(names, (f"{level:g}" if isinstance(level, float) else str(level) for level in levels)))
        rows.append(said | {name: _plus_minus(_mean(trained, *measured)) for name, measured in MEASURED.items()})
    return markdown(pd.DataFrame(rows))


def _by_step() -> pd.DataFrame:
    """A value a config, step, seed, concept and metric of trigger prompts (text similarity: of alter prompts)."""
    rows = _drawn(STEPS)
    asked = np.where(rows["metric"] == "text_similarity", "alter", "trigger")
    rows = rows[(rows["prompt_type"] == asked) & rows["value"].notna()]
    seeds = rows["seed"].dropna().unique()
    base = [rows[rows["algorithm"] == "none"].assign(seed=seed) for seed in seeds]  # where every training starts
    rows = pd.concat([rows[rows["algorithm"] != "none"], *base])
    return rows.assign(step=rows["step"].fillna(0).astype(int))


def _agreement(values: pd.DataFrame, one: str, other: str) -> tuple[float, float, float]:
    """Mean of the rhos of every concept and seed by Fisher's z, with its interval, clustered by both."""
    wide = values.pivot_table(index=["class_name", "seed", "config", "step"], columns="metric", values="value")
    rho = {
        name: spearmanr(of[one], of[other]).statistic
        for name, of in wide.groupby(["class_name", "seed"])
        if of[one].nunique() > 1 and of[other].nunique() > 1
    }
    z = np.arctanh(np.clip(list(rho.values()), -_MOST, _MOST))
    found = clustered_mean(z, *(np.array(each) for each in zip(*rho)))
    return float(np.tanh(found.mean)), float(np.tanh(found.low)), float(np.tanh(found.high))


_MOST = 0.995  # a rho of 1 over 15 points, of which z would be infinite
