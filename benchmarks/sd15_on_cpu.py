"""Take Stable Diffusion 1.5's architecture and full-size encoders, at random weights, down the whole road by the CLI.

    python benchmarks/sd15_on_cpu.py --work /some/folder/with/12/GB

It shows that everything of that size loads, trains, draws, encodes and scores, and in how much memory; the numbers that
come out mean nothing. Prints a table and, with --json, the same for machines.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

STUDY = """
name = "sd15-random"
base = "{work}/base"

[data]
folder = "{work}/data"

[training]
epochs = 1
checkpoint_epochs = [1]
batch_size = 1
warmup_epochs = 0
resolution = 64

[[grid]]
algorithm = "lora"
lr = 5e-4
dim = 8
alpha = 4

[images]
prompts = "{prompts}"
prompt_types = ["trigger", "style"]
per_set = 1
steps = 2
size = {size}
batch_size = 1

[[metrics]]
name = "image_similarity"
encoders = ["dinov2", "clip", "convnextv2"]

[[metrics]]
name = "text_similarity"

[[metrics]]
name = "style_loss_base"

[encoders]
dinov2 = {{ weights = "{work}/dinov2.safetensors" }}
clip = {{ weights = "{work}/clip.safetensors" }}
convnextv2 = {{ weights = "{work}/convnextv2.safetensors" }}
vgg19 = {{ weights = "{work}/vgg19.safetensors" }}

[run]
workers = 1
"""
DATASET = """
name = "random"
revision = "1"
license = "none"
citation = "none"

[[concept]]
path = "stuffed_toys/panda"
trigger = "[V_panda]"
class_word = "stuffed toy"
alter = "stuffed_toys"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for weights and results")
    parser.add_argument("--size", type=int, default=512, help="side of the drawn pictures in pixels")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    rows = [timed("make weights", lambda: write_everything(work, arguments.size))]
    for stage in ("train", "generate", "encode", "score", "rank", "explain", "report"):
        rows.append(timed(stage, lambda stage=stage: call(stage, work)))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    if arguments.json:
        print(json.dumps({"rows": rows, "peak_gib": peak, "torch": torch.__version__, "cores": os.cpu_count()}))
        return
    for row in rows:
        print(f"{row['what']:<14} {row['seconds']:8.1f} s")
    print(f"peak memory of a stage: {peak:.1f} GiB ({os.cpu_count()} cores, torch {torch.__version__})")


def timed(what: str, work) -> dict[str, object]:
    started = time.perf_counter()
    work()
    return {"what": what, "seconds": round(time.perf_counter() - started, 1)}


def call(stage: str, work: Path) -> None:
    """One stage in a process of its own, whose peak memory is that of the stage."""
    words = [sys.executable, "-m", "lorabench", stage, str(work / "study.toml"), "--out", str(work / "results")]
    done = subprocess.run(words, check=False)
    if done.returncode != 0:
        sys.exit(f"`lorabench {stage}` left with {done.returncode}")


def write_everything(work: Path, size: int) -> None:
    """Weights (once), two pictures and the study file."""
    prompts = Path(__file__).parents[1] / "prompts"
    (work / "study.toml").write_text(STUDY.format(work=work, prompts=prompts, size=size))
    pictures = work / "data/stuffed_toys/panda"
    pictures.mkdir(parents=True, exist_ok=True)
    (work / "data/dataset.toml").write_text(DATASET)
    rng = np.random.default_rng(0)
    for number in range(2):
        Image.fromarray(rng.integers(0, 255, (80, 64, 3), dtype=np.uint8)).save(pictures / f"{number}.png")
        (pictures / f"{number}.txt").write_text("[V_panda] stuffed toy, on a table")
    for write in (write_base, write_dinov2, write_clip, write_convnextv2, write_vgg19):
        target = work / ("base" if write is write_base else f"{write.__name__.removeprefix('write_')}.safetensors")
        if not target.exists():
            write(target)


def write_base(folder: Path) -> None:
    """A diffusers folder of SD1.5's architecture (its published configs), half precision as most people keep it."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    partial = folder.with_name("base.partial")
    tokenizer = write_tokenizer(partial / "tokenizer")
    unet = UNet2DConditionModel(
        sample_size=64, cross_attention_dim=768, attention_head_dim=8, block_out_channels=(320, 640, 1280, 1280)
    )
    vae = AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        sample_size=512,
    )
    text = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768
        )
    )
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False
    )
    StableDiffusionPipeline(
        vae.half(), text.half(), tokenizer, unet.half(), scheduler, None, None, requires_safety_checker=False
    ).save_pretrained(partial)
    partial.rename(folder)


def write_tokenizer(folder: Path):
    """A tokenizer of CLIP's size: bytes, bytes at the end of a word, fillers, start and end."""
    from transformers import CLIPTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    # A letter a byte: visible ones stand for themselves, the others for letters beyond Latin-1.
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = [byte for byte in range(256) if byte not in visible]
    letters = [chr(byte) for byte in sorted(visible)] + [chr(256 + number) for number in range(len(hidden))]
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += [f"<filler {number}>" for number in range(49406 - len(words))]
    words += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)


def write_dinov2(file: Path) -> None:
    import timm

    save(timm.create_model("vit_large_patch14_dinov2.lvd142m", num_classes=0, img_size=518), file)


def write_convnextv2(file: Path) -> None:
    import timm

    save(timm.create_model("convnextv2_large.fcmae_ft_in22k_in1k_384"), file)


def write_clip(file: Path) -> None:
    import open_clip

    save(open_clip.CLIP(**open_clip.get_model_config("ViT-L-14")), file)


def write_vgg19(file: Path) -> None:
    from torchvision.models import vgg19

    save(vgg19(init_weights=False), file)


def save(network: torch.nn.Module, file: Path) -> None:
    save_file({name: tensor.contiguous().clone() for name, tensor in network.state_dict().items()}, file)


if __name__ == "__main__":
    main()
