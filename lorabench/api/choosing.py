"""Which config, which epoch: what the tables of a finished study say to somebody who has to choose.

Answers are tables of numbers, each named by study, criterion, metric, prompt type, encoder, resizing and category.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from lorabench.api.findings import identified
from lorabench.api.measurements import AS_REPORTED, CRITERION, Ranked, Selection, identity, ranked_studies
from lorabench.errors import UserError, unknown
from lorabench.report import runs
from lorabench.report.decided import VERDICTS
from lorabench.statistics.columns import ALL, METRIC, MOMENT
from lorabench.statistics.comparisons import compare_with_best
from lorabench.statistics.errors import class_scores, summarise, with_all_classes
from lorabench.statistics.pareto import front_probability

MIB = 2**20
BOOTSTRAP_SEED = 0
_STANDING = ["score", "difference", "low", "high", "q", "verdict"]
_POWER = ["detectable", "more_seeds", "more_images"]
_IDENTIFIED = ["identified_right", "identified_images"]
_NAMED = ["study", *CRITERION, "stands_in_for", "fails_audit", "category", "n_classes"]
_NEAREST = 3  # points shown of those that do not qualify


def leaderboard(run: Path, selection: Selection = AS_REPORTED) -> pd.DataFrame:
    """Every config by each criterion, best first: its score, and its difference from the best.

    Of its last epoch, or each of the epochs asked for. `stands_in_for` names the measurement that the criterion is
    judged by where a study has it, `fails_audit` what that which it is judged by fails of its audit.
    `identified_right` of `identified_images` trigger images are named right by the classifier of the miniature world,
    where it was asked (fidelity only). UserError for a folder without scores, for one in which nothing is ranked, and
    for what it does not have.
    """
    named = _named_right(run, selection)
    parts = []
    for ranked in ranked_studies(run, selection):
        decisions = (
            runs.read_run(run, ranked.study, ("decisions",)).decisions if (run / runs.FACTS_FILE).exists() else ()
        )
        if len(decisions):
            parts.append(_leaders_of_rounds(ranked, decisions, selection, named))
        else:
            parts.append(_leaders(ranked, selection, named))
    return pd.concat(parts, ignore_index=True).astype(dict.fromkeys(["more_seeds", *_IDENTIFIED], "Int64"))


def _leaders(ranked: Ranked, selection: Selection, named: pd.DataFrame) -> pd.DataFrame:
    rows = ranked.rows
    if not selection.epochs:
        age = rows["age"].fillna(-1)
        rows = rows[age == age.groupby(rows["config"]).transform("max")]
    keys = ["config", *MOMENT]
    rows, points = _numbered(rows, keys)
    found = _compared(ranked, rows, "point", (), selection.category)
    found = found.merge(points[["point", "algorithm", *keys]], on="point")
    found = found.sort_values(["criterion", "score"], ascending=[True, False], kind="stable")
    found = found.merge(named, on=["study", *keys], how="left")
    found.loc[found["criterion"] != "fidelity", _IDENTIFIED] = pd.NA
    found = found[[*_NAMED, "config", "algorithm", *MOMENT, *_STANDING, *_POWER, *_IDENTIFIED]]
    return found.astype({"criterion": object})


def _leaders_of_rounds(
    ranked: Ranked, decisions: pd.DataFrame, selection: Selection, named: pd.DataFrame
) -> pd.DataFrame:
    """What rounds of images decided: of each config the moment that stands best. A test at their end would be none."""
    if selection != AS_REPORTED:
        raise UserError(
            f"Images of study '{ranked.study}' were drawn in rounds, which decide among all classes and moments by the "
            "criteria that they were drawn for: a test of anything else would not hold. Ask without options."
        )
    rows = decisions.assign(difference=decisions["score"], verdict=decisions["verdict"].map(VERDICTS), q=np.nan)
    best = rows[rows["verdict"] == "best"].set_index("criterion")["score"]
    rows["difference"] = rows["score"] - rows["criterion"].map(best)
    rows = rows.sort_values(["criterion", "score"], ascending=[True, False], kind="stable")
    rows = pd.concat([rows[rows["verdict"] == "best"], rows]).drop_duplicates(["criterion", "config"])
    judged = judged_by(ranked).drop(columns=["study"])
    found = rows.drop(columns=["study"]).merge(judged, on=["criterion", *METRIC])
    found = found.merge(_class_counts(ranked.rows), on=METRIC, how="left").fillna({"n_classes": 0})
    lead = found["verdict"] == "best"
    unsaid = ["difference", "low", "high", "more_seeds"]
    found[unsaid] = found[unsaid].mask(lead)
    order = [column.info.criterion for column in ranked.columns]
    found = found.assign(
        criterion=pd.Categorical(found["criterion"], order),
        study=ranked.study,
        category=ALL,
        detectable=np.nan,
        more_images=np.nan,
    )
    found = found.merge(named, on=["study", "config", *MOMENT], how="left")
    found.loc[found["criterion"] != "fidelity", _IDENTIFIED] = pd.NA
    found = found.sort_values(["criterion", "score"], ascending=[True, False], kind="stable")
    found = found[[*_NAMED, "config", "algorithm", *MOMENT, *_STANDING, *_POWER, *_IDENTIFIED]]
    return found.astype({"criterion": object})


def epochs(run: Path, selection: Selection = AS_REPORTED) -> pd.DataFrame:
    """Every epoch of each config by each criterion: its score, and its difference from the config's best epoch.

    A checkpoint that says no epoch stands by its step.
    """
    parts = []
    for ranked in ranked_studies(run, selection):
        rows = ranked.rows[ranked.rows["age"].notna()]
        order = rows["config"].unique()
        rows, moments = _numbered(rows.sort_values("age", kind="stable"), MOMENT)
        found = _compared(ranked, rows, "point", ("config",), selection.category)
        found = found.assign(config=pd.Categorical(found["config"], order))
        found = found.merge(moments[["point", *MOMENT]], on="point")
        found = found.sort_values(["criterion", "config", "point"], kind="stable").astype(
            {"config": object, "criterion": object}
        )
        parts.append(found[[*_NAMED, "config", *MOMENT, *_STANDING]])
    table = pd.concat(parts, ignore_index=True)
    if table.empty:
        raise UserError(f"No ranked checkpoint in {run} says which epoch or step it is of.")
    return table


def _numbered(rows: pd.DataFrame, keys: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows with `point`, the number of what they have in `keys`, and a row of each in the order that they come."""
    rows = rows.assign(point=rows.groupby(keys, dropna=False, sort=False, observed=True).ngroup())
    return rows, rows.drop_duplicates("point").reset_index(drop=True)


