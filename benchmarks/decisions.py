"""How many images does a study need until it is decided, and how often is what it then says wrong?

    python benchmarks/decisions.py --simulations 1000
    python benchmarks/decisions.py --study configs/mini_held_out.toml --run results/mini_held_out

The first simulates studies of 26 configs with planted means (families, ties, heavy tails, two and three seeds) and
looks after every round. A rule that decides when to stop can do no more harm than stopping after the worst round, so
what is said is the mean over studies of the largest share of false discoveries of any round, for
`statistics.decisions` and for two habits: Benjamini and Hochberg's rule applied anew at each look, and each config
against the leader by a t test over all images at each look, p < 0.05. The second replays a finished study from its
features, round by round. Prints tables and, with --json, the same for machines.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtr
from scipy.stats import false_discovery_control, ttest_1samp

from lorabench.api.studies import planned
from lorabench.pipeline.deciding import levels_of, parts_of
from lorabench.records import Checkpoint
from lorabench.statistics.comparisons import FALSE_DISCOVERIES, differences
from lorabench.statistics.decisions import Decided, Parts, decide, rounds

CLASSES, IMAGES = 10, 16
FAMILY = np.repeat(range(4), (7, 7, 7, 5))  # the paper's algorithms
EQUAL, STEPS = np.zeros(26), np.linspace(0, -3, 26)
HALF = np.where(np.arange(26) % 2, -1.5, 0.0)
# Planted means, seeds, and spreads in units of an image's: classes and seeds of a config, of its family, tails.
WORLDS = {
    "all equal": (EQUAL, 3, {}),
    "all equal, two seeds": (EQUAL, 2, {}),
    "all equal, families share their luck": (EQUAL, 3, {"family": 0.3}),
    "all equal, heavy tails (t, 2.1 df)": (EQUAL, 3, {"tails": 2.1}),
    "all equal, heavy tails, two seeds, families": (EQUAL, 2, {"tails": 2.1, "family": 0.3}),
    "half worse, the others tied": (HALF, 3, {}),
    "half worse, the others tied, two seeds": (HALF, 2, {}),
    "half worse, heavy tails": (HALF, 3, {"tails": 2.1}),
    "half worse, families share their luck": (HALF, 3, {"family": 0.3}),
    "each a little worse than the one before": (STEPS, 3, {}),
    "each a little worse, far apart": (3 * STEPS, 3, {}),
}


# --- simulated --------------------------------------------------------------------------------------------------------


def simulate(rng: np.random.Generator, means: np.ndarray, seeds: int, family: float = 0.0, tails: float = 0.0) -> Parts:
    """A study: config + class of the config + training + luck of a family + what all images share + noise."""
    shape = (CLASSES, len(means), seeds, IMAGES)
    draw = rng.standard_normal
    noise = rng.standard_t(tails, shape) if tails else draw(shape)
    lucky = family * (draw((CLASSES, 4, 1, 1)) + draw((1, 4, seeds, 1)))[:, FAMILY]
    of_config = 0.1 * (draw((CLASSES, len(means), 1, 1)) + draw((1, len(means), seeds, 1)) + draw((*shape[:3], 1)))
    values = means[:, None, None] / 3 + lucky + of_config + draw((CLASSES, 1, 1, IMAGES)) + noise
    leaves = pd.DataFrame({"category": "all", "class_name": [str(each) for each in range(CLASSES)], "subclass": ""})
    return Parts(values, leaves, range(seeds), [FAMILY])


def replay(parts: Parts, **how: float) -> tuple[Decided, np.ndarray, list[Decided]]:
    """The decisions, the parts that each level was drawn, and the decisions of every round before."""
    drawn, history = np.zeros(parts.values.shape[1], int), []
    while True:
        history.append(decide(parts, drawn, **how))
        if history[-1].is_over:
            return history[-1], drawn, history
        drawn = np.maximum(drawn, history[-1].wants)


def told(parts: Parts, look: int) -> np.ndarray:
    """Which level is worse than which, bool [levels, levels], by the fixed test on the first parts of all."""
    values = parts.scores(np.full(parts.values.shape[1], look))
    first, second, difference, se, df = differences(values, parts.families)
    real = false_discovery_control(2 * stdtr(df, -np.abs(difference) / se)) <= FALSE_DISCOVERIES
    found = np.zeros((values.shape[1], values.shape[1]), bool)
    found[first[real & (difference < 0)], second[real & (difference < 0)]] = True
    found[second[real & (difference > 0)], first[real & (difference > 0)]] = True
    return found


def by_image(parts: Parts, look: int) -> np.ndarray:
    """Each level against the leader, all images of all classes and seeds taken for independent: p < 0.05, no more."""
    values = parts.values[..., :look]
    best = int(values.mean((0, 2, 3)).argmax())
    less = (values - values[:, [best]]).transpose(1, 0, 2, 3).reshape(values.shape[1], -1)
    found = np.zeros((values.shape[1],) * 2, bool)
    others = np.arange(len(found)) != best
    found[others, best] = ttest_1samp(less[others], 0, axis=1, alternative="less").pvalue < FALSE_DISCOVERIES
    return found


def false_share(found: np.ndarray, means: np.ndarray) -> float:
    wrong = found & ~np.less.outer(means, means)
    return float(wrong.sum() / max(1, found.sum()))


def simulated(simulations: int, worlds: str) -> list[dict[str, object]]:
    rows = []
    for name, (means, seeds, spreads) in WORLDS.items():
        if not fnmatch.fnmatch(name, worlds):
            continue
        worst: dict[str, list[float]] = {"decided": [], "anew": [], "images": []}
        share, best, kept = [], [], []
        for number in range(simulations):
            parts = simulate(np.random.default_rng([number, *map(ord, name)]), means, seeds, **spreads)
            last, drawn, history = replay(parts)
            looks = rounds(IMAGES)
            worst["decided"].append(max(false_share(each.worse, means) for each in history))
            worst["anew"].append(max(false_share(told(parts, look), means) for look in looks))
            worst["images"].append(max(false_share(by_image(parts, look), means) for look in looks))
            share.append(drawn.mean() / IMAGES)
            best.append(means[last.verdict == "best"].max() == means.max())
            worse = means < means.max()
            kept.append((last.verdict[worse] == "worse").mean() if worse.any() else np.nan)
        errors = {each: 100 * np.std(found) / np.sqrt(simulations) for each, found in worst.items()}
        rows.append(
            {"world": name, **{each: 100 * float(np.mean(found)) for each, found in worst.items()}}
            | {"error": max(errors.values()), "share": 100 * float(np.mean(share))}
            | {"best": 100 * float(np.mean(best)), "found": 100 * float(np.mean(kept))}
        )
        print(rows[-1], flush=True)
    return rows


# --- replayed ---------------------------------------------------------------------------------------------------------


def replayed(study: Path, run: Path, levels: str) -> list[dict[str, object]]:
    """One row a measurement of a finished study and a way to draw less of it.

    `told` counts the pairs that all images tell apart by the fixed test; tau is that of their orders there and here.
    """
    plan = planned(study, run)
    scored = (each for each in plan.checkpoints if plan.folder.holds(plan.places.scores(each), plan.keys.scores(each)))
    trained = [each for each in scored if not each.is_base]
    if levels == "config":
        last = max(each.epoch for each in trained)
        trained = [each for each in trained if each.epoch == last]
    rows = []
    for metric, prompts in MEASURED:
        request = next(each for each in plan.requests if each.metric == metric)
        parts = parts_of(plan, request, prompts, trained)
        every = np.full(parts.values.shape[1], parts.values.shape[-1])
        whole, full = told(parts, every[0]), parts.scores(every).mean().to_numpy()
        named = {"metric": metric, "prompts": prompts, "levels": len(full), "told": int(whole.sum())}
        for look in rounds(every[0]):
            here = parts.scores(np.full(len(full), look)).mean().to_numpy()
            rows.append(named | _against(whole, full, here, told(parts, look), f"{look} of all", look / every[0]))
        if not plan.measuring.metric(metric).is_of_images:  # the same order as of the sets as they are?
            usual = _of_whole_sets(run, metric, prompts, trained)
            rows.append(named | _against(whole, full, usual, whole & False, "whole sets", 1.0))
        last, drawn, _ = replay(parts)
        counts = {each: int((last.verdict == each).sum()) for each in ("worse", "seeds", "open", "images")}
        rows.append(named | _against(whole, full, last.score, last.worse, "decided", drawn.mean() / every[0]) | counts)
    return rows


def _of_whole_sets(run: Path, metric: str, prompts: str, trained: Sequence[Checkpoint]) -> np.ndarray:
    """Scores of each level as a study has them that measures all images of a set together."""
    levels = levels_of(trained)
    rows = pd.read_parquet(run / "normalized.parquet").merge(levels[["checkpoint", "level"]], on="checkpoint")
    rows = rows[(rows["metric"] == metric) & (rows["prompt_type"] == prompts)]
    return rows.groupby(["level", "category", "class_name"])["score"].mean().groupby("level").mean().to_numpy()


MEASURED = (
    ("image_similarity", "train"),
    ("squared_centroid_distance", "train"),
    ("text_similarity", "alter"),
    ("vendi", "trigger"),
    ("style_loss_base", "style"),
    ("identification", "trigger"),
)


def _against(
    whole: np.ndarray, full: np.ndarray, here: np.ndarray, found: np.ndarray, way: str, share: float
) -> dict[str, object]:
    """How the order of a part of the images agrees with that of all, among the pairs that all tell apart."""
    first, second = whole.nonzero()
    agrees = np.sign(here[second] - here[first])
    turned = (found & np.greater.outer(full, full)).sum()
    return {"way": way, "share": 100 * share, "tau": float(agrees.mean()) if len(first) else None} | {
        "told here": int(found.sum()),
        "told in turn": int(turned),
        "best is best": bool(here.argmax() == full.argmax()),
        "regret": float(full.max() - full[here.argmax()]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=0)
    parser.add_argument("--worlds", default="*", help="of the simulated ones, as a glob pattern")
    parser.add_argument("--study", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument(
        "--levels", choices=("point", "config"), default="point", help="config and epoch, or the last one"
    )
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    asked = parser.parse_args()
    since, found = time.perf_counter(), {}
    if asked.simulations:
        found["simulated"] = simulated(asked.simulations, asked.worlds)
    if asked.run:
        found["replayed"] = replayed(asked.study, asked.run, asked.levels)
    for name, rows in found.items():
        print(f"\n{name}\n{pd.DataFrame(rows).round(3).to_string(index=False)}")
    print(f"\n{time.perf_counter() - since:.0f} s")
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
