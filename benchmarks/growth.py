"""How the time and memory of a run grow with its checkpoints, where nothing is trained, drawn or looked at.

    python benchmarks/growth.py [--trainings 8 78] [--work FOLDER] [--explain] [--json]

Each run is what `configs/paper.toml` comes to on the paper's data set (39 leaves, 149 sets of 100 images a checkpoint,
three checkpoints a training), on the miniature base model. Its artifacts are written through the store, under their own
keys and in their own places, with random numbers for values: pictures of 16 x 16 pixels where the study keeps any,
features of two numbers, adapters that are none. Nothing is synced to disk while they are written. Every phase after
that is timed in a process of its own, in seconds of the processor, since a machine may have others to serve; its peak
memory holds 0.6 GB of libraries. A folder named by --work is filled once and used again. Without --explain random
numbers stand for the explanation, which takes CatBoost minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd

from lorabench import images, mini, store
from lorabench.api import studies
from lorabench.api.requests import How
from lorabench.datasets.description import read_description
from lorabench.datasets.skeletons import begin_skeleton, skeleton_file
from lorabench.pipeline import integrity, keeping, pictures, tables, tasks, thumbnails
from lorabench.pipeline.auditing import PROBES_FILE
from lorabench.pipeline.features import FEATURES_FILE, image_name, scored_from, set_name
from lorabench.pipeline.measuring import DATASET, TEXTS, View
from lorabench.pipeline.pending import training_steps
from lorabench.pipeline.plan import Plan, TrainingRun
from lorabench.pipeline.run import STAGES
from lorabench.records import Checkpoint, Score
from lorabench.report.page import build_report
from lorabench.stages.explain import TARGET, Explained
from lorabench.stages.score import score_checkpoint, score_dataset
from lorabench.statistics.columns import PROBE_COLUMNS, factor_columns
from lorabench.store.files import SEAL, write_sealed

ROOT = Path(__file__).parents[1]
SIDE = 16  # pixels of a picture
OF_SETS = ("vendi", "squared_centroid_distance")  # metrics that have no value of a single image
SHAP_FACTORS = ("algorithm", "trained_layers", "epoch", "capacity", "lr_level")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trainings", type=int, nargs="+", default=[8, 78], help="of each run, three checkpoints each")
    parser.add_argument("--work", type=Path, help="folder for the runs, kept; default: a temporary one")
    parser.add_argument("--explain", action="store_true", help="time the explanation itself")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        work = (options.work or Path(scratch)).resolve()
        _write_study(work)
        runs = [_measured(work, trainings, options.explain) for trainings in options.trainings]
    if options.json:
        machine = {"python": platform.python_version(), "cores": os.cpu_count(), "system": platform.platform()}
        print(json.dumps(machine | {"runs": runs}, indent=1))
    else:
        _show(runs)


def _phase(name: str, work: Path, trainings: int, is_explained: bool) -> float:
    """The processor seconds that a phase takes in this process, without what has to be there before it begins."""
    since = time.process_time()
    plan = studies.planned(work / "study.toml", _run(work, trainings), How(device="cpu"), limit=trainings)
    if name == "plan":
        return time.process_time() - since
    explain = tables.explained if is_explained else _made_up_explanation
    with mock.patch.object(tables, "explained", explain):
        if name == "second look":
            PHASES["first look"](plan)
        since = time.process_time()
        PHASES[name](plan)
    return time.process_time() - since


def _measured(work: Path, trainings: int, is_explained: bool) -> dict[str, object]:
    """Seconds and peak memory of each phase on a run of so many trainings, which is built if it is not there."""
    run, phases = _run(work, trainings), {}
    for name in PHASES:
        if name == "build" and (run / "built").exists():
            continue
        phases[name] = _forked(lambda name=name: _phase(name, work, trainings, is_explained))
        print(f"{3 * trainings} checkpoints, {name}: {phases[name]}", file=sys.stderr)
    options = ["--limit", str(trainings), "--out", str(run), "--device", "cpu", "--json"]
    command = [sys.executable, "-m", "lorabench", "grid", str(work / "study.toml"), *options]
    phases["no-op run"] = _forked(lambda: _up_to_date(command))
    return {"checkpoints": 3 * trainings, "phases": phases}


def _forked(work: Callable[[], float]) -> dict[str, float]:
    """The seconds that some work in a process of its own says it took, and the process's peak of memory.

    A fork has the libraries that this process has loaded: starting anew would take ten seconds a phase.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(write, str(work()).encode())
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    os.close(write)
    with open(read, "rb") as said:
        seconds = said.read()
    _, status, used = os.wait4(child, 0)
    if status:
        raise SystemExit("A phase failed.")
    return {"seconds": float(seconds), "peak_mib": used.ru_maxrss / 1024}


