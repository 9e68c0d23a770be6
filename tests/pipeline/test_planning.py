"""What a study comes to where it leaves something to the base model or to its data."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from command_line import SMOKE
from huggingface_hub import constants
from tiny_base import write_tiny_base

from lorabench import base_models, components, images
from lorabench.api import studies
from lorabench.errors import UserError
from lorabench.pipeline import models, tasks
from lorabench.pipeline.features import FeatureReader
from lorabench.pipeline.measuring import DATASET, View
from lorabench.pipeline.pending import outstanding
from lorabench.pipeline.plan import Plan
from lorabench.pipeline.showing import Showing
from lorabench.records import Checkpoint, Milestone

NO_SIZES = SMOKE.replace("size = 64\n", "").replace("resolution = 64\n", "")


def planned(folder: Path, text: str) -> Plan:
    (folder / "study.toml").write_text(text)
    return studies.planned(folder / "study.toml", folder / "out")


def test_sizes_are_the_base_model_s_own_and_others_are_remarked_on(tmp_path):
    own = planned(tmp_path, NO_SIZES)
    assert (own.study.images.size, own.runs[0].config.training.resolution, own.remarks) == (64, 64, ())
    other = planned(
        tmp_path, NO_SIZES.replace("[images]", "[images]\nsize = 512").replace("epochs = 2", "epochs = 2", 1)
    )
    (remark,) = other.remarks
    assert "images.size is 512" in remark and "of 64 pixels" in remark
    assert other.study.images.size == 512
    # Set or left out, the same numbers are the same work.
    same = planned(tmp_path, SMOKE)
    assert same.keys.training(same.runs[0], Milestone(2)) == own.keys.training(own.runs[0], Milestone(2))
    assert same.keys.scores(same.checkpoints[1]) == own.keys.scores(own.checkpoints[1])


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
    assert base_models.base_of(str(tmp_path)).side == side


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ('name = "mine"\nalgorithm = "lora"', "Algorithm 'lora' needs dim"),
        ('name = "mine"\nalgorithm = "lora"\ndim = 4\ntrained_layers = "linaer"', "'linaer'"),
    ],
)
def test_what_a_config_cannot_be_is_said_with_its_name(tmp_path, row, sentence):
    with pytest.raises(UserError, match=f"^Config 'mine': .*{sentence}"):
        planned(tmp_path, f"{SMOKE}\n[[grid]]\nlr = 1e-3\n{row}\n")


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


def test_an_encoder_may_see_pictures_in_several_ways(tmp_path):
    """Each way is measured where the data set takes part; what is drawn is square, and seen once."""
    wide = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    images.write(tmp_path / "pictures/scenes/tower/a.png", wide)
    (tmp_path / "pictures/scenes/tower/a.txt").write_text("[V] tower")
    text = SMOKE.replace("lorabench:mini/dataset", "pictures")
    text = "\n".join(line for line in text.splitlines() if not line.startswith("concepts ="))
    modes = ("stretch", "letterbox", "center_crop")
    plain = planned(tmp_path, text)
    plan = planned(tmp_path, text.replace('mini/weights/dinov2"', f'mini/weights/dinov2", resize = {list(modes)}'))
    asked = Counter(request.metric for request in plan.requests if request.encoder == "dinov2")
    assert asked == {"image_similarity": 3, "squared_centroid_distance": 3, "kernel_distance": 3, "vendi": 1}
    drawn, shown = (plan.measuring.views("dinov2", source) for source in ("base", DATASET))
    assert [view.resize for view in drawn] == [""] and [view.resize for view in shown] == list(modes)
    assert plan.keys.features(drawn[0]) == plain.keys.features(drawn[0])
    (usual,) = plain.measuring.views("dinov2", DATASET)
    assert (plan.places.features(shown[1]), plan.keys.features(shown[1])) == (
        plain.places.features(usual), plain.keys.features(usual),
    )  # fmt: skip
    assert len({plan.places.features(view) for view in shown}) == len({plan.keys.features(view) for view in shown}) == 3

    for task in (each for each in outstanding(plan, "encode") if (each.source, each.encoder) == (DATASET, "dinov2")):
        tasks.execute(plan, task, lambda _: None)
    seen = FeatureReader(plan, plan.checkpoints[0])
    encoder = components.find("encoders", "dinov2").load(
        Path(plan.study.encoders["dinov2"].weights), torch.device("cpu")
    )
    for mode in modes:
        expected = encoder.encode_images([images.read(tmp_path / "pictures/scenes/tower/a.png")], mode)
        assert np.array_equal(seen("dataset", "scenes/tower", "train", "dinov2", mode).array, expected)


def test_other_published_weights_are_another_encoder(tmp_path, monkeypatch):
    """Their hash is in the encoder's id, in the keys of its features and in the id of what is measured by it."""
    study = SMOKE.replace('dinov2 = { weights = "lorabench:mini/weights/dinov2" }\n', "")
    assert study != SMOKE
    repository, file = components.find("encoders", "dinov2").published
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    snapshot = tmp_path / "hub" / f"models--{repository.replace('/', '--')}" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs/main").write_text("0123")
    found = []
    for content in (None, b"weights", b"others"):
        if content is not None:
            (snapshot / file).write_bytes(content)
        plan = planned(tmp_path, study)
        request = next(each for each in plan.requests if each.encoder == "dinov2")
        measured = plan.keys.metric_id(request, "train", plan.measuring.concepts[0])
        found.append((plan.encoder_ids["dinov2"], plan.keys.features(View(plan.checkpoints[1].id, "dinov2")), measured))
    unfetched, first, second = found
    assert unfetched[0] == "dinov2-unfetched-v1"
    assert first[0] == f"dinov2-{hashlib.sha256(b'weights').hexdigest()[:12]}-v1"
    assert all(len(set(each)) == 3 for each in zip(*found))


