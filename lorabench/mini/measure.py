"""How good the miniature models are, in numbers, and what they must reach before they are shipped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lorabench import components
from lorabench.components import Encoder
from lorabench.mini import novel_styles
from lorabench.mini.concepts import CONCEPTS, NovelConcept, render_concept
from lorabench.mini.judge import CONCEPT, Judge, load_judge
from lorabench.mini.renderer import held_out, render
from lorabench.mini.styles import STYLE_FILTERS, Pixels, apply_style
from lorabench.mini.train_autoencoder import psnr
from lorabench.mini.train_base import sample
from lorabench.mini.training_data import CLASS_NAMES
from lorabench.mini.vocabulary import SCENES, SUBJECTS
from lorabench.mini.world import Picture, captions, sample_picture
from lorabench.statistics.similarity import unit_rows

SEED = 20  # of everything held out: training draws from other streams
HELD_OUT_INDEX = 500  # of renders of concepts; the data set has lower ones, the judge was trained on higher ones
COLORFUL = (None, "watercolor", "pixel")  # styles that keep colours


def _relative(attribute: str, measured: dict) -> float:
    return measured["base"][attribute]["relative"]


# What a build has to reach: name -> (how to find it in `measure`, the least value).
GATES: dict[str, tuple[Callable[[dict], float], float]] = {
    "autoencoder, dB on held-out renders": (lambda m: m["autoencoder"]["ordinary"], 26.0),
    **{
        f"base: {name} recognised, relative to real renders": (
            partial(lambda n, m: m["base"][n]["relative"], name),
            0.8,
        )
        for name in ("subject", "color", "scene", "style")
    },
    "clip: retrieval at 1 of 1,000": (lambda m: m["clip"]["retrieval_at_1_of_1000"], 0.6),
    "clip: zero-shot subject": (lambda m: m["clip"]["zero_shot"]["subject"], 0.85),
    "dinov2: concept against decoy, mean AUC": (lambda m: m["dinov2"]["concept_auc"], 0.9),
    "vgg19: style triplets": (lambda m: m["vgg19"]["style_triplets"]["ordinary"], 0.95),
    "judge: concepts named": (lambda m: m["judge"]["concept"], 0.9),
}


def measure(weights: Path) -> dict[str, dict]:
    """Everything that `GATES` asks for and more, for the models in `weights`; minutes on a CPU."""
    judge = load_judge(weights / "judge")
    encoders = {name: load_encoder(weights, name) for name in ("dinov2", "convnextv2", "clip", "vgg19")}
    return {
        "autoencoder": reconstruction(weights),
        "base": prompt_following(weights / "base", judge),
        "clip": clip_quality(encoders["clip"]) | identity_and_style(encoders["clip"]),
        **{name: identity_and_style(encoders[name]) for name in ("dinov2", "convnextv2", "vgg19")},
        "judge": judge_quality(judge),
    }


def gate_rows(measured: dict[str, dict]) -> list[dict[str, object]]:
    """One row a gate: what, its least value, the value, and whether it is reached."""
    values = {name: (find(measured), least) for name, (find, least) in GATES.items()}
    return [
        {"gate": name, "at least": least, "measured": round(value, 3), "reached": "yes" if value >= least else "NO"}
        for name, (value, least) in values.items()
    ]


def load_encoder(weights: Path, name: str) -> Encoder:
    """An encoder as every study uses it, with the weights in `weights`/`name`."""
    return components.find("encoders", name).load(weights / name, torch.device("cpu"))


def reconstruction(weights: Path, n: int = 300) -> dict[str, float]:
    """Peak signal-to-noise ratio of the autoencoder in dB: ordinary held-out renders, and those of each category."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(weights / "base" / "vae").float().eval()
    result = {"ordinary": psnr(vae, held_out(n, SEED)[0])}
    for category in dict.fromkeys(concept.category for concept in CONCEPTS):
        own = [concept for concept in CONCEPTS if concept.category == category]
        result[category] = psnr(vae, np.concatenate([concept_renders(concept, 6) for concept in own]))
    return {name: round(value, 2) for name, value in result.items()}


def concept_renders(concept: NovelConcept, n: int, identity: str = "concept", first: int = 0) -> np.ndarray:
    """Held-out renders of a concept or its decoy, uint8 [n, 64, 64, 3]; `first` counts from the first held-out one."""
    return np.stack([render_concept(concept, HELD_OUT_INDEX + first + k, identity) for k in range(n)])


def asked_pictures(n: int, seed: int = SEED) -> list[Picture]:
    """Pictures with a subject whose styles, none among them, are equally frequent: what a base model is asked for."""
    rng, pictures = np.random.default_rng([seed, 5]), []
    while len(pictures) < n:
        picture = sample_picture(rng)
        if picture.subject:
            pictures.append(replace(picture, style=(None, *STYLE_FILTERS)[len(pictures) % (len(STYLE_FILTERS) + 1)]))
    return pictures


def prompt_following(base: Path, judge: Judge, n: int = 384) -> dict[str, dict[str, float]]:
    """Share of pictures drawn from captions in which the judge recognises what the caption asked for.

    Of subject, colour (styles that keep colours only), scene and style: drawn by the base, on renders of the very same
    captions, their ratio, and chance.
    """
    pictures = asked_pictures(n)
    drawn = sample(base, [captions(picture)[0] for picture in pictures], SEED)
    real = np.stack([render(picture) for picture in pictures])
    result = {}
    for attribute in ("subject", "color", "scene", "style"):
        asked = np.array([getattr(picture, attribute) or "none" for picture in pictures])
        rows = np.array([attribute != "color" or picture.style in COLORFUL for picture in pictures])
        shares = [float((judge.names(p[rows], attribute) == asked[rows]).mean()) for p in (drawn, real)]
        chance = 1 / len(CLASS_NAMES[attribute])
        values = {"base": shares[0], "real": shares[1], "relative": shares[0] / shares[1], "chance": chance}
        result[attribute] = {name: round(value, 3) for name, value in values.items()}
    return result


