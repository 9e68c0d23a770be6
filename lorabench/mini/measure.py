"""How good the shipped models are, in numbers: the autoencoder, the encoders, and what the base model draws."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from lorabench.mini.concepts import CONCEPTS, render_concept
from lorabench.mini.renderer import held_out
from lorabench.mini.styles import STYLE_FILTERS, apply_style
from lorabench.mini.train_autoencoder import psnr, to_model
from lorabench.mini.train_encoders import pooled
from lorabench.mini.training_data import LABELS, labels
from lorabench.mini.vocabulary import SUBJECTS
from lorabench.mini.world import captions

_SEED = 20


def load_timm(folder: Path) -> nn.Module:
    """A timm encoder of the world, in float32."""
    import timm

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    model = timm.create_model(config["architecture"], num_classes=0, **config["model_args"])
    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.float().eval()


def load_vgg(folder: Path) -> nn.Module:
    """The feature layers of the VGG, in float32."""
    from torchvision.models.vgg import make_layers

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    layers = make_layers(config["layers"])
    state = load_file(folder / "model.safetensors")
    layers.load_state_dict({name.removeprefix("features."): value for name, value in state.items()})
    return layers.float().eval()


def features(model: nn.Module, pixels: np.ndarray) -> torch.Tensor:
    """Unit features [n, d] of uint8 pictures [n, 64, 64, 3]."""
    with torch.no_grad():
        parts = [pooled(model, to_model(pixels[k : k + 128])) for k in range(0, len(pixels), 128)]
    return F.normalize(torch.cat(parts), dim=1)


class Probe:
    """Ridge classifiers of every attribute on frozen features, fitted on held-out renders."""

    def __init__(self, model: nn.Module, n: int = 3000, seed: int = _SEED) -> None:
        pixels, pictures = held_out(n, seed)
        self.model, x = model, self._design(features(model, pixels))
        truth = torch.tensor([labels(picture) for picture in pictures])
        gram = x.T @ x + 1e-3 * torch.eye(x.shape[1])
        self.weights = {
            name: torch.linalg.solve(gram, x.T @ (F.one_hot(truth[:, k], classes).float() - 1 / classes))
            for k, (name, classes) in enumerate(LABELS.items())
        }

    @staticmethod
    def _design(found: torch.Tensor) -> torch.Tensor:
        return torch.cat([found, torch.ones(len(found), 1)], 1)

    def accuracies(self, pixels: np.ndarray, truth: torch.Tensor) -> dict[str, float]:
        """Share of pictures [n, 64, 64, 3] whose attribute is recognised; colour is asked of coloured styles only."""
        x = self._design(features(self.model, pixels))
        shown = truth[:, 0] < len(SUBJECTS)
        plain = (truth[:, 5] == LABELS["style"] - 1) | (truth[:, 5] == 1) | (truth[:, 5] == 2)
        result = {}
        for k, name in enumerate(LABELS):
            rows = shown & plain if name == "color" else shown
            right = (x @ self.weights[name]).argmax(1) == truth[:, k]
            result[name] = round(float(right[rows].float().mean()), 3)
        return result


def entity_auc(model: nn.Module, images: int = 12) -> dict[str, float]:
    """For every concept but styles: how often an image is nearer to its kind than to a decoy of equal colours."""
    result = {}
    for concept in CONCEPTS:
        if concept.category == "styles":
            continue
        own = features(model, np.stack([render_concept(concept, 100 + k) for k in range(images)]))
        other = features(model, np.stack([render_concept(concept, 200 + k, "decoy") for k in range(images)]))
        same = (own @ own.T)[~torch.eye(images, dtype=torch.bool)]
        cross = (own @ other.T).flatten()
        result[concept.id] = round(float((same[:, None] > cross[None]).float().mean()), 3)
    return result


def gram_triplets(layers: nn.Module, n: int = 16) -> float:
    """How often two contents in one style are nearer, in Gram matrices, than one content in two styles."""
    pixels, pictures = held_out(4 * n, _SEED + 1)
    plain = np.stack([image for image, picture in zip(pixels, pictures) if picture.style is None][:n])
    styled = []
    for index, style in enumerate(STYLE_FILTERS):
        rngs = [np.random.default_rng([index, k]) for k in range(len(plain))]
        styled.append(np.stack([apply_style(image, style, rng) for image, rng in zip(plain, rngs)]))
    grams = torch.stack([gram_features(layers, images) for images in (plain, *styled)])  # [styles, contents, d]
    right = []
    for style in range(len(grams)):
        other = (style + 1) % len(grams)
        same_style = (grams[style] - grams[style].roll(1, 0)).square().sum(1)
        same_content = (grams[style] - grams[other]).square().sum(1)
        right.append((same_style < same_content).float())
    return round(float(torch.cat(right).mean()), 3)


def gram_features(layers: nn.Module, pixels: np.ndarray) -> torch.Tensor:
    """Concatenated Gram matrices of the first convolution of every stage, each scaled to equal weight, [n, d]."""
    x, found, first = to_model(pixels), [], True
    with torch.no_grad():
        for layer in layers:
            x = layer(x)
            if isinstance(layer, nn.ReLU) and first:
                flat = x.flatten(2)
                gram = (flat @ flat.transpose(1, 2) / flat.shape[2]).flatten(1)
                found.append(gram / gram.norm(dim=1).mean())
                first = False
            first = first or isinstance(layer, nn.MaxPool2d)
    return torch.cat(found, 1)


def clip_quality(folder: Path) -> dict[str, float]:
    """Zero-shot accuracy of subjects, and retrieval at 1 among 100 captions."""
    import open_clip

    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    pixels, pictures = held_out(500, _SEED + 2)
    kept = [k for k, picture in enumerate(pictures) if picture.subject]
    with torch.no_grad():
        seen = model.encode_image(to_model(pixels), normalize=True)
        names = model.encode_text(tokenizer([f"a picture of a {subject}" for subject in SUBJECTS]), normalize=True)
        texts = model.encode_text(tokenizer([captions(picture)[0] for picture in pictures]), normalize=True)
    truth = torch.tensor([SUBJECTS.index(pictures[k].subject) for k in kept])
    subject = float(((seen[kept] @ names.T).argmax(1) == truth).float().mean())
    hits = [(seen[s : s + 100] @ texts[s : s + 100].T).argmax(1) == torch.arange(100) for s in range(0, 500, 100)]
    retrieval = float(torch.cat(hits).float().mean())
    return {"zero_shot_subject": round(subject, 3), "retrieval_at_1_of_100": round(retrieval, 3)}


def base_follows(folder: Path, judge: Probe, n: int = 96, seed: int = _SEED + 3) -> dict[str, float]:
    """Share of sampled pictures in which the judge recognises what the caption asked for."""
    from lorabench.mini.train_base import sample

    _, pictures = held_out(n * 2, seed)
    pictures = [picture for picture in pictures if picture.subject][:n]
    found = sample(folder, [captions(picture)[0] for picture in pictures], seed)
    return judge.accuracies(found, torch.tensor([labels(picture) for picture in pictures]))


def measure(weights: Path) -> dict[str, object]:
    """Every number above for the models in `weights`."""
    from diffusers import AutoencoderKL

    pixels, pictures = held_out(500, _SEED + 4)
    truth = torch.tensor([labels(picture) for picture in pictures])
    novel = np.stack([render_concept(concept, 0) for concept in CONCEPTS])
    vae = AutoencoderKL.from_pretrained(weights / "base" / "vae").float().eval()
    vit, convnext = load_timm(weights / "dinov2"), load_timm(weights / "convnextv2")
    judge = Probe(convnext)
    aucs = entity_auc(vit)
    return {
        "autoencoder_psnr": round(psnr(vae, pixels), 2),
        "autoencoder_psnr_novel_concepts": round(psnr(vae, novel), 2),
        "dinov2_probe": Probe(vit).accuracies(pixels, truth),
        "convnextv2_probe": judge.accuracies(pixels, truth),
        "dinov2_entity_auc": round(float(np.mean(list(aucs.values()))), 3),
        "dinov2_entity_auc_by_concept": aucs,
        "convnextv2_entity_auc": round(float(np.mean(list(entity_auc(convnext).values()))), 3),
        "clip": clip_quality(weights / "clip"),
        "vgg19_gram_triplets": gram_triplets(load_vgg(weights / "vgg19")),
        "base_recognised": base_follows(weights / "base", judge),
    }
