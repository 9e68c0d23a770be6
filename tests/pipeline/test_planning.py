"""What a study comes to where it leaves something to the base model or to its data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import SMOKE
from tiny_base import write_tiny_base

from lorabench import diffusion, images
from lorabench.api import studies
from lorabench.pipeline.plan import Plan

NO_SIZES = SMOKE.replace("size = 64\n", "").replace("resolution = 64\n", "")


def planned(folder: Path, text: str) -> Plan:
    (folder / "study.toml").write_text(text)
    return studies.planned(folder / "study.toml", folder / "out", None, None, (), None)


def test_sizes_are_the_base_model_s_own_and_others_are_remarked_on(tmp_path):
    own = planned(tmp_path, NO_SIZES)
    assert (own.study.images.size, own.runs[0].config.resolution, own.remarks) == (64, 64, ())
    other = planned(
        tmp_path, NO_SIZES.replace("[images]", "[images]\nsize = 512").replace("epochs = 2", "epochs = 2", 1)
    )
    (remark,) = other.remarks
    assert "images.size is 512" in remark and "of 64 pixels" in remark
    assert other.study.images.size == 512
    # Set or left out, the same numbers are the same work.
    same = planned(tmp_path, SMOKE)
    assert same.training_key(same.runs[0], 2) == own.training_key(own.runs[0], 2)
    assert same.scores_key(same.checkpoints[1]) == own.scores_key(own.checkpoints[1])


@pytest.mark.parametrize(
    ("size", "side"),
    [
        (8, 16),
        ([8, 8], 16),
        ([8, 16], None),
        (None, None),
        (True, None),
        ("8", None),
        (10**9, None),
        (0, None),
        (-8, None),
    ],
)
def test_the_own_size_of_a_base_model_is_what_its_configs_say(tmp_path, size, side):
    config = write_tiny_base(tmp_path) / "unet/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"sample_size": size}))
    assert diffusion.own_side(str(tmp_path)) == side


def test_plain_folders_of_any_category_get_alter_prompts(tmp_path):
    for place in ("scenes/tower", "vehicles/tram"):
        images.write(tmp_path / "pictures" / place / "a.png", np.zeros((64, 64, 3), np.uint8))
        (tmp_path / "pictures" / place / "a.txt").write_text(f"[V] {place.split('/')[1]}")
    text = SMOKE.replace("lorabench:mini/dataset", "pictures")
    text = "\n".join(line for line in text.splitlines() if not line.startswith("concepts ="))
    plan = planned(tmp_path, text)
    drawn = {prompt_set.concept.id for prompt_set in plan.prompt_sets if prompt_set.type == "alter"}
    assert drawn == {"scenes/tower", "vehicles/tram"}
    assert all(any(id_ in sentence for sentence in plan.dataset.assumptions) for id_ in drawn)