def _up_to_date(command: Sequence[str]) -> float:
    """The processor seconds of a whole command that finds nothing to do, its start-up included."""
    made = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)["made"]
    if any(made.values()):
        raise SystemExit(f"A run that was up to date has made something: {made}.")
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _show(runs: Sequence[dict[str, object]]) -> None:
    counts = [run["checkpoints"] for run in runs]
    print(f"{'':<13}" + "".join(f"{f'{count} checkpoints':>24}" for count in counts) + f"{'ratio':>8}")
    for name in ("build", *PHASES, "no-op run")[1:]:
        cells = [run["phases"].get(name) for run in runs]
        text = "".join(f"{each['seconds']:10.2f} s {each['peak_mib']:6.0f} MiB" if each else " " * 23 for each in cells)
        ratio = f"{cells[-1]['seconds'] / cells[0]['seconds']:8.1f}" if all(cells) else ""
        print(f"{name:<13} {text}{ratio}")
    print(f"{'checkpoints':<13}{'':>{24 * len(runs)}}{counts[-1] / counts[0]:8.1f}")


def _run(work: Path, trainings: int) -> Path:
    return work / f"run-{trainings}"


# --- building ---------------------------------------------------------------------------------------------------------


def _write_study(work: Path) -> None:
    """The paper's study on the miniature base and encoders, with noise for the pictures of its data set."""
    text = (ROOT / "configs/paper.toml").read_text()
    base = next(line for line in text.splitlines() if line.startswith("base = "))
    text = text.replace(base, f'base = "{mini.base_path()}"').replace("../data/paper", str(work / "data"))
    text = text.replace("../prompts", str(ROOT / "prompts")).replace("bfloat16", "float32")
    for name in ("dinov2", "clip", "convnextv2"):
        text = text.replace(f"{name} = {{ ", f'{name} = {{ weights = "{mini.encoder_path(name)}", ')
    text = text.replace("[encoders]", f'[encoders]\nvgg19 = {{ weights = "{mini.encoder_path("vgg19")}" }}')
    if not (work / "data").exists():
        begin_skeleton("paper", work / "data")
        rng = np.random.default_rng(0)
        for entry in read_description(skeleton_file("paper")).concept:
            for index in range(entry.pictures):
                file = work / "data" / entry.path / f"{index}.png"
                images.write(file, _noise(rng))
                file.with_suffix(".txt").write_text(f"{entry.trigger} {entry.class_word}")
    (work / "study.toml").write_text(text)


def _build(plan: Plan) -> None:
    """Every artifact of a run, as if all had been made and the pictures dropped that the study does not keep."""
    rng = np.random.default_rng(0)
    with mock.patch("lorabench.store.artifacts.sync"), mock.patch("lorabench.store.files.sync"):
        for run in plan.runs:
            _train(plan, run, rng)
        for checkpoint in plan.checkpoints:
            _draw(plan, checkpoint, rng)
            thumbnails.make(plan, checkpoint)
        for source in plan.measuring.sources:
            for encoder in plan.measuring.encoders_where(stored=True):
                for view in plan.measuring.views(encoder, source):
                    _encode(plan, view, rng)
        for checkpoint in plan.checkpoints:
            _score(plan, checkpoint, rng)
        for encoder in plan.encoder_ids:
            with plan.folder.writing(plan.places.audit(encoder), plan.keys.audit(encoder)) as scratch:
                store.write_table(pd.DataFrame(columns=PROBE_COLUMNS), scratch / PROBES_FILE)
    (plan.root / "built").touch()


def _train(plan: Plan, run: TrainingRun, rng: np.random.Generator) -> None:
    before = 0
    for milestone in run.config.training.milestones:
        step = training_steps(plan, run, milestone)
        with plan.folder.writing(plan.places.checkpoint(run, milestone), plan.keys.training(run, milestone)) as scratch:
            (scratch / tasks.WEIGHTS_FILE).write_bytes(rng.bytes(64))
            losses = rng.random(step - before).tolist()
            store.write_json(scratch / tasks.TRAINING_FILE, {"step": step, "losses": losses})
        before = step


def _draw(plan: Plan, checkpoint: Checkpoint, rng: np.random.Generator) -> None:
    """The pictures that are kept of a checkpoint, and the record of all.

    Of sets that keep nothing and are of one size, the record of the first serves the others under their own keys.
    """
    made_from = [each for each in [plan.places.weights(checkpoint)] if each]
    written: dict[int, tuple[Path, str]] = {}
    for prompt_set, most in keeping.kept(plan, checkpoint):
        folder, key = plan.places.images(checkpoint, prompt_set), plan.keys.images(checkpoint, prompt_set)
        names = [image_name(request.index) for request in prompt_set.requests]
        if not most and len(names) in written:
            _write_like(*written[len(names)], folder, key)
            continue
        with plan.folder.writing(folder, key, made_from) as scratch:
            for name in names[: most or 1]:
                images.write(scratch / name, _noise(rng))
        meta = plan.folder.meta(folder)
        lost = {name: replace(meta.files[names[0]], sha256=rng.bytes(32).hex()) for name in names[most:]}
        write_sealed(folder / store.META, replace(meta, files={**meta.files, **lost}, dropped=tuple(lost)))
        plan.folder.drop(folder, tuple(lost))
        written |= {} if most else {len(names): (folder, key)}


