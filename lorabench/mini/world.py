"""What a picture of the ordinary world shows, how one is sampled, and what its captions say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lorabench.mini.vocabulary import (
    ACCESSORIES,
    BUILDINGS,
    COLORS,
    HAIR_COLORS,
    HAIR_STYLES,
    NAMES,
    PEOPLE,
    POSES,
    SCENES,
    STYLES,
    SUBJECTS,
)

Rng = np.random.Generator

ACCESSORY_SHARE = 0.30
STYLE_SHARE = 0.40
EMPTY_SHARE = 0.06  # scenes without a subject
_GIRL_HAIR = ("bob", "long", "ponytail", "twin", "bun")


@dataclass(frozen=True)
class Picture:
    """Everything that decides a picture; `seed` decides what no caption names (places, stars, skin)."""

    subject: str | None
    color: str
    scene: str
    pose: str = "standing"
    accessory: str | None = None
    accessory_color: str = "red"
    style: str | None = None
    hair: str = "brown"
    hair_style: str = "short"
    seed: int = 0


def sample_picture(rng: Rng) -> Picture:
    """A random picture of the ordinary world."""
    subject = None if rng.random() < EMPTY_SHARE else str(rng.choice(SUBJECTS))
    accessory = None
    if subject not in (*BUILDINGS, "car", None) and rng.random() < ACCESSORY_SHARE:
        accessory = str(rng.choice(list(ACCESSORIES)))
    if subject in ("cat", "dog") and accessory in ("balloon", "umbrella"):
        accessory = "scarf"
    pose = str(rng.choice(POSES, p=[0.6, 0.25, 0.15]))
    if subject in ("cat", "dog", "car", *BUILDINGS) or accessory in ("balloon", "umbrella"):
        pose = "standing"
    return Picture(
        subject=subject,
        color=str(rng.choice(COLORS)),
        scene=str(rng.choice(list(SCENES))),
        pose=pose,
        accessory=accessory,
        accessory_color=str(rng.choice(COLORS)),
        style=str(rng.choice(list(STYLES))) if rng.random() < STYLE_SHARE else None,
        hair=str(rng.choice(HAIR_COLORS)),
        hair_style=str(rng.choice(_GIRL_HAIR)) if subject in ("girl", "woman") else "short",
        seed=int(rng.integers(2**31)),
    )


def article(phrase: str) -> str:
    """`phrase` behind the fitting indefinite article."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def captions(picture: Picture) -> tuple[str, str, str]:
    """Three captions: a sentence, tags, and a shorter sentence that leads with the style or the class word."""
    place, tag = SCENES[picture.scene]
    style, style_tag = STYLES[picture.style] if picture.style else (None, None)
    if picture.subject is None:
        sentence = f"{tag} scenery, no people"
        tags = ["scenery", tag, "no people"]
        short = f"{article(style)} of a scene {place}" if style else f"a picture of a scene {place}"
        return _styled(sentence, style), ", ".join([*tags, *_kept(style, style_tag)]), short
    name, class_word = NAMES[picture.subject]
    # The rarer words of a caption vary with the picture, never with the moment of training.
    first, second = np.random.default_rng(picture.seed).random(2) < 0.5
    noun = article(f"{picture.color} {name}") if picture.subject not in PEOPLE else _dressed(picture, name, bool(first))
    doing = "" if picture.pose == "standing" else f" {picture.pose}"
    worn = f" {_worn(picture, bool(second))}" if picture.accessory else ""
    tags = [class_word if first else name, picture.color, tag]
    tags += [picture.pose] if picture.subject in PEOPLE or doing else []
    tags += [picture.accessory] if picture.accessory else []
    tags += [f"{picture.hair} hair", HAIR_STYLES[picture.hair_style]] if picture.subject in PEOPLE else []
    short = f"{article(picture.color)} {class_word}{worn}, {tag}"
    short = f"{article(style)} of {short}" if style else f"a picture of {short}"
    return (
        _styled(f"{noun}{doing}{worn} {place}", style),
        ", ".join([*tags, *_kept(style, style_tag)]),
        short,
    )


def _dressed(picture: Picture, name: str, with_hair: bool) -> str:
    clothes = f"in {picture.color} clothes" if with_hair else f"in {article(picture.color)} {_garment(picture)}"
    hair = f" with {picture.hair} hair" if with_hair else ""
    return f"{article(name)}{hair} {clothes}"


def _garment(picture: Picture) -> str:
    return "dress" if picture.subject in ("girl", "woman") else "shirt"


def _worn(picture: Picture, colored: bool) -> str:
    phrase = ACCESSORIES[picture.accessory]
    if not colored or picture.accessory == "sunglasses":
        return phrase
    verb = phrase.split()[0]
    if picture.accessory == "headphones":
        return f"{verb} {picture.accessory_color} headphones"
    return f"{verb} {article(picture.accessory_color)} {picture.accessory}"


def _styled(sentence: str, style: str | None) -> str:
    return f"{sentence}, in the style of {style}" if style else sentence


def _kept(*tags: str | None) -> list[str]:
    return [tag for tag in tags if tag]
