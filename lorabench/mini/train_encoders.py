"""Training of the image encoders that stand for DINOv2, ConvNeXt V2 and VGG-19.

Honestly: none of them is trained as its namesake was. All see labelled renders of the ordinary world and learn its
attributes; the ViT and the ConvNeXt also learn, by a contrastive loss, to tell single pictures apart under crops, flips
and colour changes, and to know a subject again in other surroundings, which is what lets them see identities that
pretraining never showed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from lorabench.mini import architectures
from lorabench.mini.parallel import Plan, train
from lorabench.mini.train_autoencoder import to_model
from lorabench.mini.train_base import publish
from lorabench.mini.training_data import LABELS, load, prepare_twins

TEMPERATURE = 0.2
INSTANCE_WEIGHT = 0.5
TWINS = 12_000
TWIN_SHARE = 0.7  # of the batches with two views


def augment(images: torch.Tensor, rng: torch.Generator, strength: float = 1.0) -> torch.Tensor:
    """Random scale, shift, mirror, brightness, contrast and saturation of float32 [n, 3, h, w] in [-1, 1]."""

    def uniform(low: float, high: float) -> torch.Tensor:
        middle, half = (low + high) / 2, (high - low) / 2 * strength
        return middle + half * (2 * torch.rand(len(images), generator=rng) - 1)

    scale, mirror = uniform(0.72, 1.12), torch.where(torch.rand(len(images), generator=rng) < 0.5, -1.0, 1.0)
    theta = torch.zeros(len(images), 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = scale * mirror, scale
    theta[:, 0, 2], theta[:, 1, 2] = uniform(-0.15, 0.15), uniform(-0.15, 0.15)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    moved = F.grid_sample(images, grid.to(images), mode="bilinear", padding_mode="border", align_corners=False)
    gray = moved.mean(1, keepdim=True)
    factor = (uniform(0.75, 1.25), uniform(0.8, 1.2), uniform(-0.15, 0.15))
    saturation, contrast, brightness = (value[:, None, None, None].to(images) for value in factor)
    return (gray + (moved - gray) * saturation) * contrast + brightness


def instance_loss(first: torch.Tensor, second: torch.Tensor, temperature: float = TEMPERATURE) -> torch.Tensor:
    """InfoNCE between two views [n, d] of the same n pictures."""
    logits = F.normalize(first, dim=1) @ F.normalize(second, dim=1).T / temperature
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


class AttributeTask:
    """An image encoder that predicts the attributes of a picture and, if asked, recognises its other views."""

    def __init__(
        self,
        data: Path,
        make_encoder: Callable[[], nn.Module],
        export: Callable[[Path, nn.Module], None],
        target: Path,
        work: Path,
        views: int,
    ) -> None:
        encoder = make_encoder()
        self.views, self.target, self.work, self.write = views, target, work, export
        self.pixels, self.labels = load(data, "pixels"), torch.from_numpy(load(data, "labels"))
        with torch.no_grad():
            width = pooled(encoder.eval(), torch.zeros(1, 3, 64, 64)).shape[1]
        if views == 2:
            self.twins, self.twin_labels = load(data, "twin_pixels"), torch.from_numpy(load(data, "twin_labels"))
        heads = nn.ModuleDict({name: nn.Linear(width, classes) for name, classes in LABELS.items()})
        project = nn.Sequential(nn.Linear(width, 128), nn.GELU(), nn.Linear(128, 64))
        self.model = nn.ModuleDict({"encoder": encoder, "heads": heads, "project": project})
        if views == 1:
            project.requires_grad_(False)

    def _views(self, rng: torch.Generator, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Augmented pictures [views * batch, 3, 64, 64] and their labels; a second view shows the subject again."""
        twins = self.views == 2 and bool(torch.rand((), generator=rng) < TWIN_SHARE)
        index = torch.randint(len(self.twins if twins else self.pixels), (batch,), generator=rng).sort().values
        images, labels = to_model(self.pixels[index.numpy()]), self.labels[index]
        if self.views == 1:
            return augment(images, rng), labels
        again = to_model(self.twins[index.numpy()]) if twins else images
        both = torch.cat([augment(images, rng), augment(again, rng)])
        return both, torch.cat([labels, self.twin_labels[index] if twins else labels])

    def loss(self, rng: torch.Generator, batch: int) -> torch.Tensor:
        """Attribute cross entropies of every view, and the instance loss between two of them."""
        device = next(self.model.parameters()).device
        views, labels = (part.to(device) for part in self._views(rng, batch))
        features = pooled(self.model["encoder"], views)
        shown = labels[:, 0] < LABELS["subject"] - 1  # a scene without subject has no colour and no pose to tell
        total = features.new_zeros(())
        for column, name in enumerate(LABELS):
            seen = shown if name in ("color", "pose") else torch.ones_like(shown)
            total = total + F.cross_entropy(self.model["heads"][name](features[seen]), labels[seen, column])
        total = total / len(LABELS)
        if self.views == 2:
            total = total + INSTANCE_WEIGHT * instance_loss(*self.model["project"](features).chunk(2))
        return total

    def export(self, model: nn.Module) -> None:
        """Publish the encoder without its heads; the heads stay in the work folder, for measuring."""
        folder = self.work / f"export-{self.target.name}"
        self.write(folder, model["encoder"])
        torch.save(model["heads"].state_dict(), self.work / f"heads-{self.target.name}.pth")
        publish(folder, self.target)


def pooled(encoder: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Features [n, d] before any head, for timm models and for VGG."""
    if hasattr(encoder, "forward_head"):
        return encoder.forward_head(encoder.forward_features(images), pre_logits=True)
    return encoder(images)


def _write_vit(folder: Path, model: nn.Module) -> None:
    architectures.export_timm(folder, model, architectures.VIT, architectures.VIT_ARGS)


def _write_convnext(folder: Path, model: nn.Module) -> None:
    architectures.export_timm(folder, model, architectures.CONVNEXT, architectures.CONVNEXT_ARGS)


def train_dinov2(data: Path, plan: Plan, target: Path) -> dict[str, float]:
    """The ViT: attributes, instances and subjects seen again."""
    prepare_twins(data, TWINS, plan.seed, plan.processes)
    return train(plan, partial(AttributeTask, data, architectures.vit, _write_vit, target, plan.work, 2))


def train_convnextv2(data: Path, plan: Plan, target: Path) -> dict[str, float]:
    """The ConvNeXt V2: attributes, instances and subjects seen again."""
    prepare_twins(data, TWINS, plan.seed, plan.processes)
    return train(plan, partial(AttributeTask, data, architectures.convnext, _write_convnext, target, plan.work, 2))


def train_vgg19(data: Path, plan: Plan, target: Path) -> dict[str, float]:
    """The VGG: attributes, the style among them."""
    task = partial(AttributeTask, data, architectures.vgg, architectures.export_vgg, target, plan.work, 1)
    return train(plan, task)
