"""Girls, boys, women and men: one parametrised figure, 1 high in its frame."""

from __future__ import annotations

from dataclasses import dataclass

from lorabench.mini.canvas import INK, Frame, Rgb, shade

DRESS, GOWN, SHIRT, SHORTS, COAT = "dress", "gown", "shirt", "shorts", "coat"


@dataclass(frozen=True)
class Person:
    """What a person looks like; `head` is the half width of the head."""

    color: Rgb
    skin: Rgb
    hair: Rgb
    hair_style: str = "short"
    outfit: str = DRESS
    legs: Rgb = (58, 62, 84)
    eyes: Rgb = (40, 32, 44)
    head: float = 0.19
    beard: bool = False
    blush: bool = False


def head_center(person: Person) -> float:
    """Height of the middle of the head: its top is at 0.97 or so."""
    return 0.95 - person.head


def draw_person(frame: Frame, person: Person, pose: str) -> None:
    """The whole figure; accessories come after it."""
    y = head_center(person)
    draw_hair_behind(frame, person, y)
    draw_body(frame, person, pose, y - person.head * 0.82)
    draw_head(frame, person, y)


def hands(person: Person, pose: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the left and the right hand are."""
    shoulder = head_center(person) - person.head * 0.95
    low = (0.235, shoulder - 0.24)
    high = (0.30, shoulder + 0.20)
    if pose == "cheering":
        return (-high[0], high[1]), high
    if pose == "waving":
        return (-low[0], low[1]), high
    return (-low[0], low[1]), low


def draw_body(frame: Frame, person: Person, pose: str, shoulder: float) -> None:
    """Legs, arms and clothes below the height `shoulder`."""
    color, hem = person.color, 0.20
    bare = person.outfit in (SHORTS, DRESS)
    if person.outfit != GOWN:
        for side in (-1, 1):
            leg = person.skin if bare else person.legs
            frame.limb((0.075 * side, 0.26), (0.075 * side, 0.06), 0.075, leg)
            frame.ellipse(0.09 * side, 0.035, 0.075, 0.04, shade(person.legs, -0.4) if not bare else (92, 56, 44))
    for hand in hands(person, pose):
        side = 1 if hand[0] > 0 else -1
        start = (0.10 * side, shoulder - 0.05)
        middle = (start[0] + (hand[0] - start[0]) * 0.62, start[1] + (hand[1] - start[1]) * 0.62)
        frame.limb(start, hand, 0.06, person.skin)
        frame.limb(start, middle, 0.075, shade(color, -0.08))
    if person.outfit == DRESS:
        frame.polygon([(-0.09, shoulder), (0.09, shoulder), (0.21, hem), (-0.21, hem)], color)
    elif person.outfit == GOWN:
        frame.polygon([(-0.09, shoulder), (0.09, shoulder), (0.08, 0.36), (0.25, 0.01), (-0.25, 0.01), (-0.08, 0.36)],
                      color)  # fmt: skip
    elif person.outfit == SHORTS:
        frame.rect(-0.13, 0.17, 0.13, 0.30, person.legs)
        frame.polygon([(-0.11, shoulder), (0.11, shoulder), (0.14, 0.27), (-0.14, 0.27)], color)
    elif person.outfit == COAT:
        frame.polygon([(-0.13, shoulder), (0.13, shoulder), (0.17, 0.16), (-0.17, 0.16)], color)
        frame.line([(0, shoulder), (0, 0.16)], INK, 0.02)
    else:
        frame.rect(-0.135, 0.24, 0.135, 0.32, person.legs)
        frame.polygon([(-0.13, shoulder), (0.13, shoulder), (0.14, 0.29), (-0.14, 0.29)], color)


def draw_hair_behind(frame: Frame, person: Person, y: float) -> None:
    """The part of the hair that the head covers."""
    r, hair = person.head, person.hair
    if person.hair_style == "long":
        low, high = y - r * 2.2, y + r * 0.4
        frame.polygon([(-r * 1.1, high), (r * 1.1, high), (r * 1.22, low), (-r * 1.22, low)], hair)
    elif person.hair_style == "bob":
        frame.ellipse(0, y - r * 0.12, r * 1.22, r * 1.1, hair)
    elif person.hair_style == "twin":
        for side in (-1, 1):
            frame.ellipse(side * r * 1.42, y - r * 0.45, r * 0.46, r * 1.05, hair)
    elif person.hair_style == "ponytail":
        frame.ellipse(r * 1.25, y - r * 0.1, r * 0.5, r * 1.15, hair)
    elif person.hair_style == "bun":
        frame.ellipse(0, y + r * 1.15, r * 0.5, r * 0.42, hair)
    elif person.hair_style == "spiky":
        points = []
        for k in range(8):
            x = -1.25 + 2.5 * k / 7
            points += [(x * r, y + r * (0.35 + 0.55 * (1 - abs(x) / 1.3)))]
            if k < 7:
                points += [((x + 0.18) * r * 1.06, y + r * (0.95 + 0.85 * (1 - abs(x + 0.18) / 1.4)))]
        frame.polygon(points, hair)


def draw_head(frame: Frame, person: Person, y: float) -> None:
    """Face, hair in front, eyes and mouth; `y` is the middle of the head."""
    r, hair = person.head, person.hair
    frame.ellipse(0, y, r, r * 0.95, person.skin)
    if person.beard:
        frame.ellipse(0, y - r * 0.6, r * 0.66, r * 0.5, hair, outline=False)
    top = [(-1.03, 0.02), (-0.95, 0.55), (-0.5, 0.98), (0, 1.08), (0.5, 0.98), (0.95, 0.55), (1.03, 0.02)]
    fringe = [(0.72, 0.28), (0.3, 0.42), (-0.2, 0.34), (-0.7, 0.3)]
    if person.hair_style == "short":
        top, fringe = [(-1.0, 0.2), *top[1:-1], (1.0, 0.2)], [(0.74, 0.42), (0, 0.5), (-0.74, 0.42)]
    if person.hair_style != "bald":
        frame.polygon([(x * r, y + k * r) for x, k in (*top, *fringe)], hair)
    for side in (-1, 1):
        frame.ellipse(side * r * 0.42, y - r * 0.08, r * 0.15, r * 0.22, person.eyes, outline=False)
        frame.ellipse(side * r * 0.42 + r * 0.05, y + r * 0.02, r * 0.06, r * 0.08, (255, 255, 255), outline=False)
        if person.blush:
            frame.ellipse(side * r * 0.62, y - r * 0.42, r * 0.16, r * 0.1, (246, 150, 150), outline=False)
    mouth = (120, 40, 44) if not person.beard else (230, 190, 170)
    frame.arc(0, y - r * 0.42, r * 0.24, r * 0.2, 20, 160, mouth, 3)
