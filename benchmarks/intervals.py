"""How often do our 95 % intervals hold the truth, are differences called real that are not, and SHAP signs right?

    python benchmarks/intervals.py

Simulated studies with planted effects. The estimand is the mean raw difference of two configs over classes and
training seeds, of the populations that both are drawn from. Differences are effect + class + seed + rest, normal (in
one row classes are exponential), in units of the rest's standard deviation. SHAP: the paper's grid with planted effects
of epochs, learning rate, layers and capacity, of random signs. Prints tables and, with --json, the same for machines.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from lorabench import components, config
from lorabench.stages.explain import explain, factor_table
from lorabench.statistics.clustered import ClusteredMeans, clustered_means
from lorabench.statistics.columns import FACTORS
from lorabench.statistics.comparisons import compare_with_best

CLASSES, SEEDS = (3, 5, 10, 28), (3, 2)
SPREADS = {  # standard deviations of classes and of seeds
    "nothing but noise": (0.0, 0.0),
    "classes differ": (1.0, 0.0),
    "seeds differ": (0.0, 1.0),
    "both differ": (1.0, 1.0),
    "classes differ much": (3.0, 1.0),
    "classes differ, skewed": (1.0, 0.0),
}
LUCK = {"small": (0.3, 0.3), "as the rest": (1.0, 1.0), "small, but of every fourth config four times": (1.2, 0.3)}
FAMILIES = {"two of 5": (5, 5), "five of 2": (2,) * 5, "the paper's four": (7, 7, 7, 5)}
SHARED = (0.0, 1.0, 2.0)  # standard deviations of a family's classes, and of its seeds
PAPER = Path(__file__).parents[1] / "configs/paper.toml"
PLANTED = {"epoch": "epochs", "lr_level": "learning rate", "trained_layers": "layers", "capacity": "capacity"}
LEAF_OF_ALL = {"category": "all", "prompt_type": "train", "metric": "m", "encoder": "e", "resize": ""}
EFFECT = 0.7  # planted; coverage does not depend on it


def coverage(simulations: int) -> list[dict[str, object]]:
    """One row a number of seeds and classes and a spread: how often the interval held the effect, its median width."""
    rows = []
    for n_seeds, n_classes, (name, (of_classes, of_seeds)) in itertools.product(SEEDS, CLASSES, SPREADS.items()):
        rng = np.random.default_rng([n_seeds, n_classes, *map(ord, name)])
        classes, seeds = (grid.ravel() for grid in np.indices((n_classes, n_seeds)))
        shape = (n_classes, simulations)
        drawn = rng.standard_exponential(shape) - 1 if "skewed" in name else rng.standard_normal(shape)
        values = EFFECT + rng.standard_normal((len(classes), simulations))  # a column a study
        values += of_classes * drawn[classes]
        values += of_seeds * rng.standard_normal((n_seeds, simulations))[seeds]
        both, one = clustered_means(values, classes, seeds), clustered_means(values, classes)
        rows.append(
            {"seeds": n_seeds, "classes": n_classes, "spread": name, "by class and seed": _held(both)}
            | {"by class alone": _held(one), "median width": round(float(np.median(both.high - both.low)), 2)}
        )
    return rows


def _held(found: ClusteredMeans) -> float:
    return float(np.mean((found.low <= EFFECT) & (found.high >= EFFECT)))


def discoveries(simulations: int) -> list[dict[str, object]]:
    """One row a spread, number of seeds and of classes: false differences among those called real, real ones found."""
    rows = []
    for (name, luck), n_seeds, n_classes in itertools.product(LUCK.items(), SEEDS, CLASSES):
        rng = np.random.default_rng([n_seeds, n_classes, *map(ord, name)])
        false, called, wrong_studies = [], 0, 0
        for _ in range(simulations):
            worse = _called_worse(_study(rng, n_classes, n_seeds, luck, effects=(0.0,) * 5 + (-1.5,) * 5))
            false.append(worse[:5].sum() / max(worse.sum(), 1))
            called += worse[5:].sum()
            wrong_studies += _called_worse(_study(rng, n_classes, n_seeds, luck, effects=(0.0,) * 10)).any()
        rows.append(
            {"luck of training": name, "seeds": n_seeds, "classes": n_classes}
            | {"false discovery rate": round(float(np.mean(false)), 3), "found": round(called / (5 * simulations), 3)}
            | {"studies of equal configs with a false one": round(wrong_studies / simulations, 3)}
        )
    return rows


def families(simulations: int) -> list[dict[str, object]]:
    """One row of sizes, shared luck and seeds: false and found when families are known by their algorithm, and unknown.

    Classes and seeds move all configs of a family alike, by `shared` standard deviations of the rest. Equal configs,
    and then every second one worse by 1.5.
    """
    rows = []
    for (name, sizes), shared, n_seeds, n_classes in itertools.product(FAMILIES.items(), SHARED, SEEDS, (5, 28)):
        rng = np.random.default_rng([n_seeds, n_classes, int(2 * shared), *map(ord, name)])
        algorithm = np.repeat(np.arange(len(sizes)), sizes)
        row: dict[str, object] = {"families": name, "shared": shared, "seeds": n_seeds, "classes": n_classes}
        counts = dict.fromkeys(("one worse", "one worse, unknown", "found", "found, unknown"), 0.0)
        effects = -1.5 * (np.arange(len(algorithm)) % 2)
        for _ in range(simulations):
            for answer, planted in (("one worse", 0 * effects), ("found", effects)):
                table = _study(rng, n_classes, n_seeds, (0.3, 0.3), tuple(planted), (tuple(algorithm), shared))
                for kind, rows_of in (("", table), (", unknown", table.drop(columns="algorithm"))):
                    worse = _called_worse(rows_of)
                    counts[answer + kind] += worse.any() if answer == "one worse" else worse[effects < 0].mean()
        rows.append(row | {kind: round(count / simulations, 3) for kind, count in counts.items()})
    return rows


def _study(
    rng: np.random.Generator,
    n_classes: int,
    n_seeds: int,
    luck: tuple[float, float],
    effects: tuple[float, ...],
    shared: tuple[tuple[int, ...], float] | None = None,
) -> pd.DataFrame:
    """Scores of configs of these true means: class + class x config + run + rest, and what a family shares of it.

    `luck` is the standard deviation of a training, of every fourth config and of the others; `shared` the family of
    each config and the standard deviation of what classes and seeds do to a family.
    """
    shape = (len(effects), n_classes, n_seeds)
    lucks = np.where(np.arange(len(effects)) % 4 == 0, *luck)[:, None, None]
    values = np.asarray(effects)[:, None, None] + rng.normal(size=(1, n_classes, 1)) + rng.normal(size=shape)
    values += 0.5 * rng.normal(size=(len(effects), n_classes, 1)) + lucks * rng.normal(size=(len(effects), 1, n_seeds))
    config, place, seed = (grid.ravel() for grid in np.indices(shape))
    table = pd.DataFrame({"config": config, "seed": seed, "checkpoint": config * n_seeds + seed})
    if shared is not None:
        family, size = np.asarray(shared[0]), shared[1]
        values += size * rng.normal(size=(family.max() + 1, n_classes, 1))[family]
        values += size * rng.normal(size=(family.max() + 1, 1, n_seeds))[family]
        table = table.assign(algorithm=family[config])
    return table.assign(score=values.ravel(), class_name=place.astype(str), subclass="", **LEAF_OF_ALL)


def _called_worse(scores: pd.DataFrame) -> np.ndarray:
    """Which configs are called worse than the best."""
    found = compare_with_best(scores, "config", power=False).query("category == 'all'")
    return found.sort_values("config")["verdict"].to_numpy() == "worse"


def signs(studies: int) -> list[dict[str, object]]:
    """One row a size of effect: how often the SHAP values of a factor rise where its planted effect does.

    An effect is what the factor's highest level has over its lowest, in standard deviations of the noise of a score.
    """
    grid = _paper_grid()
    algorithms = {name: components.find("algorithms", name) for name in grid["algorithm"].unique()}
    levels = factor_table(grid, algorithms)[list(PLANTED)]
    levels = levels.assign(trained_layers=levels["trained_layers"].map({"attention": 1, "linear": 2, "full": 3}))
    unit = (levels - levels.min()) / (levels.max() - levels.min())  # 0 to 1
    rows = []
    for size in (0.5, 1.0, 2.0):
        rng, right = np.random.default_rng(int(10 * size)), dict.fromkeys(PLANTED, 0)
        for _ in range(studies):
            effects = size * rng.choice([-1, 1], len(PLANTED))
            values = unit.to_numpy() @ effects + rng.normal(size=len(unit))
            # Scores are ranks within the study, as everywhere.
            scores = grid.assign(score=(rankdata(values) - 1) / (len(values) - 1), **LEAF_OF_ALL)
            found = explain(scores, algorithms, folds=2).attributions
            for name, effect in zip(PLANTED, effects):
                shap = found[found["factor_name"] == name].set_index("checkpoint")["shap"]
                right[name] += np.sign(np.polyfit(unit.loc[shap.index, name], shap, 1)[0]) == np.sign(effect)
        rows.append(
            {"effect": size} | {PLANTED[name]: round(100 * count / studies, 1) for name, count in right.items()}
        )
    return rows


def _paper_grid() -> pd.DataFrame:
    """The factors of the paper's 234 checkpoints."""
    study = config.load_study(PAPER)
    rows = [
        {**each.flat, "config": each.name, "seed": seed, "epoch": epoch, "checkpoint": f"{each.name}-{seed}-{epoch}"}
        for each in config.expand(study)
        for seed in study.seeds
        for epoch in each.training.checkpoint_epochs
    ]
    return pd.DataFrame(rows).reindex(columns=FACTORS)


def _print(rows: list[dict[str, object]]) -> None:
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--studies", type=int, default=200, help="simulated studies for the false discoveries")
    parser.add_argument("--only", choices=("coverage", "discoveries", "families", "signs"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    start = time.perf_counter()
    parts = {"coverage": (coverage, options.simulations), "discoveries": (discoveries, options.studies)}
    parts["families"] = (families, options.studies)
    parts["signs"] = (signs, options.studies // 2)
    results = {name: part(number) for name, (part, number) in parts.items() if options.only in (None, name)}
    if options.json:
        print(json.dumps(results | {"seconds": round(time.perf_counter() - start, 1)}, indent=1))
        return
    error = 1.96 * np.sqrt(0.95 * 0.05 / options.simulations)
    print(f"{options.simulations} simulations; Monte-Carlo error of a coverage of 95 %: +-{100 * error:.1f} points\n")
    for rows in results.values():
        _print(rows)
        print()


if __name__ == "__main__":
    main()
