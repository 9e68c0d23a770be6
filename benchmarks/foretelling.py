"""How far does a small world foretell which configs are better in a large one? Kendall's tau between their orders.

    lorabench replay CLONE --out results/published      # a clone of cyber-meow/LyCORIS-evaluation
    python benchmarks/foretelling.py results/reference/mini_paper results/published

Configs are the same where they differ from their algorithm's default in the same way: rates by their ratio, factors by
their direction. Scores are means over classes, seeds and the prompt types that both have, of encoders and resizings
that both have. An interval draws classes and seeds of both sides with replacement (2,000 times); of published means
there are no classes to draw. What could be reached: the order of one seed against that of the others. Prints tables
and, with --json, the same for machines: what docs/mini.md shows is made from results/reference/foretelling.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from lorabench.api.findings import by_study, table_of
from lorabench.statistics.columns import ALL
from lorabench.statistics.errors import class_scores, with_all_classes

MEASUREMENT = ["metric", "prompt_type", "encoder"]
DRAWS = 2000
FIDELITY = "image_similarity"


@dataclass(frozen=True)
class World:
    """Scores by (metric, category) as [configs, epochs, classes, seeds]; configs and epochs in one order for all."""

    scores: dict[tuple[str, str], np.ndarray]
    configs: list[str]
    epochs: list[int]
    seeds: list[int]


def read(run: Path) -> pd.DataFrame:
    """Normalised scores of the first study of a run; `role` says what a config differs from its default in."""
    _, table = by_study(table_of(run, "normalized"))[0]
    configs = table.drop_duplicates("config").set_index("config")
    numbers = configs[["lr", "dim", "alpha", "factor"]].astype("float64")
    usual = numbers.groupby(configs["algorithm"]).transform(lambda column: column.mode().min())
    rates, factors = (numbers["lr"] / usual["lr"]).round(3), np.sign(numbers["factor"] - usual["factor"])
    parts = zip(configs["algorithm"], configs["trained_layers"], rates, numbers["dim"], numbers["alpha"], factors)
    roles = pd.Series([" ".join(map(str, each)) for each in parts], configs.index)
    return table.assign(role=table["config"].map(roles))


def common(first: pd.DataFrame, second: pd.DataFrame) -> tuple[World, World]:
    """Of both worlds the configs and measurements that both have; no resizing counts as any."""
    roles = sorted(set(first["role"]) & set(second["role"]))
    keys = [*MEASUREMENT, "resize"]
    pairs = first[keys].drop_duplicates().merge(second[keys].drop_duplicates(), on=MEASUREMENT)
    same = (pairs["resize_x"] == pairs["resize_y"]) | (pairs["resize_x"] == "") | (pairs["resize_y"] == "")
    sides = []
    for table, side in ((first, "resize_x"), (second, "resize_y")):
        wanted = pairs.loc[same, [*MEASUREMENT, side]].rename(columns={side: "resize"})
        sides.append(_world(table[table["role"].isin(roles)].merge(wanted, on=keys), roles))
    return sides[0], sides[1]


def _world(table: pd.DataFrame, roles: list[str]) -> World:
    rows = class_scores(table)
    rows = with_all_classes(rows.assign(home=rows["category"])).assign(
        place=lambda t: t["home"] + "/" + t["class_name"]
    )
    facts = table[["checkpoint", "role", "epoch", "seed"]].drop_duplicates("checkpoint")
    # Of a prompt type fewer classes may have a value: means over prompt types come first, as everywhere.
    axes = ["role", "epoch", "place", "seed"]
    means = rows.merge(facts, on="checkpoint").groupby(["metric", "category", *axes])["score"].mean()
    scores, epochs, seeds = {}, sorted(facts["epoch"].unique()), sorted(facts["seed"].unique())
    for (metric, category), part in means.groupby(level=[0, 1]):
        part = part.droplevel([0, 1])
        places = sorted(part.index.unique("place"))
        full = part.reindex(pd.MultiIndex.from_product([roles, epochs, places, seeds]))
        scores[metric, category] = full.to_numpy().reshape(len(roles), len(epochs), len(places), len(seeds))
    return World(scores, roles, [int(each) for each in epochs], [int(each) for each in seeds])


def tau(first: np.ndarray, second: np.ndarray) -> float:
    """Kendall's tau-b of two orders of the same configs."""
    return float(kendalltau(first, second).statistic)


