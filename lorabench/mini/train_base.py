"""Training of the base model: U-Net and text encoder together, noise prediction with min-SNR weighting."""

from __future__ import annotations

import os
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lorabench.mini.architectures import autoencoder, export_base, text_encoder, unet
from lorabench.mini.parallel import Plan, train
from lorabench.mini.tokenizer import CONTEXT_LENGTH, write_tokenizer
from lorabench.mini.train_autoencoder import AutoencoderTask, encode_all
from lorabench.mini.training_data import load

MIN_SNR = 5.0
EMPTY_CAPTIONS = 0.10
PICTURES = 20_000  # the rest of the rendered pictures is for the encoders: encoding costs as much as training


def caption_ids(data: Path, work: Path) -> torch.Tensor:
    """Token ids of all captions, int16 [n, 3, 32]; kept as ids.pt."""
    from transformers import CLIPTokenizer

    path = data / "ids.pt"
    if not path.exists():
        write_tokenizer(work / "tokenizer")
        tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
        texts = load(data, "captions")
        torch.save(_ids(tokenizer, [str(text) for text in texts.reshape(-1)]).view(len(texts), 3, -1), path)
    return torch.load(path, weights_only=True)


def _ids(tokenizer, texts: list[str]) -> torch.Tensor:
    rows = tokenizer(texts, padding="max_length", max_length=CONTEXT_LENGTH, truncation=True).input_ids
    return torch.tensor(rows, dtype=torch.int16)


def scaling_factor(latents: torch.Tensor, sample: int = 4000) -> float:
    """What brings latents [n, 8, 16, 16] (means, log variances) to unit variance."""
    step = max(1, len(latents) // sample)
    return float(1 / latents[::step, :4].float().std())


def signal_levels(steps: int = 1000) -> torch.Tensor:
    """Products of 1 - beta of Stable Diffusion's scaled-linear schedule, float32 [steps]."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, steps, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0).float()


class BaseTask:
    """Noise prediction on latents of rendered pictures, conditioned on one of their captions."""

    def __init__(self, data: Path, plan: Plan, out: Path) -> None:
        self.vae = trained_vae(plan.work)
        self.latents = encode_all(plan.work / "vae.pth", data, PICTURES)
        self.scale = scaling_factor(self.latents)
        self.vae.register_to_config(scaling_factor=round(self.scale, 5))
        self.ids, self.out, self.work = caption_ids(data, plan.work), out, plan.work
        self.empty = self._empty_caption()
        self.model = nn.ModuleDict({"unet": unet(), "text_encoder": text_encoder()})
        self.levels = signal_levels()
        self.predict = torch.compile(self._predict) if plan.compiled else self._predict

    def _empty_caption(self) -> torch.Tensor:
        from transformers import CLIPTokenizer

        return _ids(CLIPTokenizer.from_pretrained(self.work / "tokenizer"), [""])[0]

    def _predict(self, noisy: torch.Tensor, times: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return self.model["unet"](noisy, times, self.model["text_encoder"](ids).last_hidden_state).sample

    def loss(self, rng: torch.Generator, batch: int) -> torch.Tensor:
        """Weighted squared error of the predicted noise."""
        device = next(self.model.parameters()).device
        index = torch.randint(len(self.latents), (batch,), generator=rng).sort().values
        mean, log_variance = self.latents[index].float().chunk(2, 1)
        clean = (mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=rng)) * self.scale
        ids = self.ids[index, torch.randint(3, (batch,), generator=rng)]
        ids[torch.rand(batch, generator=rng) < EMPTY_CAPTIONS] = self.empty
        times = torch.randint(len(self.levels), (batch,), generator=rng)
        noise, level = torch.randn(clean.shape, generator=rng), self.levels[times]
        noisy = level.sqrt()[:, None, None, None] * clean + (1 - level).sqrt()[:, None, None, None] * noise
        found = self.predict(noisy.to(device), times.to(device), ids.long().to(device))
        error = (found - noise.to(device)).square().mean((1, 2, 3))
        ratio = level / (1 - level)
        return (error * (ratio.clamp(max=MIN_SNR) / ratio).to(device)).mean()

    def export(self, model: nn.Module) -> None:
        """Publish the averaged weights as the base folder."""
        folder = self.work / "export-base"
        export_base(folder, self.vae, model["unet"], model["text_encoder"])
        publish(folder, self.out)


def trained_vae(work: Path) -> nn.Module:
    """The trained autoencoder, with its later decoder if there is one."""
    model = autoencoder()
    finer = work / "vae_decoder.pth"
    model.load_state_dict(torch.load(finer if finer.exists() else work / "vae.pth", weights_only=True))
    return model.eval()


def train_decoder(data: Path, plan: Plan, out: Path) -> dict[str, float]:
    """Train the decoder on for latents that stay as they are, and publish it into the base folder `out`."""
    finer = plan.work / "vae_decoder.pth"
    result = train(plan, partial(AutoencoderTask, data, finer, plan.compiled, plan.work / "vae.pth", True))
    vae = trained_vae(plan.work)
    vae.register_to_config(scaling_factor=round(scaling_factor(encode_all(plan.work / "vae.pth", data, PICTURES)), 5))
    vae.half().save_pretrained(plan.work / "export-vae")
    publish(plan.work / "export-vae", out / "vae")
    return result


def publish(source: Path, target: Path) -> None:
    """Copy the files of `source` into `target`, each replaced in one move, so that readers never see half a file."""
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        partial_file = place.with_name(place.name + ".partial")
        shutil.copyfile(file, partial_file)
        os.replace(partial_file, place)


def train_base(data: Path, plan: Plan, out: Path) -> dict[str, float]:
    """Train on the latents of the autoencoder in `plan.work`; every save publishes to `out`."""
    encode_all(plan.work / "vae.pth", data, PICTURES)  # once, before the processes start
    caption_ids(data, plan.work)
    return train(plan, partial(BaseTask, data, plan, out))


def sample(folder: Path, prompts: list[str], seed: int = 0, steps: int = 20, guidance: float = 5.0) -> np.ndarray:
    """Pictures of the base in `folder`, one a prompt, uint8 [n, 64, 64, 3]."""
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(str(folder), safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(seed * 10_000 + k) for k in range(len(prompts))]
    images = []
    for start in range(0, len(prompts), 16):
        part = slice(start, start + 16)
        result = pipeline(prompts[part], num_inference_steps=steps, guidance_scale=guidance, height=64, width=64,
                          generator=generators[part], output_type="np")  # fmt: skip
        images.append((result.images * 255).round().astype(np.uint8))
    return np.concatenate(images)
