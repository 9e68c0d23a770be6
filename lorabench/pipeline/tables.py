"""The tables of a run, and the report made from them: what people keep."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from lorabench import components, store
from lorabench.errors import UserError
from lorabench.pipeline import collapsing, thumbnails
from lorabench.pipeline.auditing import PROBES_FILE, gathered_probes, is_audited
from lorabench.pipeline.deciding import Deciding, of_all_rounds
from lorabench.pipeline.facts import metric_facts_of, study_facts
from lorabench.pipeline.integrity import costs
from lorabench.pipeline.keys import STAGE_VERSIONS
from lorabench.pipeline.losses import loss_rows, norm_rows, trained_folders
from lorabench.pipeline.merging import interference_rows, merged_folders, merged_parents
from lorabench.pipeline.pictures import picture_parts
from lorabench.pipeline.plan import DATASET, Plan
from lorabench.pipeline.tasks import SCORES_FILE, TRAINING_FILE, measured
from lorabench.pipeline.validation import health_table, loss_table, validated
from lorabench.records import Checkpoint, Failure, Score
from lorabench.report import runs
from lorabench.report.page import build_report
from lorabench.report.tables import TABLES, RunTables
from lorabench.stages.explain import Explained, explain
from lorabench.stages.rank import check_metric_ids, rank
from lorabench.stages.score import score_checkpoint
from lorabench.statistics.columns import (
    ALL,
    CLASS,
    DECISION_COLUMNS,
    FACTORS,
    LEAF,
    METRIC,
    factor_columns,
    own_factors,
    with_whole_numbers,
)
from lorabench.statistics.comparisons import KINSHIP, compare_files_with_best
from lorabench.statistics.dilution import dilution
from lorabench.statistics.moments import compare_moments_with_best
from lorabench.statistics.validation import health_of_weights

FAILURES_FILE, IMAGES_FILE, REPORT_FILE = "failures.parquet", "images.parquet", "report.html"
FAILURE_COLUMNS = ["stage", "item", "status", "message"]


def update(
    plan: Plan,
    stages: Sequence[str],
    failures: list[Failure],
    line: Callable[[str], None],
    say_damage: Callable[[str], None],
    is_alone: bool = True,
) -> dict[str, int]:
    """Bring tables and report up to date with the scores; returns stage -> tables written (0 = were up to date).

    `stages` are all stages of this run; failures that an earlier run had in other stages stay listed in the report.
    `say_damage` is told of tables that are not what was written; they are made again. DamagedArtifact if something that
    they are made from is not. `is_alone`: no other process is at work there, so what pages need and is lacking is made.
    """
    makers = {"audit": _audit, "rank": _rank, "explain": _explain, "report": _report}
    done = {}
    manifest, faults = _looked_at(plan.root, say_damage)
    listed = [*_earlier_failures(plan, stages, manifest, faults), *failures]
    for stage in (each for each in stages if each in makers):
        if stage == "report" and is_alone:  # part of its key
            thumbnails.bring_up_to_date(plan)
        key = _key(plan, stage, manifest, listed)
        obstacle = _obstacle(plan, stage, manifest, faults, is_alone)
        done[stage] = 0
        if obstacle:
            failures.append(Failure(stage, plan.study.name, "skipped", obstacle))
            listed.append(failures[-1])
            continue
        if manifest.keys.get(stage) == key and not faults.keys() & set(_WRITES[stage]):
            continue
        if stage in manifest.keys:  # a run that dies between two tables must not find the old key
            manifest = manifest.without(stage)
            store.write_manifest(plan.root, manifest)
        try:
            done[stage] = makers[stage](plan, listed)
        except UserError as error:
            failures.append(Failure(stage, plan.study.name, "failed", str(error)))
            listed.append(failures[-1])
            continue
        manifest = manifest.with_stage(plan.root, stage, key, _WRITES[stage])
        manifest = replace(manifest, study=plan.study.model_dump(mode="json"))
        store.write_manifest(plan.root, manifest)
        faults = {name: fault for name, fault in faults.items() if name not in _WRITES[stage]}
        line(f"{stage}: done")
    return done


def _looked_at(root: Path, say: Callable[[str], None]) -> tuple[store.Manifest, dict[str, str]]:
    """What the run says of its tables, and what is wrong with which of them."""
    manifest, broken = store.read_manifest(root)
    if broken:
        say(f"{store.RUN_FILE} counts as missing: {broken}. All tables are made again.")
    faults = store.table_faults(root, manifest)
    for name, fault in faults.items():
        say(f"{name} counts as missing: {fault}. It is made again.")
    return manifest, faults


def _earlier_failures(
    plan: Plan, stages: Sequence[str], manifest: store.Manifest, faults: Mapping[str, str]
) -> list[Failure]:
    """Failures on record of stages that this run does not touch."""
    if FAILURES_FILE not in manifest.files or FAILURES_FILE in faults:
        return []
    rows = store.read_table(plan.root / FAILURES_FILE).to_dict("records")
    return [Failure(**row) for row in rows if row["stage"] not in (*stages, "evaluate")]


def report_is_stale(plan: Plan) -> bool:
    """Is there a page that was made from other scores than those that are there now?"""
    if not (plan.root / REPORT_FILE).exists():
        return False
    manifest, _ = store.read_manifest(plan.root)
    return "report" not in manifest.keys or manifest.keys.get("rank") != _key(plan, "rank", manifest, ())


def still_to_come(plan: Plan) -> int:
    """How many checkpoints, the base model among them, have not been scored."""
    return len(plan.checkpoints) - len(_scored(plan))


def read(plan: Plan) -> RunTables:
    """All tables of a run, for the report: of its pictures those that a page can show."""
    there = [name for name in TABLES if name != "images" and (plan.root / f"{name}.parquet").exists()]
    tables = {name: store.read_table(plan.root / f"{name}.parquet") for name in there}
    for name in ("scores", "normalized"):  # no page shows it, and of a million rows it is a third
        tables[name] = tables[name].drop(columns="metric_id")
    tables["images"] = store.read_table(plan.root / IMAGES_FILE, with_value="thumbnail")
    drawn = (
        each
        for one in plan.drawn_in
        for checkpoint in one.checkpoints
        for each in thumbnails.drawn_sets(one, checkpoint)
    )
    provenance = asdict(store.provenance_of(plan.device, datetime.now(UTC), 0.0))
    facts = study_facts(plan) | {"still_to_come": still_to_come(plan)}
    facts["n_images"] = sum(len(prompt_set.requests) for prompt_set in drawn)
    return RunTables(study=facts, metrics=metric_facts_of(plan), provenance=provenance, **tables)


_WRITES: dict[str, tuple[str, ...]] = {
    "audit": (PROBES_FILE,),
    "rank": (
        *("scores.parquet", "normalized.parquet", "category_scores.parquet"),
        *("files.parquet", "choices.parquet", "merges.parquet", "decisions.parquet"),
    ),
    "explain": ("attributions.parquet", "explanations.parquet"),
    "report": (
        *(
            IMAGES_FILE,
            "costs.parquet",
            "losses.parquet",
            "norms.parquet",
            "validation.parquet",
            "health.parquet",
            "collapsed.parquet",
            "interference.parquet",
            FAILURES_FILE,
            PROBES_FILE,
        ),
        *(runs.FACTS_FILE, REPORT_FILE),
    ),
}


def _key(plan: Plan, stage: str, manifest: store.Manifest, failures: Sequence[Failure]) -> str:
    """What a stage's tables are made from: by content, since what was made anew may have another."""
    if stage == "rank":
        scored = _scored(plan)
        parameters: list[Any] = [_directions(plan), plan.study.name, [_said(checkpoint) for checkpoint in scored]]
        parameters += [plan.study.decide.model_dump()] if plan.rounds else []
        inputs = _scores_of(plan, scored)
        inputs += [store.file_hash(Path(plan.study.anchors))] if plan.study.anchors else []
    elif stage == "audit":
        parameters, inputs = [], _audited(plan)
    elif stage == "explain":
        parameters = [plan.study.explain.model_dump()]
        inputs = _hashes(manifest, "rank")
        if plan.study.explain.weights:
            inputs += [plan.folder.content(folder) for _, folder in validated(plan)]
    else:
        parameters = [plan.study.model_dump(mode="json", exclude={"run"}), [asdict(failure) for failure in failures]]
        parameters += [plan.remarks, still_to_come(plan)]
        drawn = [
            one.places.images(each, drawn_set)
            for one in plan.drawn_in
            for each in one.checkpoints
            for drawn_set in thumbnails.drawn_sets(one, each)
        ]
        drawn += [plan.places.thumbnails(DATASET)]
        drawn += [one.places.thumbnails(id_) for one in plan.drawn_in for id_ in one.checkpoint_by_id]
        inputs = [*_hashes(manifest, "rank"), *_hashes(manifest, "explain"), *_audited(plan)]
        inputs += _scores_of(plan, _scored(plan))  # what single images measure
        inputs += [plan.folder.content(folder) for folder in (*drawn, *trained_folders(plan), *merged_folders(plan))]
        inputs += [plan.folder.content(folder) for _, folder in validated(plan)]
    return store.key_of(stage, STAGE_VERSIONS[stage], parameters, inputs)  # type: ignore[index]


