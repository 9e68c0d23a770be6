"""Configs that are trained on some of the concepts, and measured on all."""

from __future__ import annotations

import json

import torch
from command_line import SMALL, lorabench_here
from safetensors import safe_open
from safetensors.torch import load_file


def trained(tmp_path, name, study):
    file, out = tmp_path / f"{name}.toml", tmp_path / name
    file.write_text(study)
    done = lorabench_here("train", str(file), "--out", str(out), "--workers", "1", "--json")
    assert done.returncode == 0, done.stderr
    return next(out.glob("checkpoints/*/seed-1/epoch-0002/adapter.safetensors"))


def test_a_config_sees_its_own_concepts_alone(tmp_path):
    """Its adapter is that of a study without the others, and says which pictures it saw."""
    own = SMALL.replace('["styles/riso"]', '["styles/riso", "scenes/volcano"]').replace(
        "alpha = 2\n", 'alpha = 2\nconcepts = ["styles/*"]\n'
    )
    found, alone = trained(tmp_path, "own", own), trained(tmp_path, "alone", SMALL)
    assert found.parents[2].name == "lora-linear-d4a2-lr5e-3-styles"
    theirs = load_file(alone)
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in load_file(found).items())
    with safe_open(found, "pt") as file:
        said = json.loads(file.metadata()["lorabench"])
    assert list(said["pictures"]) == ["styles/riso"] and said["config"]["concepts"] == ["styles/*"]


def test_concepts_that_are_not_there_are_named(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(SMALL.replace("alpha = 2\n", 'alpha = 2\nconcepts = ["styles/rizo"]\n'))
    done = lorabench_here("grid", str(file), "--out", str(tmp_path / "run"), "--dry-run")
    assert done.returncode == 2
    assert "Unknown concept 'styles/rizo'" in done.stderr and "did you mean 'styles/riso'" in done.stderr.lower()
