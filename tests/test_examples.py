"""Examples run as their docstrings say. (examples/add_a_metric.py is tested with the metrics.)"""

from __future__ import annotations

import contextlib
import io
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from command_line import ROOT, environment
from PIL import Image, ImageSequence
from tiny_video import write_tiny_video_model

from lorabench import mini


def test_score_my_images(tmp_path):
    """Lobsters are more like lobsters than pandas are; pictures without prompts are scored for what they show."""
    world = mini.write_dataset(tmp_path / "world")
    generated, real = tmp_path / "generated", tmp_path / "real"
    real.mkdir()
    for name in ("lobster", "panda"):
        (generated / name).mkdir(parents=True)
        for number, file in enumerate(sorted((world / "stuffed_toys" / name).glob("*.png"))):
            folder = generated / name if number < 8 else real
            if number < 8 or name == "lobster":
                (folder / file.name).write_bytes(file.read_bytes())
    study = tmp_path / "encoders.toml"
    names = ("dinov2", "clip", "convnextv2", "vgg19")
    weights = "\n".join(f'{name} = {{ weights = "lorabench:mini/weights/{name}" }}' for name in names)
    study.write_text(f'name = "mine"\n[run]\nworkers = 1\n[encoders]\n{weights}\n')
    command = [sys.executable, "examples/score_my_images.py", str(generated), str(real), "--study", str(study)]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], cwd=ROOT, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    scores = pd.read_parquet(tmp_path / "out/scores.parquet")
    means = scores[scores["metric"] == "image_similarity"].set_index("checkpoint")["value"]
    assert -1 <= means["panda"] < means["lobster"] <= 1 and means["panda"] < means["dataset"]
    assert "image_similarity" in done.stdout and "Report: " in done.stdout


# --- animate.py: a tiny model in the place of the published one, in this process -------------------------------------

TINY = ("--size", "128x64", "--steps", "2", "--frames", "3", "--decode-chunk", "2", "--fps", "6", "--device", "cpu")


@pytest.fixture(scope="module")
def video_model(tmp_path_factory) -> Path:
    return write_tiny_video_model(tmp_path_factory.mktemp("video"))


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    return sorted(mini.write_dataset(tmp_path_factory.mktemp("world")).rglob("*.png"))[0]


def animate(*words: object) -> subprocess.CompletedProcess[str]:
    """Run the example in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.object(sys, "argv", ["animate.py", *map(str, words)]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            runpy.run_path(str(ROOT / "examples/animate.py"), run_name="__main__")
        except SystemExit as left:
            code = left.code
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def watched():
    """Inside, pairs of the picture that a pipeline is given and the frames that it gives are collected."""
    from diffusers import StableVideoDiffusionPipeline

    seen, call = [], StableVideoDiffusionPipeline.__call__

    def watching(self, picture, **settings):
        made = call(self, picture, **settings)
        seen.append((np.array(picture), np.array([np.array(frame) for frame in made.frames[0]])))
        return made

    with mock.patch.object(StableVideoDiffusionPipeline, "__call__", watching):
        yield seen


def by_hand(model: Path, picture: Image.Image, seed: int) -> np.ndarray:
    """Frames [n, h, w, 3] of diffusers' pipeline as anybody calls it."""
    import torch
    from diffusers import StableVideoDiffusionPipeline

    pipeline = StableVideoDiffusionPipeline.from_pretrained(model)
    pipeline.set_progress_bar_config(disable=True)
    frames = pipeline(
        picture, 64, 128, 3, 2, fps=6, motion_bucket_id=200, noise_aug_strength=0.1, decode_chunk_size=2,
        generator=torch.Generator().manual_seed(seed),
    ).frames[0]  # fmt: skip
    return np.array([np.array(frame) for frame in frames])