def _audited(plan: Plan) -> list[str]:
    return [plan.folder.content(plan.places.audit(name)) for name in plan.encoder_ids if is_audited(plan, name)]


def _hashes(manifest: store.Manifest, stage: str) -> list[str]:
    written = _WRITES[stage] if stage in manifest.keys else ()
    return [manifest.files[name].sha256 for name in written if name in manifest.files]


def _obstacle(plan: Plan, stage: str, manifest: store.Manifest, faults: Mapping[str, str], is_alone: bool) -> str:
    if stage == "audit":
        return ""
    if stage == "rank":
        scored = any(not checkpoint.is_base for checkpoint in _scored(plan))
        way = "run `lorabench score` first, or see its failures" if is_alone else "try again when the run there has"
        return "" if scored else f"no checkpoint has been scored: {way}"
    needed = "rank" if stage == "explain" else "explain"
    if needed in manifest.keys and not faults.keys() & set(_WRITES[needed]):
        return ""
    if stage == "report" and not manifest.keys and all((plan.root / name).exists() for name in _WRITES[needed]):
        return (
            f"the tables in {plan.root} are not on record as made by a run there: `lorabench report {plan.root}` "
            "makes the page from them as they are"
        )
    return f"the tables of {needed} are not there: run `lorabench {needed}` first, or see its failure"


