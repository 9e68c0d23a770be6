"""How much of a GPU drawing and training use: Stable Diffusion 1.5's architecture at random weights, in ten minutes.

    python benchmarks/gpu.py [--json FILE] [--no-compile]

Every figure stands beside the same run's matrix-product peak, stock diffusers, peft or lycoris. Without a GPU the
miniature base model takes its place, in float32: that shows that the script works, and nothing about GPUs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import platform
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import peft
import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from sd15_on_cpu import write_tokenizer
from step_time import SIZES, of_lycoris, of_peft
from torch._dynamo.utils import counters
from transformers import CLIPTextConfig, CLIPTextModel

from lorabench import adapters, base_models, components, formats, mini
from lorabench.architectures import ARCHITECTURES, AUTOENCODER
from lorabench.base_models import STOCK_DDIM, BaseModel
from lorabench.components import Origin
from lorabench.pipeline import flops
from lorabench.records import (
    AdapterConfig,
    Concept,
    ImageRequest,
    Prompt,
    PromptSet,
    Sampling,
    TrainConfig,
    TrainingConfig,
    TrainingImage,
)
from lorabench.sampler import Sampler, sampler_of
from lorabench.stages.generate import generate
from lorabench.stages.train import train

ON_GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if ON_GPU else "cpu")
SAMPLING = Sampling(steps=25, guidance=7.0, size=512, max_tokens=75) if ON_GPU else Sampling(4, 3.0, 64, 30)
BATCHES = (1, 16, 32) if ON_GPU else (8, 16)  # tiny models are drawn in batches of eight or more
TRAINED = 8 if ON_GPU else 2  # samples of a step
STEPS = 20 if ON_GPU else 3
CONFIGS = {name: AdapterConfig(name, "linear", **SIZES[name]) for name in ("lora", "loha", "lokr", "native")}
Rows = list[dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write all figures there")
    parser.add_argument("--no-compile", action="store_true", help="leave out what torch.compile takes minutes for")
    options = parser.parse_args()
    base, peak = random_base(), matrix_peak()
    found: dict[str, Any] = {"machine": machine(), "peak_tflops": peak}
    counted = flops.drawer(base.kind, *on_meta(base), SAMPLING.size)
    found["forward"] = section("U-Net forward", forward_by_batch(base, counted.unet.flop, peak))
    found["generation"] = section("generation", generation(base, counted, peak, not options.no_compile))
    found["swaps"] = section("swaps", swaps(base, not options.no_compile))
    found["training"] = section("training step", training(base, counted, peak))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


# --- the machine ------------------------------------------------------------------------------------------------------


def machine() -> dict[str, Any]:
    told = {"device": torch.cuda.get_device_name() if ON_GPU else f"no GPU, {torch.get_num_threads()} CPU threads"}
    told |= {"torch": torch.__version__, "diffusers": diffusers.__version__, "peft": peft.__version__}
    told |= {"python": platform.python_version(), "base": "sd15, random" if ON_GPU else "miniature"}
    query = ["nvidia-smi", "--query-gpu=clocks.sm,clocks.max.sm,clocks.mem,power.limit", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        told["clocks"] = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    print(" ".join(f"{key}={value}" for key, value in told.items()))
    return told


def matrix_peak() -> float:
    """TFLOP/s of a square matrix product in the precision that draws."""
    side, dtype = (8192, torch.float16) if ON_GPU else (1024, torch.float32)
    a, b = torch.randn(2, side, side, device=DEVICE).to(dtype)
    peak = 2 * side**3 / fastest(lambda: a @ b, 30) / 1e12
    print(f"matrix product {side} x {side}, {dtype}: {peak:.3g} TFLOP/s")
    return peak


def fastest(work: Callable[[], object], times: int) -> float:
    """Seconds of the fastest of so many calls, after three that are not counted."""
    return min(list(durations(work, times + 3))[3:])


def durations(work: Callable[[], object], times: int) -> Iterator[float]:
    for _ in range(times):
        synchronise()
        since = time.perf_counter()
        work()
        synchronise()
        yield time.perf_counter() - since


def synchronise() -> None:
    if ON_GPU:
        torch.cuda.synchronize()


def section(title: str, rows: Iterator[dict[str, Any]]) -> Rows:
    """Print rows as they come; each with the most memory that was allocated for it."""
    print(f"\n{title}")
    told = []
    reset_memory()
    for row in rows:
        if ON_GPU:
            row["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
        told.append(row)
        words = (f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items())
        print("  " + "  ".join(words), flush=True)
        reset_memory()
    return told


def reset_memory() -> None:
    if ON_GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def random_base() -> BaseModel:
    """SD1.5's architecture at random weights on the GPU, bfloat16 training; without one the miniature base."""
    if not ON_GPU:
        return base_models.load_base(base_models.base_of(str(mini.base_path())), DEVICE)
    torch.manual_seed(0)
    with DEVICE:
        parts = {
            "unet": UNet2DConditionModel.from_config(dict(ARCHITECTURES["sd15"]["unet"])),
            "text_encoder": CLIPTextModel(CLIPTextConfig(**ARCHITECTURES["sd15"]["text_encoder"])),
            "vae": AutoencoderKL.from_config(dict(AUTOENCODER)),
        }
    for part in parts.values():
        part.requires_grad_(False).eval()
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
    alphas = DDIMScheduler(**schedule).alphas_cumprod.to(DEVICE)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = write_tokenizer(Path(folder) / "tokenizer")
    return BaseModel(
        id="random", tokenizer=tokenizer, scheduler_config=schedule, alphas_cumprod=alphas, device=DEVICE,
        dtype=torch.bfloat16, **parts,
    )  # fmt: skip


