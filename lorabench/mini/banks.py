"""Pictures in families, for encoders that must tell what stays from what changes: identities, and styles."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lorabench.mini.random_figures import draw_figure, random_figure, random_palette
from lorabench.mini.random_styles import random_style
from lorabench.mini.renderer import finish, render, subject_frame
from lorabench.mini.scenes import paint_scene
from lorabench.mini.styles import STYLE_FILTERS, Pixels, apply_style
from lorabench.mini.training_data import Rows, kept, world
from lorabench.mini.vocabulary import COLORS, HAIR_COLORS, HAIR_STYLES, PEOPLE, POSES, SUBJECTS
from lorabench.mini.world import Picture, sample_picture

# Who a picture shows, in what can be seen of it: (subject, colour, hair, hair style).
IDENTITIES = tuple(
    (subject, color, hair, style)
    for subject in SUBJECTS
    for color in COLORS
    for hair in (HAIR_COLORS if subject in PEOPLE else ("brown",))
    for style in ((*HAIR_STYLES,)[1:] if subject in ("girl", "woman") else ("short",))
)
VIEWS = 20
PALETTES, FIGURES, FIGURE_VIEWS = 320, 8, 6
STYLE_GROUPS, STYLES_A_GROUP, CONTENTS_A_GROUP = 240, 6, 6
_PLAIN_SHARE = 0.85  # of the views: most styles hide the colour that an identity has


def view(identity: int, number: int, seed: int) -> Picture:
    """View `number` of an identity: the same subject in another scene, pose, accessory and now and then style."""
    subject, color, hair, hair_style = IDENTITIES[identity]
    rng = np.random.default_rng([seed, 3, identity, number])
    while True:
        other = sample_picture(rng)
        # Drawn until it fits: what a subject can wear or do depends on what it is.
        if other.subject == subject:
            style = None if rng.random() < _PLAIN_SHARE else other.style
            return replace(other, color=color, hair=hair, hair_style=hair_style, style=style)


def prepare_identities(data: Path, processes: int = 2) -> None:
    """Render all views of every identity, and of every random figure, unless they are there."""
    seed = world(data)[1]
    if not (data / "identity_pixels.npy").exists():
        save(data, "identity_pixels", in_parallel(partial(_identity, seed), range(len(IDENTITIES)), processes))
    if not (data / "figure_pixels.npy").exists():
        save(data, "figure_pixels", in_parallel(partial(_palette, seed), range(PALETTES), processes))


def identities(data: Path) -> np.ndarray | Rows:
    """uint8 [identities, views, 64, 64, 3]: kept, or made when asked for."""
    if (data / "identity_pixels.npy").exists():
        return kept(data, "identity_pixels")
    seed = world(data)[1]
    return Rows(lambda identity, number: render(view(identity, number, seed)), (len(IDENTITIES), VIEWS))


def figures(data: Path) -> np.ndarray | Rows:
    """uint8 [palettes, figures, views, 64, 64, 3]: figures of one palette differ in shape only."""
    if (data / "figure_pixels.npy").exists():
        return kept(data, "figure_pixels")
    return Rows(partial(figure_view, world(data)[1]), (PALETTES, FIGURES, FIGURE_VIEWS))


def figure_view(seed: int, palette: int, figure: int, number: int) -> np.ndarray:
    """One view of a random figure: another scene and pose each time, uint8 [64, 64, 3]."""
    colors = random_palette(np.random.default_rng([seed, 5, palette]))
    drawn = random_figure(np.random.default_rng([seed, 5, palette, figure]), colors)
    rng = np.random.default_rng([seed, 5, palette, figure, number])
    picture = sample_picture(rng)
    image = paint_scene(picture.scene, rng)
    draw_figure(subject_frame(image, rng), drawn, str(rng.choice(POSES)))
    return finish(image, picture.style if rng.random() > _PLAIN_SHARE else None, rng)


def _identity(seed: int, identity: int) -> np.ndarray:
    return np.stack([render(view(identity, number, seed)) for number in range(VIEWS)])


def _palette(seed: int, palette: int) -> np.ndarray:
    numbers = np.ndindex(FIGURES, FIGURE_VIEWS)
    pixels = np.stack([figure_view(seed, palette, figure, number) for figure, number in numbers])
    return pixels.reshape(FIGURES, FIGURE_VIEWS, *pixels.shape[1:])


def prepare_styles(data: Path, processes: int = 2) -> None:
    """Render all groups of contents and styles unless they are there."""
    if not (data / "style_pixels.npy").exists():
        seed = world(data)[1]
        save(data, "style_pixels", in_parallel(partial(style_group, seed), range(STYLE_GROUPS), processes))


def style_groups(data: Path) -> np.ndarray | Rows:
    """uint8 [groups, styles, contents, 64, 64, 3]: kept, or made when asked for."""
    if (data / "style_pixels.npy").exists():
        return kept(data, "style_pixels")
    return Rows(partial(style_group, world(data)[1]), (STYLE_GROUPS,))


def style_group(seed: int, group: int) -> np.ndarray:
    """The same contents in the same styles, uint8 [styles, contents, 64, 64, 3].

    Half of the styles have a name in captions (or are none), half are random.
    """
    rng = np.random.default_rng([seed, 4, group])
    contents = [render(replace(sample_picture(rng), style=None)) for _ in range(CONTENTS_A_GROUP)]
    return np.stack([[apply(pixels) for pixels in contents] for apply in _filters(rng)])


def _filters(rng: np.random.Generator) -> list[Callable[[Pixels], Pixels]]:
    half = STYLES_A_GROUP // 2
    named = rng.permutation(["", *STYLE_FILTERS])[:half]
    return [_named(str(name), rng) for name in named] + [random_style(rng) for _ in range(STYLES_A_GROUP - half)]


def _named(name: str, rng: np.random.Generator) -> Callable[[Pixels], Pixels]:
    return (lambda pixels: apply_style(pixels, name, rng)) if name else (lambda pixels: pixels)


def in_parallel(function: Callable[[Any], Any], jobs: Sequence[Any], processes: int) -> list[Any]:
    """`function` of every job, in the order of the jobs."""
    with ProcessPoolExecutor(processes) as pool:
        return list(pool.map(function, jobs, chunksize=8))


def save(data: Path, name: str, parts: Sequence[np.ndarray]) -> None:
    """Stack `parts` into `data`/`name`.npy, which appears when it is complete."""
    np.save(data / f"{name}.partial.npy", np.stack(parts))
    os.replace(data / f"{name}.partial.npy", data / f"{name}.npy")
