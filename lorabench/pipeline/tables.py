"""The tables of a run, and the report made from them: what people keep."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from lorabench import components, config, images, store
from lorabench.components import Metric
from lorabench.errors import UserError
from lorabench.pipeline.auditing import gathered_probes, is_audited
from lorabench.pipeline.features import generated_images
from lorabench.pipeline.plan import DATASET, STAGE_VERSIONS, TEXTS, Plan
from lorabench.pipeline.tasks import TRAINING_FILE, measured
from lorabench.records import Checkpoint, Failure, PromptSet, Score
from lorabench.report import runs
from lorabench.report.page import build_report
from lorabench.report.tables import TABLES, RunTables
from lorabench.stages.explain import Explained, explain
from lorabench.stages.rank import check_metric_ids, rank
from lorabench.stages.score import score_checkpoint
from lorabench.statistics.columns import ALL, FACTORS, LEAF, METRIC

RUN_FILE = "run.json"  # holds the keys of the tables: written after them, so it never promises what is not there
THUMBNAIL_SIDE = 128  # pixels at most
FAILURE_COLUMNS = ["stage", "item", "status", "message"]


def update(plan: Plan, stages: Sequence[str], failures: list[Failure], line: Callable[[str], None]) -> dict[str, int]:
    """Bring tables and report up to date with the scores; returns stage -> tables written (0 = were up to date).

    `stages` are all stages of this run; failures that an earlier run had in other stages stay listed in the report.
    """
    makers = {"rank": _rank, "explain": _explain, "report": _report}
    done = {}
    state = store.read_json(plan.root / RUN_FILE) or {"keys": {}}
    listed = [*_earlier_failures(plan, stages), *failures]
    for stage in (each for each in stages if each in makers):
        key = _key(plan, stage, state["keys"], listed)
        obstacle = _obstacle(plan, stage, state["keys"])
        done[stage] = 0
        if obstacle:
            failures.append(Failure(stage, plan.study.name, "skipped", obstacle))
            listed.append(failures[-1])
            continue
        if state["keys"].get(stage) == key and _are_there(plan, stage):
            continue
        if state["keys"].pop(stage, None):  # a run that dies between two tables must not find the old key
            store.write_json(plan.root / RUN_FILE, state)
        try:
            done[stage] = makers[stage](plan, listed)
        except UserError as error:
            failures.append(Failure(stage, plan.study.name, "failed", str(error)))
            listed.append(failures[-1])
            continue
        state["keys"][stage] = key
        store.write_json(plan.root / RUN_FILE, state | {"study": plan.study.model_dump(mode="json")})
        line(f"{stage}: done")
    return done


def _earlier_failures(plan: Plan, stages: Sequence[str]) -> list[Failure]:
    """Failures on record of stages that this run does not touch."""
    file = plan.root / "failures.parquet"
    if not file.exists():
        return []
    rows = store.read_table(file).to_dict("records")
    return [Failure(**row) for row in rows if row["stage"] not in (*stages, "evaluate")]


def read(plan: Plan) -> RunTables:
    """All tables of a run, for the report."""
    tables = {name: store.read_table(plan.root / f"{name}.parquet") for name in TABLES}
    provenance = asdict(store.provenance_of(plan.device, datetime.now(UTC), 0.0))
    return RunTables(study=_study_facts(plan), metrics=_metric_facts(plan), provenance=provenance, **tables)


_WRITES = {
    "rank": ("scores.parquet", "normalized.parquet", "category_scores.parquet"),
    "explain": ("attributions.parquet", "explanations.parquet"),
    "report": (
        *("images.parquet", "costs.parquet", "failures.parquet", "probes.parquet"),
        *(runs.FACTS_FILE, "report.html"),
    ),
}


def _are_there(plan: Plan, stage: str) -> bool:
    return all((plan.root / name).exists() for name in _WRITES[stage])


def _key(plan: Plan, stage: str, keys: dict[str, str], failures: Sequence[Failure]) -> str:
    if stage == "rank":
        scored = _scored(plan)
        parameters: list[Any] = [_directions(plan), plan.study.name, [asdict(checkpoint) for checkpoint in scored]]
        inputs = [plan.scores_key(checkpoint) for checkpoint in scored]
        inputs += [store.file_hash(Path(plan.study.anchors))] if plan.study.anchors else []
    elif stage == "explain":
        parameters = [plan.study.explain.model_dump()]
        inputs = [keys.get("rank", "")]
    else:
        parameters = [plan.study.model_dump(mode="json", exclude={"run"}), [asdict(failure) for failure in failures]]
        audited = [plan.audit_key(name) for name in plan.encoder_ids if is_audited(plan, name)]
        inputs = [keys.get("rank", ""), keys.get("explain", ""), *audited]
    return store.key_of(stage, STAGE_VERSIONS[stage], parameters, inputs)  # type: ignore[index]


def _obstacle(plan: Plan, stage: str, keys: dict[str, str]) -> str:
    if stage == "rank":
        scored = any(not checkpoint.is_base for checkpoint in _scored(plan))
        return "" if scored else "no checkpoint has been scored: run `lorabench score` first, or see its failures"
    needed = "rank" if stage == "explain" else "explain"
    there = needed in keys and _are_there(plan, needed)
    return "" if there else f"its tables are not there: run `lorabench {needed}` first, or see its failure"


# --- rank, explain ---------------------------------------------------------------------------------------------------


def _rank(plan: Plan, failures: Sequence[Failure]) -> int:
    scores = _gathered_scores(plan)
    ranked = rank(scores, _directions(plan), _anchors(plan) if plan.study.anchors else None)
    store.write_table(scores, plan.root / "scores.parquet")
    store.write_table(ranked.normalized, plan.root / "normalized.parquet")
    store.write_table(ranked.category_scores, plan.root / "category_scores.parquet")
    return 3


def check_anchors(plan: Plan) -> None:
    """UserError where the study names a frozen population that was measured otherwise than its checkpoints will be."""
    if plan.study.anchors:
        leaves, choices = measured(plan)
        planned = score_checkpoint("", leaves, lambda *_: None, choices)  # without features: every row, no value
        rows = _metric_ids(plan, pd.DataFrame([asdict(each) for each in planned]))
        check_metric_ids(rows, _anchors(plan))


def _anchors(plan: Plan) -> pd.DataFrame:
    return runs.read_part(Path(plan.study.anchors), "scores")


def _explain(plan: Plan, failures: Sequence[Failure]) -> int:
    category_scores = store.read_table(plan.root / "category_scores.parquet")
    answer = explained(category_scores, plan.study.explain.exclude)
    store.write_table(answer.attributions, plan.root / "attributions.parquet")
    store.write_table(answer.explanations, plan.root / "explanations.parquet")
    return 2


def explained(category_scores: pd.DataFrame, exclude: Sequence[str]) -> Explained:
    """The scores of all algorithms we know, explained; `exclude` are configs as glob patterns."""
    configs = category_scores["config"].unique()
    excluded = [name for name in configs if any(fnmatch.fnmatch(name, each) for each in exclude)]
    behind = {name: components.algorithm_of(name) for name in sorted(set(category_scores["algorithm"]))}
    known = {name: algorithm for name, algorithm in behind.items() if algorithm is not None}
    rows = category_scores[category_scores["algorithm"].isin(known)]
    return explain(rows, known, exclude=excluded, workers=os.cpu_count() or 1)


def _scored(plan: Plan) -> list[Checkpoint]:
    return [c for c in plan.checkpoints if store.is_complete(plan.scores_folder(c), plan.scores_key(c))]


def _gathered_scores(plan: Plan) -> pd.DataFrame:
    """One row a leaf and metric of every scored checkpoint, with its factors."""
    parts = [store.read_table(plan.scores_folder(checkpoint) / "scores.parquet") for checkpoint in _scored(plan)]
    scores = pd.concat(parts, ignore_index=True).rename(columns={"checkpoint_id": "checkpoint"})
    kept = [name for name in Score.__dataclass_fields__ if name != "checkpoint_id"]
    scores = scores.merge(_metric_ids(plan, scores), on=[*LEAF, *METRIC])
    return factors(plan).merge(scores, on="checkpoint")[[*FACTORS, *kept, "metric_id"]]


def _metric_ids(plan: Plan, scores: pd.DataFrame) -> pd.DataFrame:
    """The id of every measurement of every leaf."""
    table = scores[[*LEAF, *METRIC]].drop_duplicates().reset_index(drop=True)
    requests = {(request.metric, request.encoder): request for request in plan.requests}
    ids = []
    for row in table.itertuples(index=False):
        concept = "/".join(part for part in (row.category, row.class_name, row.subclass) if part)
        request = requests[row.metric, row.encoder]
        ids.append(plan.metric_id(request, row.prompt_type, None if row.category == ALL else concept))
    return table.assign(metric_id=ids)


def factors(plan: Plan) -> pd.DataFrame:
    """The factor columns of every checkpoint; numbers that do not apply are missing, not zero."""
    rows = [
        {"study": plan.study.name} | asdict(each) | {"checkpoint": each.id, "step": _step(plan, each)}
        for each in plan.checkpoints
    ]
    rows.append({**rows[0], "checkpoint": DATASET, "config": DATASET})  # real images: no model, no training
    table = pd.DataFrame(rows)[FACTORS]
    kinds = {name: "Int64" for name in ("dim", "factor", "seed", "epoch", "step")} | {
        "lr": "float64",
        "alpha": "float64",
    }
    return table.astype(kinds)


def _step(plan: Plan, checkpoint: Checkpoint) -> int | None:
    """Training steps that led to a checkpoint: what its file says, or what our own training wrote beside it."""
    if checkpoint.is_base or checkpoint.weights is not None:
        return checkpoint.step
    run = plan.run_by_id[f"{checkpoint.config}-s{checkpoint.seed}"]
    written = store.read_json(plan.checkpoint_folder(run, checkpoint.epoch or 0) / TRAINING_FILE)
    return written["step"] if written else None


def _directions(plan: Plan) -> dict[str, bool]:
    return {request.metric: plan.metric(request.metric).higher_is_better for request in plan.requests}


# --- report ----------------------------------------------------------------------------------------------------------


def _report(plan: Plan, failures: Sequence[Failure]) -> int:
    store.write_table(_image_rows(plan), plan.root / "images.parquet")
    store.write_table(_costs(plan), plan.root / "costs.parquet")
    failed = pd.DataFrame([asdict(failure) for failure in failures], columns=FAILURE_COLUMNS)
    store.write_table(failed, plan.root / "failures.parquet")
    store.write_table(gathered_probes(plan), plan.root / "probes.parquet")
    tables = read(plan)
    runs.write_facts(plan.root, [tables])
    build_report(tables, plan.root / "report.html")
    return 5


def _image_rows(plan: Plan) -> pd.DataFrame:
    """One row an image, the first few of each set with a thumbnail; the data set's own pictures come as "dataset"."""
    rows = []
    for checkpoint in plan.checkpoints:
        for prompt_set in plan.prompt_sets:
            complete = store.is_complete(
                plan.images_folder(checkpoint, prompt_set), plan.images_key(checkpoint, prompt_set)
            )
            if complete:
                rows += _set_rows(plan, checkpoint, prompt_set)
    return factors(plan).merge(pd.DataFrame([*rows, *_dataset_rows(plan)]), on="checkpoint", how="right")


