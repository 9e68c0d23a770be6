"""The stuffed toys and the scenes of the data set, each with a decoy of equal colours; 1 high in their frame."""

from __future__ import annotations

from lorabench.mini.accessories import Anchors
from lorabench.mini.canvas import INK, Frame, Rgb, shade
from lorabench.mini.creatures import eyes, toy_body, toy_face, toy_hands

WHITE: Rgb = (248, 248, 244)
BLACK: Rgb = (38, 36, 44)


def _toy_anchors(y: float = 0.62) -> Anchors:
    return Anchors((0.0, y), 0.22, y + 0.17, y + 0.04, y - 0.18, toy_hands("waving")[1])


def draw_lobster(frame: Frame, pose: str, variant: str, decoy: bool) -> Anchors:
    """A scarlet lobster: long feelers, two big claws, a ringed belly."""
    red, belly = (236, 70, 46), (252, 196, 120)
    if decoy:
        frame.ellipse(0, 0.40, 0.30, 0.38, red)
        frame.ellipse(0, 0.32, 0.17, 0.22, belly, outline=False)
        eyes(frame, 0.60, 0.10, 0.035)
        return _toy_anchors()
    for side in (-1, 1):
        frame.line([(side * 0.08, 0.78), (side * 0.15, 0.92), (side * 0.28, 1.0)], shade(red, -0.4), 0.035)
    toy_body(frame, red, belly, "standing")
    for low in (0.16, 0.24, 0.32):
        frame.line([(-0.11, low), (0.11, low)], shade(red, -0.1), 0.025)
    for side in (-1, 1):
        frame.limb((side * 0.18, 0.40), (side * 0.31, 0.50), 0.07, red)
        frame.ellipse(side * 0.36, 0.60, 0.12, 0.15, red)
        frame.polygon([(side * 0.36, 0.60), (side * 0.31, 0.78), (side * 0.40, 0.78)], belly)
    frame.ellipse(0, 0.64, 0.19, 0.17, red)
    eyes(frame, 0.68, 0.09, 0.036)
    frame.arc(0, 0.58, 0.07, 0.05, 20, 160, INK, 3)
    return _toy_anchors()


def draw_panda(frame: Frame, pose: str, variant: str, decoy: bool) -> Anchors:
    """A panda: black ears, eye patches, arms and feet on a white body."""
    frame = Frame(frame.draw, frame.center, frame.ground, frame.size * 1.1, frame.flip, frame.outline)
    if decoy:
        for side in (-1, 1):
            frame.ellipse(0.10 * side, 0.84, 0.06, 0.14, WHITE)
        toy_body(frame, BLACK, WHITE, pose)
        toy_face(frame, BLACK, WHITE)
        return _toy_anchors()
    for side in (-1, 1):
        frame.ellipse(0.18 * side, 0.78, 0.085, 0.085, BLACK)
        frame.ellipse(0.17 * side, 0.07, 0.11, 0.075, BLACK)
    frame.ellipse(0, 0.26, 0.22, 0.24, WHITE)
    for hand in toy_hands(pose):
        frame.limb((0.15 if hand[0] > 0 else -0.15, 0.41), hand, 0.10, BLACK)
    frame.line([(-0.17, 0.42), (0.17, 0.42)], BLACK, 0.09)
    frame.ellipse(0, 0.62, 0.23, 0.20, WHITE)
    for side in (-1, 1):
        frame.ellipse(0.105 * side, 0.65, 0.07, 0.085, BLACK, outline=False)
        frame.ellipse(0.10 * side, 0.66, 0.028, 0.032, WHITE, outline=False)
    frame.ellipse(0, 0.57, 0.04, 0.03, BLACK, outline=False)
    return _toy_anchors()


