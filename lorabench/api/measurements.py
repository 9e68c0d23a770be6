"""Which measurements and moments of a finished study a question is about, and its tables cut down to them."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lorabench import components
from lorabench.api.findings import by_study, table_of
from lorabench.errors import UserError, unknown
from lorabench.report import runs
from lorabench.report.answers import COPIES
from lorabench.report.cards import WORDS, find_cards
from lorabench.report.points import Comparison, compare
from lorabench.report.schema import checked_facts
from lorabench.report.tables import Column, MetricInfo, columns_of, headline_columns, metric_infos, usual_column
from lorabench.report.words import criterion_words
from lorabench.statistics.columns import ALL, METRIC, MOMENT, with_moments

CRITERION = ["criterion", "metric", "prompt_type", "encoder", "resize"]  # what every number of an answer is named by


@dataclass(frozen=True)
class Selection:
    """What is asked about; what is not said is as the report has it.

    `metrics` replace those that their criteria are judged by. `epochs` () = each config's last one, or all of them
    where a question is about epochs. `prompts` "" = each criterion's own prompt type.
    """

    category: str = ALL
    epochs: tuple[int, ...] = ()
    metrics: tuple[str, ...] = ()
    prompts: str = ""


AS_REPORTED = Selection()


@dataclass(frozen=True)
class Ranked:
    """The ranked rows of one study, of one category's classes where one is asked for, and what it is judged by."""

    study: str
    rows: pd.DataFrame  # of `normalized`, with their moments
    columns: tuple[Column, ...]  # one a criterion
    stands_in: Mapping[str, str]  # criterion -> the measurement that it is judged by where a study has it
    doubts: Mapping[tuple[str, ...], str]  # identity of a measurement that fails its audit -> what it fails


def ranked_studies(run: Path, selection: Selection) -> list[Ranked]:
    """The studies in a folder. UserError for a folder without scores or ranks, and for what they do not have."""
    normalized = table_of(run, "normalized")
    there = [ALL, *sorted(set(normalized["category"]) - {ALL})]
    if selection.category not in there:
        raise UserError(unknown("category", selection.category, there, str(run)))
    if normalized["score"].isna().all():
        raise UserError(f"Nothing in {run} is ranked: a rank takes two checkpoints of adapters with values.")
    return [_ranked(run, study, rows, selection) for study, rows in by_study(normalized)]


def _at_one_scale(rows: pd.DataFrame) -> pd.DataFrame:
    """Of each config one merge ratio, that nearest to the trained 1: two at one moment and seed cannot be paired."""
    scale = rows["scale"].astype("float64").fillna(1.0)
    ordered = rows.assign(scale=scale, off=(scale - 1).abs()).sort_values(["off", "scale"], kind="stable")
    chosen = ordered.groupby(["study", "config"], sort=False)["scale"].first().rename("chosen")
    keys = pd.MultiIndex.from_frame(rows[["study", "config"]])
    return rows[scale.to_numpy() == chosen.reindex(keys).to_numpy()]


def _require_one_file_a_moment(run: Path, rows: pd.DataFrame) -> None:
    """UserError where two adapters share config, seed and moment: tables of old, or somebody's own."""
    moment = ["study", "config", "seed", *MOMENT]
    files = rows.drop_duplicates([*moment, "checkpoint"])
    twins = files[files.duplicated(moment, keep=False)]
    if len(twins):
        numbers = twins.groupby(moment, dropna=False, sort=False, observed=True).ngroup()
        twins = twins[numbers == numbers.iloc[0]]
        raise UserError(
            f"{run}: {' and '.join(twins['checkpoint'])} are both config {twins['config'].iloc[0]} with the same seed "
            "and epoch or step, so neither can be ranked under that name. Evaluate the files again: they are told "
            "apart now."
        )


def _ranked(run: Path, study: str, rows: pd.DataFrame, selection: Selection) -> Ranked:
    infos = _described(run, study, rows)
    columns = columns_of(rows[rows["metric"].isin(infos)], infos)
    chosen = chosen_columns(columns, selection, str(run))
    rows = with_moments(_at_one_scale(rows_of(rows, chosen)))
    _require_one_file_a_moment(run, rows)
    if selection.epochs:
        known = sorted({int(epoch) for epoch in rows["epoch"].dropna()})
        for epoch in selection.epochs:
            if epoch not in known:
                have = "its checkpoints do not say which epoch they are of" if not known else f"it has {_list(known)}"
                raise UserError(f"Study '{study}' has no epoch {epoch}; {have} (--epoch).")
        rows = rows[rows["epoch"].isin(selection.epochs)]
    if selection.category != ALL:
        rows = rows[rows["category"] == selection.category]
    instead = {} if selection.prompts else stand_ins(chosen, selection.metrics)
    return Ranked(study, rows, tuple(chosen), instead, _doubts(run, study, chosen))


def compared(run: Path, study: str, columns: Sequence[Column]) -> Comparison:
    """A study of a run as `report.points.compare` has it, of what compares points by some measurements. UserError.

    With them come the same metrics on other encoders, which an audit asks, and the share of copies. Read once for as
    long as the files stay: a run's end and a notebook ask several questions of the same tables.
    """
    measured = sorted({(column.metric, column.prompt_type) for column in columns} | {COPIES})
    states = [(file.name, file.stat()) for file in sorted(run.iterdir()) if file.is_file()]
    stamps = tuple((name, each.st_size, each.st_mtime_ns) for name, each in states)
    return _compared(run, study, tuple(measured), stamps)


