"""From a study file and options to a plan, and from a plan to results."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import replace as changed
from pathlib import Path
from typing import Any, get_args

import torch
from pydantic import ValidationError

from lorabench import components, config, mini, store
from lorabench.api.early_checks import MINI_DATASET, NO_WORDS, check_anchors, with_words
from lorabench.api.progress import open_progress
from lorabench.api.requests import AS_LONG, AS_STUDY, How, Until
from lorabench.base_names import parse_base
from lorabench.components import Executor, Work
from lorabench.config import Study
from lorabench.config.schema import Decide
from lorabench.datasets import Words
from lorabench.errors import UserError, unknown
from lorabench.executors.local import LocalExecutor
from lorabench.executors.nodes import Needs, Room, require_ray
from lorabench.pipeline.plan import Plan
from lorabench.pipeline.planning import make_plan
from lorabench.pipeline.run import STAGES, Result, Stage, run
from lorabench.pipeline.tables import check_measured
from lorabench.pipeline.until_decided import check_decided, run_until_decided
from lorabench.records import ExecutorName, Failure
from lorabench.values import problems, sentence

ALL_STAGES = STAGES
MAKING_STAGES = STAGES[: STAGES.index("validate")]
MEASURING_STAGES = STAGES[len(MAKING_STAGES) :]
EXECUTORS = get_args(ExecutorName)
RESULTS = Path("results")
SMALL_MODEL_BYTES = 200 * 2**20  # several copies of such a base fit a laptop's memory


def planned(
    path: Path,
    out: Path | None,
    how: How = AS_STUDY,
    only: Sequence[str] = (),
    limit: int | None = None,
    anchors: Path | None = None,
    words: Words = NO_WORDS,
    until: Until = AS_LONG,
) -> Plan:
    """The checked plan of a study file under the command line's options."""
    study = anchored(prepared(with_words(config.load_study(path), words), how), anchors)
    study = study.model_copy(update={"decide": decided_by(study.decide, until)})
    plan = make_plan(study, out or RESULTS / study.name, only=only, limit=limit)
    check_measured(plan)
    if study.decide.until == "decided":
        check_decided(plan)
    return plan if how.shard is None else changed(plan, shard=how.shard)


def decided_by(said: Decide, until: Until) -> Decide:
    """How far images are drawn, under the command line's options. UserError."""
    try:
        return Decide.model_validate({**said.model_dump(), **until.said})
    except ValidationError as error:
        problem = problems(error)[0]
        wrong = sentence(problem, Path("--" + str(problem["loc"][0])), list(Decide.model_fields))
        raise UserError(wrong) from None


def prepared(study: Study, how: How = AS_STUDY) -> Study:
    """The study with options applied, plug-ins loaded and the miniature world's pictures written if it uses them.

    UserError for an executor that there is not.
    """
    if how.executor not in (None, *EXECUTORS):
        raise UserError(unknown("executor", how.executor, EXECUTORS))
    run_ = study.run.model_copy(update=how.said)
    if run_.executor == "ray":
        require_ray()
    data = study.data
    if data.folder == str(MINI_DATASET):
        data = data.model_copy(update={"folder": str(mini_dataset_folder())})
    for plugin in study.plugins:
        components.load_plugin(Path(plugin))
    return study.model_copy(update={"run": run_, "data": data})


def anchored(study: Study, anchors: Path | None) -> Study:
    """The study with the frozen population of the command line, if it names one. UserError if the file is missing."""
    if anchors is not None:
        study = study.model_copy(update={"anchors": str(anchors.resolve())})
    if study.anchors:
        check_anchors(Path(study.anchors))
    return study


def mini_dataset_folder() -> Path:
    """The miniature world's data set as an image folder in the user's cache, written once for each renderer."""
    renderer = "".join(store.file_hash(file) for file in sorted(Path(mini.__file__).parent.glob("*.py")))
    key = hashlib.sha256(renderer.encode()).hexdigest()
    cache = store.RunFolder(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lorabench")
    folder = cache.path(f"mini-dataset-{key[:12]}")
    try:
        if not cache.holds(folder, key):  # not there, or not as it was written
            with cache.writing(folder, key) as scratch:
                mini.write_dataset(scratch)
    except OSError as error:
        if not cache.holds(folder, key):  # else another run was faster
            raise UserError(
                f"Cannot write the miniature data set to {cache.root}: {error.strerror}; set XDG_CACHE_HOME."
            ) from error
    return folder


def carry_out(
    plan: Plan,
    stages: Sequence[Stage],
    quiet: bool,
    refused: Sequence[Failure] = (),
    verify: bool = False,
    replace: bool = False,
) -> Result:
    """Run stages of a plan on this machine or on a cluster, after reading all that is there if `verify`.

    `refused` are inputs left out before, to be listed with what fails.
    """
    if plan.shard and replace:
        raise UserError("--replace is for a run that is alone (--shard 1/1): shards would set each other's work aside.")
    progress = open_progress(quiet)

    def open_executor(work: Work) -> Executor:
        if plan.study.run.executor == "local":
            return LocalExecutor(work, plan.study.run.workers or suitable_workers(plan))
        from lorabench.executors.ray import RayExecutor

        return RayExecutor(work, _needs(plan), _room(plan), plan.study.run.address, progress.line)

    runs = run_until_decided if plan.study.decide.until == "decided" else run
    return runs(plan, stages, open_executor, progress, refused, verify, replace)


def _needs(plan: Plan) -> Needs:
    """What every machine of a cluster has to see before it works."""
    of_mini = plan.study.data.folder == str(mini_dataset_folder())
    return Needs(plan.root, plan.inputs, mini_dataset_folder if of_mini else None)


def _room(plan: Plan) -> Room:
    """How much of a cluster's machines a process takes."""
    run_ = plan.study.run
    return Room(run_.device, run_.workers, is_small=_has_small_models(plan))


def suitable_workers(plan: Plan) -> int:
    """One process a GPU; on the CPU one a core for small models, whose one-thread processes scale better."""
    if plan.study.run.executor != "local":
        return 1  # nobody knows yet what the cluster has
    if torch.device(plan.device).type != "cpu":
        return len(plan.devices)
    return (os.cpu_count() or 1) if _has_small_models(plan) else 1


def _has_small_models(plan: Plan) -> bool:
    base = Path(parse_base(plan.study.base).place)
    files = base.rglob("*.safetensors") if base.is_dir() else [base]
    return 0 < sum(file.stat().st_size for file in files if file.is_file()) < SMALL_MODEL_BYTES


def summary(result: Result, root: Path) -> dict[str, Any]:
    """A run's end as plain values: what was made, what failed, where it is."""
    return {
        "results": str(root),
        "report": str(root / "report.html") if (root / "report.html").exists() else None,
        "report_is_stale": result.report_is_stale,
        "made": result.done,
        "damage": result.damage,
        "failures": [asdict(failure) for failure in result.failures],
        **({"waits_for": result.waits_for} if result.waits_for else {}),
        "exit_code": result.exit_code,
    }