def on_meta(base: BaseModel) -> tuple[dict[str, torch.nn.Module], torch.nn.Module]:
    """U-Net, text encoder and autoencoder, to be counted."""
    with torch.device("meta"):
        unet, text = (
            UNet2DConditionModel.from_config(dict(base.unet.config)),
            CLIPTextModel(base.text_encoders["text_encoder"].config),
        )
        return {"unet": unet, "text_encoder": text}, AutoencoderKL.from_config(dict(base.vae.config))


# --- drawing ----------------------------------------------------------------------------------------------------------


def forward_by_batch(base: BaseModel, flop: float, peak: float) -> Iterator[dict[str, Any]]:
    sampler = sampler_of(base)
    for batch in (2, 8, 16, 32, 64) if ON_GPU else (2, 8):
        forward = partial(sampler.unet, *unet_inputs(base, batch, sampler.dtype), return_dict=False)
        with torch.inference_mode():
            seconds = fastest(forward, 10)
        tflops = batch * flop / seconds / 1e12
        yield {"batch": batch, "seconds": seconds, "tflops": tflops, "of_peak": tflops / peak}


def unet_inputs(base: BaseModel, batch: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    latents = torch.randn(batch, *base.latent_shape(SAMPLING.size, SAMPLING.size), device=DEVICE)
    context = torch.randn(batch, base.chunk_tokens + 2, base.unet.config.cross_attention_dim, device=DEVICE)
    return latents.to(dtype), torch.tensor(500, device=DEVICE), context.to(dtype)


def generation(base: BaseModel, counted: flops.Drawer, peak: float, compiled: bool) -> Iterator[dict[str, Any]]:
    """Images a second of the real stage, eager and compiled, beside a stock pipeline in the same precision."""
    image = 2 * SAMPLING.steps * counted.unet.flop + counted.decode.flop
    eager, stock = sampler_of(base), stock_pipeline(base)
    ours = {"eager": eager, **({"compiled": sampler_of(base, compiled=True)} if compiled else {})}
    for batch in BATCHES:
        rates = {"stock": batch / fastest(partial(draw_stock, stock, batch), 2)}
        rates |= {name: batch / fastest(partial(draw, sampler, batch), 2) for name, sampler in ours.items()}
        for name, rate in rates.items():
            row = {"batch": batch, "way": name, "images_per_second": rate, "to_stock": rate / rates["stock"]}
            yield row | {"of_peak": rate * image / 1e12 / peak}


def draw(sampler: Sampler, count: int) -> list[np.ndarray]:
    concept = Concept("toys", "dog", "", "[V_x]", "dog")
    requests = tuple(
        ImageRequest(Prompt("toys/dog", "alter", f"a red dog {number}", ""), number, number) for number in range(count)
    )
    (drawn,) = generate(sampler, [PromptSet(concept, "alter", requests)], SAMPLING, count)
    return list(drawn.images)


def stock_pipeline(base: BaseModel) -> StableDiffusionPipeline:
    """diffusers' own loop over the same weights, in the precision that draws."""
    drawing = sampler_of(replace(base, dtype=torch.float32)) if not ON_GPU else sampler_of(base)
    scheduler = DDIMScheduler.from_config(base.scheduler_config, **STOCK_DDIM)
    own, tokenizer = base.text_encoders["text_encoder"], base.tokenizers["text_encoder"]
    text = CLIPTextModel(own.config)
    text.load_state_dict(own.state_dict())
    pipe = StableDiffusionPipeline(
        drawing.vae.to(memory_format=torch.contiguous_format), text.to(DEVICE, drawing.dtype), tokenizer,
        drawing.unet.to(memory_format=torch.contiguous_format), scheduler, None, None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw_stock(pipe: StableDiffusionPipeline, count: int) -> object:
    size, prompts = SAMPLING.size, [f"a red dog {number}" for number in range(count)]
    return pipe(
        prompts, num_inference_steps=SAMPLING.steps, guidance_scale=SAMPLING.guidance, height=size, width=size,
        output_type="np",
    ).images  # fmt: skip


# --- swapping ---------------------------------------------------------------------------------------------------------


def swaps(base: BaseModel, compiled: bool) -> Iterator[dict[str, Any]]:
    """Files of several algorithms put in and taken out in turn; and what a new process would have to do instead."""
    since = time.perf_counter()
    sampler = sampler_of(base, compiled)
    with torch.inference_mode():
        inputs = unet_inputs(base, 2, sampler.dtype)
        sampler.unet(*inputs, return_dict=False)
        synchronise()
        yield {"what": "copy and compile" if compiled else "copy", "seconds": time.perf_counter() - since}
    graphs = counters["stats"]["unique_graphs"]
    with tempfile.TemporaryDirectory() as folder:
        files = {name: saved(base, config, Path(folder) / f"{name}.safetensors") for name, config in CONFIGS.items()}
        times: dict[str, list[float]] = {name: [] for name in files}
        for _ in range(5):
            for name, file in files.items():
                since = time.perf_counter()
                adapter, _ = formats.load_adapter(file, base.components)
                with adapters.swapped(base.components, (adapter, 1.0), into=sampler.components):
                    synchronise()
                    times[name].append(time.perf_counter() - since)
                    with torch.inference_mode():
                        sampler.unet(*inputs, return_dict=False)
        for name, taken in times.items():
            size = files[name].stat().st_size / 1e6
            yield {"what": name, "file_mb": size, "seconds": min(taken), "slowest": max(taken)}
    yield {"what": "recompiled blocks", "count": counters["stats"]["unique_graphs"] - graphs}


def saved(base: BaseModel, config: AdapterConfig, file: Path) -> Path:
    adapter = adapters.create(base.components, components.find("algorithms", config.algorithm), config, 1)
    trained = TrainConfig(config.algorithm, config, TrainingConfig(lr=1e-4))
    formats.save_adapter(file, adapters.copy_to(adapter, "cpu"), trained, Origin(base.id, 1, 1, 1, {}))
    return file


# --- training ---------------------------------------------------------------------------------------------------------


def training(base: BaseModel, counted: flops.Drawer, peak: float) -> Iterator[dict[str, Any]]:
    """Seconds a step: the real stage on cached latents, beside peft's and lycoris's layers and the diffusers script."""
    seconds = {}
    for name, config in CONFIGS.items():
        seconds[name] = our_step(base, config)
        empty = adapters.create(counted.components, components.find("algorithms", name), config, 1)
        tflops = TRAINED * flops.training(counted, empty, 1) / seconds[name] / 1e12
        row = {
            "way": "lorabench",
            "algorithm": name,
            "seconds": seconds[name],
            "to_lora": seconds[name] / seconds["lora"],
        }
        yield row | {"tflops": tflops, "of_peak": tflops / peak}
    for way, make in (("peft", of_peft), ("lycoris", of_lycoris)):
        for name in ("lora", "loha", "lokr"):
            step = make(random_base(), name, TRAINED).step
            yield compared(way, name, fastest(step, STEPS), seconds[name])
    attention = our_step(base, AdapterConfig("lora", "attention", dim=8, alpha=4.0, train_text_encoder=False))
    yield {"way": "lorabench", "algorithm": "lora, attention of the U-Net", "seconds": attention}
    full = replace(CONFIGS["native"], trained_layers="full")
    for micro, recompute in ((TRAINED, False), (1, False), (TRAINED, True), (1, True)):
        taken = our_step(base, full, micro, recompute)
        row = {"way": "lorabench", "algorithm": "native, full", "micro_batch": micro, "recompute": recompute}
        yield row | {"seconds": taken}
    script = fastest(script_step(random_base()), STEPS)
    yield compared("diffusers' train_text_to_image_lora.py", "lora, attention of the U-Net", script, attention)


def compared(way: str, name: str, seconds: float, ours: float) -> dict[str, Any]:
    return {"way": way, "algorithm": name, "seconds": seconds, "times_ours": seconds / ours}


def our_step(base: BaseModel, config: AdapterConfig, micro: int | None = None, recompute: bool = False) -> float:
    """Seconds between the losses of steps, as `lorabench train` takes them; the median leaves the first ones out."""
    count = TRAINED * (STEPS + 3)
    pictures = [TrainingImage("toys/dog", Path(f"{number}.png"), "a red dog", 1) for number in range(count)]
    shape = base.latent_shape(SAMPLING.size, SAMPLING.size)
    latents = [torch.randn(shape, device=DEVICE) for _ in pictures]
    training = TrainingConfig(1e-4, epochs=1, checkpoint_epochs=(1,), batch_size=TRAINED, max_tokens=base.chunk_tokens)
    algorithm, times = components.find("algorithms", config.algorithm), [time.perf_counter()]
    options = {"latents": latents, "micro_batch": micro, "recompute": recompute}
    for _ in train(
        base, pictures, TrainConfig("step", config, training), algorithm, 1,
        on_step=lambda *_: times.append(time.perf_counter()), **options,
    ):  # fmt: skip
        pass
    return float(np.median(np.diff(times)[3:]))


def script_step(base: BaseModel) -> Callable[[], None]:
    """What diffusers' script does in a step: frozen weights in half precision, pictures encoded each time, AdamW of
    separate kernels, the loss read at once. Its accelerator's autocast is bfloat16."""
    half = torch.bfloat16 if ON_GPU else torch.float32
    for module in (base.unet, base.vae, base.text_encoders["text_encoder"]):
        module.to(half)
    targets = ["to_k", "to_q", "to_v", "to_out.0"]
    base.unet.add_adapter(peft.LoraConfig(r=8, lora_alpha=4, init_lora_weights="gaussian", target_modules=targets))
    params = [each for each in base.unet.parameters() if each.requires_grad]
    for each in params:
        each.data = each.data.float()
    optimizer = torch.optim.AdamW(params, 1e-4, weight_decay=1e-2)
    ids = base.tokenizers["text_encoder"](
        ["a red dog"] * TRAINED, padding="max_length", max_length=base.chunk_tokens + 2, return_tensors="pt"
    )
    pixels = torch.randn(TRAINED, 3, SAMPLING.size, SAMPLING.size, device=DEVICE, dtype=half)

    def step() -> None:
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=ON_GPU):
            with torch.no_grad():
                latents = base.vae.encode(pixels).latent_dist.sample() * base.vae.config.scaling_factor
                context = base.text_encoders["text_encoder"](ids.input_ids.to(DEVICE))[0]
            noise = torch.randn_like(latents)
            timesteps = torch.randint(0, 1000, (TRAINED,), device=DEVICE)
            alphas = base.alphas_cumprod[timesteps].view(-1, 1, 1, 1)
            noisy = (alphas.sqrt() * latents + (1 - alphas).sqrt() * noise).to(half)
            predicted = base.unet(noisy, timesteps, context, return_dict=False)[0]
            loss = torch.nn.functional.mse_loss(predicted.float(), noise.float())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(params, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if not math.isfinite(loss.item()):
            raise SystemExit("the loss of diffusers' loop is not finite")

    return step


if __name__ == "__main__":
    main()
