"""Further ways to draw: factors of checkpoints, each with a base model drawn so; only what is new is drawn."""

from __future__ import annotations

import json
import re
import shutil

import pandas as pd
import pytest
from command_line import SMALL, lorabench_here
from safetensors.torch import load_file, save_file
from tiny_base import write_tiny_base

from lorabench import mini
from lorabench.api import studies
from lorabench.config import load_study
from lorabench.pipeline.planning import make_plan

SWEEP = """
[[sweep]]
product = { guidance = [5, 1], scheduler = ["DDIM", "EulerAncestralDiscreteScheduler"], scale = [0, 1] }
"""


def swept(study, out, *words):
    done = lorabench_here("grid", str(study), "--out", str(out), "--workers", "1", "--json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["made"]


@pytest.fixture(scope="module")
def run(small_run, tmp_path_factory):
    """The small run once more, with sweeps: what it had drawn is not drawn again."""
    folder = tmp_path_factory.mktemp("sweep")
    out = shutil.copytree(small_run, folder / "run")
    pictures = {file: file.read_bytes() for file in out.glob("images/**/*.png")}
    study = folder / "study.toml"
    study.write_text(SMALL + SWEEP)
    made = swept(study, out)
    assert made["train"] == 0
    assert {file: file.read_bytes() for file in pictures} == pictures
    return out, study, made


def test_each_way_has_a_base_model_of_its_own_and_nothing_comes_twice(run):
    out, _, made = run
    scores = pd.read_parquet(out / "scores.parquet").drop_duplicates("checkpoint").set_index("checkpoint")
    floors = scores[scores["algorithm"] == "none"].drop("dataset")
    ways = ["base", "base+cfg1", "base+EulerAncestralDiscrete", "base+cfg1-EulerAncestralDiscrete"]
    assert sorted(floors.index) == sorted(ways)
    ours = scores[scores["algorithm"] != "none"]
    assert len(ours) == 2 * 4 * 2  # epochs, ways, merge ratios; guidance 5 by DDIM is the study's own
    assert made["generate"] == len(ways) - 1 + 2 * (4 * 2 - 1)
    assert set(ours["guidance"]) == {1.0, 5.0} and set(ours["scheduler"]) == {"DDIM", "EulerAncestralDiscrete"}


def test_at_merge_ratio_nought_every_way_draws_its_base_model(run):
    out, _, _ = run
    scores = pd.read_parquet(out / "scores.parquet")
    for checkpoint in scores.loc[scores["scale"] == 0, "checkpoint"].unique():
        way = checkpoint.removesuffix("-x0").partition("+")[2]
        floor = out / "images" / (f"base+{way}" if way else "base")
        drawn = {file.relative_to(floor): file.read_bytes() for file in floor.glob("**/*.png")}
        own = out / "images" / checkpoint
        assert drawn and {name: (own / name).read_bytes() for name in drawn} == drawn
    assert (out / "images/base+cfg1").exists()


def test_the_page_shows_each_way_beside_the_base_model_drawn_so(run):
    out, _, _ = run
    page = (out / "report.html").read_text()
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])
    assert data["swept"] and data["own"] == ["Guidance", "Scheduler"]
    (concept, *_) = data["gallery"]["concepts"]
    assert len(concept["floors"]) == 4
    for row in concept["rows"]:
        point = data["points"][row["point"]]
        floor = concept["floors"][str(point["floor"])]
        assert (row["cells"] == floor["cells"]) == (point["scale"] == 0)  # the same pictures, embedded once


def test_another_value_draws_only_what_is_new(run):
    out, study, _ = run
    study.write_text(study.read_text().replace("guidance = [5, 1]", "guidance = [5, 1, 3]"))
    assert swept(study, out)["generate"] == 2 + 2 * 2 * 2  # two schedulers: floors, and two epochs at two ratios
    assert swept(study, out)["generate"] == 0


def test_a_sweep_that_cannot_be_is_a_sentence(tmp_path):
    write_tiny_base(tmp_path / "tiny")
    study = tmp_path / "study.toml"
    for sweep, words in [
        ('configs = ["loha*"]', "Unknown config 'loha*'"),
        ("epochs = [7]", "No checkpoint is of epoch 7"),
        ("guidence = 3", "unknown key 'sweep[0].guidence'. Did you mean 'guidance'?"),
        ('product = { scheduler = ["Euler"] }', "is EulerDiscrete meant?"),
        ("clip_skip = 9", "has 2 layers"),
        ("product = { steps = [] }", "empty list"),
        ("product = { lr = [1] }", "unknown key of product 'lr'"),
        ('base = "tiny"', "of another architecture"),
        ('base = "nowhere/"', "does not exist"),
        ('vae = "study.toml"', "no .safetensors file"),
        ('vae = "./nowhere"', "does not exist"),
        ('vae = "tiny/unet"', "holds no autoencoder"),
    ]:
        study.write_text(f"{SMALL}\n[[sweep]]\n{sweep}\n")
        done = lorabench_here("grid", str(study), "--dry-run")
        assert done.returncode == 2 and words in done.stderr, (sweep, done.stderr)


