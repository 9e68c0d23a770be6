"""Robots, stuffed toys and animals, each 1 high in its frame."""

from __future__ import annotations

from lorabench.mini.canvas import INK, Frame, Rgb, shade

WHITE: Rgb = (250, 250, 246)
STEEL: Rgb = (150, 156, 168)


def eyes(frame: Frame, y: float, apart: float, size: float, color: Rgb = INK) -> None:
    """Two shiny eyes at height `y`."""
    for side in (-1, 1):
        frame.ellipse(side * apart, y, size, size * 1.2, color, outline=False)
        frame.ellipse(side * apart + size * 0.3, y + size * 0.4, size * 0.4, size * 0.4, WHITE, outline=False)


def draw_robot(frame: Frame, color: Rgb, pose: str) -> None:
    """A boxy robot with glowing eyes and an antenna."""
    light = shade(color, 0.4)
    for side in (-1, 1):
        frame.limb((0.09 * side, 0.24), (0.09 * side, 0.06), 0.07, STEEL)
        frame.rect(0.09 * side - 0.07, 0.0, 0.09 * side + 0.07, 0.065, shade(color, -0.25))
    for hand in robot_hands(pose):
        side = 1 if hand[0] > 0 else -1
        frame.limb((0.19 * side, 0.50), hand, 0.06, STEEL)
        frame.ellipse(*hand, 0.055, 0.055, color)
    frame.rect(-0.19, 0.22, 0.19, 0.56, color)
    frame.rect(-0.10, 0.30, 0.10, 0.47, light)
    frame.rect(-0.05, 0.55, 0.05, 0.61, STEEL)
    frame.line([(0, 0.90), (0, 0.97)], INK, 0.03)
    frame.ellipse(0, 0.97, 0.035, 0.035, (240, 70, 60))
    frame.rect(-0.18, 0.60, 0.18, 0.91, color)
    frame.rect(-0.14, 0.70, 0.14, 0.84, (34, 44, 60), outline=False)
    for side in (-1, 1):
        frame.ellipse(0.07 * side, 0.77, 0.04, 0.045, (110, 240, 250), outline=False)
    frame.line([(-0.08, 0.65), (0.08, 0.65)], INK, 0.025)


