"""`lorabench evaluate` on folders as people have them: series of other trainers, many formats, things that are none."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch
from command_line import SMOKE, lorabench_here
from safetensors.torch import load_file, save_file

import lorabench
from lorabench import base_models, formats, mini
from lorabench.api.bystanders import without_bystanders

CONFIG = "lora-linear-d4a2-lr5e-3"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    file = tmp_path_factory.mktemp("study") / "study.toml"
    small = SMOKE.replace("per_set = 4", 'per_set = 2\nprompt_types = ["trigger", "style"]')
    file.write_text(small.replace('"scenes/volcano", ', "").replace(', "styles/riso"', ""))
    return file


def moments(smoke_run, seed):
    """Three moments of a training: the two that the smoke run kept, and the last once more, stronger."""
    first, second = (load_file(smoke_run / f"checkpoints/{CONFIG}/seed-{seed}/epoch-000{n}/adapter.safetensors")
                     for n in (1, 2))  # fmt: skip
    return first, second, {key: 2 * value if "lora_up" in key else value for key, value in second.items()}


def test_a_folder_of_all_kinds_is_grouped_scored_and_the_unusable_listed(smoke_run, study, tmp_path):
    folder, out = tmp_path / "mine", tmp_path / "out"
    folder.mkdir()
    for seed in (1, 2):
        for epoch, end, tensors in zip((2, 4, 6), ("-000002", "-000004", ""), moments(smoke_run, seed)):
            about = {"ss_output_name": f"dog_s{seed}", "ss_seed": str(seed), "ss_epoch": str(epoch), "ss_steps": "9"}
            save_file(tensors, folder / f"dog_s{seed}{end}.safetensors", metadata=about)
    base = base_models.load_base(base_models.base_of(str(mini.base_path())), torch.device("cpu")).components
    adapter, loaded = formats.load_adapter(folder / "dog_s1-000004.safetensors", base)
    settings = formats.config_of(loaded, adapter)
    formats.save_adapter(folder / "by peft", adapter, settings, loaded.origin, "float32", "peft")
    formats.save_adapter(folder / "by diffusers.safetensors", adapter, settings, loaded.origin, "float32", "diffusers")
    whole = (folder / "dog_s1.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("of my dog\n")
    done = lorabench_here("evaluate", str(folder), "--study", str(study), "--out", str(out), "--workers", "1", "--json")
    assert done.returncode == 1, done.stderr
    assert "dog (epochs 2, 4, 6; seeds 1, 2): read from the files' metadata" in done.stderr
    failures = {each["item"].rsplit("/")[-1]: each["message"] for each in json.loads(done.stdout)["failures"]}
    assert failures.keys() == {"truncated.safetensors", "notes.txt"}
    assert "is text, not an adapter" in failures["notes.txt"] and "not a whole" in failures["truncated.safetensors"]
    scores = pd.read_parquet(out / "scores.parquet")
    series = scores[scores["config"] == "dog"].drop_duplicates("checkpoint")
    assert sorted(zip(series["seed"], series["epoch"])) == [(seed, epoch) for seed in (1, 2) for epoch in (2, 4, 6)]
    values = scores.pivot_table(index=["prompt_type", "metric"], columns="checkpoint", values="value")
    for other in ("by peft", "by diffusers"):  # the same adapter as dog_s1-000004
        pd.testing.assert_series_equal(values[other], values["dog_s1-000004"], check_names=False, rtol=1e-4, atol=1e-5)
    found = lorabench.open_run(out).epochs()
    assert set(found["config"]) == {"dog"} and sorted(set(found["epoch"])) == [2, 4, 6]
    page = (out / "report.html").read_text()
    assert '"moments":["epoch 2","epoch 4","epoch 6"' in page and '"ageLabel":"Epoch"' in page


def test_a_sheet_scale_nought_is_the_base_and_steps_have_curves(smoke_run, study, tmp_path):
    folder, out, sheet = tmp_path / "bare", tmp_path / "out", tmp_path / "sheet.csv"
    folder.mkdir()
    rows = ["file,seed,scale,optimizer"]
    for seed, optimizer in ((1, "adam"), (2, "lion")):
        for step, tensors in zip((100, 200, 300), moments(smoke_run, seed)):
            save_file(tensors, folder / f"dog{seed}x-step{step:08d}.safetensors")
            rows += [f"dog{seed}x-step{step:08d},{seed},1,{optimizer}"]
    rows += ["dog1x-step00000300.safetensors,1,0,adam"]
    sheet.write_text("\n".join(rows))
    run = lorabench.evaluate(folder, study=study, sheet=sheet, out=out, workers=1, quiet=True)
    assert not len(run.failures)
    scores = run.scores
    assert list(scores.columns).index("optimizer") == list(scores.columns).index("scale") + 1
    assert set(zip(scores["config"], scores["optimizer"])) >= {("dog1x", "adam"), ("dog2x", "lion")}
    at_nought = scores[(scores["scale"] == 0) & (scores["metric"] == "style_loss_base")]
    assert len(at_nought) and (at_nought["value"] == 0).all()
    values = scores.pivot_table(index=["prompt_type", "metric"], columns="checkpoint", values="value")
    pd.testing.assert_series_equal(values["dog1x-step00000300-x0"], values["base"], check_names=False)
    found = run.epochs()
    assert found["epoch"].isna().all() and sorted(set(found["step"])) == [100, 200, 300]
    assert "best step" in lorabench_here("epochs", str(out)).stdout
    assert set(run.leaderboard()["step"]) == {300}
    page = run.report.read_text()
    assert '"ageLabel":"Step"' in page and '"own":["Optimizer"]' in page and '"own":["lion"]' in page
    sheet.write_text("file,seed\ndog1x-step00000100,1\nsomething,2\n")
    refused = lorabench_here("evaluate", str(folder), "--study", str(study), "--sheet", str(sheet))
    assert refused.returncode == 2 and "sheet.csv, line 3: there is no adapter 'something'" in refused.stderr


def test_states_of_trainings_and_texts_about_files_are_not_measured(tmp_path):
    names = {
        "a.safetensors": True, "a.txt": False, "README.txt": False, "notes.txt": True, "old.ckpt": True,
        "checkpoint-5/optimizer.bin": False, "checkpoint-5/scaler.pt": False, "checkpoint-5/adapter.bin": True,
        "a-state/model.safetensors": False, "a-state/train_state.json": False,
    }  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    kept = without_bystanders(tmp_path / name for name in names)
    assert [str(file.relative_to(tmp_path)) for file in kept] == [name for name, wanted in names.items() if wanted]
