"""Training of the small CLIP on pictures and captions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from lorabench.mini.architectures import clip, export_clip, to_model
from lorabench.mini.parallel import Plan
from lorabench.mini.train_base import caption_ids, one_caption, publish
from lorabench.mini.train_encoders import augment
from lorabench.mini.training_data import LABELS, load

SAME_SCENE_SHARE = 0.5


class ClipTask:
    """Contrast of pictures with captions; half of the batches show one scene only, so that subjects must tell."""

    def __init__(self, data: Path, plan: Plan, target: Path) -> None:
        self.pixels, self.ids = load(data, "pixels"), caption_ids(data, plan.work)
        labels = load(data, "labels")
        self.labels = torch.from_numpy(np.asarray(labels[np.arange(len(labels))]))
        scene = self.labels[:, list(LABELS).index("scene")]
        self.by_scene = [(scene == k).nonzero().squeeze(1) for k in range(LABELS["scene"])]
        model = clip()
        width = model.text_projection.shape[1]
        self.model = nn.ModuleDict({"clip": model, "subject": nn.Linear(width, LABELS["subject"])})
        self.target, self.work = target, plan.work

    @staticmethod
    def prepare(data: Path, plan: Plan) -> None:
        """Tokenise the captions, once for all processes."""
        caption_ids(data, plan.work)

    def _batch(self, rng: torch.Generator, batch: int) -> torch.Tensor:
        pool = None
        if torch.rand((), generator=rng) < SAME_SCENE_SHARE:
            pool = self.by_scene[int(torch.randint(len(self.by_scene), (), generator=rng))]
        index = torch.randint(len(self.pixels) if pool is None else len(pool), (batch,), generator=rng)
        return (index if pool is None else pool[index]).sort().values

    def loss(self, rng: torch.Generator, batch: int) -> torch.Tensor:
        """InfoNCE in both directions, and a subject classifier that keeps the picture tower looking at subjects."""
        device = next(self.model.parameters()).device
        index = self._batch(rng, batch)
        images = augment(to_model(self.pixels[index.numpy()]), rng, 0.5).to(device)
        ids = one_caption(self.ids, index, rng).long().to(device)
        model = self.model["clip"]
        seen, read = model.encode_image(images), model.encode_text(ids, normalize=True)
        scale = model.logit_scale.exp().clamp(max=50)
        logits = scale * F.normalize(seen, dim=1) @ read.T
        # Equal captions are no negatives of each other.
        same = (ids[:, None] == ids[None]).all(-1)
        target = same / same.sum(1, keepdim=True)
        contrast = (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2
        subject = self.labels[index, 0].to(device)
        return contrast + 0.3 * F.cross_entropy(self.model["subject"](seen), subject)

    def export(self, model: nn.Module) -> None:
        """Publish CLIP without the classifier."""
        folder = self.work / "export-clip"
        export_clip(folder, model["clip"])
        publish(folder, self.target)
