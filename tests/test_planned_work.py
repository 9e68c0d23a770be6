"""`lorabench plan`: what the paper's study takes, with neither weights nor pictures, and what of any study is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from command_line import ROOT, SMOKE, lorabench_here
from torch.utils.flop_counter import FlopCounterMode

import lorabench
from lorabench import adapters, base_models, components, images
from lorabench.bases import SD
from lorabench.config import Run
from lorabench.errors import UserError
from lorabench.layers import Components
from lorabench.pipeline import flops
from lorabench.pipeline.outlook import Outlook
from lorabench.records import AdapterConfig, TrainingConfig

TERA = 1e12


@pytest.fixture(scope="module")
def paper(tmp_path_factory) -> Outlook:
    """Of a study beside nothing: its data set and SD1.5 are not on this machine."""
    nowhere = tmp_path_factory.mktemp("nowhere")
    return lorabench.plan("paper", out=nowhere / "results", tflops=395)


def test_the_papers_numbers(paper):
    """26 configs x 3 seeds x 3 epochs; 149 sets of 100 images; 695 steps an epoch (test_skeletons)."""
    assert (paper.configs, paper.seeds, paper.trainings, paper.checkpoints) == (26, 3, 78, 234)
    assert (paper.images, paper.base_images, paper.pictures) == (3_486_600, 14_900, 1706)
    assert paper.steps == 78 * 50 * 695
    assert [("not" in note) for note in paper.notes] == [True, True]  # pictures and base model are not here


def test_a_pass_of_each_network(paper):
    """Figures of the architectures, in TFLOP: at 512 pixels, the encoders at 224.

    VGG-19's convolutions up to conv5_1 are 18.1 G multiply-adds, the Gram matrices of its five layers 0.87.
    """
    expected = {"unet": 0.803, "vae_decode": 2.51, "vae_encode": 1.12, "text_encoder": 0.0133, "image": 42.7}
    expected |= {"dinov2": 0.162, "clip": 0.162, "vgg19": 2 * (18.12 + 0.87) / 1000}
    found = {name: paper.forward[name] / TERA for name in expected}
    assert found == pytest.approx(expected, rel=0.015)


def test_the_papers_work_and_time(paper):
    """52 hours of drawing and 15 of training at 790 TFLOP/s; so twice that at half of them."""
    hours = {stage.stage: (stage.seconds or 0) / 3600 for stage in paper.stages}
    assert hours["generate"] == pytest.approx(105, rel=0.1) and hours["train"] == pytest.approx(30, rel=0.1)
    sizes = {stage.kept: stage.bytes for stage in paper.stages}
    assert 20e9 < sizes["features"] < 50e9 and 20e9 < sizes["adapters"] < 60e9


def test_pictures_on_disk_are_those_that_are_kept(tmp_path, paper):
    """All of them, 450 kB each at 512 pixels; or, with what the paper's study keeps, a small part."""
    (tmp_path / "all.toml").write_text('name = "all"\nextends = "paper"\n[images]\nkeep = "all"\n')
    found = lorabench.plan(tmp_path / "all.toml", out=tmp_path / "out", limit=2, tflops=1)
    size = next(stage.bytes for stage in found.stages if stage.kept == "pictures")
    assert size == pytest.approx((2 * 3 + 1) * 14_900 * 450e3, rel=0.03)
    assert next(knob.bytes for knob in found.knobs if knob.key == "images.keep") > 0.5 * size
    kept = next(stage.bytes for stage in paper.stages if stage.kept == "pictures")
    assert kept < 0.02 * 3_501_500 * 450e3 and all(knob.key != "images.keep" for knob in paper.knobs)


def test_half_the_images_are_half_of_what_is_drawn_and_encoded(paper):
    generate = next(stage.flop for stage in paper.stages if stage.stage == "generate")
    halved = next(knob for knob in paper.knobs if knob.key == "images.per_set")
    assert halved == paper.knobs[0] and halved.then == "50"
    assert halved.flop == pytest.approx(generate / 2, rel=0.03)


# --- training, against the backward pass itself -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def counted() -> flops.Drawer:
    return flops.drawer(SD, base_models.architecture("sd15"), base_models.autoencoder(), 512)


@pytest.mark.parametrize(
    ("algorithm", "layers", "passes"), [("native", "linear", 2.46), ("native", "full", 3.0), ("lora", "linear", 2.21)]
)
def test_training_is_what_autograd_does(counted, algorithm, layers, passes):
    """The formula against operations counted in a real backward pass on the meta device, within 2 %."""
    unet: Components = {"unet": counted.components["unet"]}
    config = AdapterConfig(algorithm, layers, dim=8 if algorithm == "lora" else None, train_text_encoder=False)
    adapter = adapters.create(unet, components.find("algorithms", algorithm), config, seed=0)
    formula = flops.training(replace(counted, texts={}), adapter, chunks=1) / counted.unet.flop
    assert formula == pytest.approx(_passes(unet, adapter, counted.unet.flop), rel=0.02)
    assert formula == pytest.approx(passes, rel=0.02)


