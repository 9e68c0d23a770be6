"""Training of the base model: U-Net and text encoder together, noise prediction with min-SNR weighting."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import nn

from lorabench.mini.architectures import LATENT_CHANNELS, autoencoder, export_base, text_encoder, unet
from lorabench.mini.parallel import Plan
from lorabench.mini.tokenizer import CONTEXT_LENGTH, write_tokenizer
from lorabench.mini.train_autoencoder import VAE, encode_all
from lorabench.mini.training_data import Rows, load

MIN_SNR = 5.0
EMPTY_CAPTIONS = 0.10
SCALING_FACTOR = "scaling_factor.json"  # in the work folder


def caption_ids(data: Path, work: Path) -> np.ndarray | Rows:
    """Token ids of all captions, int16 [n, 3, 32]: kept beside prepared pictures, else made when asked for."""
    if not (work / "tokenizer").exists():
        write_tokenizer(work / "tokenizer")
    path, texts = data / "ids.npy", load(data, "captions")
    if isinstance(texts, Rows):
        return Rows(lambda index: _ids(work, texts[index].tolist()), texts.shape)
    if not path.exists():
        np.save(path, _ids(work, texts.ravel().tolist()).reshape(len(texts), 3, -1))
    return np.load(path)


def one_caption(ids: np.ndarray | Rows, index: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Token ids [n, 32] of one of the captions of each of the pictures `index` [n]."""
    rows = torch.from_numpy(ids[index.numpy()])
    return rows[torch.arange(len(rows)), torch.randint(rows.shape[1], (len(rows),), generator=rng)]


def _ids(work: Path, texts: list[str]) -> np.ndarray:
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    rows = tokenizer(texts, padding="max_length", max_length=CONTEXT_LENGTH, truncation=True).input_ids
    return np.array(rows, np.int16)


def scaling_factor(work: Path, latents: np.ndarray | Rows, sample: int = 4000) -> float:
    """What brings the means of latents [n, 16, 16, 16] (means, log variances) to unit variance; kept in `work`."""
    path = work / SCALING_FACTOR
    if not path.exists():
        means = latents[np.arange(0, len(latents), max(1, len(latents) // sample))][:, :LATENT_CHANNELS]
        path.write_text(json.dumps(round(float(1 / means.astype(np.float32).std(ddof=1)), 5)), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def signal_levels(steps: int = 1000) -> torch.Tensor:
    """Products of 1 - beta of Stable Diffusion's scaled-linear schedule, float32 [steps]."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, steps, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0).float()


class BaseTask:
    """Noise prediction on latents of rendered pictures, conditioned on one of their captions."""

    def __init__(self, data: Path, plan: Plan, target: Path) -> None:
        self.vae = autoencoder().eval()
        self.vae.load_state_dict(torch.load(plan.work / VAE, weights_only=True))
        self.latents = encode_all(plan.work / VAE, data)
        self.scale = scaling_factor(plan.work, self.latents)
        self.vae.register_to_config(scaling_factor=self.scale)
        self.ids, self.target, self.work = caption_ids(data, plan.work), target, plan.work
        self.empty = torch.from_numpy(_ids(plan.work, [""])[0])
        self.model = nn.ModuleDict({"unet": unet(), "text_encoder": text_encoder()})
        self.levels = signal_levels()
        self.predict = torch.compile(self._predict) if plan.recipe.compiled else self._predict

    @staticmethod
    def prepare(data: Path, plan: Plan) -> None:
        """Encode pictures and captions, once for all processes."""
        scaling_factor(plan.work, encode_all(plan.work / VAE, data))
        caption_ids(data, plan.work)

    def _predict(self, noisy: torch.Tensor, times: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        return self.model["unet"](noisy, times, self.model["text_encoder"](ids).last_hidden_state).sample

    def loss(self, rng: torch.Generator, batch: int) -> torch.Tensor:
        """Weighted squared error of the predicted noise."""
        device = next(self.model.parameters()).device
        index = torch.randint(len(self.latents), (batch,), generator=rng).sort().values
        mean, log_variance = torch.from_numpy(self.latents[index.numpy()]).float().chunk(2, 1)
        clean = (mean + (0.5 * log_variance).exp() * torch.randn(mean.shape, generator=rng)) * self.scale
        ids = one_caption(self.ids, index, rng)
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
        publish(folder, self.target)


def publish(source: Path, target: Path) -> None:
    """Copy the files of `source` into `target`, each replaced in one move, so that readers never see half a file."""
    for file in sorted(path for path in source.rglob("*") if path.is_file()):
        place = target / file.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        partial_file = place.with_name(place.name + ".partial")
        shutil.copyfile(file, partial_file)
        os.replace(partial_file, place)


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