@dataclass(frozen=True)
class Recipe:
    """Configs and epochs that are good enough, the likeliest members of the Pareto front first.

    `points` and `nearest` have the columns study, config, epoch, step (where no epoch is known), the criteria
    (normalised scores in [0, 1]), on_front (chance), mib and shortfall; `nearest` holds those that come nearest where
    none is good enough. `judged_by` names the measurement behind each criterion.
    """

    judged_by: pd.DataFrame
    points: pd.DataFrame
    nearest: pd.DataFrame


def recipe(
    run: Path, at_least: Mapping[str, float], max_mib: float | None = None, selection: Selection = AS_REPORTED
) -> Recipe:
    """Configs and epochs whose mean scores reach `at_least` (criterion -> score), with files of at most `max_mib`.

    `on_front` is the share of bootstrap samples over classes and seeds in which no other point that is asked about
    beats it in every criterion. `shortfall` is what a point lacks, summed: score for score, and of its size the share
    that is too much. UserError where the study has not measured a criterion, or sizes if `max_mib` asks for them.
    """
    judged, parts = [], []
    for ranked in ranked_studies(run, selection):
        criteria = [column.info.criterion for column in ranked.columns]
        for criterion in at_least:
            if criterion not in criteria:
                raise UserError(unknown("criterion", criterion, sorted(criteria), f"measured by {ranked.study}"))
        points = _points(ranked, selection.category)
        points["mib"] = _sizes(run, points["config"], needed=max_mib is not None)
        lacking = [(least - points[name]).clip(lower=0).fillna(least) for name, least in at_least.items()]
        if max_mib is not None:
            lacking.append((points["mib"] / max(max_mib, 1e-9) - 1).clip(lower=0).fillna(np.inf))
        parts.append(points.assign(study=ranked.study, shortfall=sum(lacking, np.zeros(len(points)))))
        judged.append(judged_by(ranked))
    table = pd.concat(parts, ignore_index=True)
    table = table[["study", *(name for name in table if name != "study")]]
    good = table["shortfall"] == 0
    points = table[good].sort_values(["study", "on_front"], ascending=[True, False], kind="stable")
    nearest = table[~good].sort_values("shortfall", kind="stable").head(0 if good.any() else _NEAREST)
    return Recipe(pd.concat(judged, ignore_index=True), points, nearest)


