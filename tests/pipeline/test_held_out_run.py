"""A study that holds pictures out: no training sees them, and everything is measured against them too."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import SMALL, lorabench_here
from PIL import Image

from lorabench.api import studies

NAMES = ("*/0001.png", "*/0003.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """One concept of the miniature world, as a folder of its own."""
    made = tmp_path_factory.mktemp("data") / "styles/riso"
    shutil.copytree(studies.mini_dataset_folder() / "styles/riso", made)
    for place, picture in enumerate(sorted(made.glob("*.png"))):
        picture.with_suffix(".txt").rename(made / f"{place:04}.txt")
        picture.rename(made / f"{place:04}.png")
    return made.parents[1]


def study(folder: Path, data: str) -> str:
    """SMALL on that folder, with this in its [data]."""
    start = SMALL.index("[data]")
    return (
        f'{SMALL[:start]}[data]\nfolder = "{folder}"\nclass_word = "style"\ntrigger = "[V_riso]"\n{data}'
        + (SMALL[SMALL.index("[training]") :])
    )


def made(command: str, text: str, out: Path) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".toml").write_text(text)
    done = lorabench_here(command, str(out.with_suffix(".toml")), "--out", str(out), "--workers", "1", "--json")
    assert done.returncode == 0, done.stderr
    return out


def weights(run: Path) -> bytes:
    return next(run.glob("checkpoints/*/seed-1/epoch-0002/adapter.safetensors")).read_bytes()


def test_no_training_sees_what_is_held_out(folder, tmp_path):
    """Other pictures and captions in their place change no bit of the adapter; in the place of others they do."""
    changed = tmp_path / "changed"
    shutil.copytree(folder, changed)
    for name in NAMES:
        picture = next(changed.rglob(name.removeprefix("*/")))
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        Image.fromarray(noise).save(picture)
        picture.with_suffix(".txt").write_text("[V_riso] style, a dog")
    held = f"holdout = {json.dumps(NAMES)}\n"
    first = weights(made("train", study(folder, held), tmp_path / "first"))
    assert weights(made("train", study(changed, held), tmp_path / "second")) == first
    seen = weights(made("train", study(folder, ""), tmp_path / "third"))
    assert seen != first and weights(made("train", study(changed, ""), tmp_path / "fourth")) != seen


def test_all_is_measured_against_held_out_pictures_too(folder, tmp_path):
    run = made("grid", study(folder, "holdout = 0.2\n"), tmp_path / "run")
    scores = pd.read_parquet(run / "scores.parquet")
    values = scores.pivot_table("value", ["checkpoint", "prompt_type"], "metric")
    assert {"image_similarity", "image_similarity_held_out", "image_similarity_gap"} < set(values)
    assert values.drop(columns="text_similarity").notna().all(axis=None)
    assert {"base", "dataset"} < set(values.index.get_level_values(0))  # floor and ceiling of held-out ones
    probes = pd.read_parquet(run / "probes.parquet")
    assert {"real", "copies"} <= set(probes.loc[probes["metric"] == "image_similarity_gap", "probe"])
    losses = pd.read_parquet(run / "validation.parquet")
    assert set(losses["pictures"]) == {"training", "held_out"} and losses["loss"].gt(0).all()
    assert losses.groupby("checkpoint")["draws"].sum().nunique() == 1  # the same for all
    health = pd.read_parquet(run / "health.parquet")
    last = health[health["epoch"] == 2]  # warm-up moves nothing in the one step of the first
    assert {"all", "unet.mid_block"} < set(last["block"]) and last["spectral_norm"].gt(0).all()
    shown = pd.read_parquet(run / "images.parquet").query("checkpoint == 'dataset'")
    assert set(shown["prompt_type"]) == {"dataset", "held_out"}
    sides = shown.groupby("prompt_type")["thumbnail"].agg(set)
    assert sides["held_out"] and not sides["held_out"] & sides["dataset"]
    again = lorabench_here("grid", str(run.with_suffix(".toml")), "--out", str(run), "--workers", "1", "--json")
    assert again.returncode == 0 and not any(json.loads(again.stdout)["made"].values()), again.stdout


def test_losses_come_before_any_picture_is_drawn(folder, tmp_path):
    """By a command of its own; of a run that asks for none there are none."""
    text = study(folder, "holdout = 0.2\n")
    run = made("train", text, tmp_path / "run")
    asked = lorabench_here("validate", str(run.with_suffix(".toml")), "--out", str(run), "--workers", "1", "--json")
    assert asked.returncode == 0 and json.loads(asked.stdout)["made"] == {"validate": 3}, asked.stderr
    assert not (run / "images").exists()
    run.with_suffix(".toml").write_text(f"{text}\n[validation]\ndraws = 0\n")
    none = lorabench_here("validate", str(run.with_suffix(".toml")), "--out", str(run), "--workers", "1", "--json")
    assert none.returncode == 0 and json.loads(none.stdout)["made"] == {"validate": 0}, none.stderr