def _set_rows(plan: Plan, checkpoint: Checkpoint, prompt_set: PromptSet) -> list[dict[str, object]]:
    paths = generated_images(plan, checkpoint, prompt_set).paths
    concept, shown = prompt_set.concept, plan.study.images.thumbnails
    return [
        {
            "checkpoint": checkpoint.id,
            "concept": concept.id,
            "category": concept.category,
            "class_name": concept.class_name,
            "subclass": concept.subclass,
            "prompt_type": prompt_set.type,
            "index": request.index,
            "prompt": request.prompt.text,
            "noise_seed": request.noise_seed,
            "thumbnail": images.thumbnail(images.read(path), THUMBNAIL_SIDE) if position < shown else None,
        }
        for position, (request, path) in enumerate(zip(prompt_set.requests, paths, strict=True))
    ]


def _dataset_rows(plan: Plan) -> list[dict[str, object]]:
    shown = plan.study.images.thumbnails
    return [
        {
            "checkpoint": DATASET,
            "concept": concept.id,
            "category": concept.category,
            "class_name": concept.class_name,
            "subclass": concept.subclass,
            "prompt_type": DATASET,
            "index": index,
            "prompt": image.caption,
            "noise_seed": None,
            "thumbnail": images.thumbnail(images.read(image.path), THUMBNAIL_SIDE),
        }
        for concept in plan.dataset.concepts
        for index, image in enumerate(plan.dataset.images_of(concept.id)[:shown])
    ]