def judged_by(ranked: Ranked) -> pd.DataFrame:
    """What each criterion of a study is judged by, a row each; `fails_audit` says what that fails of its audit."""
    rows = [
        {"study": ranked.study, **identity(column)}
        | {"stands_in_for": ranked.stands_in.get(column.info.criterion)}
        | {"higher_is_better": column.info.higher_is_better, "fails_audit": ranked.doubts.get(column.identity)}
        for column in ranked.columns
    ]
    return pd.DataFrame(rows).astype({"stands_in_for": object, "fails_audit": object})


def _compared(ranked: Ranked, rows: pd.DataFrame, level: str, by: Sequence[str], category: str) -> pd.DataFrame:
    """`compare_with_best` of the measurements in one category, named; the best has no difference from itself."""
    found = compare_with_best(rows, level, by)
    found = found[found["category"] == category].rename(columns={"mean": "score"})
    found = found.assign(**found[METRIC].fillna("")).merge(judged_by(ranked), on=METRIC)
    found = found.merge(_class_counts(rows), on=METRIC, how="left").fillna({"n_classes": 0})
    lead = found["verdict"] == "best"
    found[["difference", "low", "high", "q"]] = found[["difference", "low", "high", "q"]].mask(lead)
    order = [column.info.criterion for column in ranked.columns]
    return found.assign(criterion=pd.Categorical(found["criterion"], order))


def _class_counts(rows: pd.DataFrame) -> pd.DataFrame:
    """How many classes each measurement has scores of; means of whole categories name none."""
    named = rows[rows["score"].notna() & (rows["class_name"].fillna("") != "")]
    named = named.assign(**named[METRIC].fillna("")).drop_duplicates([*METRIC, "category", "class_name"])
    return named.groupby(METRIC).size().rename("n_classes").reset_index()


def _named_right(run: Path, selection: Selection) -> pd.DataFrame:
    """Of each study, config and moment the images that the classifier names right; empty where it was not asked."""
    keys = ["study", "config", *MOMENT]
    table = identified(run, selection.epochs) if (run / "scores.parquet").exists() else None
    if table is None or table.empty:
        return pd.DataFrame(columns=[*keys, *_IDENTIFIED])
    if selection.category != ALL:
        table = table[table["category"] == selection.category]
    counts = table.groupby(keys, dropna=False)[["right", "images"]].sum().reset_index()
    return counts.rename(columns=dict(zip(("right", "images"), _IDENTIFIED)))


def _points(ranked: Ranked, category: str) -> pd.DataFrame:
    """Mean score of every config and epoch by criterion, and its chance of the Pareto front."""
    keys = ["config", *MOMENT]
    rows, named = _numbered(ranked.rows, keys)
    names = {column.metric: column.info.criterion for column in ranked.columns}
    means = summarise(rows, ["point"]).query("category == @category")
    points = means.assign(criterion=means["metric"].map(names)).pivot(index="point", columns="criterion", values="mean")
    points = points.reindex(columns=list(names.values()))
    classes = class_scores(rows)
    classes = with_all_classes(classes.assign(home=classes["category"])).query("category == @category")
    classes = classes.merge(rows[["checkpoint", "seed", "point"]].drop_duplicates("checkpoint"), on="checkpoint")
    wide = classes.pivot_table(
        index="point", columns=["home", "class_name", "seed", "metric"], values="score", dropna=False, aggfunc="mean"
    ).reindex(points.index)
    levels = wide.columns.remove_unused_levels().to_frame(index=False)
    places = [pd.factorize(levels[["home", "class_name"]].apply(tuple, axis=1))[0]]
    places += [pd.factorize(levels[name], use_na_sentinel=False)[0] for name in ("seed", "metric")]
    scores = np.full((len(points), *(int(each.max()) + 1 for each in places)), np.nan)
    scores[:, places[0], places[1], places[2]] = wide.to_numpy(dtype=np.float64, na_value=np.nan)
    chance = front_probability(scores, np.random.default_rng(BOOTSTRAP_SEED))
    points = points.assign(on_front=chance).reset_index().rename_axis(columns=None)
    return named[["point", *keys]].merge(points, on="point").drop(columns="point").sort_values(keys, kind="stable")


def _sizes(run: Path, configs: pd.Series, needed: bool) -> pd.Series:
    """MiB of a checkpoint of each config, as its training wrote it."""
    file = run / "costs.parquet"
    costs = (pd.read_parquet(file) if file.exists() else pd.DataFrame()).reindex(columns=["stage", "config", "bytes"])
    sizes = costs[costs["stage"] == "train"].groupby("config")["bytes"].mean() / MIB
    if needed and sizes.empty:
        raise UserError(f"{run} does not say how large its checkpoints are: leave out --max-mib.")
    return configs.map(sizes).astype("float64")
