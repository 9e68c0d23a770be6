"""`lorabench evaluate`: a folder of files in, a table and a report out; what cannot be read is named."""

from __future__ import annotations

import os

os.environ["LYCORIS_KERNEL_BACKEND"] = "torch"  # read when lycoris is imported

import itertools
import json
import re
import shutil
from dataclasses import replace

import pandas as pd
import pytest
import torch
from command_line import SMOKE, lorabench_here
from diffusers import StableDiffusionPipeline
from lycoris.modules.loha import LohaModule
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from saved_adapters import peft_models, trained
from tiny_base import write_tiny_base

from lorabench import base_models, datasets, formats, mini
from lorabench.api import evaluate_adapters
from lorabench.api.requests import Drawing
from lorabench.components import Origin
from lorabench.config import Study
from lorabench.formats.kohya import kohya_name
from lorabench.records import TrainConfig, TrainingConfig

FEW = ("--workers", "1", "--per-set")  # processes, pictures


@pytest.fixture(scope="module")
def checkpoints(smoke_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    for number, config in enumerate(("lora-linear-d4a2-lr5e-3", "native-linear-lr3e-4")):
        source = smoke_run / f"checkpoints/{config}/seed-1/epoch-0002/adapter.safetensors"
        shutil.copy(source, folder / f"adapter {number}.safetensors")
    return folder


def theirs(folder):
    """One checkpoint by peft, by diffusers and by lycoris each, on the miniature base."""
    base = base_models.load_base(base_models.base_of(str(mini.base_path())), torch.device("cpu")).components
    states = {}
    for component, model in peft_models(base).items():
        model.save_pretrained(folder / "by peft" / component)
        state = get_peft_model_state_dict(model)
        states[component] = {key.removeprefix("base_model.model."): tensor for key, tensor in state.items()}
    StableDiffusionPipeline.save_lora_weights(folder / "by diffusers", states["unet"], states["text_encoder"])
    tensors = {}
    for name, module in base["unet"].named_modules():
        if name.endswith("proj_in"):
            key = kohya_name(f"unet.{name.removeprefix('base_model.model.')}")
            state = LohaModule(key, module, lora_dim=2, alpha=1).custom_state_dict()
            tensors |= {f"{key}.{suffix}": tensor.detach().contiguous() for suffix, tensor in state.items()}
    save_file(tensors, folder / "by lycoris.safetensors")


def test_evaluate_scores_what_it_finds_and_names_the_rest(checkpoints, smoke_run, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(checkpoints, folder)
    whole = (folder / "adapter 0.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(whole[: len(whole) // 2])
    (folder / "adapter 1.safetensors").rename(folder / "by peft.safetensors")  # as a folder is called
    (folder / "old.ckpt").write_bytes(b"\x80\x02}q\x00.")
    theirs(folder)
    out = tmp_path / "out"
    done = lorabench_here("evaluate", str(folder), "--out", str(out), "--concept", "styles/riso", *FEW, "2", "--json")
    assert done.returncode == 1, done.stderr
    answer = json.loads(done.stdout)
    assert {failure["item"].rsplit("/")[-1] for failure in answer["failures"]} == {"truncated.safetensors", "old.ckpt"}
    measured = {row["checkpoint"] for row in answer["checkpoints"]}
    assert len(measured) == 7  # the base model and real images are in the table, too
    assert {"by peft", "by peft.safetensors"} <= measured
    named = {"checkpoint", "criterion", "prompt_type", "metric", "encoder", "resize"}
    assert set(answer["checkpoints"][0]) == named | {"mean", "judges", "higher_is_better"}
    page = (out / "report.html").read_text()
    assert re.search(r'<section id="files".*by peft\.safetensors.*</section>', page, re.DOTALL)  # each trained once
    scores = pd.read_parquet(out / "scores.parquet")
    assert set(scores["algorithm"]) == {"none", "lora", "loha", "native"}
    assert (out / "report.html").exists()
    lora = scores[(scores["algorithm"] == "lora") & (scores["trained_layers"] == "linear")].iloc[0]
    assert (lora["trained_layers"], lora["dim"], lora["alpha"], lora["seed"], lora["epoch"]) == ("linear", 4, 2, 1, 2)


def test_one_config_trained_on_two_data_sets_is_two(checkpoints, tmp_path):
    folder, out = tmp_path / "two", tmp_path / "out"
    folder.mkdir()
    base = base_models.load_base(base_models.base_of(str(mini.base_path())), torch.device("cpu")).components
    adapter, loaded = formats.load_adapter(checkpoints / "adapter 0.safetensors", base)
    for data, epoch in itertools.product(("cats", "dogs"), (1, 2)):
        origin = replace(loaded.origin, epoch=epoch, pictures={"styles/riso": data})
        formats.save_adapter(folder / f"{data}-{epoch}.safetensors", adapter, loaded.config, origin)
    done = lorabench_here("evaluate", str(folder), "--out", str(out), "--concept", "styles/riso", *FEW, "4", "--json")
    assert done.returncode == 0, done.stderr
    assert "cats-1, cats-2, dogs-1 and 1 more: trained on other pictures or captions" in done.stderr
    rows = json.loads(lorabench_here("epochs", str(out), "--json").stdout)
    assert {row["config"] for row in rows} == {f"{loaded.config.name} ({data})" for data in ("cats", "dogs")}
    assert lorabench_here("leaderboard", str(out)).returncode == 0
    compared = json.loads(lorabench_here("files", str(out), "--json").stdout)
    assert {row["checkpoint"] for row in compared} == {"cats-1", "cats-2", "dogs-1", "dogs-2"}
    assert {row["verdict"] for row in compared} == {"best", "tied"}  # they hold the same weights
    again = lorabench_here("evaluate", str(folder), "--out", str(out), "--concept", "styles/riso", *FEW, "4").stdout
    assert "Of configs nothing can be told" in again and "tied with " in again
    assert "cats-1" in (out / "report.html").read_text()


def test_without_pictures_the_rest_is_measured(checkpoints, tmp_path):
    """Alignment, diversity and preservation need words alone; at merge ratio 0 nothing differs from the base model."""
    study = tmp_path / "study.toml"
    head, encoders = SMOKE.split("[data]")[0], SMOKE[SMOKE.index("[encoders]") :]
    prompts = '[images]\nprompts = "lorabench:mini/prompts"\nsteps = 2\nsize = 64\nmax_tokens = 30\n'
    study.write_text(head + prompts + encoders)
    asked = ("evaluate", str(checkpoints), "--study", str(study), "--out", str(tmp_path / "out"))
    done = lorabench_here(*asked)
    assert done.returncode == 2 and "--trigger sks --class-word dog" in done.stderr
    done = lorabench_here(
        *asked, "--trigger", "[V_octo]", "--class-word", "toy", "--per-set", "2", "--scales", "0,1", "--workers", "1"
    )
    assert done.returncode == 0, done.stderr
    assert "Without pictures of the concept (--data FOLDER) there is no image_similarity" in done.stderr
    scores = pd.read_parquet(tmp_path / "out/scores.parquet")
    assert set(scores["metric"]) == {"text_similarity", "vendi", "style_loss_base"}
    values = scores.pivot_table("value", ["metric", "prompt_type"], "checkpoint")
    for name in ("adapter 0-x0", "adapter 1-x0"):
        pd.testing.assert_series_equal(values[name], values["base"], check_names=False)
    assert (values.loc[("style_loss_base", "style"), ["adapter 0", "adapter 1"]] > 0).all()
    wrong = lorabench_here(*asked, "--trigger", "[V_octo]", "--scales", "0,many")
    assert wrong.returncode == 2 and "'0,many'" in wrong.stderr


def test_a_size_to_wait_for_is_said_and_the_paper_s_is_an_option():
    paper = Study(name="paper", base="someone/model")
    study, said = evaluate_adapters._while_a_person_waits(paper, Drawing(per_set=7), "cpu")
    assert evaluate_adapters.with_drawing(study, Drawing(per_set=7)).images.per_set == 7 and said.startswith("7 images")
    assert study.images.per_set < 100 == paper.images.per_set and "100 in 25 (--paper)" in said


def test_a_base_of_ones_own_goes_the_road_to_the_published_encoders(tmp_path):
    """As far as a machine without them can go."""
    base = write_tiny_base(tmp_path / "base")
    parts = base_models.load_base(base_models.base_of(str(base)), torch.device("cpu")).components
    adapter = trained(parts, "lora", "linear", dim=4)
    config = TrainConfig("mine", adapter.config, TrainingConfig(lr=1e-3))
    formats.save_adapter(tmp_path / "mine.safetensors", adapter, config, Origin("", 1, 1, 10))
    words = ("--trigger", "[V_x]", "--class-word", "dog", "--dry-run")
    done = lorabench_here("evaluate", str(tmp_path / "mine.safetensors"), "--base", str(base), *words)
    assert done.returncode == 2 and "needs the published weights" in done.stderr and "Traceback" not in done.stderr


def test_an_adapter_says_what_it_was_trained_on(checkpoints, tmp_path):
    contents = datasets.load_dataset(mini.write_dataset(tmp_path / "pictures")).contents
    pictures = formats.read_adapter(checkpoints / "adapter 0.safetensors").origin.pictures
    assert pictures.keys() == {"scenes/volcano", "stuffed_toys/octo", "styles/riso"}
    assert pictures.items() <= contents.items()


def test_only_bad_files_are_refused_before_any_work(checkpoints, tmp_path):
    folder = tmp_path / "bad"
    folder.mkdir()
    whole = (checkpoints / "adapter 0.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(whole[:1000])
    done = lorabench_here("evaluate", str(folder), "--out", str(tmp_path / "out"))
    assert done.returncode == 2 and "truncated.safetensors" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_dry_run_names_what_would_be_left_out(checkpoints, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(checkpoints, folder)
    (folder / "truncated.safetensors").write_bytes((folder / "adapter 0.safetensors").read_bytes()[:1000])
    done = lorabench_here("evaluate", str(folder), "--dry-run")
    assert done.returncode == 0 and "left out" in done.stdout and "truncated.safetensors" in done.stdout
