"""Work that streams: tasks in the order of their inputs, images that are not kept, a page while a run is at work."""

from __future__ import annotations

import shutil
import threading
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from command_line import ROOT, SMALL, lorabench_here

from lorabench import store
from lorabench.api import studies
from lorabench.errors import DamagedArtifact
from lorabench.pipeline import flow, models, tasks
from lorabench.pipeline.behind import Behind
from lorabench.pipeline.features import Looking
from lorabench.pipeline.measuring import View
from lorabench.pipeline.run import STAGES
from lorabench.records import Milestone

TABLES = ("scores", "normalized", "category_scores", "files", "choices", "losses")
TASKS = STAGES[: STAGES.index("audit")]


@pytest.fixture
def plan(tmp_path):
    return studies.planned(ROOT / "configs/smoke.toml", tmp_path / "nothing")


def test_a_training_is_measured_before_the_next_one_begins(plan, monkeypatch):
    monkeypatch.setattr(flow, "obstacle", lambda plan, task: "")
    work = flow.Flow(plan, TASKS)
    order = []
    while (task := work.next()) is not None:
        order.append(task)
        work.ended(task)
    assert len(order) == len(set(order)) == len(work.tasks) and not work.blocked
    of_stages = [(task.stage, task.source) for task in order]
    first, second = (run.id for run in plan.runs[:2])
    assert {source for _, source in of_stages[: of_stages.index(("train", first))]} == {"base", "dataset", "texts"}
    assert of_stages.index(("score", f"{first}-e2")) < of_stages.index(("train", second))
    for checkpoint in plan.checkpoints:
        stages = [stage for stage, source in of_stages if source == checkpoint.id]
        assert stages == sorted(stages, key=STAGES.index)


def test_of_trainings_the_longest_is_first(plan, monkeypatch):
    """One of which nothing is there before one of which half is, and what is trained already before both."""
    monkeypatch.setattr(flow, "obstacle", lambda plan, task: "")
    over, half = plan.runs[0], plan.runs[1]
    first, second = Milestone(1), Milestone(2)
    missing = {over.id: (), half.id: (second,)}
    monkeypatch.setattr(flow, "missing_milestones", lambda plan, run: missing.get(run.id, (first, second)))
    turns = flow._turns(plan)
    assert sorted(turns, key=turns.get) == [over.id, *(run.id for run in plan.runs[2:]), half.id]


def test_what_two_processes_can_do_at_once_is_handed_out(plan, monkeypatch):
    monkeypatch.setattr(flow, "obstacle", lambda plan, task: "")
    work = flow.Flow(plan, ("train", "generate", "encode", "score"))
    started = [work.next() for _ in range(9)]
    assert {task.stage for task in started if task} == {"generate", "encode", "train"}
    assert not any(task.stage == "generate" and task.source != "base" for task in started if task)


def test_a_task_without_its_inputs_is_blocked_and_says_why(plan):
    work = flow.Flow(plan, ("train", "generate"), without=[])
    failed = next(task for task in work.tasks if task.stage == "train")
    work.ended(failed)  # badly: nothing was written
    blocked = {(each.item, each.status) for each in work.blocked}
    assert blocked == {(f"{failed.source}-e{epoch}", "skipped") for epoch in (1, 2)}
    assert all("has not been trained to epoch" in each.message for each in work.blocked)


def test_what_is_done_behind_keeps_its_order_its_bound_and_its_errors():
    """The third piece waits for the first where two may be behind; what was begun is finished whatever comes."""
    done, gate = [], threading.Event()
    with Behind(limit=2) as behind:
        behind.do(lambda: (gate.wait(5), done.append(1)))
        behind.do(lambda: done.append(2))
        threading.Timer(0.05, gate.set).start()
        behind.do(lambda: done.append(3))
        assert done[0] == 1
    assert done == [1, 2, 3]
    with pytest.raises(OSError, match="full"), Behind(limit=2) as behind:
        behind.do(lambda: (_ for _ in ()).throw(OSError("full")))
        behind.do(lambda: done.append(4))
    assert done[-1] == 4
    with pytest.raises(KeyboardInterrupt), Behind(limit=2) as behind:
        behind.do(lambda: done.append(5))
        raise KeyboardInterrupt
    assert done[-1] == 5


def test_an_artifact_stays_what_it_was_when_files_are_dropped(tmp_path):
    folder = store.RunFolder(tmp_path, "s")
    place = folder.path("images", "x")
    with folder.writing(place, "key") as scratch:
        for name in "ab":
            (scratch / name).write_text(name)
    before = folder.content(place)
    folder.drop(place, ["a"])
    (place / "a").write_text("a")  # as a run leaves it that ends between saying and doing
    folder.drop(place, [])
    again = store.RunFolder(tmp_path, "s")
    assert not (place / "a").exists() and again.dropped(place) == ("a",)
    assert again.holds(place, "key") and again.content(place) == before and again.meta(place).bytes == 1
    assert again.intact(place, "b").read_text() == "b"
    with pytest.raises(DamagedArtifact):
        again.intact(place, "a")
    (place / "b").unlink()
    assert not store.RunFolder(tmp_path, "s").holds(place, "key")


