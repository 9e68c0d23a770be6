"""Merges as checkpoints of a study: made of its own, drawn and measured as they are; only what is new is made."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from command_line import SMALL, lorabench_here
from safetensors.torch import load_file
from saved_adapters import stated, trained
from tiny_base import write_tiny_base

from lorabench import base_models, formats
from lorabench.api import studies
from lorabench.components import Origin
from lorabench.pipeline.merging import interference_of

LORA, OTHER, MINE = "lora-linear-d4a2-lr5e-3", "other", "adapters/mine.safetensors"
TWO = f"""{SMALL}
[[grid]]
algorithm = "lokr"
name = "{OTHER}"
lr = 5e-3
factor = 4
"""
MERGES = f"""
[[merge]]
name = "first_alone"
parents = ["{LORA}", "{OTHER}"]
ratios = [1, 0]
epochs = [1, 2]

[[merge]]
name = "with_mine"
parents = ["{LORA}", "{MINE}"]
ratios = [0.5, -1.5]
method = "svd"
rank = 2
"""


def said(command: str, study: Path, out: Path, *words: str) -> dict:
    done = lorabench_here(command, str(study), "--out", str(out), "--workers", "1", "--json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def made(study: Path, out: Path, command: str = "grid", *words: str) -> dict[str, int]:
    """How many artifacts each stage made; of those that made none, nothing."""
    return {stage: n for stage, n in said(command, study, out, *words)["made"].items() if n}


def adapter(out: Path, name: str, epoch: int = 2) -> Path:
    return out / f"checkpoints/{name}/seed-1/epoch-{epoch:04d}/adapter.safetensors"


def pictures(out: Path, checkpoint: str) -> dict[str, bytes]:
    folder = out / "images" / checkpoint
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.glob("**/*.png")}


def written(out: Path) -> dict[Path, int]:
    """When each file of an artifact was written."""
    rooms = ("checkpoints", "images", "features", "scores", "audit")
    return {file: file.stat().st_mtime_ns for room in rooms for file in out.glob(f"{room}/**/*") if file.is_file()}


@pytest.fixture(scope="module")
def run(small_run, tmp_path_factory):
    """The small run with a second config, and then with merges: (its folder, the study, what the merges made)."""
    folder = tmp_path_factory.mktemp("merges")
    out, study = shutil.copytree(small_run, folder / "run"), folder / "study.toml"
    study.write_text(TWO)
    assert made(study, out)["train"] == 1
    (folder / MINE).parent.mkdir()
    shutil.copy(adapter(out, LORA, 1), folder / MINE)
    before = written(out)
    study.write_text(TWO + MERGES)
    new = made(study, out)
    after = written(out)
    assert {file: after[file] for file in before} == before
    return out, study, new


def test_adding_merges_makes_and_draws_only_them(run):
    out, study, new = run
    assert new["merge"] == new["generate"] == new["score"] == 3 and "train" not in new
    assert not made(study, out)
    scores = pd.read_parquet(out / "scores.parquet").drop_duplicates("checkpoint").set_index("checkpoint")
    merges = scores[scores["algorithm"] == "merge"]
    assert dict(merges["ratios"]) == {
        **dict.fromkeys(("first_alone-s1-e1", "first_alone-s1-e2"), "1, 0"),
        "with_mine-s1-e2": "0.5, -1.5",
    }
    assert scores.drop(merges.index)["merge"].isna().all() and merges["step"].isna().all()
    ranked = pd.read_parquet(out / "normalized.parquet")
    assert set(ranked["checkpoint"]) == set(scores.index) - {"base", "dataset"}
    explained = pd.read_parquet(out / "attributions.parquet")
    assert "merge" not in {*explained["algorithm"], *explained["factor_name"]}


def test_what_a_merge_leaves_of_its_parents_is_a_table(run):
    out, _, _ = run
    table = pd.read_parquet(out / "merges.parquet")
    scores = pd.read_parquet(out / "scores.parquet")
    # At ratios 1 and 0 all of the first is left; of the second, and of a file, nothing is drawn alone.
    same = table.query("config == 'first_alone'")
    assert set(table["parent"]) == {LORA} and set(same["epoch"]) == {1, 2}
    assert (same["difference"] == 0).all() and (same["alone"] == same["mean"]).all()
    other = table.query("config == 'with_mine' and category != 'all'")
    key = ["category", "class_name", "prompt_type", "metric", "encoder", "resize"]
    for name, checkpoint in (("mean", "with_mine-s1-e2"), ("alone", f"{LORA}-s1-e2"), ("floor", "base")):
        of_it = scores[scores["checkpoint"] == checkpoint].groupby(key)["value"].mean()
        assert other.set_index(key)[name].equals(of_it.loc[other.set_index(key).index].rename(name))
    assert set(table["verdict"]) == {"cannot be told"}  # one seed
    told = lorabench_here("grid", str(run[1]), "--out", str(out), "--workers", "1").stdout
    assert re.search(rf"first_alone, epoch 2, {LORA}: (\S+) → \1 \(0\)", " ".join(told.split())), told


def test_at_ratios_1_and_0_the_first_parent_is_drawn(run):
    out, _, _ = run
    for epoch in (1, 2):
        assert pictures(out, f"first_alone-s1-e{epoch}") == pictures(out, f"{LORA}-s1-e{epoch}") != {}
    assert pictures(out, "with_mine-s1-e2") != pictures(out, f"{LORA}-s1-e2")


def test_a_merge_of_a_study_is_that_of_the_command(run, tmp_path):
    out, study, _ = run
    file = tmp_path / "with.safetensors"
    parents = (f"{adapter(out, LORA)}:0.5", f"{study.parent / MINE}:-1.5")
    done = lorabench_here(
        "merge", *parents, "-o", str(file), "--base", "mini", "--method", "svd", "--rank", "2", "--json"
    )
    assert done.returncode == 0, done.stderr
    ours, theirs = load_file(adapter(out, "with_mine")), load_file(file)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)
    plan = studies.planned(study, out)
    (found,) = interference_of(plan, plan.merging_by_id["with_mine-s1-e2"]).values()
    layers = json.loads(done.stdout)["interference"][0]["layers"]
    assert [(row.module, row.cosine, row.overlap) for row in found] == [
        (row["module"], row["cosine"], row["overlap"]) for row in layers
    ]
    table = pd.read_parquet(out / "interference.parquet").query("config == 'with_mine'")
    assert list(table["overlap"]) == [row["overlap"] for row in layers] and set(table["second"]) == {"mine"}
    fact = json.loads((out / "study.json").read_text())["smoke"]["study"]["merges"]["with_mine"]
    assert fact == {"method": "svd", "parents": [f"{LORA} × 0.5", "mine × -1.5"]}

    small = tmp_path / "small.toml"
    small.write_text(TWO)
    done = lorabench_here(
        "evaluate", str(file), "--study", str(small), "--out", str(tmp_path / "out"), "--workers", "1"
    )
    assert done.returncode == 0, done.stderr
    assert pictures(tmp_path / "out", "with") == pictures(out, "with_mine-s1-e2")


def test_a_merge_is_made_once_and_again_where_it_is_damaged_or_another(run, tmp_path):
    out, study = shutil.copytree(run[0], tmp_path / "run"), run[1]
    shutil.rmtree(out / "images/with_mine-s1-e2")
    shutil.rmtree(out / "checkpoints/with_mine")
    assert made(study, out, "train") == {"merge": 1}  # and ended before it is drawn
    assert made(study, out)["generate"] == 1
    for file in adapter(out, "with_mine"), adapter(out, "with_mine").with_name("merge.json"):
        file.write_bytes(file.read_bytes()[:-1] + b"?")
        answer = said("grid", study, out)
        assert answer["made"]["merge"] == 1 and not answer["made"]["generate"]  # the same adapter as before
        assert "epoch-0002 counts as missing" in answer["damage"][0]

    other = study.with_name("other.toml")
    other.write_text(study.read_text().replace("-1.5", "1.5"))
    done = lorabench_here("grid", str(other), "--out", str(out), "--workers", "1")
    assert done.returncode == 2 and "1 merged checkpoints" in done.stderr and "--replace" in done.stderr
    assert made(other, out, "train", "--replace") == {"merge": 1}
    assert list(out.glob("replaced/*/checkpoints/with_mine/seed-1/epoch-0002/adapter.safetensors"))


def test_merges_follow_the_sweeps_and_the_choice_of_configs(run, tmp_path):
    _, study, _ = run
    swept = study.with_name("swept.toml")
    swept.write_text(
        study.read_text() + '\n[[sweep]]\nconfigs = ["with*"]\nproduct = { scale = [0.5, 1], steps = [3] }\n'
    )
    plan = studies.planned(swept, tmp_path)
    drawn = [each.id for each in plan.checkpoints if each.config.startswith("with_mine")]
    assert drawn == ["with_mine-s1-e2", "with_mine-s1-e2+steps3-x0.5", "with_mine-s1-e2+steps3"]
    assert len({plan.keys.checkpoint(plan.checkpoint_by_id[each]) for each in drawn}) == 1
    alone = studies.planned(swept, tmp_path, only=[OTHER])
    assert alone.mergings == ()
    told = lorabench_here("plan", str(study), "--out", str(tmp_path / "nothing"), "--json")
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["checkpoints"] == 2 * 2 + 3


@pytest.fixture(scope="module")
def strangers(tmp_path_factory):
    """A folder of files that are no parents: no adapter, one of another base; and one that is."""
    folder = tmp_path_factory.mktemp("strangers")
    write_tiny_base(folder / "tiny")
    model = base_models.load_base(base_models.base_of(str(folder / "tiny")), torch.device("cpu"))
    other = trained(model.components, "lora", "linear", dim=2)
    formats.save_adapter(folder / "tiny.safetensors", other, stated(other), Origin("tiny-0", 1, 1, 10))
    (folder / "none.safetensors").write_bytes(b"none")
    return folder


@pytest.mark.parametrize(
    ("merge", "words"),
    [
        ('parents = ["lora-linear", "other"]', f"Unknown config 'lora-linear'. Did you mean '{LORA}'?"),
        ('parents = ["lora", "x"]', "merge[0].parents; or an adapter file"),
        (
            f'parents = ["{LORA}", "no/where.safetensors"]',
            "no/where.safetensors does not exist (study 'smoke', merge[0]",
        ),
        (f'parents = ["{LORA}", "none.safetensors"]', "Merge 'm': "),
        (f'parents = ["{LORA}", "tiny.safetensors"]', "made for another base?"),
        (f'parents = ["{LORA}"]', "'merge[0]': a merge takes two parents or more"),
        (f'parents = ["{LORA}", "{LORA}"]', "is there twice"),
        (f'parents = ["{LORA}", "other"]\nratios = [1]', "1 ratios for 2 parents"),
        (f'parents = ["{LORA}", "other"]\nratios = [0, 0]', "all ratios are 0"),
        (f'parents = ["{LORA}", "other"]\ndensity = 0.5', "density is of ties and dare, and the method is linear"),
        (f'parents = ["{LORA}", "other"]\nmethod = "ties"\nseed = 1', "seed is of dare, and the method is ties"),
        (f'parents = ["{LORA}", "other"]\nmethod = "tied"', "merge[0].method"),
        (
            f'parents = ["{LORA}", "other"]\nepochs = [7]',
            "No checkpoint is of epoch 7 (study 'smoke', merge[0].epochs)",
        ),
        ('parents = ["./a", "b.safetensors"]', "are files (study 'smoke', merge[0].parents): `lorabench merge`"),
        ('parents = ["other", "more"]\nmethod = "svd"', "none of the adapters has a rank"),
        (f'parents = ["{LORA}", "other"]\nratio = [1, 1]', "unknown key 'merge[0].ratio'. Did you mean 'ratios'?"),
        (f'name = "other"\nparents = ["{LORA}", "other"]', "a config is called so (study 'smoke', merge[0].name)"),
        (
            f'parents = ["{LORA}", "other"]\n[[merge]]\nname = "m"\nparents = ["other", "more"]',
            "another merge is called",
        ),
    ],
)
def test_a_merge_that_cannot_be_is_a_sentence(strangers, merge, words):
    study = strangers / "study.toml"
    name = "" if merge.startswith("name") else 'name = "m"\n'
    study.write_text(f'{TWO}\nvary = [{{ name = "more", factor = 2 }}]\n[[merge]]\n{name}{merge}\n')
    done = lorabench_here("grid", str(study), "--dry-run")
    assert done.returncode == 2 and words in done.stderr, done.stderr


def test_a_study_without_merges_is_told_as_before(tmp_path):
    (tmp_path / "study.toml").write_text(SMALL)
    plan = studies.planned(tmp_path / "study.toml", tmp_path / "out")
    assert "merge" not in plan.study.model_dump(mode="json") and plan.mergings == ()


def test_a_join_of_parents_says_which_merges_are_still_to_be_made(run, tmp_path):
    out, study, _ = run
    halves = []
    for name, lacks in (("one", OTHER), ("two", LORA)):
        half = shutil.copytree(out, tmp_path / name)
        for gone in ("first_alone", "with_mine", lacks):
            shutil.rmtree(half / "checkpoints" / gone)
            for place in [*half.glob(f"*/{gone}-s*"), *half.glob(f"*/{gone}")]:
                shutil.rmtree(place)
        halves.append(str(half))
    joined = tmp_path / "joined"
    done = lorabench_here("join", *halves, "--study", str(study), "--out", str(joined), "--json")
    assert done.returncode == 0, done.stderr
    assert "3 merges (first_alone, with_mine); `lorabench grid` of this study with --out" in done.stderr
    assert not (joined / "checkpoints/with_mine").exists() and adapter(joined, OTHER).exists()
    new = made(study, joined)
    assert new["merge"] == new["generate"] == 3 and "train" not in new