def test_the_plan_goes_on_with_the_weights_that_were_loaded(tmp_path, monkeypatch):
    """Those of a first run are downloaded while they are loaded; others than the cache holds are refused."""
    plan = planned(tmp_path, SMOKE)
    spec = components.find("encoders", "dinov2")

    def checked(loaded: str, cached: str) -> Plan:
        def load(*_: object) -> SimpleNamespace:
            monkeypatch.setattr(models, "encoder_id", lambda study, name: cached)
            return SimpleNamespace(id=loaded)

        monkeypatch.setitem(components._plugins["encoders"], "dinov2", replace(spec, load=load))
        study = plan.study.model_copy(update={"encoders": {}})
        return models.check_inputs(replace(plan, study=study, encoder_ids={"dinov2": "dinov2-unfetched-v1"}))

    (fetched,) = checked("dinov2-vit_large-0123456789ab-v1", "dinov2-0123456789ab-v1").encoder_ids.values()
    assert fetched == "dinov2-0123456789ab-v1"
    with pytest.raises(UserError, match="has loaded other weights"):
        checked("dinov2-vit_large-ba9876543210-v1", "dinov2-0123456789ab-v1")


def test_a_large_study_gets_as_many_thumbnails_as_a_page_can_show():
    """The paper's: of 234 checkpoints with 149 sets one picture of each set, of one training seed at the last epoch."""

    def counted(seeds, epochs, sets, per_set=4):
        grid = [(f"c{n}", seed, epoch) for n in range(26) for seed in range(seeds) for epoch in range(epochs)]
        checkpoints = [Checkpoint(f"{n}-{s}-{e}", n, "lora", seed=s, epoch=e) for n, s, e in grid]
        checkpoints = [Checkpoint("base", "base", "none"), *checkpoints]
        settings = SimpleNamespace(images=SimpleNamespace(thumbnails=per_set))
        showing = Showing(SimpleNamespace(checkpoints=checkpoints, sets_of=lambda _: range(sets), study=settings))
        return [showing.per_set(each) for each in checkpoints]

    assert set(counted(seeds=2, epochs=1, sets=10)) == {4}
    assert set(counted(seeds=2, epochs=3, sets=20)) == {1}
    paper = counted(seeds=3, epochs=3, sets=149)
    assert sum(paper) == 27 and set(paper) == {0, 1} and paper[:4] == [1, 0, 0, 1]