def test_images_that_are_not_kept_change_no_number(small_run, tmp_path):
    """Only what encoders that store nothing see of the base model stays; a later question says what it needs."""
    study, out = tmp_path / "study.toml", tmp_path / "run"
    none = SMALL.replace("[images]", '[images]\nkeep = "none"')
    study.write_text(none)
    done = lorabench_here("grid", str(study), "--out", str(out), "--workers", "1")
    assert done.returncode == 0, done.stderr
    for name in TABLES:
        assert pd.read_parquet(out / f"{name}.parquet").equals(pd.read_parquet(small_run / f"{name}.parquet")), name
    assert list(small_run.glob("images/**/*.png")) and not list(out.glob("images/**/*.png"))
    ours, theirs = (pd.read_parquet(run / "images.parquet") for run in (out, small_run))
    assert ours["file"].isna().all()
    assert ours.drop(columns="file").equals(theirs.drop(columns="file"))  # thumbnails and values are there
    assert "up to date" in lorabench_here("grid", str(study), "--out", str(out)).stdout

    study.write_text(
        none.replace("[encoders]", '[encoders]\nvgg19 = { weights = "lorabench:mini/weights/vgg19" }')
        + '[[metrics]]\nname = "squared_centroid_distance"\nencoders = ["clip"]\n'
        + '[[metrics]]\nname = "style_loss_data"\n'
    )
    refused = lorabench_here("grid", str(study), "--out", str(out))
    assert refused.returncode == 2 and "were not kept (images.keep): they would be drawn again" in refused.stderr
    done = lorabench_here("grid", str(study), "--out", str(out), "--replace", "--workers", "1")
    assert done.returncode == 0, done.stderr
    before, after = (pd.read_parquet(run / "scores.parquet") for run in (small_run, out))
    same = after[after["metric"].isin(before["metric"])].reset_index(drop=True)
    assert same.equals(before) and len(after) > len(before)


def test_features_are_taken_while_the_pictures_come(small_run, tmp_path, monkeypatch):
    """They are those of the files; where an encoder fails then, its own task takes them, or says why it cannot."""
    study, out = tmp_path / "study.toml", tmp_path / "run"
    study.write_text(SMALL)
    shutil.copytree(small_run, out)
    features = {file.relative_to(out): file.read_bytes() for file in out.glob("features/**/*.safetensors")}
    assert len(features) > 6
    shutil.rmtree(out / "features")
    assert lorabench_here("encode", str(study), "--out", str(out), "--workers", "1").returncode == 0
    assert {name: (out / name).read_bytes() for name in features} == features

    plan = studies.planned(study, tmp_path / "other")
    checkpoint = plan.checkpoints[0]
    view, (prompt_set, *rest) = View(checkpoint.id, "dinov2"), plan.sets_of(checkpoint)
    pictures = [np.zeros((64, 64, 3), np.uint8)] * len(prompt_set.requests)
    broken = Looking(plan, checkpoint)
    with monkeypatch.context() as patch:
        patch.setattr(models, "encoder", lambda *_: (_ for _ in ()).throw(ValueError("broken")))
        broken.look(prompt_set, pictures)
    broken.write()
    assert not plan.folder.holds(plan.places.features(view), plan.keys.features(view))
    half = Looking(plan, checkpoint)
    half.look(prompt_set, pictures)
    half.write()
    assert rest and not plan.folder.holds(plan.places.features(view), plan.keys.features(view))


def test_the_weights_that_come_next_are_read_ahead(small_run, tmp_path):
    """The next checkpoint that is still to be drawn; what is not trained yet is no error."""
    study, out = tmp_path / "study.toml", tmp_path / "run"
    study.write_text(SMALL)
    shutil.copytree(small_run, out)
    plan = studies.planned(study, out)
    base, first, second = plan.checkpoints
    shutil.rmtree(plan.places.images(second, plan.sets_of(second)[0]))
    with mock.patch.object(models, "weights_of", wraps=models.weights_of) as asked:
        tasks._read_ahead(plan, base)
    assert [call.args for call in asked.call_args_list] == [(plan, second)]
    shutil.rmtree(plan.places.weights(second))
    tasks._read_ahead(plan, first)


def test_a_page_is_made_of_what_is_there_while_a_run_is_at_work(small_run, tmp_path):
    study = tmp_path / "study.toml"
    study.write_text(SMALL)
    copy = tmp_path / "run"
    plan = studies.planned(study, small_run)
    for kept in ("checkpoints", "images", "features", "audit"):
        if (small_run / kept).exists():
            shutil.copytree(small_run / kept, copy / kept)
    for checkpoint in plan.checkpoints[:-1]:
        shutil.copytree(plan.places.scores(checkpoint), copy / "scores" / checkpoint.id)
    with store.RunFolder(copy).locked():
        done = lorabench_here("report", str(study), "--out", str(copy))
        refused = lorabench_here("score", str(study), "--out", str(copy))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Another run is at work" in done.stderr and "Another run is writing" in refused.stderr
    page = (copy / "report.html").read_text()
    assert "Still to come" in page and "1 checkpoint" in page
    done = lorabench_here("grid", str(study), "--out", str(copy), "--workers", "1")
    assert done.returncode == 0 and "Still to come" not in (copy / "report.html").read_text()
    for name in TABLES:
        assert pd.read_parquet(copy / f"{name}.parquet").equals(pd.read_parquet(small_run / f"{name}.parquet")), name
