"""The shipped folders load in the libraries they are written for."""

import json

import numpy as np
import pytest
import torch

from lorabench.mini import base_path, encoder_path, weights_path
from lorabench.mini.measure import load_encoder


def test_the_base_samples_a_finite_picture():
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(str(base_path()), safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    result = pipeline("a red robot on the beach", num_inference_steps=4, height=64, width=64, output_type="np",
                      generator=torch.Generator().manual_seed(0))  # fmt: skip
    assert result.images.shape == (1, 64, 64, 3)
    assert np.isfinite(result.images).all()
    assert result.images.std() > 0.02


@pytest.mark.parametrize("name", ["dinov2", "convnextv2", "vgg19"])
def test_an_encoder_loads_strictly(name):
    features = load_encoder(weights_path(), name).encode_images([np.zeros((64, 64, 3), np.uint8)] * 2, "")
    assert features.ndim == 2 and np.isfinite(features).all()


def test_vgg_has_five_stages():
    config = json.loads((encoder_path("vgg19") / "config.json").read_text())
    assert config["layers"].count("M") == 5


def test_clip_loads_offline_with_its_own_tokenizer():
    import open_clip

    source = f"local-dir:{encoder_path('clip')}"
    model, _ = open_clip.create_model_from_pretrained(source)
    ids = open_clip.get_tokenizer(source)(["[V_mika] anime girl on the beach"])
    assert ids.shape == (1, 32)
    with torch.no_grad():
        assert torch.isfinite(model.encode_text(ids)).all()


def test_everything_is_small_and_free_of_machine_paths():
    files = [path for path in weights_path().rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 30 * 2**20
    for path in files:
        if path.suffix == ".json":
            text = path.read_text(encoding="utf-8")
            assert "/work" not in text and "/root" not in text and "/home" not in text, path
