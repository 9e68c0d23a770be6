"""Training of the autoencoder: L1, squared error, edges and a whisper of KL."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lorabench.mini.architectures import LATENT_CHANNELS, LATENT_SIZE, autoencoder, to_model
from lorabench.mini.parallel import Plan
from lorabench.mini.training_data import Rows, load

VAE = "vae.pth"  # in the work folder


class AutoencoderTask:
    """Reconstruct rendered pictures."""

    def __init__(self, data: Path, plan: Plan, target: Path) -> None:
        self.model = autoencoder()
        self.reconstruct = torch.compile(self._reconstruct) if plan.recipe.compiled else self._reconstruct
        self.pixels, self.work = load(data, "pixels"), plan.work

    @staticmethod
    def prepare(data: Path, plan: Plan) -> None:
        """Nothing: the pictures are all it takes."""

    def loss(self, rng: torch.Generator, batch: int) -> torch.Tensor:
        """Reconstruction of a random batch."""
        device = next(self.model.parameters()).device
        index = torch.randint(len(self.pixels), (batch,), generator=rng).sort().values
        images = recolor(to_model(self.pixels[index.numpy()]), rng).to(device)
        noise = torch.randn((batch, LATENT_CHANNELS, LATENT_SIZE, LATENT_SIZE), generator=rng).to(device)
        found, kl = self.reconstruct(images, noise)
        return F.l1_loss(found, images) + F.mse_loss(found, images) + 0.3 * edge_loss(found, images) + 1e-4 * kl

    def _reconstruct(self, images: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        posterior = self.model.encode(images).latent_dist
        latents = posterior.mean + posterior.std * noise
        kl = 0.5 * (posterior.mean.square() + posterior.var - 1 - posterior.logvar).mean()
        return self.model.decode(latents).sample, kl

    def export(self, model: nn.Module) -> None:
        """Keep the averaged weights for the base, which publishes them with its own."""
        torch.save(model.state_dict(), self.work / VAE)


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


def psnr(model: nn.Module, pixels: np.ndarray) -> float:
    """Mean peak signal-to-noise ratio of reconstructions, in dB."""
    images = to_model(pixels)
    with torch.no_grad():
        found = model.decode(model.encode(images).latent_dist.mode()).sample.clamp(-1, 1)
    return float((-10 * torch.log10(((found - images) / 2).square().mean((1, 2, 3)))).mean())


def encode_all(vae: Path, data: Path, processes: int = 2) -> np.ndarray | Rows:
    """Means and log variances of the training pictures, float16 [n, 16, 16, 16].

    Kept as latents.npy beside prepared pictures, else made when asked for.
    """
    path, pixels = data / "latents.npy", load(data, "pixels")
    if isinstance(pixels, Rows):
        model = _encoder(vae)
        return Rows(lambda index: _latents(model, pixels[[index]])[0], pixels.shape)
    if not path.exists():
        jobs = [(vae, data, start, min(start + 1000, len(pixels))) for start in range(0, len(pixels), 1000)]
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            np.save(path, np.concatenate(list(pool.map(_encode_part, jobs))))
    return np.load(path, mmap_mode="r")


def _encode_part(job: tuple[Path, Path, int, int]) -> np.ndarray:
    torch.set_num_threads(1)
    vae, data, start, stop = job
    model, pixels = _encoder(vae), load(data, "pixels")
    return np.concatenate([_latents(model, pixels[low : min(low + 50, stop)]) for low in range(start, stop, 50)])


def _encoder(vae: Path) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # making it must not change how the base is initialised
        model = autoencoder().eval()
    model.load_state_dict(torch.load(vae, weights_only=True))
    return model


def _latents(model: nn.Module, pixels: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        posterior = model.encode(to_model(pixels)).latent_dist
    return torch.cat([posterior.mean, posterior.logvar], 1).half().numpy()
