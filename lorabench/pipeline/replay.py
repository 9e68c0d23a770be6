"""Published measurements down the road of any study: ranked, explained, correlated and reported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from lorabench import components, store
from lorabench.pipeline.facts import metric_facts
from lorabench.pipeline.replacing import require_own_folder
from lorabench.pipeline.tables import FAILURE_COLUMNS, explained
from lorabench.published.records import Published, PublishedStudy
from lorabench.report.figures import write_figures
from lorabench.report.page import build_report
from lorabench.report.runs import write_facts
from lorabench.report.tables import TABLES, RunTables
from lorabench.stages.rank import rank
from lorabench.statistics.columns import factor_columns
from lorabench.statistics.correlation import leaf_correlations
from lorabench.statistics.diversity import diversity_ratios

SUBSETS = {"styles": ("", "anime")}  # of the style data set, one part has a distribution of its own in H.1


@dataclass(frozen=True)
class Replayed:
    """Tables of one published study, and its report."""

    study: PublishedStudy
    tables: RunTables
    report: Path


def replay(published: Published, out: Path, line: Callable[[str], None]) -> list[Replayed]:
    """Write the tables of all studies (column `study` tells them apart), reports (the first is report.html), figures.

    Each study is ranked, explained and correlated among itself. `line` is told what is done.
    """
    if published.studies:
        require_own_folder(out, [study.name for study in published.studies])
    runs = [_tables(study, published.notes) for study in published.studies]
    if runs:
        for name in TABLES:
            _write(out, name, runs, [getattr(run, name) for run in runs])
        _write(out, "correlations", runs, [leaf_correlations(run.normalized) for run in runs])
        write_facts(out, runs)
    if len(published.diversity):
        store.write_table(_ratios(published.diversity), out / "diversity_ratios.parquet")
        line("diversity ratios: done")
    done = []
    for study, run in zip(published.studies, runs):
        report = out / ("report.html" if not done else f"report_{study.name}.html")
        build_report(run, report)
        write_figures(run, out / "figures" / study.name)
        done.append(Replayed(study, run, report))
        line(f"{study.name}: {run.normalized['checkpoint'].nunique()} checkpoints ranked, explained and reported")
    return done


def _write(out: Path, name: str, runs: Sequence[RunTables], parts: Sequence[pd.DataFrame]) -> None:
    """One table of all studies."""
    named = [part.assign(study=run.study["name"]) for run, part in zip(runs, parts)]
    store.write_table(pd.concat(named, ignore_index=True), out / f"{name}.parquet")


def _tables(study: PublishedStudy, notes: tuple[str, ...]) -> RunTables:
    started = datetime.now(UTC)
    names = sorted(study.scores["metric"].unique())
    metrics = study.metrics or [metric_facts(components.find("metrics", name, study.name)) for name in names]
    ranked = rank(study.scores, {metric["name"]: metric["higher_is_better"] for metric in metrics})
    answer = explained(ranked.category_scores, study.exclude)
    facts = {
        "name": study.name,
        "description": study.description,
        "base": ", ".join(study.scores["base"].unique()),
        "dataset": study.dataset,
        "notes": list(notes),
        "not explained": list(study.exclude),
    }
    images = pd.DataFrame(columns=[*factor_columns(study.scores), "category", "class_name", "subclass", "prompt_type"])
    return RunTables(
        study=facts,
        scores=study.scores,
        normalized=ranked.normalized,
        category_scores=ranked.category_scores,
        attributions=answer.attributions,
        explanations=answer.explanations,
        images=images,
        costs=study.costs,
        failures=pd.DataFrame(columns=FAILURE_COLUMNS),
        metrics=metrics,
        provenance=asdict(store.provenance_of("not recorded: published values", started, 0.0)),
    )


def _ratios(diversity: pd.DataFrame) -> pd.DataFrame:
    parts = []
    for name, table in diversity.groupby("dataset", sort=False):
        for whole in SUBSETS.get(str(name), ("",)):
            parts.append(diversity_ratios(table, whole).assign(dataset=f"{name}/{whole}".rstrip("/")))
    return pd.concat(parts, ignore_index=True)
