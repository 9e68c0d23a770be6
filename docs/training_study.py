"""Tables of docs/training_study.md, from the small files of one study in results/reference."""

from __future__ import annotations

import pandas as pd
from scipy.stats import false_discovery_control
from studies import REFERENCE, markdown

from lorabench.stages.claims import claims
from lorabench.statistics.clustered import ClusteredMean, clustered_mean
from lorabench.statistics.comparisons import FALSE_DISCOVERIES, paired_mean

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


def values() -> str:
    """Means over concepts and seeds of each way."""
    scores, rows = _scores(), []
    for config, name in {"base": "base model", PLAIN: "LoRA, plain", **WAYS}.items():
        of = scores[scores["config"] == config]
        cells = {title: _mean(of, metric, prompts) for title, (metric, prompts, _) in MEASURED.items()}
        rows.append({"trained": name, **{title: f"{value:.3g}" for title, value in cells.items()}})
    return markdown(pd.DataFrame(rows))


def effects() -> str:
    """Each way less the plain one, paired by concept and seed, in two families of tests a measurement, q below 0.05.

    Bold: other concepts and seeds would show it (intervals clustered by both). Plain: other seeds would, on these
    concepts. In brackets the wider interval.
    """
    table = pd.DataFrame({"against the plain LoRA": list(WAYS.values())})
    for title, (metric, prompts, unit) in MEASURED.items():
        less = [_less(way, metric, prompts, unit) for way in WAYS]
        any_concept = [paired_mean(each) for each in less]
        these = [_of_these(each) for each in less]
        told = [false_discovery_control([each.p for each in found]) for found in (any_concept, these)]
        table[title] = [
            _cell(each, unit is None, *(q <= FALSE_DISCOVERIES for q in of))
            for each, *of in zip(any_concept, *told, strict=True)
        ]
    return markdown(table)


def captions() -> str:
    """Claim 8 of the paper, on normalised scores."""
    rows = []
    for found in claims(pd.read_parquet(STUDY / "normalized.parquet")):
        if found.claim == 8 and found.effect is not None:
            interval = f"{found.effect.low:+.2f} to {found.effect.high:+.2f}"
            said = {"statement": found.statement, "the paper": found.expected, "effect": f"{found.effect.mean:+.2f}"}
            rows.append({**said, "95 % interval": interval, "verdict": found.verdict})
    return markdown(pd.DataFrame(rows))


def _scores() -> pd.DataFrame:
    rows = pd.read_parquet(STUDY / "scores.parquet")
    return rows[rows["checkpoint"] != "dataset"]


def _mean(rows: pd.DataFrame, metric: str, prompts: str) -> float:
    of = rows[(rows["metric"] == metric) & (rows["prompt_type"] == prompts)]
    return of.groupby(["category", "class_name"])["value"].mean().mean()


def _less(way: str, metric: str, prompts: str, unit: float | None) -> pd.Series:
    """Differences by concept and seed, or where there is no unit shares of what the plain way has."""
    rows = _scores()
    rows = rows[(rows["metric"] == metric) & (rows["prompt_type"] == prompts)].rename(columns={"category": "home"})
    wide = rows.pivot_table(index=["home", "class_name", "seed"], columns="config", values="value")
    less = wide[way] - wide[PLAIN]
    return less if unit else less / wide[PLAIN].mean()


def _of_these(less: pd.Series) -> ClusteredMean:
    """Over seeds, the concepts being what is asked about."""
    by_seed = less.groupby("seed").mean()
    return clustered_mean(by_seed.to_numpy(), by_seed.index.to_numpy())


def _cell(found: ClusteredMean, is_share: bool, of_any: bool, of_these: bool) -> str:
    form = "{:+.0%}" if is_share else "{:+.2f}"
    mean, low, high = (form.format(value) for value in (found.mean, found.low, found.high))
    if not of_any and not of_these:
        return f"cannot be told ({low} to {high})"
    return f"**{mean}** ({low} to {high})" if of_any else f"{mean} ({low} to {high})"