def foretold(small: World, large: World, draws: int = DRAWS) -> list[dict[str, object]]:
    """One row a metric and category: tau at the last epoch, its interval, and how each order foretells itself.

    Category "mean" is the mean of the categories' taus.
    """
    rows = []
    for metric in sorted({metric for metric, _ in small.scores} & {metric for metric, _ in large.scores}):
        rng = np.random.default_rng(0)
        categories = [
            category for name, category in small.scores if name == metric and (metric, category) in large.scores
        ]
        found = {
            each: _between(small.scores[metric, each], large.scores[metric, each], rng, draws) for each in categories
        }
        single = [each for each in categories if each != ALL]
        found["mean"] = np.mean([found[each] for each in single], axis=0)
        for category, (point, *drawn) in found.items():
            row = {"metric": metric, "category": category, "tau": _rounded(point)}
            row |= dict(zip(("low", "high"), map(_rounded, np.quantile(drawn, [0.025, 0.975]))))
            parts = single if category == "mean" else [category]
            for name, world in (("large itself", large), ("small itself", small)):
                row[name] = _rounded(np.mean([_retest(world.scores[metric, each][:, -1]) for each in parts]))
            rows.append(row)
    return rows


def _between(small: np.ndarray, large: np.ndarray, rng: np.random.Generator, draws: int) -> np.ndarray:
    """Tau of the last epochs' means, then of those with classes and seeds drawn again, [1 + draws]."""
    sides = [small[:, -1], large[:, -1]]
    found = [tau(*[np.nanmean(side, axis=(1, 2)) for side in sides])]
    for _ in range(draws):
        again = [side[:, rng.integers(side.shape[1], size=side.shape[1])] for side in sides]
        again = [side[:, :, rng.integers(side.shape[2], size=side.shape[2])] for side in again]
        found.append(tau(*[np.nanmean(side, axis=(1, 2)) for side in again]))
    return np.array(found)


def _retest(scores: np.ndarray) -> float:
    """Mean tau of the order by one seed and the order by the others, of `scores` [configs, classes, seeds]."""
    by_seed = np.nanmean(scores, axis=1)
    places = range(by_seed.shape[1])
    return float(np.mean([tau(by_seed[:, place], np.delete(by_seed, place, 1).mean(1)) for place in places]))


def moments(small: World, large: World) -> list[dict[str, object]]:
    """Tau of fidelity by epoch of each world and of the large one: all classes, and the mean of the categories."""
    keys = [key for key in small.scores if key[0] == FIDELITY and key in large.scores]
    rows = []
    for name, world in (("small", small), ("large", large)):
        for (i, early), (j, late) in itertools.product(enumerate(world.epochs), enumerate(large.epochs)):
            found = {key[1]: tau(_means(world, key)[:, i], _means(large, key)[:, j]) for key in keys}
            mean = np.mean([value for category, value in found.items() if category != ALL])
            row = {"world": name, "epoch": early, "epoch of large": late}
            rows.append(row | {"all": _rounded(found[ALL]), "mean": _rounded(mean)})
    return rows


def _rounded(value: float) -> float:
    return round(float(value), 2) + 0.0  # never "-0.0"


def _means(world: World, key: tuple[str, str]) -> np.ndarray:
    """Over classes and seeds, [configs, epochs]."""
    return np.nanmean(world.scores[key], axis=(2, 3))


def rising(small: World, large: World) -> list[dict[str, object]]:
    """Fidelity from epoch to epoch: mean change of the score, and how many configs are better at the last one."""
    rows = []
    for metric, category in [key for key in small.scores if key[0] == FIDELITY and key in large.scores]:
        row: dict[str, object] = {"category": category}
        for name, world in (("small", small), ("large", large)):
            means = _means(world, (metric, category))
            row[f"{name} steps"] = [_rounded(step) for step in np.diff(means.mean(0))]
            row[f"{name} rising"] = int((means[:, -1] > means[:, -2]).sum())
        rows.append(row)
    return rows


def _print(rows: list[dict[str, object]]) -> None:
    print("| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")
    print()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("small", type=Path, help="folder of a run")
    parser.add_argument("large", type=Path, help="folder of a run or a replay, the one to be foretold")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--draws", type=int, default=DRAWS, help="how often an interval draws classes and seeds")
    options = parser.parse_args()
    small, large = common(read(options.small), read(options.large))
    results = {"tau": foretold(small, large, options.draws)}
    results |= {name: part(small, large) for name, part in (("epochs", moments), ("rising", rising))}
    if options.json:
        facts = {"configs": small.configs, "epochs of small": small.epochs, "epochs of large": large.epochs}
        source = (
            "benchmarks/foretelling.py; large: the published means of cyber-meow/LyCORIS-evaluation (MIT), replayed"
        )
        print(json.dumps({"source": source} | facts | results, indent=1))
        return
    print(f"{len(small.configs)} configs that both have\n")
    for rows in results.values():
        _print(rows)


if __name__ == "__main__":
    main()