def judge_quality(judge: Judge, n: int = 12) -> dict[str, object]:
    """Share of held-out renders of concepts, and of decoys, that the judge names; by category for concepts."""
    right = {c.id: judge.names(concept_renders(c, n), CONCEPT) == c.id for c in CONCEPTS}
    decoys = [judge.names(concept_renders(c, n, "decoy"), CONCEPT) == f"decoy of {c.id}" for c in CONCEPTS]
    categories = dict.fromkeys(concept.category for concept in CONCEPTS)
    by_category = {k: float(np.mean([right[c.id] for c in CONCEPTS if c.category == k])) for k in categories}
    return {
        "concept": round(float(np.mean(list(right.values()))), 3),
        "decoy": round(float(np.mean(decoys)), 3),
        "concept_by_category": {name: round(value, 3) for name, value in by_category.items()},
    }


def clip_quality(clip: Encoder) -> dict[str, object]:
    """Zero-shot accuracy of subject, colour, scene and style, and retrieval at 1 among 1,000 distinct captions."""
    pictures = list({captions(picture)[0]: picture for picture in held_out(1500, SEED + 2)[1]}.values())[:1000]
    pixels = np.stack([render(picture) for picture in pictures])
    seen = unit_rows(clip.encode_images(list(pixels), ""))
    read = unit_rows(clip.encode_texts([captions(picture)[0] for picture in pictures]))
    questions = {
        "subject": {subject: f"a picture of a {subject}" for subject in SUBJECTS},
        "color": {color: f"a picture of a {color} bear" for color in CLASS_NAMES["color"]},
        "scene": {scene: f"a picture of a scene {phrase}" for scene, (phrase, _) in SCENES.items()},
        "style": {style: f"a {style} of a scene" for style in STYLE_FILTERS},
    }
    shares = {}
    for attribute, texts in questions.items():
        rows = np.array([bool(p.subject) and bool(p.style or attribute != "style") for p in pictures])
        rows &= np.array([attribute != "color" or p.style in COLORFUL for p in pictures])
        answers = np.array(list(texts))[(seen[rows] @ unit_rows(clip.encode_texts(list(texts.values()))).T).argmax(1)]
        truth = np.array([getattr(p, attribute) or "" for p in pictures])[rows]
        shares[attribute] = round(float((answers == truth).mean()), 3)
    retrieval = float(((seen @ read.T).argmax(1) == np.arange(len(pictures))).mean())
    return {"retrieval_at_1_of_1000": round(retrieval, 3), "zero_shot": shares}


def identity_and_style(encoder: Encoder) -> dict[str, object]:
    """How an encoder tells concepts from decoys of equal colours, and styles from contents."""
    aucs = {c.id: round(concept_auc(encoder, c), 3) for c in CONCEPTS if c.category != "styles"}
    ordinary = [(lambda pixels, rng: pixels), *(partial(_ordinary, style) for style in STYLE_FILTERS)]
    novel = [partial(_novel, name) for name in ("neon", "blueprint", "infrared", "riso")]
    return {
        "concept_auc": round(float(np.mean(list(aucs.values()))), 3),
        "concept_auc_by_concept": aucs,
        "style_triplets": {
            "ordinary": round(style_triplets(encoder, ordinary), 3),
            "novel": round(style_triplets(encoder, novel), 3),
        },
    }


def concept_auc(encoder: Encoder, concept: NovelConcept, n: int = 12) -> float:
    """How often two renders of the concept are nearer (cosine) than a render and a decoy, in [0, 1]; chance 0.5."""
    own = unit_rows(encoder.encode_images(list(concept_renders(concept, n)), ""))
    other = unit_rows(encoder.encode_images(list(concept_renders(concept, n, "decoy", first=n)), ""))
    same = (own @ own.T)[~np.eye(n, dtype=bool)]
    return float((same[:, None] > (own @ other.T).ravel()[None]).mean())


def style_triplets(encoder: Encoder, styles: Sequence[Callable[[Pixels, np.random.Generator], Pixels]]) -> float:
    """How often two contents in one style are nearer (squared distance) than one content in two styles, in [0, 1]."""
    contents = [render(replace(picture, style=None)) for picture in asked_pictures(12, SEED + 1)]
    rng = np.random.default_rng(SEED)
    features = np.stack(
        [encoder.encode_images([style(pixels, rng) for pixels in contents], "") for style in styles]
    )  # [styles, contents, d]
    right = []
    for s in range(len(styles)):
        for c in range(len(contents)):
            other_content = np.delete(features[s], c, 0)
            other_style = np.delete(features[:, c], s, 0)
            near, far = (((rows - features[s, c]) ** 2).sum(1) for rows in (other_content, other_style))
            right.append((near[:, None] < far[None]).mean())
    return float(np.mean(right))


def _ordinary(style: str, pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return apply_style(pixels, style, rng)


def _novel(style: str, pixels: Pixels, rng: np.random.Generator) -> Pixels:
    return getattr(novel_styles, style)(pixels, rng, False)