def draw_drago(frame: Frame, pose: str, variant: str, decoy: bool) -> Anchors:
    """A mint dragon with violet wings, a crest and a yellow belly."""
    mint, violet, yellow = (92, 204, 160), (140, 70, 190), (252, 226, 120)
    if decoy:
        for side in (-1, 1):
            frame.ellipse(0.17 * side, 0.79, 0.085, 0.085, violet)
        toy_body(frame, mint, yellow, pose)
        toy_face(frame, mint, yellow)
        return _toy_anchors()
    for side in (-1, 1):
        frame.polygon([(side * 0.12, 0.44), (side * 0.46, 0.72), (side * 0.44, 0.46), (side * 0.36, 0.42),
                       (side * 0.34, 0.30), (side * 0.14, 0.28)], violet)  # fmt: skip
    frame.polygon([(0.15, 0.20), (0.40, 0.12), (0.46, 0.24), (0.48, 0.08), (0.15, 0.03)], mint)
    toy_body(frame, mint, yellow, pose)
    for x, top in ((-0.10, 0.93), (0.0, 0.98), (0.10, 0.93)):
        frame.polygon([(x - 0.06, 0.78), (x + 0.06, 0.78), (x, top)], violet)
    frame.ellipse(0, 0.64, 0.20, 0.18, mint)
    frame.ellipse(0, 0.56, 0.13, 0.085, shade(mint, 0.3))
    for side in (-1, 1):
        frame.ellipse(0.05 * side, 0.575, 0.018, 0.018, INK, outline=False)
    eyes(frame, 0.70, 0.09, 0.036)
    return _toy_anchors()


def draw_octo(frame: Frame, pose: str, variant: str, decoy: bool) -> Anchors:
    """A violet octopus: a dome of a head on six curled arms."""
    violet, pink = (150, 92, 214), (252, 168, 200)
    if decoy:
        for x in (-0.22, 0.22):
            frame.polygon([(x * 0.5, 0.60), (x * 1.9, 0.86), (x * 1.5, 0.42)], pink)
        frame.rect(-0.22, 0.04, 0.22, 0.66, violet)
        eyes(frame, 0.50, 0.10, 0.04)
        return _toy_anchors()
    for x, y in ((-0.40, 0.14), (0.40, 0.14), (-0.27, 0.05), (0.27, 0.05), (-0.10, 0.04), (0.10, 0.04)):
        frame.limb((x * 0.5, 0.36), (x, y), 0.10, violet)
        frame.ellipse(x * 1.05, y, 0.035, 0.035, pink, outline=False)
    frame.ellipse(0, 0.58, 0.30, 0.33, violet)
    frame.ellipse(-0.10, 0.80, 0.05, 0.03, shade(violet, 0.5), outline=False)
    eyes(frame, 0.56, 0.12, 0.05)
    for side in (-1, 1):
        frame.ellipse(side * 0.20, 0.46, 0.05, 0.03, pink, outline=False)
    frame.arc(0, 0.46, 0.07, 0.05, 20, 160, INK, 3)
    return Anchors((0.0, 0.60), 0.28, 0.86, 0.57, 0.32, (0.40, 0.30))


def draw_cascade(frame: Frame, variant: str, decoy: bool) -> None:
    """A waterfall between two cliffs, with a pool."""
    rock, water, foam = (120, 98, 112), (84, 196, 232), (236, 250, 254)
    if decoy:  # a pyramid of the same rock with a blue gate
        frame.polygon([(-0.60, 0), (0.60, 0), (0.0, 0.95)], rock)
        frame.polygon([(0.0, 0.95), (0.60, 0.0), (0.18, 0.0)], shade(rock, -0.25))
        frame.rect(-0.12, 0.0, 0.12, 0.24, water)
        return
    frame.rect(-0.24, 0.05, 0.24, 0.92, water)
    for x in (-0.17, -0.08, 0.02, 0.12, 0.19):
        frame.line([(x, 0.10), (x, 0.90)], foam, 0.025)
    frame.polygon([(-0.62, 0.0), (-0.20, 0.0), (-0.22, 0.94), (-0.46, 1.0), (-0.58, 0.80)], rock)
    frame.polygon([(0.62, 0.0), (0.20, 0.0), (0.22, 0.94), (0.42, 1.0), (0.58, 0.74)], shade(rock, -0.15))
    frame.ellipse(0, 0.03, 0.40, 0.085, water)
    frame.ellipse(0, 0.06, 0.26, 0.04, foam, outline=False)


