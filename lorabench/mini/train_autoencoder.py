"""Training of the autoencoder: L1, squared error, edges and a whisper of KL."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lorabench.mini.architectures import LATENT_SIZE, autoencoder
from lorabench.mini.parallel import Plan, train
from lorabench.mini.training_data import load


class AutoencoderTask:
    """Reconstruct rendered pictures; with `decoder_only` the latents stay as they are."""

    def __init__(
        self, data: Path, out: Path, compiled: bool, start: Path | None = None, decoder_only: bool = False
    ) -> None:
        self.model = autoencoder()
        self.reconstruct = torch.compile(self._reconstruct) if compiled else self._reconstruct
        self.pixels, self.out = load(data, "pixels"), out
        if start is not None:
            self.model.load_state_dict(torch.load(start, weights_only=True))
        if decoder_only:
            self.model.encoder.requires_grad_(False)
            self.model.quant_conv.requires_grad_(False)
        self.decoder_only = decoder_only

    def loss(self, rng: torch.Generator, batch: int) -> torch.Tensor:
        """Reconstruction of a random batch."""
        device = next(self.model.parameters()).device
        index = torch.randint(len(self.pixels), (batch,), generator=rng).sort().values
        images = recolor(to_model(self.pixels[index.numpy()]), rng).to(device)
        noise = torch.randn((batch, 4, LATENT_SIZE, LATENT_SIZE), generator=rng).to(device)
        found, kl = self.reconstruct(images, noise)
        loss = F.l1_loss(found, images) + F.mse_loss(found, images) + 0.3 * edge_loss(found, images)
        return loss if self.decoder_only else loss + 1e-4 * kl

    def _reconstruct(self, images: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.set_grad_enabled(not self.decoder_only):
            posterior = self.model.encode(images).latent_dist
            latents = posterior.mean + posterior.std * noise
            kl = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).mean()
        return self.model.decode(latents).sample, kl

    def export(self, model: nn.Module) -> None:
        """Keep the averaged weights for the next training."""
        torch.save(model.state_dict(), self.out)


def to_model(pixels: np.ndarray) -> torch.Tensor:
    """uint8 [n, h, w, 3] to float32 [n, 3, h, w] in [-1, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1


def recolor(images: torch.Tensor, rng: torch.Generator, share: float = 0.35) -> torch.Tensor:
    """Swap and invert the colour channels of a `share` of the images, so that colours never seen survive as well."""
    images = images.clone()
    for row in (torch.rand(len(images), generator=rng) < share).nonzero().flatten().tolist():
        sign = 1 - 2 * torch.randint(2, (), generator=rng)
        images[row] = images[row, torch.randperm(3, generator=rng)] * sign
    return images


def edge_loss(found: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """L1 distance of horizontal and vertical differences; keeps outlines sharp."""
    error = found - images
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def train_autoencoder(data: Path, plan: Plan) -> dict[str, float]:
    """Train encoder and decoder; the average lands in `plan.work`/vae.pth."""
    return train(plan, partial(AutoencoderTask, data, plan.work / "vae.pth", plan.compiled))


def psnr(model: nn.Module, pixels: np.ndarray) -> float:
    """Mean peak signal-to-noise ratio of reconstructions, in dB."""
    images = to_model(pixels)
    with torch.no_grad():
        found = model.decode(model.encode(images).latent_dist.mode()).sample.clamp(-1, 1)
    return float((-10 * torch.log10(((found - images) / 2).square().mean((1, 2, 3)))).mean())


def encode_all(vae: Path, data: Path, count: int, processes: int = 2) -> torch.Tensor:
    """Means and log variances of the first `count` training pictures, float16 [n, 8, 16, 16]; kept as latents.pt."""
    path = data / "latents.pt"
    if not path.exists():
        count = min(count, len(load(data, "pixels")))
        starts = range(0, count, 1000)
        jobs = [(vae, data, start, min(start + 1000, count)) for start in starts]
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            parts = list(pool.map(_encode_part, jobs))
        torch.save(torch.from_numpy(np.concatenate(parts)), path)
    return torch.load(path, weights_only=True, mmap=True)


def _encode_part(job: tuple[Path, Path, int, int]) -> np.ndarray:
    torch.set_num_threads(1)
    vae, data, start, stop = job
    model = autoencoder().eval()
    model.load_state_dict(torch.load(vae, weights_only=True))
    pixels, parts = load(data, "pixels"), []
    with torch.no_grad():
        for low in range(start, stop, 50):
            posterior = model.encode(to_model(pixels[low : min(low + 50, stop)])).latent_dist
            parts.append(torch.cat([posterior.mean, posterior.logvar], 1).half())
    return torch.cat(parts).numpy()
