"""Training of the image encoders that stand for DINOv2, ConvNeXt V2 and VGG-19.

Honestly: none of them is trained as its namesake was. All see labelled renders of the ordinary world and learn its
attributes. The ViT and the ConvNeXt also learn to know a subject again in other surroundings, among others of equal
colour or build and random figures of equal colours, which is what lets them see identities that pretraining never
showed; the VGG learns that Gram matrices of equal style and other content are nearer than those of equal content in
another style.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lorabench.encoders.vgg19 import Grams, gram_taps
from lorabench.mini import architectures
from lorabench.mini.architectures import to_model
from lorabench.mini.banks import IDENTITIES, figures, identities, prepare_identities, prepare_styles, style_groups
from lorabench.mini.parallel import Plan
from lorabench.mini.train_base import publish
from lorabench.mini.training_data import LABELS, load
from lorabench.mini.vocabulary import COLORS

TEMPERATURE = 0.1
# What a picture shows beside its subject counts less: an encoder of identities should mostly see who is there.
WEIGHTS = {"subject": 1.0, "color": 1.0, "accessory": 0.5, "pose": 0.25, "scene": 0.5, "style": 1.0}


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


def identity_loss(features: torch.Tensor, identities: torch.Tensor, temperature: float = TEMPERATURE) -> torch.Tensor:
    """Supervised contrast (Khosla et al. 2020, eq. 2) of features [n, d]: views of one identity find each other."""
    unit = F.normalize(features, dim=1)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    logits = (unit @ unit.T / temperature).masked_fill(itself, float("-inf"))
    same = (identities[:, None] == identities[None]) & ~itself
    log_share = logits - logits.logsumexp(1, keepdim=True)
    return -(log_share.masked_fill(~same, 0).sum(1) / same.sum(1).clamp(min=1)).mean()


def style_triplet_loss(grams: torch.Tensor, margin: float = 1.0) -> torch.Tensor:
    """Of Gram matrices [styles, contents, d]: log distance to equal style and other content, less to the reverse."""
    styles, contents = grams.shape[:2]
    flat = grams.flatten(0, 1)
    squared = (flat.square().sum(1)[:, None] + flat.square().sum(1)[None] - 2 * flat @ flat.T).clamp(min=1e-12)
    distance = squared.log().view(styles, contents, styles, contents)
    same_style = torch.stack([distance[s, :, s] for s in range(styles)])  # [s, c, d]: other contents d
    same_content = torch.stack([distance[:, c, :, c] for c in range(contents)], 1)  # [s, c, t]: other styles t
    other_content = ~torch.eye(contents, dtype=torch.bool)[None, :, :, None]
    other_style = ~torch.eye(styles, dtype=torch.bool)[:, None, None, :]
    valid = (other_content & other_style).expand(styles, contents, contents, styles)
    return F.softplus(2 * (same_style[..., None] - same_content[:, :, None] + margin))[valid].mean() / 2


class EncoderTask:
    """An "encoder" and its "heads", one for every attribute of a picture; subclasses add what else it learns."""

    def __init__(self, data: Path, plan: Plan, target: Path, model: nn.Module) -> None:
        self.model, self.target, self.export_folder = model, target, plan.work / f"export-{plan.name}"
        self.pixels, self.labels = load(data, "pixels"), load(data, "labels")

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """[n, d] before the heads."""
        return pooled(self.model["encoder"], images)

    def ordinary(self, rng: torch.Generator, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Augmented training pictures [n, 3, 64, 64] and their labels [n, 6]."""
        index = torch.randint(len(self.pixels), (batch,), generator=rng).sort().values.numpy()
        return augment(to_model(self.pixels[index]), rng), torch.from_numpy(self.labels[index])

    def attribute_loss(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Weighted mean of the cross entropies of all attributes."""
        shown = labels[:, 0] < LABELS["subject"] - 1  # a scene without subject has no colour and no pose to tell
        total = features.new_zeros(())
        for column, name in enumerate(LABELS):
            seen = shown if name in ("color", "pose") else torch.ones_like(shown)
            error = F.cross_entropy(self.model["heads"][name](features[seen]), labels[seen, column])
            total = total + WEIGHTS[name] * error
        return total / sum(WEIGHTS.values())


def with_heads(encoder: nn.Module) -> nn.Module:
    """`encoder` with a linear head for every attribute."""
    with torch.no_grad():
        width = pooled(encoder.eval(), torch.zeros(1, 3, architectures.IMAGE_SIZE, architectures.IMAGE_SIZE)).shape[1]
    heads = nn.ModuleDict({name: nn.Linear(width, classes) for name, classes in LABELS.items()})
    return nn.ModuleDict({"encoder": encoder, "heads": heads})


class IdentityTask(EncoderTask):
    """Attributes of ordinary pictures, and identities: half of the batches are random figures, a few of each of a few
    palettes, the others ordinary subjects: all, those of one colour, or people who differ in their hair only."""

    make: Callable[[], nn.Module]
    architecture: tuple[str, dict[str, Any]]

    def __init__(self, data: Path, plan: Plan, target: Path) -> None:
        super().__init__(data, plan, target, with_heads(type(self).make()))
        self.views, self.figures = identities(data), figures(data)
        colors = torch.tensor([COLORS.index(color) for _, color, _, _ in IDENTITIES])
        looks = [f"{subject} {color}" for subject, color, _, _ in IDENTITIES]
        self.by_color = [(colors == k).nonzero().squeeze(1) for k in range(len(COLORS))]
        groups = [torch.tensor([k for k, other in enumerate(looks) if other == look]) for look in dict.fromkeys(looks)]
        self.by_look = [group for group in groups if len(group) > 4]

    @staticmethod
    def prepare(data: Path, plan: Plan) -> None:
        """Render the views of all identities and figures."""
        prepare_identities(data, plan.processes)

    def loss(self, rng: torch.Generator, batch: int) -> torch.Tensor:
        """A third of the batch are ordinary pictures, the rest two views of each of as many identities."""
        device = next(self.model.parameters()).device
        draw = self._figures if torch.rand((), generator=rng) < 0.5 else self._subjects
        views, who = draw(rng, batch // 3)
        pictures, labels = self.ordinary(rng, batch // 3)
        features = self.features(torch.cat([augment(to_model(views), rng), pictures]).to(device))
        attributes = self.attribute_loss(features[len(who) :], labels.to(device))
        return attributes + identity_loss(features[: len(who)], who.to(device))

    def _subjects(self, rng: torch.Generator, count: int) -> tuple[np.ndarray, torch.Tensor]:
        """Two views each of ordinary subjects, uint8 [2 * count, 64, 64, 3], and who they are; fewer of small pools."""
        pools = ([torch.arange(len(IDENTITIES))], self.by_color, self.by_look)
        pool = pools[int(torch.randint(3, (), generator=rng))]
        group = pool[int(torch.randint(len(pool), (), generator=rng))]
        who = group[torch.randperm(len(group), generator=rng)[:count]]
        numbers = torch.stack([torch.randperm(self.views.shape[1], generator=rng)[:2] for _ in who], 1).flatten()
        return self.views[who.repeat(2).numpy(), numbers.numpy()], who.repeat(2)

    def _figures(self, rng: torch.Generator, count: int) -> tuple[np.ndarray, torch.Tensor]:
        """Two views each of four random figures a palette, uint8 [2 * count, 64, 64, 3], and who they are."""
        palettes = torch.randperm(self.figures.shape[0], generator=rng)[: count // 4]
        chosen = [torch.randperm(self.figures.shape[1], generator=rng)[:4] for _ in palettes]
        place = torch.stack([palettes.repeat_interleave(4), torch.cat(chosen)]).repeat(1, 2)
        views = [torch.randperm(self.figures.shape[2], generator=rng)[:2] for _ in range(place.shape[1] // 2)]
        pixels = self.figures[place[0].numpy(), place[1].numpy(), torch.stack(views, 1).flatten().numpy()]
        return pixels, place[0] * self.figures.shape[1] + place[1]

    def export(self, model: nn.Module) -> None:
        """Publish the encoder without its heads."""
        architectures.export_timm(self.export_folder, model["encoder"], *self.architecture)
        publish(self.export_folder, self.target)


class VitTask(IdentityTask):
    """What stands for DINOv2."""

    make = staticmethod(architectures.vit)
    architecture = (architectures.VIT, architectures.VIT_ARGS)


class ConvNextTask(IdentityTask):
    """What stands for ConvNeXt V2."""

    make = staticmethod(architectures.convnext)
    architecture = (architectures.CONVNEXT, architectures.CONVNEXT_ARGS)


class StyleTask(EncoderTask):
    """Attributes of ordinary pictures, and Gram matrices that tell styles apart whatever the content."""

    def __init__(self, data: Path, plan: Plan, target: Path) -> None:
        super().__init__(data, plan, target, with_heads(architectures.vgg()))
        self.groups = style_groups(data)
        features = self.model["encoder"].features
        self.grams = Grams(features, gram_taps(features))  # shares the encoder's layers

    @staticmethod
    def prepare(data: Path, plan: Plan) -> None:
        """Render all groups of contents and styles."""
        prepare_styles(data, plan.processes)

    def loss(self, rng: torch.Generator, batch: int) -> torch.Tensor:
        """`batch` ordinary pictures, and one group of styles and contents."""
        device = next(self.model.parameters()).device
        pictures, labels = self.ordinary(rng, batch)
        features = self.features(pictures.to(device))
        group = self.groups[int(torch.randint(len(self.groups), (), generator=rng))]
        styles, contents = group.shape[:2]
        grams = self.grams(to_model(group.reshape(-1, *group.shape[2:])).to(device)).view(styles, contents, -1)
        return self.attribute_loss(features, labels.to(device)) + style_triplet_loss(grams)

    def export(self, model: nn.Module) -> None:
        """Publish the encoder without its heads."""
        architectures.export_vgg(self.export_folder, model["encoder"])
        publish(self.export_folder, self.target)


def pooled(encoder: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Features [n, d] before any head, for timm models and for VGG."""
    if hasattr(encoder, "forward_head"):
        return encoder.forward_head(encoder.forward_features(images), pre_logits=True)
    return encoder(images)