def _costs(plan: Plan) -> pd.DataFrame:
    """Seconds, bytes, peak memory and device of every artifact, as its meta.json says."""
    rows = []
    for stage, item, config_name, checkpoint_id, folder in _artifacts(plan):
        meta = store.read_meta(folder)
        if meta:
            made = meta["provenance"]
            numbers = [made["seconds"], meta["bytes"], made["peak_memory_bytes"], made["device"]]
            rows.append([stage, item, config_name, checkpoint_id, *numbers])
    columns = ["stage", "item", "config", "checkpoint", "seconds", "bytes", "peak_memory_bytes", "device"]
    return pd.DataFrame(rows, columns=columns)


def _artifacts(plan: Plan) -> Iterator[tuple[str, str, str | None, str | None, Path]]:
    """(stage, item, config, checkpoint, folder) of every artifact that the plan comes to."""
    for run in plan.runs:
        for epoch in run.config.checkpoint_epochs:
            folder = plan.checkpoint_folder(run, epoch)
            yield "train", f"{run.id}-e{epoch}", run.config.name, f"{run.id}-e{epoch}", folder
    for checkpoint in plan.checkpoints:
        for prompt_set in plan.prompt_sets:
            item = f"{checkpoint.id} {prompt_set.concept.id} {prompt_set.type}"
            yield "generate", item, checkpoint.config, checkpoint.id, plan.images_folder(checkpoint, prompt_set)
        for encoder in plan.encoders_where(stored=True):
            folder = plan.features_folder(checkpoint.id, encoder)
            yield "encode", f"{checkpoint.id} {encoder}", checkpoint.config, checkpoint.id, folder
        yield "score", checkpoint.id, checkpoint.config, checkpoint.id, plan.scores_folder(checkpoint)
    for source in (DATASET, TEXTS):
        for encoder in plan.encoders_where(stored=True):
            yield "encode", f"{source} {encoder}", None, None, plan.features_folder(source, encoder)
    for encoder in plan.encoder_ids:
        yield "audit", encoder, None, None, plan.audit_folder(encoder)


