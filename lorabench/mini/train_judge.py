"""Training of the judge: renders of the ordinary world, of the novel concepts and of their decoys."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torchvision.transforms.v2.functional import gaussian_blur

from lorabench.mini import architectures
from lorabench.mini.architectures import to_model
from lorabench.mini.banks import in_parallel, save
from lorabench.mini.concepts import CONCEPTS, render_concept
from lorabench.mini.judge import CONCEPT
from lorabench.mini.parallel import Plan
from lorabench.mini.train_base import publish
from lorabench.mini.train_encoders import EncoderTask, augment
from lorabench.mini.training_data import CLASS_NAMES, Rows, kept

IMAGES = 160  # of each concept and of each decoy
FIRST_INDEX = 10_000  # the data set, and everything that measures, uses lower ones
CLASSES = {
    **CLASS_NAMES,
    CONCEPT: [*(c.id for c in CONCEPTS), *(f"decoy of {c.id}" for c in CONCEPTS), "ordinary"],
}


def concept_pixels(data: Path) -> np.ndarray | Rows:
    """uint8 [2 * concepts, images, 64, 64, 3], concepts before decoys: kept, or made when asked for."""
    kept_there = (data / "concept_pixels.npy").exists()
    return kept(data, "concept_pixels") if kept_there else Rows(_render, (2 * len(CONCEPTS), IMAGES))


def _renders(which: int) -> np.ndarray:
    return np.stack([_render(which, number) for number in range(IMAGES)])


def _render(which: int, number: int) -> np.ndarray:
    identity = "concept" if which < len(CONCEPTS) else "decoy"
    return render_concept(CONCEPTS[which % len(CONCEPTS)], FIRST_INDEX + number, identity)


class JudgeTask(EncoderTask):
    """Attributes of ordinary pictures; and concept, decoy or neither of all pictures, sharp and soft."""

    def __init__(self, data: Path, plan: Plan, target: Path) -> None:
        counts = {name: len(names) for name, names in CLASSES.items()}
        super().__init__(data, plan, target, architectures.judge(counts))
        self.concepts = concept_pixels(data)

    @staticmethod
    def prepare(data: Path, plan: Plan) -> None:
        """Render concepts and decoys unless they are there."""
        if not (data / "concept_pixels.npy").exists():
            save(data, "concept_pixels", in_parallel(_renders, range(2 * len(CONCEPTS)), plan.processes))

    def loss(self, rng: torch.Generator, batch: int) -> torch.Tensor:
        """Half of the batch are ordinary pictures."""
        device = next(self.model.parameters()).device
        pictures, labels = self.ordinary(rng, batch // 2)
        which = torch.randint(self.concepts.shape[0], (batch // 2,), generator=rng)
        number = torch.randint(self.concepts.shape[1], (batch // 2,), generator=rng)
        shown = augment(to_model(self.concepts[which.numpy(), number.numpy()]), rng, 0.7)
        # Models draw softer than the renderer, and softness must not make a decoy of a concept.
        sigma = 0.05 + 1.2 * float(torch.rand((), generator=rng))
        images = gaussian_blur(torch.cat([pictures, shown]), [5, 5], [sigma, sigma]).to(device)
        features = self.features(images)
        ordinary = torch.full((len(pictures),), len(CLASSES[CONCEPT]) - 1)
        answers = self.model["heads"][CONCEPT](features)
        identity = F.cross_entropy(answers, torch.cat([ordinary, which]).to(device))
        return self.attribute_loss(features[: len(pictures)], labels.to(device)) + identity

    def export(self, model: torch.nn.Module) -> None:
        """Publish encoder and heads."""
        architectures.export_judge(self.export_folder, model, CLASSES)
        publish(self.export_folder, self.target)