def _write_like(template: Path, template_key: str, folder: Path, key: str) -> None:
    text = (template / store.META).read_text().replace(template_key, key)
    content = json.loads(text)
    seal = content.pop(SEAL)
    folder.mkdir(parents=True)
    own = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    (folder / store.META).write_text(text.replace(seal, own))


def _encode(plan: Plan, view: View, rng: np.random.Generator) -> None:
    checkpoint, seen, shapes = plan.checkpoint_by_id.get(view.source), [], {TEXTS: len(plan.measuring.texts)}
    if checkpoint:
        sets = plan.measuring.sets_for(view.encoder, checkpoint)
        seen = [plan.places.images(checkpoint, each) for each in sets]
        shapes = {set_name(each.concept.id, each.type): len(each.requests) for each in sets}
    elif view.source == DATASET:
        shapes = {set_name(id_, DATASET): len(plan.dataset.images_of(id_)) for id_ in plan.measuring.concepts}
    with plan.folder.writing(plan.places.features(view), plan.keys.features(view), seen) as scratch:
        arrays = {name: rng.random((n, 2), np.float32) for name, n in shapes.items()}
        store.write_arrays(scratch / FEATURES_FILE, arrays)


def _score(plan: Plan, checkpoint: Checkpoint, rng: np.random.Generator) -> None:
    leaves, choices = tasks.measured(plan, checkpoint)
    rows = score_checkpoint(checkpoint.id, leaves, lambda *_: None, choices)
    if plan.measuring.holds_ceiling(checkpoint):
        rows += score_dataset(DATASET, leaves, lambda *_: None, choices)
    folder, made_from = plan.places.scores(checkpoint), scored_from(plan, checkpoint)
    with plan.folder.writing(folder, plan.keys.scores(checkpoint), made_from) as scratch:
        store.write_table(pd.DataFrame([vars(_with_values(row, rng)) for row in rows]), scratch / tasks.SCORES_FILE)


def _with_values(row: Score, rng: np.random.Generator) -> Score:
    """A row that says what each image measures, where its metric does, and what each of ten blocks of them does."""
    each = rng.random(100)
    per_image = tuple(each.tolist()) if row.metric not in OF_SETS and row.checkpoint_id != DATASET else ()
    blocks = tuple(each.reshape(10, 10).mean(axis=0).tolist())
    return replace(row, value=float(each.mean()), reason="", n_images=100, blocks=blocks, per_image=per_image)


def _noise(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)


# --- phases -----------------------------------------------------------------------------------------------------------


def _look(plan: Plan) -> None:
    if faults := integrity.faults(plan, STAGES):
        raise SystemExit(f"{faults[0].name}: {faults[0].reason}")


def _update(stage: str) -> Callable[[Plan], None]:
    def update(plan: Plan) -> None:
        failures: list = []
        # In a folder that is used again the tables are up to date, and nothing would be timed.
        store.write_manifest(plan.root, store.read_manifest(plan.root)[0].without(stage))
        written = tables.update(plan, [stage], failures, lambda _: None, print)
        if failures or not written[stage]:
            raise SystemExit(failures[0].message if failures else f"{stage} made nothing.")

    return update


def _images_table(plan: Plan) -> None:
    of_checkpoints = tables.factors(plan)
    parts = (of_checkpoints.merge(part, on="checkpoint", how="right") for part in pictures.picture_parts(plan))
    store.write_parts(parts, plan.root.parent / tables.IMAGES_FILE)


def _page(plan: Plan) -> None:
    build_report(tables.read(plan), plan.root.parent / tables.REPORT_FILE)


def _made_up_explanation(category_scores: pd.DataFrame, *_: object) -> Explained:
    """As large as the real one."""
    rng = np.random.default_rng(0)
    rows = category_scores[[*factor_columns(category_scores), *TARGET]]
    of_factor = [
        rows.assign(factor_name=name, factor_value=rows["config"], shap=rng.normal(size=len(rows)))
        for name in SHAP_FACTORS
    ]
    numbers = dict.fromkeys(("r2_train", "rmse_train", "r2_cv", "rmse_cv"), 0.5)
    targets = rows[TARGET].drop_duplicates().assign(n_rows=rows["checkpoint"].nunique(), **numbers, reason="")
    return Explained(pd.concat(of_factor, ignore_index=True), targets)


PHASES: dict[str, Callable[[Plan], None]] = {
    "build": _build,
    "plan": lambda plan: None,
    "first look": _look,
    "second look": _look,
    "audit": _update("audit"),
    "rank": _update("rank"),
    "explain": _update("explain"),
    "report": _update("report"),
    "images table": _images_table,
    "page": _page,
}


if __name__ == "__main__":
    main()