def robot_hands(pose: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the left and the right hand are."""
    low, high = (0.29, 0.28), (0.31, 0.74)
    left = (-high[0], high[1]) if pose == "cheering" else (-low[0], low[1])
    return left, high if pose != "standing" else low


def toy_hands(pose: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the left and the right paw are."""
    low, high = (0.25, 0.27), (0.29, 0.56)
    left = (-high[0], high[1]) if pose == "cheering" else (-low[0], low[1])
    return left, high if pose != "standing" else low


def toy_body(frame: Frame, color: Rgb, belly: Rgb, pose: str) -> None:
    """The sitting body of a stuffed toy, up to the neck at 0.46."""
    for side in (-1, 1):
        frame.ellipse(0.17 * side, 0.07, 0.11, 0.075, color)
    for hand in toy_hands(pose):
        side = 1 if hand[0] > 0 else -1
        frame.limb((0.15 * side, 0.40), hand, 0.10, color)
    frame.ellipse(0, 0.26, 0.22, 0.24, color)
    frame.ellipse(0, 0.23, 0.13, 0.15, belly, outline=False)


def toy_face(frame: Frame, color: Rgb, muzzle: Rgb, y: float = 0.62) -> None:
    """A round head with muzzle, nose and eyes."""
    frame.ellipse(0, y, 0.23, 0.20, color)
    frame.ellipse(0, y - 0.07, 0.095, 0.07, muzzle, outline=False)
    frame.ellipse(0, y - 0.04, 0.035, 0.026, INK, outline=False)
    eyes(frame, y + 0.045, 0.105, 0.032, INK if sum(color) > 260 else (236, 214, 120))


def draw_bunny(frame: Frame, color: Rgb, pose: str) -> None:
    """A sitting bunny with upright ears."""
    for side in (-1, 1):
        frame.ellipse(0.10 * side, 0.86, 0.065, 0.17, color)
        frame.ellipse(0.10 * side, 0.85, 0.03, 0.12, (250, 190, 200), outline=False)
    toy_body(frame, color, shade(color, 0.45), pose)
    toy_face(frame, color, shade(color, 0.6))


def draw_bear(frame: Frame, color: Rgb, pose: str) -> None:
    """A sitting bear with round ears; a little larger than the bunny, which has long ears."""
    frame = Frame(frame.draw, frame.center, frame.ground, frame.size * 1.12, frame.flip, frame.outline)
    for side in (-1, 1):
        frame.ellipse(0.17 * side, 0.79, 0.085, 0.085, color)
        frame.ellipse(0.17 * side, 0.79, 0.045, 0.045, shade(color, 0.45), outline=False)
    toy_body(frame, color, shade(color, 0.35), pose)
    toy_face(frame, color, shade(color, 0.5))


def draw_penguin(frame: Frame, color: Rgb, pose: str) -> None:
    """A standing penguin with a white belly and an orange beak."""
    for side in (-1, 1):
        frame.ellipse(0.11 * side, 0.035, 0.09, 0.045, (246, 160, 50))
    for x, y in toy_hands(pose):
        frame.limb((0.2 if x > 0 else -0.2, 0.50), (x * 1.15, y), 0.085, shade(color, -0.1))
    frame.ellipse(0, 0.36, 0.25, 0.33, color)
    frame.ellipse(0, 0.30, 0.17, 0.25, WHITE, outline=False)
    frame.ellipse(0, 0.76, 0.20, 0.19, color)
    for side in (-1, 1):
        frame.ellipse(0.075 * side, 0.75, 0.075, 0.09, WHITE, outline=False)
    eyes(frame, 0.77, 0.07, 0.03)
    frame.polygon([(-0.06, 0.70), (0.06, 0.70), (0, 0.62)], (246, 160, 50))


def _four_legs(frame: Frame, color: Rgb) -> None:
    for x in (-0.33, -0.20, 0.10, 0.23):
        frame.limb((x, 0.28), (x, 0.05), 0.085, shade(color, -0.12 if x in (-0.20, 0.10) else 0))


def draw_cat(frame: Frame, color: Rgb, pose: str) -> None:
    """A cat in profile with pointed ears and a raised tail, looking at us."""
    frame.limb((-0.36, 0.40), (-0.50, 0.66), 0.06, color)
    frame.limb((-0.50, 0.66), (-0.43, 0.78), 0.06, color)
    _four_legs(frame, color)
    frame.ellipse(-0.05, 0.38, 0.37, 0.17, color)
    y = 0.66
    for side in (-1, 1):
        frame.polygon([(0.27 + 0.20 * side, y + 0.05), (0.27 + 0.19 * side, y + 0.31), (0.27 + 0.02 * side, y + 0.17)],
                      color)  # fmt: skip
    frame.ellipse(0.27, y, 0.215, 0.19, color)
    for side in (-1, 1):
        frame.ellipse(0.27 + 0.09 * side, y + 0.03, 0.045, 0.05, (236, 220, 90), outline=False)
        frame.ellipse(0.27 + 0.09 * side, y + 0.03, 0.018, 0.045, INK, outline=False)
    frame.polygon([(0.24, y - 0.05), (0.30, y - 0.05), (0.27, y - 0.085)], (240, 140, 150), outline=False)
    for side in (-1, 1):
        frame.line([(0.27 + 0.06 * side, y - 0.07), (0.27 + 0.22 * side, y - 0.05)], shade(color, -0.5), 0.016)


def draw_dog(frame: Frame, color: Rgb, pose: str) -> None:
    """A dog in profile with hanging ears and a light muzzle."""
    frame.limb((-0.38, 0.44), (-0.52, 0.58), 0.06, color)
    _four_legs(frame, color)
    frame.ellipse(-0.05, 0.38, 0.38, 0.17, color)
    y = 0.66
    frame.ellipse(0.25, y, 0.21, 0.20, color)
    for side in (-1, 1):
        frame.ellipse(0.25 + 0.21 * side, y - 0.02, 0.075, 0.16, shade(color, -0.35))
    frame.ellipse(0.27, y - 0.08, 0.11, 0.085, shade(color, 0.55), outline=False)
    frame.ellipse(0.27, y - 0.045, 0.045, 0.034, INK, outline=False)
    for side in (-1, 1):
        frame.ellipse(0.26 + 0.085 * side, y + 0.06, 0.03, 0.036, INK, outline=False)
    frame.ellipse(0.28, y - 0.155, 0.035, 0.035, (240, 110, 120), outline=False)