def perturbed(folder, part, factor):
    """A copy of the miniature base whose `part` has other weights."""
    shutil.copytree(mini.base_path(), folder)
    file = folder / part / "diffusion_pytorch_model.safetensors"
    save_file({name: tensor * factor if tensor.ndim > 1 else tensor for name, tensor in load_file(file).items()}, file)
    return folder


def test_a_study_has_an_autoencoder_and_a_sweep_another(tmp_path):
    """What is named is the study's own way; "" is the base model's, whatever the study's is."""
    vae = perturbed(tmp_path / "redecoded", "vae", 1.03) / "vae"
    text = SMALL.replace("seeds = [1]", f'vae = "{vae}"\nseeds = [1]')
    study = tmp_path / "study.toml"
    study.write_text(f'{text}\n[[sweep]]\nproduct = {{ vae = ["", "{vae}"] }}\n')
    plan = make_plan(studies.prepared(load_study(study)), tmp_path / "run")
    assert {name: each.vae for name, each in plan.settings.items()} == {"": None, "vae-own": ""}
    assert plan.base.vae and plan.bases["vae-own"].vae is None and plan.base.id.startswith(plan.bases["vae-own"].id)
    factors = {each.setting: each.own["vae"] for each in plan.checkpoints if not each.is_base}
    assert factors == {"": "vae", "vae-own": "own"}


def test_bases_and_vaes_are_factors_each_with_its_own_floor(small_run, tmp_path):
    """The adapter's pictures on another base are those of a study of that base; a VAE may be a folder or a file."""
    perturbed(tmp_path / "other", "unet", 1.03)
    vae = perturbed(tmp_path / "redecoded", "vae", 1.03) / "vae/diffusion_pytorch_model.safetensors"
    shutil.copy(vae, tmp_path / "same.safetensors")
    study, out = tmp_path / "study.toml", shutil.copytree(small_run, tmp_path / "run")
    ways = 'product = { base = ["mini", "other"], vae = ["", "redecoded", "same.safetensors"] }'
    study.write_text(f"{SMALL}\n[[sweep]]\nepochs = [2]\n{ways}\n")
    assert swept(study, out)["generate"] == 2 * 5

    scores = pd.read_parquet(out / "scores.parquet").drop_duplicates("checkpoint")
    ours = scores[(scores["algorithm"] == "lora") & (scores["epoch"] == 2)].set_index(["base_model", "vae"])
    assert set(ours.index) == {(base, vae) for base in ("mini", "other") for vae in ("own", "redecoded", "same")}
    assert ours["base"].nunique() == 6  # by content: two ways of writing one autoencoder are two files

    def pictures(checkpoint):
        folder = out / "images" / checkpoint
        return {str(file.relative_to(folder)): file.read_bytes() for file in folder.glob("**/*.png")}

    name = "lora-linear-d4a2-lr5e-3-s1-e2"
    assert pictures(f"{name}+vae-redecoded") == pictures(f"{name}+vae-same") != pictures(name)
    assert pictures(f"{name}+on-other") not in (pictures(name), pictures("base+on-other"))
    adapter = out / "checkpoints/lora-linear-d4a2-lr5e-3/seed-1/epoch-0002/adapter.safetensors"
    alone = tmp_path / "alone.toml"
    alone.write_text(SMALL.replace('base = "lorabench:mini/weights/base"', 'base = "other"'))
    words = ("--study", str(alone), "--out", str(tmp_path / "alone"), "--workers", "1")
    done = lorabench_here("evaluate", str(adapter), *words)
    assert done.returncode == 0, done.stderr
    for checkpoint, theirs in (("base+on-other", "base"), (f"{name}+on-other", "adapter")):
        there = tmp_path / "alone/images" / theirs
        files = {str(file.relative_to(there)): file.read_bytes() for file in there.glob("**/*.png")}
        assert files and pictures(checkpoint) == files
