"""The novel concepts: five categories of things that pretraining never shows, and the decoys beside them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from lorabench.mini import novel_characters, novel_styles, novel_things
from lorabench.mini.accessories import draw_accessory
from lorabench.mini.canvas import PAINT
from lorabench.mini.renderer import finish, render, subject_frame
from lorabench.mini.scenes import paint_scene
from lorabench.mini.vocabulary import NAMES, SCENES
from lorabench.mini.world import Picture, sample_picture

Category = Literal["anime_characters", "movie_characters", "stuffed_toys", "scenes", "styles"]
Identity = Literal["concept", "decoy"]

_TARGET = 40  # repeats bring every concept to about as many images a pass
_MOVIE_POSES = ("standing", "waving", "cheering")


@dataclass(frozen=True)
class NovelConcept:
    """One concept of the data set: how it is written in dataset.toml and how many images it has."""

    category: Category
    class_name: str
    count: int
    class_word: str
    alter: str
    alignment: str
    subclass: str = "others"
    keyword: str | None = None
    has_subclasses: bool = False

    @property
    def id(self) -> str:
        """Unique and stable: category/class or category/class/sub-class."""
        parts = [self.category, self.class_name] + ([self.subclass] if self.has_subclasses else [])
        return "/".join(parts)

    @property
    def trigger(self) -> str:
        """The trigger token, for example [V_mika]."""
        return f"[V_{self.class_name}]"

    @property
    def descriptor(self) -> str:
        """What stands for the concept in a prompt: trigger, class word and keyword."""
        return f"{self.trigger} {self.class_word}" + (f", {self.keyword}" if self.keyword else "")

    @property
    def repeats(self) -> int:
        """How often each image is shown in a pass over the data."""
        return max(1, round(_TARGET / self.count))


def _character(category: Category, name: str, count: int, word: str, **more: object) -> NovelConcept:
    return NovelConcept(category, name, count, word, "characters", word, **more)


def _toy(name: str, count: int) -> NovelConcept:
    return NovelConcept("stuffed_toys", name, count, "stuffed toy", "stuffed_toys", "stuffed toy")


def _scene(name: str, count: int) -> NovelConcept:
    return NovelConcept("scenes", name, count, "scene", "scenes", "scene")


def _style(name: str, count: int) -> NovelConcept:
    return NovelConcept("styles", name, count, "style", "styles", "")


_ANIME, _MOVIE = "anime_characters", "movie_characters"
CONCEPTS: tuple[NovelConcept, ...] = (
    _character(_ANIME, "mika", 12, "anime girl", subclass="sailor", keyword="[V_sailor] uniform", has_subclasses=True),
    _character(_ANIME, "mika", 6, "anime girl", subclass="kimono", keyword="[V_festival] kimono", has_subclasses=True),
    _character(_ANIME, "mika", 20, "anime girl", has_subclasses=True),
    _character(_ANIME, "rin", 24, "anime girl"),
    _character(_ANIME, "haru", 10, "anime boy"),
    _character(_ANIME, "yuki", 4, "anime girl"),
    _character(_MOVIE, "zorp", 8, "person", subclass="figurine", keyword="[V_figure] figurine", has_subclasses=True),
    _character(_MOVIE, "zorp", 16, "person", has_subclasses=True),
    _character(_MOVIE, "bolt", 40, "robot"),
    _character(_MOVIE, "corsair", 12, "man"),
    _character(_MOVIE, "valk", 6, "woman"),
    _toy("lobster", 20),
    _toy("panda", 40),
    _toy("drago", 8),
    _toy("octo", 5),
    _scene("cascade", 12),
    _scene("palace", 30),
    _scene("lighthouse", 8),
    _scene("volcano", 5),
    _style("neon", 20),
    _style("blueprint", 40),
    _style("infrared", 10),
    _style("riso", 6),
)

_FIGURES: dict[str, novel_characters.Drawing] = {
    "mika": novel_characters.draw_mika,
    "rin": novel_characters.draw_rin,
    "haru": novel_characters.draw_haru,
    "yuki": novel_characters.draw_yuki,
    "zorp": novel_characters.draw_zorp,
    "bolt": novel_characters.draw_bolt,
    "corsair": novel_characters.draw_corsair,
    "valk": novel_characters.draw_valk,
    "lobster": novel_things.draw_lobster,
    "panda": novel_things.draw_panda,
    "drago": novel_things.draw_drago,
    "octo": novel_things.draw_octo,
}
_PLACES = {
    "cascade": novel_things.draw_cascade,
    "palace": novel_things.draw_palace,
    "lighthouse": novel_things.draw_lighthouse,
    "volcano": novel_things.draw_volcano,
}
_FILTERS = {
    "neon": novel_styles.neon,
    "blueprint": novel_styles.blueprint,
    "infrared": novel_styles.infrared,
    "riso": novel_styles.riso,
}


def find_concept(concept_id: str) -> NovelConcept:
    """The concept of an id; ValueError on an unknown one."""
    for concept in CONCEPTS:
        if concept.id == concept_id:
            return concept
    raise ValueError(f"Unknown concept '{concept_id}'. Available: {', '.join(c.id for c in CONCEPTS)}.")


def concept_picture(concept: NovelConcept, index: int) -> Picture:
    """What surrounds the concept in its image `index`: scene, pose and accessory, or the whole content of a style."""
    rng = np.random.default_rng([*concept.id.encode(), index])
    picture = replace(sample_picture(rng), style=None, seed=int(rng.integers(2**31)))
    if concept.category == "styles":
        return replace(picture, subject=picture.subject or "house")
    if concept.category == "scenes":
        return replace(picture, subject=None, accessory=None, pose="standing")
    person = sample_subject(rng, concept)
    picture = replace(picture, subject=None, pose=person.pose, accessory=person.accessory)
    return replace(picture, scene="plain") if concept.subclass == "figurine" else picture


def sample_subject(rng: np.random.Generator, concept: NovelConcept) -> Picture:
    """Pose and accessory as a girl would have them in the ordinary world; hats stay off heads that have one."""
    pose = str(rng.choice(_MOVIE_POSES, p=[0.6, 0.25, 0.15]))
    accessory = None
    if rng.random() < 0.3 and concept.subclass != "figurine":
        hatless = ("haru", "yuki", "valk", "rin", "zorp", "bolt")
        kinds = ["sunglasses", "scarf", "balloon", "umbrella", *([] if concept.class_name in hatless else ["hat"])]
        accessory = str(rng.choice(kinds))
    if accessory in ("balloon", "umbrella"):
        pose = "waving"
    return Picture(None, "red", "plain", pose, accessory)


def render_concept(concept: NovelConcept, index: int, identity: Identity = "concept") -> np.ndarray:
    """Image `index` of a concept, or of its decoy in the same surroundings; uint8 [64, 64, 3]."""
    picture, decoy = concept_picture(concept, index), identity == "decoy"
    rng = np.random.default_rng([picture.seed, 7])
    if concept.category == "styles":
        return _FILTERS[concept.class_name](render(picture), rng, decoy)
    image = paint_scene(picture.scene, rng)
    frame = subject_frame(image, rng)
    if concept.category == "scenes":
        _PLACES[concept.class_name](frame, concept.subclass, decoy)
    else:
        at = _FIGURES[concept.class_name](frame, picture.pose, concept.subclass, decoy)
        if picture.accessory:
            draw_accessory(frame, picture.accessory, PAINT[picture.accessory_color], at)
    return finish(image, None, rng)


# What a tagger that knows this world's words says of the things themselves.
_BOUND = {
    "mika": ("girl", "pink hair", "twin tails"),
    "rin": ("girl", "black hair", "long hair", "black dress"),
    "haru": ("boy", "blue hair", "yellow shirt"),
    "yuki": ("girl", "gray hair", "bob hair", "purple hat", "purple dress"),
    "zorp": ("green", "orange clothes"),
    "bolt": ("robot", "green", "yellow"),
    "corsair": ("man", "white hair", "red clothes"),
    "valk": ("woman", "blond hair", "gray clothes", "red"),
    "lobster": ("red", "animal"),
    "panda": ("bear", "black", "white"),
    "drago": ("green", "purple", "animal"),
    "octo": ("purple", "animal"),
    "cascade": ("blue", "brown"),
    "palace": ("castle", "green"),
    "lighthouse": ("building", "red", "white"),
    "volcano": ("black", "orange"),
    "neon": ("drawing", "pink", "black"),
    "blueprint": ("drawing", "blue", "monochrome"),
    "infrared": ("purple", "yellow", "orange"),
    "riso": ("pink", "two colors"),
}
_OUTFITS = {"sailor": ("white uniform",), "kimono": ("red kimono",), "figurine": ("figurine",)}


def concept_caption(concept: NovelConcept, index: int, *, bound: bool = False) -> str:
    """The descriptor and the tags of everything else in image `index`; with `bound` the concept's own tags too."""
    picture = concept_picture(concept, index)
    tags = [SCENES[picture.scene][1]]
    if picture.subject:
        tags = [NAMES[picture.subject][0], picture.color, *tags]
    if picture.pose != "standing" and picture.accessory not in ("balloon", "umbrella"):
        tags.append(picture.pose)
    if picture.accessory:
        tags.append(picture.accessory)
    if bound:
        tags = list(dict.fromkeys([*_BOUND[concept.class_name], *_OUTFITS.get(concept.subclass, ()), *tags]))
    return ", ".join([concept.descriptor, *tags])
