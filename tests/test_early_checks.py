"""Mistakes are told at once, by name, before anything large is loaded or any work is done."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from command_line import ROOT, SMOKE, environment
from safetensors.numpy import save_file

from lorabench import config, images
from lorabench.api import studies
from lorabench.datasets import load_dataset
from lorabench.errors import UserError

EARLY = """
import json, sys
from lorabench.cli import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["lorabench", *words]
    try:
        main()
    except SystemExit as left:
        print(left.code)
heavy = {"torch", "diffusers", "transformers", "catboost", "shap"} & set(sys.modules)
print(sorted(heavy))
"""


def adapters(folder: Path) -> Path:

    folder.mkdir()
    save_file({"x": np.zeros(1, np.float32)}, folder / "a.safetensors", {"ss_sd_model_name": "some/base"})
    return folder


def test_every_command_says_a_mistake_before_it_loads_torch(tmp_path):
    (tmp_path / "broken.toml").write_text("name = ")
    (tmp_path / "study.toml").write_text(SMOKE.replace("lorabench:mini/dataset", "nowhere"))
    (tmp_path / "empty").mkdir()
    loras, pictures, none = str(adapters(tmp_path / "loras")), tmp_path / "pictures", str(tmp_path / "none")
    pictures.mkdir()
    images.write(pictures / "a.png", np.zeros((8, 8, 3), np.uint8))
    mistakes = [
        ["grid", none], ["grid", str(tmp_path)], ["grid", str(tmp_path / "broken.toml")],
        ["grid", str(tmp_path / "study.toml")], ["train", str(tmp_path / "study.toml")],
        ["grid", "configs/smoke.toml", "--anchors", none], ["score", none], ["report", none],
        ["evaluate", none], ["evaluate", str(tmp_path / "empty")], ["evaluate", loras],
        ["evaluate", loras, "--data", none], ["evaluate", loras, "--data", str(tmp_path / "empty")],
        ["evaluate", loras, "--data", str(pictures)], ["evaluate", loras, "--base", "./none.safetensors"],
        ["evaluate", loras, "--study", none], ["evaluate", loras, "--base", "mini", "--prompts", none],
        ["evaluate", loras, "--base", "mini", "--anchors", none], ["replay", none], ["inspect", none],
        ["convert", none, "out", "--to", "peft"], ["count", "--algorithm", "lorra"], ["list", "lora"],
        ["diversity", none], ["diversity", str(pictures), "--encoder", "dino"], ["doctor", none],
        *([name, none] for name in ("claims", "leaderboard", "epochs", "recipe", "export", "figures")),
        *([name, str(pictures)] for name in ("claims", "leaderboard", "export")),
        ["compare", none, none], ["mini", "identified", none], ["grid", "x.toml", "--workers", "1000000000"],
        ["grid", "x.toml", "--limit", "-1"], ["count", "--algorithm", "lora", "--dim", "99999999999"],
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", EARLY, json.dumps(mistakes)],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    *codes, heavy = done.stdout.splitlines()
    assert codes == ["2"] * len(mistakes) and heavy == "[]", done.stdout + done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("place", ["data", "pictures", "adapters", "here"])
def test_names_that_are_not_utf8_are_a_sentence(place, tmp_path):
    name = os.fsdecode(b"caf\xe9")
    folder = tmp_path / name
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system takes no such name")
    (folder / "a.safetensors").write_bytes(b"")
    images.write(folder / "a.png", np.zeros((8, 8, 3), np.uint8))
    words = {
        "data": ["evaluate", str(adapters(tmp_path / "loras")), "--data", str(folder)],
        "pictures": ["evaluate", str(adapters(tmp_path / "loras2")), "--data", str(tmp_path)],
        "adapters": ["evaluate", str(tmp_path)],
        "here": ["list", "metrics"],
    }[place]
    done = subprocess.run(
        [sys.executable, "-m", "lorabench", *words], cwd=folder if place == "here" else ROOT,
        env=environment() | {"PYTHONPATH": f"{ROOT / 'tests/offline'}:{ROOT}"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and "UTF-8" in done.stderr and r"caf\xe9" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.caption_dropout", "true"), ("training.resolution", "true"), ("training.resolution", "8"),
        ("training.epochs", "10000000000000000000"), ("training.batch_size", "9223372036854775807"),
        ("training.warmup_epochs", "nan"), ("training.epochs", '"2"'), ("images.per_set", "1000000000"),
        ("images.steps", "1001"), ("images.guidance", "false"), ("images.size", "100000"),
        ("images.noise_seed", "9223372036854775808"), ("images.thumbnails", "-1"), ("run.workers", "1000000000"),
        ("run.workers", "true"), ("images.guidance", "1e9"), ("images.scales", "[1e9]"),
        ("training.betas", "[0.9, 1.0]"), ("training.weight_decay", "1e9"), ("training.warmup_epochs", "1e9"),
        ("images.prompts", '"a\\u0000b"'),
    ],
)  # fmt: skip
def test_values_that_nobody_can_mean_are_refused_by_name(key, value, tmp_path):
    table, name = key.split(".")
    lines = [line for line in SMOKE.splitlines() if not line.startswith(f"{name} =")]
    text = "\n".join(lines) + (f"\n[run]\n{name} = {value}\n" if table == "run" else "")
    text = text.replace(f"[{table}]", f"[{table}]\n{name} = {value}", 1) if table != "run" else text
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(UserError) as caught:
        config.load_study(tmp_path / "study.toml")
    assert f"study.toml: '{key}" in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        "lr = 5e9", "lr = 1.5", "dim = 100000000", "dim = 1e8", "alpha = 1e8", "conv_dim = 20000", "conv_alpha = 1e8",
        "factor = 100000", "text_encoder_lr = 5e9", "vary = [{ lr = 5e9 }]", "product = { dim = [4, 100000000] }",
        'peft = { peft_type = "VERA", r = 100000000 }',
    ],
)  # fmt: skip
def test_a_grid_that_nobody_can_mean(words, tmp_path):
    key = words.split(" =")[0].replace("product", "dim")
    row = ['algorithm = "peft"' if key == "peft" else 'algorithm = "lora"', *(["lr = 5e-3"] if key != "lr" else [])]
    text = SMOKE.replace('[[grid]]\nalgorithm = "lokr"\nlr = 5e-3\nfactor = 4', "\n".join(["[[grid]]", *row, words]))
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(UserError) as caught:
        studies.planned(tmp_path / "study.toml", tmp_path / "out")
    said = str(caught.value)
    assert key in said and "less than or equal to" in said and len(said.splitlines()) == 1, said


def test_repeats_that_no_memory_holds(tmp_path):
    (tmp_path / "toys/panda").mkdir(parents=True)
    for number in range(200):
        (tmp_path / f"toys/panda/{number}.png").write_bytes(b"")
        (tmp_path / f"toys/panda/{number}.txt").write_text("panda")
    concept = '[[concept]]\npath = "toys/panda"\ntrigger = "panda"\nrepeats = '
    (tmp_path / "dataset.toml").write_text(f"{concept}4000000000")
    with pytest.raises(UserError, match=r"dataset.toml: 'concept\[0\].repeats': must be a whole number from 1 to"):
        load_dataset(tmp_path)
    (tmp_path / "dataset.toml").write_text(f"{concept}1000000")
    with pytest.raises(UserError, match="dataset.toml: repeats make 200000000 samples"):
        load_dataset(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[images]", '[images]\nprompt_types = ["alter"]', "draws nothing"),
        ("[images]", "[images]\nprompt_types = []", "draws nothing"),
        ("[images]", '[images]\nprompt_types = ["drift"]', "drift"),
        ("[[metrics]]", "[[nothing]]", "unknown key"),
    ],
)
def test_studies_that_come_to_nothing(old, new, says, tmp_path):
    folder = tmp_path / "pictures/toys/panda"
    folder.mkdir(parents=True)
    images.write(folder / "a.png", np.zeros((64, 64, 3), np.uint8))
    (folder / "a.txt").write_text("panda")
    described = '[[concept]]\npath = "toys/panda"\ntrigger = "panda"\nalter = ""\n'
    (tmp_path / "pictures/dataset.toml").write_text(described)
    text = SMOKE.replace("lorabench:mini/dataset", str(tmp_path / "pictures")).replace(
        'concepts = ["scenes/volcano", "stuffed_toys/octo", "styles/riso"]\n', ""
    )
    (tmp_path / "study.toml").write_text(text.replace(old, new))
    with pytest.raises(UserError, match=says):
        studies.planned(tmp_path / "study.toml", tmp_path / "out")


def test_a_data_set_without_an_evaluated_concept(tmp_path):
    folder = tmp_path / "pictures/toys/panda"
    folder.mkdir(parents=True)
    images.write(folder / "a.png", np.zeros((64, 64, 3), np.uint8))
    (folder / "a.txt").write_text("panda")
    (tmp_path / "pictures/dataset.toml").write_text(
        '[[concept]]\npath = "toys/panda"\ntrigger = "panda"\nevaluate = false\n'
    )
    text = SMOKE.replace("lorabench:mini/dataset", str(tmp_path / "pictures")).replace(
        'concepts = ["scenes/volcano", "stuffed_toys/octo", "styles/riso"]\n', ""
    )
    (tmp_path / "study.toml").write_text(text)
    with pytest.raises(UserError, match="none of its concepts .toys/panda. is evaluated"):
        studies.planned(tmp_path / "study.toml", tmp_path / "out")