@functools.lru_cache(maxsize=2)
def _compared(
    run: Path, study: str, measured: tuple[tuple[str, str], ...], files: tuple[tuple[str, int, int], ...]
) -> Comparison:
    asked = [{"metric": metric, "prompt_type": prompt_type} for metric, prompt_type in measured]
    only = ("scores", "normalized", "category_scores", "probes", "choices")
    return compare(runs.read_run(run, study, only, asked))


def _doubts(run: Path, study: str, columns: Sequence[Column]) -> dict[tuple[str, ...], str]:
    """What measurements fail of their audits, by identity; nothing of tables that came without what an audit reads."""
    try:
        cards = find_cards(compared(run, study, columns))
    except UserError:
        return {}
    return {card.column.identity: "; ".join(WORDS[name] for name in card.failures) for card in cards if card.failures}


def _described(run: Path, study: str, rows: pd.DataFrame) -> dict[str, MetricInfo]:
    """What the run says of its metrics; where it does not, the metrics that are here. Others are left out."""
    facts = checked_facts(run / runs.FACTS_FILE) if (run / runs.FACTS_FILE).exists() else {}
    described = metric_infos(facts[study]["metrics"]) if study in facts else {}
    known = set(components.names("metrics")) & set(rows["metric"]) - set(described)
    return {**described, **metric_infos([components.find("metrics", name) for name in sorted(known)])}


def chosen_columns(columns: Sequence[Column], selection: Selection, where: str) -> list[Column]:
    """One measurement a criterion: the report's, or of the metrics and prompts asked for. UserError if not measured."""
    criteria = {column.metric: column.info.criterion for column in columns}
    types = list(dict.fromkeys(column.prompt_type for column in columns))
    if selection.prompts and selection.prompts not in types:
        raise UserError(unknown("prompt type", selection.prompts, types, f"--prompts, measured in {where}"))
    asked: dict[str, str] = {}
    for name in selection.metrics:
        if name not in criteria:
            raise UserError(unknown("metric", name, sorted(criteria), f"--metric, measured in {where}"))
        other = asked.setdefault(criteria[name], name)
        if other != name:
            raise UserError(
                f"{other} and {name} both measure {criterion_words(criteria[name]).lower()}: name one (--metric)."
            )
    headlines = {column.info.criterion: column for column in headline_columns(columns)}
    order = [*headlines, *(criterion for criterion in asked if criterion not in headlines)]
    chosen = [_column_of(columns, headlines.get(each), asked.get(each), selection.prompts) for each in order]
    if selection.prompts and not any(column.prompt_type == selection.prompts for column in chosen):
        able = sorted({column.metric for column in columns if column.prompt_type == selection.prompts})
        raise UserError(
            f"No criterion is judged by a metric of {selection.prompts} prompts; name one with --metric: {_list(able)}."
        )
    return chosen


def _column_of(columns: Sequence[Column], headline: Column | None, metric: str | None, prompts: str) -> Column:
    """Of one criterion; the metric's own encoder and resizing come first in `columns`."""
    if metric is None:
        assert headline is not None
        like = [column for column in columns if column.metric == headline.metric and column.prompt_type == prompts]
        return like[0] if like else headline
    candidates = [column for column in columns if column.metric == metric]
    wanted = prompts or (headline.prompt_type if headline else "")
    fitting = [column for column in candidates if column.prompt_type == wanted]
    if prompts and not fitting:
        measured = _list(dict.fromkeys(column.prompt_type for column in candidates))
        raise UserError(f"{metric} is not measured on {prompts} prompts, only on {measured} (--metric, --prompts).")
    return (fitting or candidates)[0]


def stand_ins(columns: Sequence[Column], asked: Sequence[str] = ()) -> dict[str, str]:
    """Criterion -> what it is judged by in other studies, of those that `columns` judge by something else unasked."""
    usual = {column.info.criterion: usual_column(column.info.criterion) for column in columns}
    return {
        column.info.criterion: f"{wanted[0]}, {wanted[1]} prompts"
        for column in columns
        if (wanted := usual[column.info.criterion])
        and wanted != (column.metric, column.prompt_type)
        and column.metric not in asked
    }


def identity(column: Column) -> dict[str, str]:
    """What a number is named by: CRITERION."""
    return {"criterion": column.info.criterion} | {name: getattr(column, name) for name in CRITERION[1:]}


def rows_of(rows: pd.DataFrame, columns: Sequence[Column]) -> pd.DataFrame:
    """Those of these measurements."""
    found = pd.MultiIndex.from_frame(rows[METRIC].fillna(""))
    return rows[found.isin([column.identity for column in columns])]


def leaders(found: pd.DataFrame) -> pd.DataFrame:
    """Of a leaderboard, a row a criterion: what it is judged by, who is best with which score, and who is tied."""
    rows = []
    for (study, criterion), block in found.groupby(["study", "criterion"], sort=False, observed=True):
        best = block[block["verdict"] == "best"].iloc[0]
        tied = block.loc[block["verdict"] != "worse", "config"].tolist()
        rows.append(
            {"study": study, "criterion": criterion, "judged by": f"{best['metric']}, {best['prompt_type']} prompts"}
            | {"best": best["config"], **{name: best[name] for name in MOMENT if pd.notna(best[name])}}
            | {"score": round(best["score"], 2)}
            | {"not told from it": ", ".join(name for name in tied if name != best["config"])}
        )
    return pd.DataFrame(rows)


def _list(words: Sequence[object] | Mapping[str, object]) -> str:
    return ", ".join(map(str, words))
