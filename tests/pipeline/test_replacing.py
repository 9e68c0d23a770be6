"""Nothing finished is replaced unasked, and no folder holds two studies."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from command_line import SMALL, lorabench_here

from lorabench import mini

LORA = "lora-linear-d4a2-lr5e-3"


@pytest.fixture
def run(small_run, tmp_path) -> Path:
    return Path(shutil.copytree(small_run, tmp_path / "run"))


def edited(folder: Path, old: str, new: str) -> str:
    """The small study with one line changed."""
    assert old in SMALL
    file = folder / "edited.toml"
    file.write_text(SMALL.replace(old, new))
    return str(file)


def said(*words: str) -> tuple[int, str]:
    done = lorabench_here(*words)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def bytes_of(run: Path) -> dict[Path, bytes]:
    """Of all but meta.json, which notes the new times of a copied run."""
    files = (file for file in run.rglob("*") if file.is_file() and file.name != "meta.json")
    return {file: file.read_bytes() for file in files}


def test_a_folder_of_another_study_is_refused(run, tmp_path):
    before = bytes_of(run)
    other = edited(tmp_path, 'name = "smoke"', 'name = "other"')
    adapter = str(run / f"checkpoints/{LORA}/seed-1/epoch-0002/adapter.safetensors")
    for words in (["grid", other], ["rank", other], ["evaluate", adapter, "--base", "mini"]):
        code, answer = said(*words, "--out", str(run))
        assert code == 2 and "holds the results of study 'smoke'" in answer and "--out" in answer
    assert bytes_of(run) == before
    for file in ("run.json", "study.json"):  # ended before its tables
        (run / file).unlink()
    assert said("grid", other, "--out", str(run))[0] == 2


def test_an_edit_asks_before_it_replaces_and_keeps_the_checkpoints(run, tmp_path):
    study = edited(tmp_path, "warmup_epochs = 0.5", "warmup_epochs = 1.0")
    before = bytes_of(run)
    asked = "2 trained checkpoints that took", "changed: training.warmup_epochs 0.5 -> 1.0"
    code, answer = said("grid", study, "--out", str(run))
    assert code == 2 and all(each in answer for each in (*asked, "--replace")) and bytes_of(run) == before
    code, answer = said("grid", study, "--out", str(run), "--dry-run")
    assert code == 0 and "replaced" in answer and asked[0] in answer

    code, answer = said("train", study, "--out", str(run), "--replace", "--only", LORA, "--workers", "1")
    assert code == 0 and "report there is of what was there before" in answer
    file = f"checkpoints/{LORA}/seed-1/epoch-0002/adapter.safetensors"
    (aside,) = (run / "replaced").iterdir()
    assert (aside / file).read_bytes() == before[run / file] != (run / file).read_bytes()


@pytest.mark.parametrize("line", ["seeds", "folder"])
def test_a_report_of_something_else_is_not_replaced_unasked(run, tmp_path, line):
    """Another study of the same name: nothing that was made is replaced, but tables and report would be."""
    new, words = {
        "seeds": ("seeds = [3]", "trainings that this study does not have"),
        "folder": (f'folder = "{tmp_path / "dataset"}"', "would take their place"),
    }[line]
    if line == "folder":
        mini.write_dataset(tmp_path / "dataset")
        (tmp_path / "dataset/scenes/volcano/00.txt").write_text("[V_volcano] scene, another day")
    old = next(each for each in SMALL.splitlines() if each.startswith(f"{line} ="))
    study, before = edited(tmp_path, old, new), bytes_of(run)
    code, answer = said("grid", study, "--out", str(run))
    assert code == 2 and words in answer and "--replace" in answer and bytes_of(run) == before
    code, answer = said("grid", study, "--out", str(run), "--dry-run")
    assert code == 0 and words in answer


def test_pictures_may_move(run, tmp_path):
    old = next(each for each in SMALL.splitlines() if each.startswith("folder ="))
    study = edited(tmp_path, old, f'folder = "{mini.write_dataset(tmp_path / "dataset")}"')
    answer = json.loads(lorabench_here("grid", study, "--out", str(run), "--workers", "1", "--json").stdout)
    assert answer["exit_code"] == 0 and not answer["made"]["train"] and not answer["made"]["generate"]


def test_what_was_made_for_another_plan_is_out_of_date_and_not_damaged(run, tmp_path):
    words = [edited(tmp_path, "steps = 2", "steps = 1"), "--out", str(run), "--limit", "1", "--workers", "1", "--json"]
    assert lorabench_here("generate", *words, "--replace").returncode == 0
    answer = json.loads(lorabench_here("encode", *words).stdout)
    assert answer["exit_code"] == 0 and answer["made"]["encode"] and not answer["damage"]


def test_what_is_cheap_is_made_anew_unasked(run, tmp_path):
    study = edited(tmp_path, '[[metrics]]\nname = "text_similarity"\n', "")
    answer = json.loads(lorabench_here("grid", study, "--out", str(run), "--workers", "1", "--json").stdout)
    assert answer["exit_code"] == 0 and not answer["made"]["train"] and answer["made"]["score"]
    assert not answer["report_is_stale"]