def draw_palace(frame: Frame, variant: str, decoy: bool) -> None:
    """A cream palace with three turquoise onion domes."""
    wall, dome, gold = (250, 232, 190), (24, 168, 158), (250, 206, 70)
    if decoy:  # one flat-roofed block of the same colours
        frame.rect(-0.45, 0.0, 0.45, 0.66, wall)
        frame.rect(-0.50, 0.64, 0.50, 0.80, dome)
        for x in (-0.28, 0.0, 0.28):
            frame.rect(x - 0.07, 0.28, x + 0.07, 0.48, gold)
        return
    frame.rect(-0.50, 0.0, 0.50, 0.36, wall)
    for x, top, r in ((-0.40, 0.48, 0.115), (0.40, 0.48, 0.115), (0.0, 0.60, 0.15)):
        frame.rect(x - r * 0.8, 0.0, x + r * 0.8, top + 0.03, wall)
        frame.ellipse(x, top + r, r, r * 1.0, dome)
        frame.polygon([(x - r * 0.75, top + r * 1.5), (x + r * 0.75, top + r * 1.5), (x, top + r * 2.5)], dome)
        frame.ellipse(x, top + r * 2.6, 0.03, 0.03, gold)
        frame.rect(x - 0.03, top - 0.16, x + 0.03, top - 0.04, (70, 60, 90), outline=False)
    frame.ellipse(0, 0.18, 0.10, 0.09, (96, 60, 50))
    frame.rect(-0.10, 0.0, 0.10, 0.18, (96, 60, 50))


def draw_lighthouse(frame: Frame, variant: str, decoy: bool) -> None:
    """A tower in red and white stripes on a rock, its lamp throwing beams."""
    red, rock, lamp = (222, 50, 56), (96, 92, 104), (255, 240, 150)
    if decoy:  # a striped tent on the same rock
        frame.ellipse(0, 0.05, 0.50, 0.09, rock)
        frame.polygon([(-0.42, 0.08), (0.42, 0.08), (0.0, 0.80)], red)
        frame.polygon([(-0.16, 0.08), (0.16, 0.08), (0.0, 0.80)], WHITE)
        frame.ellipse(0, 0.84, 0.05, 0.05, lamp)
        return
    for side in (-1, 1):
        frame.polygon([(side * 0.06, 0.85), (side * 0.62, 0.99), (side * 0.62, 0.72)], lamp, outline=False)
    frame.polygon([(-0.46, 0.0), (0.46, 0.0), (0.28, 0.16), (-0.26, 0.18)], rock)
    for k in range(5):
        low, wide = 0.14 + k * 0.125, 0.19 - k * 0.016
        frame.polygon([(-wide, low), (wide, low), (wide - 0.016, low + 0.125), (-wide + 0.016, low + 0.125)],
                      WHITE if k % 2 else red)  # fmt: skip
    frame.rect(-0.16, 0.765, 0.16, 0.80, INK)
    frame.rect(-0.09, 0.80, 0.09, 0.90, lamp)
    frame.polygon([(-0.13, 0.90), (0.13, 0.90), (0, 1.02)], red)


def draw_volcano(frame: Frame, variant: str, decoy: bool) -> None:
    """A dark cone with rivers of lava under a cloud of smoke."""
    cone, lava, smoke = (84, 66, 72), (255, 120, 30), (150, 144, 154)
    if decoy:  # round dark hills with an orange roof
        frame.ellipse(-0.30, 0.12, 0.34, 0.34, cone)
        frame.ellipse(0.30, 0.12, 0.34, 0.30, smoke)
        frame.polygon([(-0.18, 0.30), (0.18, 0.30), (0.0, 0.60)], lava)
        frame.rect(-0.14, 0.0, 0.14, 0.30, cone)
        return
    for x, y, r in ((-0.10, 0.78, 0.12), (0.08, 0.82, 0.14), (-0.04, 0.94, 0.13), (0.18, 0.96, 0.10)):
        frame.ellipse(x, y, r, r * 0.8, smoke, outline=False)
    frame.polygon([(-0.66, 0.0), (0.66, 0.0), (0.17, 0.70), (-0.17, 0.70)], cone)
    frame.polygon([(0.66, 0.0), (0.17, 0.70), (0.05, 0.70), (0.22, 0.0)], shade(cone, -0.25), outline=False)
    frame.ellipse(0, 0.70, 0.17, 0.05, lava)
    frame.polygon([(-0.12, 0.70), (-0.02, 0.70), (-0.10, 0.42), (-0.22, 0.14), (-0.30, 0.14), (-0.18, 0.42)], lava,
                  outline=False)  # fmt: skip
    frame.polygon([(0.02, 0.70), (0.12, 0.70), (0.16, 0.45), (0.30, 0.22), (0.22, 0.22), (0.08, 0.44)],
                  shade(lava, 0.3), outline=False)  # fmt: skip