def _passes(unet: Components, adapter: adapters.Adapter, forward: float) -> float:
    model = unet["unet"].requires_grad_(False)
    for tensor in adapters.parameters(adapter):
        tensor.requires_grad_(True)
    inputs = (torch.empty(1, 4, 64, 64, device="meta"), torch.zeros(1, device="meta"))
    context = torch.empty(1, 77, 768, device="meta", requires_grad=True)  # of a text encoder that is trained too
    with adapters.run_apart(unet, adapter, adapters.cheaper_apart(unet, adapter)) as merged:
        weights = adapters.merged_weights(unet, merged)
        weights = {name.partition(".")[2]: weight for name, weight in weights.items()}
        with FlopCounterMode(display=False) as counter:
            answer = torch.func.functional_call(model, weights, (*inputs, context), {"return_dict": False})
            answer[0].sum().backward()
    return counter.get_total_flops() / forward


@pytest.mark.parametrize(
    ("algorithm", "batch", "micro", "recompute", "gib"),
    [
        ("lora", 8, None, False, 12.7),
        ("lora", 8, None, True, 6.2),
        ("lora", 1, None, False, 6.4),
        ("native", 8, None, False, 26.9),
        ("native", 8, None, True, 22.3),
        ("native", 8, 1, True, 24.8),
    ],
)
def test_memory_of_training_is_about_what_a_step_allocates(counted, algorithm, batch, micro, recompute, gib):
    """Against the most that lived at once in a step of `stages.train` on fake tensors of SD1.5's shapes, bfloat16, the
    autoencoder's 0.3 GiB left out; AdamW in 32 bits, the text encoder trained."""
    config = AdapterConfig(algorithm, "full" if algorithm == "native" else "linear", dim=8, alpha=4.0)
    config = replace(config, dim=None, alpha=None) if algorithm == "native" else config
    adapter = adapters.create(counted.components, components.find("algorithms", algorithm), config, seed=0)
    training = TrainingConfig(1e-4, batch_size=batch, max_tokens=75)
    run = Run(precision="bfloat16", micro_batch=micro, gradient_checkpointing=recompute)
    memory = flops.training_memory(counted, adapter, training, run)
    assert (memory.fixed + memory.activations) / 2**30 - 0.3 == pytest.approx(gib, rel=0.15)


# --- studies that lack something --------------------------------------------------------------------------------------


def study(folder, data: str = "", text: str = SMOKE):
    lines = [line for line in text.splitlines() if not line.startswith("concepts =")]
    (folder / "study.toml").write_text("\n".join(lines).replace("lorabench:mini/dataset", data or "pictures"))
    return folder / "study.toml"


def test_without_pictures_it_counts_what_it_can(tmp_path):
    found = lorabench.plan(study(tmp_path), out=tmp_path / "out", tflops=1)
    assert found.checkpoints > 0 and found.images is found.steps is found.seconds is None
    assert any("no dataset.toml" in note for note in found.notes)
    done = lorabench_here("plan", str(tmp_path / "study.toml"), "--tflops", "1", "--out", str(tmp_path / "out"))
    assert done.returncode == 0 and "not known" in done.stdout and "One image takes" in done.stdout


def test_a_description_may_state_how_many_pictures_there_will_be(tmp_path):
    (tmp_path / "pictures").mkdir()
    entry = '[[concept]]\npath = "toys/panda"\ntrigger = "[V]"\nclass_word = "toy"\nrepeats = 2\n'
    description = tmp_path / "pictures/dataset.toml"
    description.write_text(f"{entry}pictures = 12\n")
    found = lorabench.plan(study(tmp_path), out=tmp_path / "out", tflops=1)
    assert found.pictures == 12 and found.steps and found.images
    description.write_text(entry)
    found = lorabench.plan(study(tmp_path), out=tmp_path / "out", tflops=1)
    assert found.pictures is None and any("pictures = N" in note for note in found.notes)


def test_pictures_that_are_here_and_no_data_set_are_an_error(tmp_path):
    images.write(tmp_path / "pictures/a.png", np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(UserError, match="caption|class_word"):
        lorabench.plan(study(tmp_path), out=tmp_path / "out", tflops=1)


def test_a_run_that_has_begun_says_itself_how_long_it_takes(smoke_run):
    """Finished, nothing is left; no matrix product is asked."""
    found = lorabench.plan(ROOT / "configs/smoke.toml", out=smoke_run)
    assert (found.pace, found.seconds, found.flops_per_second) == ("past", 0.0, None)
