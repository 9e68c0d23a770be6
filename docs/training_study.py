"""Tables of docs/training_study.md, from the small files of one study in results/reference."""

from __future__ import annotations

import numpy as np
import pandas as pd
from studies import REFERENCE, markdown

from lorabench.api import findings
from lorabench.statistics.clustered import ClusteredMean
from lorabench.statistics.comparisons import discovery_levels, paired_mean

STUDY = REFERENCE / "mini_training"
PLAIN = "plain"
WAYS = {
    "huber": "Huber loss, threshold by SNR",
    "min_snr": "min-SNR, gamma 5",
    "restarts": "cosine with 3 restarts",
    "prior": "prior preservation, weight 1",
    "flips": "flips",
    "no_tags": "captions: no tags",
    "all_tags": "captions: all tags",
    "pivotal": "words of 4 vectors beside the LoRA",
    "words_1": "textual inversion, 1 vector, no LoRA",
    "words_4": "textual inversion, 4 vectors, no LoRA",
}
# Of each criterion a measurement, and what its differences are told in.
MEASURED = {
    "fidelity: image similarity, `train`": ("image_similarity", "train", 1.0),
    "the same: named right, `trigger`": ("identification", "trigger", 1.0),
    "control: text similarity, `alter`": ("text_similarity", "alter", 1.0),
    "diversity: Vendi score, `trigger`": ("vendi", "trigger", 1.0),
    "preservation: style loss to the base model, `style`": ("style_loss_base", "style", None),
}
LEVEL = 0.05  # of false discoveries among all that is told


def values() -> str:
    """Means over concepts and seeds of each way."""
    scores, rows = _scores(), []
    for config, name in {"base": "base model", PLAIN: "LoRA, plain", **WAYS}.items():
        of = scores[scores["config"] == config]
        cells = {title: _mean(of, metric, prompts) for title, (metric, prompts, _) in MEASURED.items()}
        rows.append({"trained": name, **{title: f"{value:.3g}" for title, value in cells.items()}})
    return markdown(pd.DataFrame(rows))


def effects() -> str:
    """Each way less the plain one, paired by concept and seed, with 95 % intervals; what is told is bold."""
    found = {(way, title): _effect(way, *asked) for way in WAYS for title, asked in MEASURED.items()}
    levels = dict(zip(found, discovery_levels(np.array([each.p for each in found.values()])), strict=True))
    rows = []
    for way, name in WAYS.items():
        cells = {title: _cell(found[way, title], levels[way, title], MEASURED[title][2] is None) for title in MEASURED}
        rows.append({"against the plain LoRA": name, **cells})
    return markdown(pd.DataFrame(rows))


def captions() -> str:
    """Claim 8 of the paper, on normalised scores."""
    rows = findings.claims_table(STUDY)
    rows = rows[(rows["claim"] == 8) & rows["effect"].notna()]
    interval = [f"{low:+.2f} to {high:+.2f}" for low, high in zip(rows["low"], rows["high"], strict=True)]
    rows = rows.assign(effect=rows["effect"].map("{:+.2f}".format), **{"95 % interval": interval})
    return markdown(rows[["statement", "expected", "effect", "95 % interval", "verdict"]])


def _scores() -> pd.DataFrame:
    rows = pd.read_parquet(STUDY / "scores.parquet")
    return rows[rows["checkpoint"] != "dataset"]


def _mean(rows: pd.DataFrame, metric: str, prompts: str) -> float:
    of = rows[(rows["metric"] == metric) & (rows["prompt_type"] == prompts)]
    return of.groupby(["category", "class_name"])["value"].mean().mean()


def _effect(way: str, metric: str, prompts: str, unit: float | None) -> ClusteredMean:
    """A difference, or where there is no unit a share of what the plain way has."""
    rows = _scores()
    rows = rows[(rows["metric"] == metric) & (rows["prompt_type"] == prompts)]
    wide = rows.rename(columns={"category": "home"}).pivot_table(
        index=["home", "class_name", "seed"], columns="config", values="value"
    )
    less = wide[way] - wide[PLAIN]
    return paired_mean(less if unit else less / wide[PLAIN].mean())


def _cell(found: ClusteredMean, level: float, is_share: bool) -> str:
    form = "{:+.0%}" if is_share else "{:+.2f}"
    mean, low, high = (form.format(value) for value in (found.mean, found.low, found.high))
    return f"**{mean}** ({low} to {high})" if level < LEVEL else f"cannot be told ({low} to {high})"
