"""Pictures of the ordinary world, from what they show to 64 x 64 pixels."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from lorabench.mini import creatures, people, structures
from lorabench.mini.accessories import Anchors, draw_accessory
from lorabench.mini.canvas import HAIR, PAINT, SCALE, SKIN, Frame
from lorabench.mini.people import Person
from lorabench.mini.scenes import paint_scene
from lorabench.mini.styles import apply_style
from lorabench.mini.vocabulary import PEOPLE
from lorabench.mini.world import Picture, sample_picture

Rng = np.random.Generator

_OUTFIT = {"girl": people.DRESS, "woman": people.GOWN, "boy": people.SHORTS, "man": people.SHIRT}
_HEAD = {"girl": 0.20, "boy": 0.20, "woman": 0.145, "man": 0.145}
_DRAW = {
    "robot": creatures.draw_robot,
    "bunny": creatures.draw_bunny,
    "bear": creatures.draw_bear,
    "penguin": creatures.draw_penguin,
    "cat": creatures.draw_cat,
    "dog": creatures.draw_dog,
    "house": structures.draw_house,
    "castle": structures.draw_castle,
    "car": structures.draw_car,
}


def render(picture: Picture) -> np.ndarray:
    """The picture, uint8 [64, 64, 3]; the same for the same `picture` on every machine."""
    rng = np.random.default_rng(picture.seed)
    image = paint_scene(picture.scene, rng)
    if picture.subject:
        frame = subject_frame(image, rng, wide=picture.subject in ("cat", "dog", "house", "castle", "car"))
        draw_subject(frame, picture, rng)
    return finish(image, picture.style, rng)


def finish(image: Image.Image, style: str | None, rng: Rng) -> np.ndarray:
    """Reduce a big picture to 64 x 64 and apply a style of the ordinary world, if any."""
    pixels = np.asarray(image.reduce(SCALE))
    return apply_style(pixels, style, rng) if style else pixels


def subject_frame(image: Image.Image, rng: Rng, wide: bool = False) -> Frame:
    """Where the subject stands: near the middle, about 80 % of the height, on a soft shadow."""
    draw = ImageDraw.Draw(image)
    size = rng.uniform(46, 50) if wide else rng.uniform(49, 54)
    center, ground = 32 + rng.uniform(-3, 3), rng.uniform(58.5, 61)
    frame = Frame(draw, center, ground, size, flip=bool(wide and rng.random() < 0.5))
    left, top = frame.point(-0.3 if not wide else -0.4, 0.03)
    right, bottom = frame.point(0.3 if not wide else 0.4, -0.04)
    box = tuple(round(v) for v in (min(left, right), top, max(left, right), bottom))
    strip = image.crop(box).point(lambda value: round(value * 0.72))
    mask = Image.new("L", strip.size, 0)
    ImageDraw.Draw(mask).ellipse([0, 0, strip.size[0] - 1, strip.size[1] - 1], fill=255)
    image.paste(strip, box, mask)
    return frame


def draw_subject(frame: Frame, picture: Picture, rng: Rng) -> None:
    """The subject of `picture` with its accessory."""
    color = PAINT[picture.color]
    pose = "waving" if picture.accessory in ("balloon", "umbrella") else picture.pose
    if picture.subject in PEOPLE:
        person = Person(
            color=color,
            skin=SKIN[int(rng.integers(len(SKIN)))],
            hair=HAIR[picture.hair],
            hair_style=picture.hair_style,
            outfit=_OUTFIT[picture.subject],
            head=_HEAD[picture.subject],
            beard=picture.subject == "man",
            blush=picture.subject == "girl",
        )
        people.draw_person(frame, person, pose)
        at = person_anchors(person, pose)
    else:
        _DRAW[picture.subject](frame, color, pose)
        at = ANCHORS.get(picture.subject)
    if picture.accessory:
        if at is None:
            raise ValueError(f"A {picture.subject} cannot carry an accessory ('{picture.accessory}').")
        draw_accessory(frame, picture.accessory, PAINT[picture.accessory_color], at)


def person_anchors(person: Person, pose: str) -> Anchors:
    """Where a person wears and holds things."""
    y, r = people.head_center(person), person.head
    return Anchors((0.0, y), r, y + r * 0.85, y - r * 0.06, y - r * 1.0, people.hands(person, pose)[1])


ANCHORS = {
    "robot": Anchors((0.0, 0.76), 0.18, 0.90, 0.77, 0.58, creatures.robot_hands("waving")[1]),
    "bunny": Anchors((0.0, 0.62), 0.22, 0.79, 0.66, 0.44, creatures.toy_hands("waving")[1]),
    "bear": Anchors((0.0, 0.70), 0.24, 0.90, 0.74, 0.50, (0.33, 0.63)),
    "penguin": Anchors((0.0, 0.76), 0.19, 0.92, 0.77, 0.57, (0.33, 0.56)),
    "cat": Anchors((0.27, 0.66), 0.21, 0.82, 0.69, 0.47, (0.0, 0.0)),
    "dog": Anchors((0.25, 0.66), 0.20, 0.84, 0.72, 0.46, (0.0, 0.0)),
}


def held_out(n: int, seed: int) -> tuple[np.ndarray, list[Picture]]:
    """`n` pictures of the ordinary world for measuring, uint8 [n, 64, 64, 3], and what they show.

    Training draws from other streams, so a `seed` never repeats a training picture.
    """
    rng = np.random.default_rng([seed, 0x48454C44])
    pictures = [sample_picture(rng) for _ in range(n)]
    return np.stack([render(picture) for picture in pictures]), pictures