def test_animate_writes_the_frames_of_the_pipeline(video_model, toy, tmp_path):
    settings = (*TINY, "--model", video_model, "--motion-bucket", "200", "--noise-augmentation", "0.1", "--seed")
    with watched() as seen:
        for name, seed in (("a", 5), ("b", 5), ("c", 6)):
            done = animate(toy, tmp_path / f"new/{name}.gif", *settings, seed)
            assert done.returncode == 0 and done.stdout == f"{tmp_path}/new/{name}.gif\n", done.stderr
    middle = Image.open(toy).convert("RGB").resize((128, 64), Image.Resampling.LANCZOS, box=(0, 16, 64, 48))
    frames = by_hand(video_model, middle, 5)
    assert np.array_equal(seen[0][1], frames) and not np.array_equal(seen[2][1], frames)
    files = [(tmp_path / f"new/{name}.gif").read_bytes() for name in "abc"]
    assert files[0] == files[1] != files[2]
    assert sorted(file.name for file in (tmp_path / "new").iterdir()) == ["a.gif", "b.gif", "c.gif"]

    with Image.open(tmp_path / "new/a.gif") as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (3, (128, 64), 0)  # 0: for ever
        shown = [(each.info["duration"], np.array(each.convert("RGB"))) for each in ImageSequence.Iterator(gif)]
    assert [duration for duration, _ in shown] == [
        170,
        160,
        170,
    ]  # together 3/6 s, and a hundredth is all that GIF knows
    apart = np.array([[np.abs(frame - picture.astype(float)).mean() for frame in frames] for _, picture in shown])
    assert apart.argmin(axis=1).tolist() == [0, 1, 2]
    assert apart.diagonal().max() < 12  # of 255: what 256 colours cost pictures that are half noise


def test_animate_shows_the_whole_picture_between_bars(video_model, toy, tmp_path):
    with watched() as seen:
        animate(toy, tmp_path / "a.gif", *TINY, "--model", video_model, "--resize", "letterbox")
    whole = np.zeros((64, 128, 3), np.uint8)
    whole[:, 32:96] = np.array(Image.open(toy).convert("RGB"))
    assert np.array_equal(seen[0][0], whole)


def test_animate_takes_a_picture_of_a_run(video_model, small_run, tmp_path):
    with watched() as seen:
        run = ("--checkpoint", "base", "--number", "1", "--model", video_model)
        done = animate(small_run, tmp_path / "a.gif", *TINY, *run, "--resize", "letterbox")
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(small_run / "images.parquet")
    second = small_run / table[table["checkpoint"] == "base"]["file"].iloc[1]
    assert np.array_equal(seen[0][0][:, 32:96], np.array(Image.open(second)))
    for words, said in (
        (("--checkpoint", "bas"), "Did you mean 'base'?"),
        (("--checkpoint", "base", "--number", "99"), "there is no --number 99"),
        ((), "name a picture"),
    ):
        refused = animate(small_run, tmp_path / "b.gif", *words)
        assert refused.returncode == 2 and said in refused.stderr


def test_animate_takes_a_variant_and_follows_no_name_of_a_folder(video_model, toy, tmp_path):
    """Weights of the variant where there are some, no pickles, none of the classes that the index names."""
    model = shutil.copytree(video_model, tmp_path / "model")
    weights = model / "unet/diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".fp16.safetensors"))
    weights.with_suffix(".bin").write_bytes(b"a pickle")
    (model / "model_index.json").write_text('{"_class_name": "Evil", "unet": ["evil", "Evil"]}')
    refused = animate(toy, tmp_path / "a.gif", *TINY, "--model", model)
    assert refused.returncode == 2 and "has no unet/diffusion_pytorch_model.safetensors" in refused.stderr
    for name, place in (("a", f"{model}:fp16"), ("b", video_model)):
        done = animate(toy, tmp_path / f"{name}.gif", *TINY, "--model", place)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()