def _study_facts(plan: Plan) -> dict[str, Any]:
    images = plan.study.images
    return {
        "name": plan.study.name,
        "description": plan.study.description,
        "base": config.portable(plan.study.base),
        "base_id": plan.base_id,
        "dataset": plan.dataset.name,
        "dataset_revision": plan.dataset.revision,
        "dataset_license": plan.dataset.license,
        "assumptions": list(plan.dataset.assumptions),
        "n_configs": len({checkpoint.config for checkpoint in plan.checkpoints if not checkpoint.is_base}),
        "n_checkpoints": len(plan.checkpoints) - 1,
        "seeds": list(plan.study.seeds),
        "images": images.model_dump(mode="json") | {"prompts": config.portable(images.prompts)},
        "training": plan.study.training.model_dump(mode="json"),
        "encoders": plan.encoder_ids,
    } | ({"anchors": plan.study.anchors} if plan.study.anchors else {})


def _metric_facts(plan: Plan) -> list[dict[str, Any]]:
    names = dict.fromkeys(request.metric for request in plan.requests)
    return [metric_facts(plan.metric(name)) for name in names]


def metric_facts(metric: Metric) -> dict[str, Any]:
    """What a metric says of itself, without its function."""
    return {key: value for key, value in vars(metric).items() if key != "compute"}
