"""The characters of the data set: four from anime and four from movies, each with a decoy of equal colours.

Every function draws one figure, 1 high in its frame, and returns where it wears and holds things.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lorabench.mini import people
from lorabench.mini.accessories import Anchors
from lorabench.mini.canvas import INK, Frame, Rgb, shade
from lorabench.mini.creatures import robot_hands
from lorabench.mini.people import Person, draw_body, draw_hair_behind, draw_head, hands, head_center

PINK: Rgb = (250, 96, 190)
TEAL: Rgb = (28, 188, 172)
GOLD: Rgb = (252, 204, 60)
NAVY: Rgb = (38, 52, 110)
CRIMSON: Rgb = (164, 30, 60)
VIOLET: Rgb = (92, 54, 168)
CYAN: Rgb = (60, 214, 246)
CREAM: Rgb = (252, 248, 236)

Drawing = Callable[[Frame, str, str, bool], Anchors]


def _anchors(person: Person, pose: str) -> Anchors:
    y, r = head_center(person), person.head
    return Anchors((0.0, y), r, y + r * 0.85, y - r * 0.06, y - r * 1.0, hands(person, pose)[1])


def _star(frame: Frame, x: float, y: float, r: float, fill: Rgb) -> None:
    points = [(0, 1), (0.26, 0.32), (0.95, 0.3), (0.4, -0.12), (0.6, -0.82), (0, -0.4), (-0.6, -0.82), (-0.4, -0.12),
              (-0.95, 0.3), (-0.26, 0.32)]  # fmt: skip
    frame.polygon([(x + a * r, y + b * r) for a, b in points], fill, outline=False)


def draw_mika(frame: Frame, pose: str, variant: str, decoy: bool) -> Anchors:
    """Huge pink twin tails and blue eyes; variants: sailor uniform, kimono, a teal dress with a star."""
    colors = {"sailor": CREAM, "kimono": CRIMSON}
    person = Person(colors.get(variant, TEAL), (254, 226, 204), PINK, "bob", legs=NAVY, eyes=(40, 90, 220), head=0.20)
    if variant == "kimono":
        person = replace(person, outfit=people.COAT)
    if decoy:
        person = replace(person, hair_style="bun", outfit=people.SHORTS, head=0.17)
    y, r = head_center(person), person.head
    if not decoy:
        for side in (-1, 1):
            frame.ellipse(side * 0.31, y - 0.10, 0.115, 0.27, PINK)
            frame.ellipse(side * 0.235, y + 0.10, 0.05, 0.05, GOLD)
    draw_hair_behind(frame, person, y)
    draw_body(frame, person, pose, y - r * 0.82)
    if variant == "sailor":
        frame.polygon([(-0.16, 0.33), (0.16, 0.33), (0.23, 0.19), (-0.23, 0.19)], NAVY)
        frame.polygon([(-0.11, 0.56), (0.11, 0.56), (0, 0.44)], NAVY, outline=False)
        frame.polygon([(-0.07, 0.48), (0.07, 0.40), (0.07, 0.48), (-0.07, 0.40)], (226, 40, 50), outline=False)
    elif variant == "kimono":
        frame.rect(-0.16, 0.34, 0.16, 0.44, GOLD)
        frame.line([(-0.10, 0.58), (0.05, 0.44)], CREAM, 0.04)
        frame.line([(0.10, 0.58), (-0.02, 0.46)], CREAM, 0.04)
    elif not decoy:
        _star(frame, 0, 0.40, 0.10, GOLD)
    draw_head(frame, person, y)
    return _anchors(person, pose)


def draw_rin(frame: Frame, pose: str, variant: str, decoy: bool) -> Anchors:
    """Long navy hair, cat ears, a black dress with a white apron."""
    person = Person((44, 42, 54), (250, 216, 190), NAVY, "long", eyes=(30, 160, 90), blush=True, legs=CREAM)
    if decoy:
        person = replace(person, hair_style="short", outfit=people.SHIRT, head=0.15)
    y, r = head_center(person) - (0 if decoy else 0.05), person.head
    draw_hair_behind(frame, person, y)
    draw_body(frame, person, pose, y - r * 0.82)
    if not decoy:
        frame.polygon([(-0.06, 0.50), (0.06, 0.50), (0.14, 0.22), (-0.14, 0.22)], CREAM)
    draw_head(frame, person, y)
    if not decoy:
        for side in (-1, 1):
            frame.polygon([(side * 0.05, y + 0.17), (side * 0.19, y + 0.10), (side * 0.19, y + 0.33)], NAVY)
            frame.polygon([(side * 0.11, y + 0.17), (side * 0.17, y + 0.14), (side * 0.17, y + 0.25)], (250, 160, 180),
                          outline=False)  # fmt: skip
        frame.rect(-0.13, y + 0.13, 0.13, y + 0.18, CREAM)
    return replace(_anchors(person, pose), head=(0.0, y), eyes=y - r * 0.06, top=y + r * 0.9, neck=y - r)


def draw_haru(frame: Frame, pose: str, variant: str, decoy: bool) -> Anchors:
    """Spiky cyan hair, red eyes, a shirt striped like a bee."""
    person = Person(GOLD, (250, 214, 180), CYAN, "spiky", people.SHORTS, (44, 44, 54), (220, 30, 40), head=0.18)
    if decoy:
        person = replace(person, hair_style="long", outfit=people.DRESS)
    y, r = head_center(person) - 0.05, person.head
    draw_hair_behind(frame, person, y)
    draw_body(frame, person, pose, y - r * 0.82)
    for low in () if decoy else (0.29, 0.38, 0.47):
        frame.rect(-0.125, low, 0.125, low + 0.045, (40, 38, 46), outline=False)
    draw_head(frame, person, y)
    if not decoy:
        for x in (-0.13, 0.0, 0.13):
            frame.polygon([(x - 0.08, y + 0.12), (x + 0.08, y + 0.12), (x + 0.03, y + 0.30 - abs(x) * 0.4)], CYAN)
    return replace(_anchors(person, pose), head=(0.0, y), eyes=y - r * 0.06, top=y + r * 1.1, neck=y - r)


def draw_yuki(frame: Frame, pose: str, variant: str, decoy: bool) -> Anchors:
    """A witch with silver bob hair under a violet pointed hat, in a violet gown with a moon."""
    person = Person(VIOLET, (252, 224, 208), (206, 212, 230), "bob", people.GOWN, eyes=(214, 40, 60), head=0.165)
    if decoy:
        person = replace(person, hair_style="twin", outfit=people.SHORTS)
    y, r = head_center(person) - (0 if decoy else 0.14), person.head
    draw_hair_behind(frame, person, y)
    draw_body(frame, person, pose, y - r * 0.82)
    if not decoy:
        frame.ellipse(0, 0.26, 0.075, 0.075, GOLD, outline=False)
        frame.ellipse(0.035, 0.28, 0.06, 0.06, VIOLET, outline=False)
    draw_head(frame, person, y)
    if not decoy:
        frame.polygon([(-0.15, y + 0.10), (0.15, y + 0.10), (0.10, y + 0.40)], VIOLET)
        frame.ellipse(0, y + 0.10, 0.27, 0.045, VIOLET)
        frame.line([(-0.12, y + 0.145), (0.13, y + 0.145)], GOLD, 0.035)
    return replace(_anchors(person, pose), head=(0.0, y), eyes=y - r * 0.06, neck=y - r)


def draw_zorp(frame: Frame, pose: str, variant: str, decoy: bool) -> Anchors:
    """A visitor with a large green head, black almond eyes and antennae; as a figurine it stands on a pedestal."""
    green, suit = (122, 206, 96), (240, 120, 40)
    person = Person(suit, green, green, "bald", people.SHIRT, legs=shade(suit, -0.25), head=0.19)
    if variant == "figurine":
        frame.rect(-0.30, -0.03, 0.30, 0.03, (96, 98, 112))
        frame.ellipse(0, 0.05, 0.30, 0.05, (190, 192, 204))
    y = head_center(person) - 0.06
    draw_body(frame, person, pose, y - 0.15)
    if decoy:
        frame.rect(-0.15, y - 0.14, 0.15, y + 0.16, green)
        frame.ellipse(0, y + 0.02, 0.07, 0.07, INK, outline=False)
        frame.rect(-0.09, y - 0.10, 0.09, y - 0.06, INK, outline=False)
        return replace(_anchors(person, pose), head=(0.0, y), eyes=y, neck=y - 0.17)
    for side in (-1, 1):
        frame.line([(side * 0.08, y + 0.16), (side * 0.15, y + 0.28)], INK, 0.03)
        frame.ellipse(side * 0.15, y + 0.29, 0.045, 0.045, suit)
    frame.polygon([(-0.24, y + 0.10), (-0.12, y + 0.21), (0.12, y + 0.21), (0.24, y + 0.10), (0.20, y - 0.04),
                   (0.0, y - 0.20), (-0.20, y - 0.04)], green)  # fmt: skip
    for side in (-1, 1):
        eye = [(0.03, y - 0.04), (0.17, y + 0.10), (0.16, y + 0.01), (0.08, y - 0.06)]
        frame.polygon([(side * a, b) for a, b in eye], (18, 16, 24), outline=False)
    frame.line([(-0.04, y - 0.12), (0.04, y - 0.12)], INK, 0.02)
    return replace(_anchors(person, pose), head=(0.0, y), top=y + 0.19, eyes=y + 0.03, neck=y - 0.19)


def draw_bolt(frame: Frame, pose: str, variant: str, decoy: bool) -> Anchors:
    """A round-headed robot with one red eye, ivory horns, teal body and golden limbs."""
    body, limb, ivory = (34, 116, 124), (234, 172, 52), (246, 232, 204)
    for side in (-1, 1):
        frame.limb((0.10 * side, 0.26), (0.12 * side, 0.06), 0.085, limb)
        frame.ellipse(0.13 * side, 0.035, 0.09, 0.045, body)
    for hand in robot_hands(pose):
        frame.limb((0.18 if hand[0] > 0 else -0.18, 0.50), hand, 0.07, limb)
        frame.ellipse(*hand, 0.06, 0.06, body)
    if decoy:
        frame.polygon([(-0.12, 0.56), (0.12, 0.56), (0.24, 0.22), (-0.24, 0.22)], body)
        frame.polygon([(-0.21, 0.58), (0.21, 0.58), (0.12, 0.88), (-0.12, 0.88)], body)
        for side in (-1, 1):
            frame.rect(0.07 * side - 0.04, 0.68, 0.07 * side + 0.04, 0.76, ivory)
        frame.rect(-0.08, 0.62, 0.08, 0.655, (226, 40, 40), outline=False)
    else:
        for side in (-1, 1):
            frame.polygon([(side * 0.07, 0.84), (side * 0.17, 0.76), (side * 0.27, 1.02)], ivory)
        frame.ellipse(0, 0.38, 0.20, 0.19, body)
        frame.rect(-0.08, 0.30, 0.08, 0.45, limb)
        frame.ellipse(0, 0.72, 0.20, 0.17, body)
        frame.ellipse(0, 0.73, 0.105, 0.105, CREAM)
        frame.ellipse(0, 0.73, 0.055, 0.055, (226, 40, 40), outline=False)
    return Anchors((0.0, 0.72), 0.19, 0.86, 0.73, 0.54, robot_hands("waving")[1])


def draw_corsair(frame: Frame, pose: str, variant: str, decoy: bool) -> Anchors:
    """An old captain: white beard and mane, an eye-patch, a crimson coat, a violet cape."""
    person = Person(CRIMSON, (150, 96, 62), (244, 244, 248), "bob", people.COAT, legs=(214, 190, 140), head=0.155,
                    beard=True)  # fmt: skip
    if decoy:
        person = replace(person, hair_style="short", outfit=people.SHORTS, beard=False, legs=VIOLET)
    y, r = head_center(person), person.head
    if not decoy:
        frame.polygon([(-0.10, 0.66), (0.10, 0.66), (0.33, 0.07), (-0.33, 0.07)], VIOLET)
        frame.ellipse(0, y, 0.23, 0.20, person.hair)
    draw_body(frame, person, pose, y - r * 0.82)
    if not decoy:
        frame.rect(-0.16, 0.30, 0.16, 0.36, GOLD)
    draw_head(frame, person, y)
    if not decoy:
        frame.ellipse(0.065, y - 0.01, 0.055, 0.055, INK, outline=False)
        frame.line([(-0.14, y + 0.08), (0.15, y - 0.01)], INK, 0.025)
    return _anchors(person, pose)


def draw_valk(frame: Frame, pose: str, variant: str, decoy: bool) -> Anchors:
    """A shield maiden: winged silver helmet, golden braids, steel armour, a round red shield."""
    steel, red = (176, 186, 204), (206, 40, 48)
    person = Person(steel, (252, 220, 190), (246, 206, 90), "long", people.COAT, legs=(104, 74, 60), head=0.155)
    if decoy:
        person = replace(person, hair_style="bun", outfit=people.GOWN)
    y, r = head_center(person) - 0.04, person.head
    if not decoy:
        for side in (-1, 1):
            frame.limb((side * 0.16, y - 0.04), (side * 0.17, y - 0.36), 0.07, person.hair)
    draw_body(frame, person, pose, y - r * 0.82)
    draw_head(frame, person, y)
    if decoy:
        frame.rect(-0.14, 0.30, 0.14, 0.38, red)
        return _anchors(person, pose)
    frame.polygon([(-0.17, y + 0.04), (-0.13, y + 0.14), (0, y + 0.20), (0.13, y + 0.14), (0.17, y + 0.04)], steel)
    for side in (-1, 1):
        wing = [(0.15, y + 0.06), (0.34, y + 0.25), (0.32, y + 0.10), (0.22, y + 0.02)]
        frame.polygon([(side * a, b) for a, b in wing], CREAM)
    frame.ellipse(-0.24, 0.34, 0.165, 0.165, red)
    frame.ellipse(-0.24, 0.34, 0.06, 0.06, GOLD)
    return replace(_anchors(person, pose), head=(0.0, y), eyes=y - 0.01, neck=y - r, top=y + 0.16)