# --- audit, rank, explain --------------------------------------------------------------------------------------------


def _audit(plan: Plan, failures: Sequence[Failure]) -> int:
    store.write_table(gathered_probes(plan), plan.root / PROBES_FILE)
    return 1


def _rank(plan: Plan, failures: Sequence[Failure]) -> int:
    measured_ = _gathered_scores(plan)
    scores = measured_.drop(columns="blocks")
    ranked = rank(scores, _directions(plan), _anchors(plan) if plan.study.anchors else None)
    store.write_table(scores, plan.root / "scores.parquet")
    store.write_table(ranked.normalized, plan.root / "normalized.parquet")
    store.write_table(ranked.category_scores, plan.root / "category_scores.parquet")
    del scores, ranked  # of a study of the paper's size a million rows, with as many again to come
    store.write_table(_files(measured_, _directions(plan)), plan.root / "files.parquet")
    store.write_table(_choices(measured_, _directions(plan)), plan.root / "choices.parquet")
    store.write_table(_merges(measured_, plan), plan.root / "merges.parquet")
    store.write_table(_decisions(plan), plan.root / "decisions.parquet")
    return len(_WRITES["rank"])


def _files(scores: pd.DataFrame, higher_is_better: Mapping[str, bool]) -> pd.DataFrame:
    """Each adapter against the best one on the same images' prompts and noise."""
    factors_ = scores[factor_columns(scores)].drop_duplicates("checkpoint")
    rows = scores.loc[scores["algorithm"] != "none", _COMPARED]
    return factors_.merge(compare_files_with_best(rows, higher_is_better), on="checkpoint")


_COMPARED = ["checkpoint", *KINSHIP, *METRIC, *CLASS, "blocks"]


def _choices(scores: pd.DataFrame, higher_is_better: Mapping[str, bool]) -> pd.DataFrame:
    """Each moment and merge ratio of a config against the config's best."""
    found = compare_moments_with_best(scores[scores["algorithm"] != "none"], higher_is_better)
    return _of_study(found, scores)


