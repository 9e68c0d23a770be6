"""Results of peft's image-gen comparison as a study: made-up files of the same shape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lorabench.api.replaying import replayed
from lorabench.errors import UserError
from lorabench.published import peft_comparison
from lorabench.report.runs import read_run

METHODS = {
    "lora--rank-32": ({"peft_type": "LORA", "r": 32, "lora_alpha": 16, "use_dora": False}, 0.7, 0.26),
    "dora--rank-32": ({"peft_type": "LORA", "r": 32, "lora_alpha": 16, "use_dora": True}, 0.6, 0.2),
    "lokr--default": ({"peft_type": "LOKR", "r": 8, "alpha": 4}, 0.5, 0.1),
    "full-finetuning--default": (None, 0.8, 0.4),
}


def write_results(folder: Path) -> Path:
    for number, (stem, (method, similarity, drift)) in enumerate(METHODS.items()):
        training = {"model_id": "some/base", "dataset_id": "some/cat", "seed": 0, "optimizer_kwargs": {"lr": 1e-4}}
        metrics = [
            {"step": 100, "valid dino_similarity": 0.1},
            {"step": 750, "test dino_similarity": similarity, "drift": drift},
        ]
        info = {"train_time": 60.0 + number, "file_size": 1000, "accelerator_memory_max": 10**9}
        content = {
            "run_info": {"experiment_name": stem, "train_config": training, "peft_config": method},
            "train_info": {**info, "status": "success", "metrics": metrics},
            "meta_info": {"system_info": {"accelerator": "some GPU"}},
        }
        file = folder / "method_comparison/image-gen/results" / f"{stem}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    (folder / "package.json").write_text("{}")  # other JSON files of a clone are no results
    return folder


def test_results_become_a_study(tmp_path):
    summary = replayed(write_results(tmp_path / "peft"), tmp_path / "out")
    assert [study["checkpoints"] for study in summary["studies"]] == [4] and summary["notes"] == []
    run = read_run(tmp_path / "out")
    rows = run.normalized.set_index(["config", "metric"])
    assert set(rows["algorithm"]) == {"lora", "dora", "lokr", "native"}
    assert rows.loc[("lora--rank-32", "image_similarity"), "value"] == 0.7
    # Ranked 1 = best: least drift, highest similarity.
    assert rows.loc[("full-finetuning--default", "image_similarity"), "score"] == 1.0
    assert rows.loc[("lokr--default", "drift"), "score"] == 1.0
    assert (rows.loc["dora--rank-32", ["dim", "alpha", "lr", "step"]] == [32, 16, 1e-4, 750]).all(axis=None)
    assert list(run.costs["seconds"]) == [61.0, 63.0, 62.0, 60.0]  # by name of file
    assert "some/cat" in (tmp_path / "out/report.html").read_text()


def test_runs_that_failed_are_missing_and_said(tmp_path):
    folder = write_results(tmp_path)
    file = next(folder.rglob("lora--*.json"))
    content = json.loads(file.read_text())
    content["train_info"] |= {"status": "failed", "metrics": []}
    file.write_text(json.dumps(content))
    published = peft_comparison.read(folder)
    assert published.notes == ("lora--rank-32.json: failed, so its values are missing.",)
    assert published.studies[0].scores["value"].isna().sum() == 2
    del content["train_info"]["file_size"]
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="no whole result.*file_size"):
        peft_comparison.read(folder)
    content["train_info"]["file_size"] = 1
    content["run_info"]["train_config"]["optimizer_kwargs"]["lr"] = "slow"
    file.write_text(json.dumps(content))
    with pytest.raises(UserError, match="no whole result.*slow"):
        peft_comparison.read(folder)