def test_animate_on_a_gpu_computes_in_half_precision(video_model, monkeypatch):
    """As far as a machine without one can see: what the pipeline is told."""
    import torch
    from diffusers import StableVideoDiffusionPipeline

    told = []
    monkeypatch.setattr(StableVideoDiffusionPipeline, "to", lambda self, device: told.append(device) or self)
    monkeypatch.setattr(
        StableVideoDiffusionPipeline, "enable_model_cpu_offload", lambda self, device: told.append(f"offload {device}")
    )
    example = runpy.run_path(str(ROOT / "examples/animate.py"))
    files, device = example["find_model"](str(video_model)), "cuda:1"
    for offload in (False, True):
        pipeline = example["load"](files, device, offload)
        assert {pipeline.unet.dtype, pipeline.vae.dtype, pipeline.image_encoder.dtype} == {torch.float16}
    assert told == ["cuda:1", "offload cuda:1"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("missing.png", "a.gif"), "Picture missing.png does not exist."),
        (("text.png", "a.gif"), "Picture text.png cannot be read"),
        ((".", "a.gif"), ". is a folder: name a picture"),
        ((".", "a.gif", "--checkpoint", "base"), ". holds no tables: give the folder of a finished study"),
        (("toy.png", "a.mp4"), "a.mp4 does not end in .gif."),
        (("toy.png", "old.gif"), "old.gif exists; remove it or name another one."),
        (("toy.png", "text.png/a.gif"), "text.png/a.gif: "),
        (("toy.png", "a.gif", "--frames", "0"), "--frames: must be a whole number from 2 to 200, got '0'"),
        (("toy.png", "a.gif", "--fps", "7.5"), "--fps: must be a whole number from 1 to 50, got '7.5'"),
        (("toy.png", "a.gif", "--noise-augmentation", "nan"), "must be a number from 0.0 to 1.0, got 'nan'"),
        (("toy.png", "a.gif", "--size", "1000x576"), "must be two multiples of 64 up to 2048"),
        (("toy.png", "a.gif", "--device", "gpu"), "A device must be auto, cpu, mps, cuda"),
        (("toy.png", "a.gif", "--device", "cpu", "--offload"), "--offload spares the memory of a GPU"),
        (("toy.png", "a.gif", "--model", "."), "Model . has no unet/diffusion_pytorch_model.safetensors"),
        (("toy.png", "a.gif", "--model", "broken"), "Model broken cannot be loaded: "),
        (("toy.png", "a.gif", "--model", "/no/such"), "Model '/no/such' is neither a folder nor a hub id."),
        (
            ("toy.png", "a.gif", "--model", "stabilityai/stable-video-diffusion-img2vid-xt:fp16"),
            "`hf download stabilityai/stable-video-diffusion-img2vid-xt unet/diffusion_pytorch_model.fp16.safetensors ",
        ),
    ],
)
def test_animate_says_in_a_sentence_what_is_wrong(words, said, video_model, toy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(toy, "toy.png")
    Path("text.png").write_text("not a picture")
    Path("old.gif").write_text("kept")
    shutil.copytree(video_model, "broken")
    Path("broken/vae/diffusion_pytorch_model.safetensors").write_bytes(b"cut short")
    before = sorted(tmp_path.rglob("*"))
    done = animate(*words, *(() if "--model" in words else ("--model", video_model)))
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2  # argparse says before how to call it
    assert sorted(tmp_path.rglob("*")) == before and Path("old.gif").read_text() == "kept"


@pytest.mark.parametrize(
    "moment", ["diffusers.AutoencoderKLTemporalDecoder.decode", "PIL.GifImagePlugin._write_frame_data"]
)
def test_an_interrupted_animate_leaves_nothing(moment, video_model, toy, tmp_path):
    with mock.patch(moment, side_effect=KeyboardInterrupt):
        done = animate(toy, tmp_path / "a.gif", *TINY, "--model", video_model)
    assert done.returncode == 130 and done.stderr.endswith("Interrupted: no GIF was written.\n")
    assert not list(tmp_path.iterdir())