def _merges(scores: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """What each merge leaves of its parents."""
    return _of_study(dilution(scores, merged_parents(plan), _directions(plan)), scores)


def _decisions(plan: Plan) -> pd.DataFrame:
    """What the rounds of a study decide."""
    decided = Deciding(plan).table(plan.rounds) if plan.rounds else pd.DataFrame(columns=DECISION_COLUMNS)
    return decided.assign(study=plan.study.name)[["study", *DECISION_COLUMNS]]


def _of_study(table: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    return with_whole_numbers(table.assign(study=scores["study"].iloc[0])[["study", *table]])


def check_measured(plan: Plan) -> None:
    """UserError where no metric has anything to measure, or where the study's anchors were measured otherwise."""
    # Without features: every row, no value.
    planned = []
    for checkpoint in {tuple(map(id, plan.sets_of(each))): each for each in plan.checkpoints}.values():
        leaves, choices = measured(plan, checkpoint)
        planned += score_checkpoint("", leaves, lambda *_: None, choices)
    if not planned:
        types = ", ".join(dict.fromkeys(prompt_set.type for _, prompt_set in plan.every_set))
        names = ", ".join(request.metric for request in plan.requests)
        raise UserError(
            f"Study '{plan.study.name}' measures nothing: of its metrics ({names}) none looks at {types} prompts of "
            "these categories. Change metrics, or images.prompt_types."
        )
    if plan.study.anchors:
        check_metric_ids(_metric_ids(plan, pd.DataFrame([asdict(each) for each in planned])), _anchors(plan))


def _anchors(plan: Plan) -> pd.DataFrame:
    return runs.read_part(Path(plan.study.anchors), "scores")


def _explain(plan: Plan, failures: Sequence[Failure]) -> int:
    category_scores = store.read_table(plan.root / "category_scores.parquet")
    said = plan.study.explain
    measured_ = health_of_weights(health_table(plan)) if said.weights else None
    answer = explained(category_scores, said.exclude, said.epochs, measured_)
    store.write_table(answer.attributions, plan.root / "attributions.parquet")
    store.write_table(answer.explanations, plan.root / "explanations.parquet")
    return 2


def explained(
    category_scores: pd.DataFrame,
    exclude: Sequence[str],
    epochs: Mapping[str, Sequence[int]] | None = None,
    measured_: pd.DataFrame | None = None,
) -> Explained:
    """The scores of all algorithms we know, explained; `exclude` are configs as glob patterns."""
    configs = category_scores["config"].unique()
    excluded = [name for name in configs if any(fnmatch.fnmatch(name, each) for each in exclude)]
    behind = {name: components.algorithm_of(name) for name in sorted(set(category_scores["algorithm"]))}
    known = {name: algorithm for name, algorithm in behind.items() if algorithm is not None}
    rows = category_scores[category_scores["algorithm"].isin(known)]
    unsaid = [name for name in own_factors(rows) if rows[name].isna().all()]  # of merges, which are no algorithm
    rows = rows.drop(columns=unsaid)
    workers = os.cpu_count() or 1
    return explain(rows, known, exclude=excluded, epochs=epochs or {}, measured=measured_, workers=workers)


def _scored(plan: Plan) -> list[Checkpoint]:
    first = plan.drawn_in[0]
    return [c for c in first.checkpoints if first.folder.holds(first.places.scores(c), first.keys.scores(c))]


def _scores_of(plan: Plan, scored: Sequence[Checkpoint]) -> list[str]:
    """The contents of their scores, of every round where there are several."""
    ids = {each.id for each in scored}
    return [
        one.folder.content(one.places.scores(each))
        for one in plan.drawn_in
        for each in one.checkpoints
        if each.id in ids and (one is plan or one.folder.holds(one.places.scores(each), one.keys.scores(each)))
    ]


def _gathered_scores(plan: Plan) -> pd.DataFrame:
    """One row a leaf and metric of every scored checkpoint, with its factors."""
    # What every image measures is ten times as much as all the rest.
    kept = [name for name in Score.__dataclass_fields__ if name not in ("checkpoint_id", "per_image", "parts")]
    if plan.rounds:
        scores = of_all_rounds(plan)[["checkpoint_id", *kept]]
    else:
        folders = [plan.places.scores(checkpoint) for checkpoint in _scored(plan)]
        files = (plan.folder.intact(folder, SCORES_FILE) for folder in folders)
        parts = [store.read_table(file, columns=["checkpoint_id", *kept]) for file in files]
        scores = pd.concat(parts, ignore_index=True)
    scores = scores.rename(columns={"checkpoint_id": "checkpoint"})
    scores = scores.merge(_metric_ids(plan, scores), on=[*LEAF, *METRIC])
    table = factors(plan)
    return table.merge(scores, on="checkpoint")[[*table, *kept, "metric_id"]]


def _metric_ids(plan: Plan, scores: pd.DataFrame) -> pd.DataFrame:
    """The id of every measurement of every leaf."""
    table = scores[[*LEAF, *METRIC]].drop_duplicates().reset_index(drop=True)
    requests = {(request.metric, request.encoder, request.resize): request for request in plan.requests}
    ids = []
    for row in table.itertuples(index=False):
        concept = "/".join(part for part in (row.category, row.class_name, row.subclass) if part)
        request = requests[row.metric, row.encoder, row.resize]
        ids.append(plan.keys.metric_id(request, row.prompt_type, None if row.category == ALL else concept))
    return table.assign(metric_id=ids)


def factors(plan: Plan) -> pd.DataFrame:
    """The factor columns of every checkpoint; numbers that do not apply are missing, not zero."""
    own = dict.fromkeys(name for each in plan.checkpoints for name in each.own)
    rows = [
        {"study": plan.study.name, **own, **asdict(each), **each.own, "checkpoint": each.id, "step": _step(plan, each)}
        for each in plan.checkpoints
    ]
    real = Checkpoint(id=DATASET, config=DATASET, algorithm="none", base=plan.base.id if plan.base else "")
    rows.append({"study": plan.study.name, **own, **asdict(real), "checkpoint": DATASET})  # no model, no training
    table = pd.DataFrame(rows)[[*FACTORS, *own]]
    kinds = {name: "float64" if _is_number(plan, name) else "object" for name in own}
    return with_whole_numbers(table.astype({"lr": "float64", "alpha": "float64", **kinds}))


def _is_number(plan: Plan, own: str) -> bool:
    return not any(isinstance(checkpoint.own.get(own), str) for checkpoint in plan.checkpoints)


def _said(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint for a key: own factors and settings, which most runs have none of, count where there are some."""
    return {name: value for name, value in asdict(checkpoint).items() if name not in ("own", "setting") or value}


def _step(plan: Plan, checkpoint: Checkpoint) -> int | None:
    """Training steps that led to a checkpoint: what its file says, or what our own training wrote beside it."""
    folder = plan.places.weights(checkpoint)
    if folder is None or plan.merging_of(checkpoint):
        return checkpoint.step
    if plan.folder.meta(folder) is None:
        return None
    return store.read_json(plan.folder.intact(folder, TRAINING_FILE))["step"]


def _directions(plan: Plan) -> dict[str, bool]:
    return {request.metric: plan.measuring.metric(request.metric).higher_is_better for request in plan.requests}


# --- report ----------------------------------------------------------------------------------------------------------


def _of_checkpoints(plan: Plan) -> tuple[tuple[str, pd.DataFrame], ...]:
    """Tables that factors stand in front of."""
    return ("validation", loss_table(plan)), ("health", health_table(plan)), ("collapsed", collapsing.table(plan))


def _report(plan: Plan, failures: Sequence[Failure]) -> int:
    of_checkpoints = factors(plan)
    parts = (of_checkpoints.merge(part, on="checkpoint", how="right") for part in picture_parts(plan))
    store.write_parts(parts, plan.root / IMAGES_FILE)
    store.write_table(costs(plan), plan.root / "costs.parquet")
    store.write_table(loss_rows(plan), plan.root / "losses.parquet")
    store.write_table(norm_rows(plan), plan.root / "norms.parquet")
    for name, table in _of_checkpoints(plan):
        store.write_table(of_checkpoints.merge(table, on="checkpoint"), plan.root / f"{name}.parquet")
    store.write_table(interference_rows(plan), plan.root / "interference.parquet")
    failed = pd.DataFrame([asdict(failure) for failure in failures], columns=FAILURE_COLUMNS)
    store.write_table(failed, plan.root / FAILURES_FILE)
    _audit(plan, failures)
    tables = read(plan)
    runs.write_facts(plan.root, [tables])
    build_report(tables, plan.root / REPORT_FILE)
    return len(_WRITES["report"])
