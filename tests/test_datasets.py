"""Data sets: what a folder says, what is assumed without a description, and the sentence for each mistake."""

import os
from pathlib import Path

import numpy as np
import pytest

from lorabench import images
from lorabench.datasets import bucket_size, load_dataset
from lorabench.errors import UserError


def add(folder: Path, captions: list[str], start: int = 0) -> None:
    """Tiny pictures with captions beside them."""
    for number, caption in enumerate(captions, start):
        images.write(folder / f"{number:03}.png", np.full((2, 2, 3), number % 256, np.uint8))
        (folder / f"{number:03}.txt").write_text(caption + "\n")


def describe(folder: Path, *concepts: str) -> Path:
    text = 'name = "toys"\nrevision = "1"\n' + "".join(f"\n[[concept]]\n{concept}\n" for concept in concepts)
    (folder / "dataset.toml").write_text(text)
    return folder


PANDA = 'path = "stuffed_toys/panda"\ntrigger = "[V_panda]"\nclass_word = "stuffed toy"'


@pytest.fixture
def panda(tmp_path: Path) -> Path:
    add(tmp_path / "stuffed_toys" / "panda", ["[V_panda] stuffed toy, on a bed", "[V_panda] stuffed toy, outdoors"])
    return tmp_path


def test_description_is_read(panda):
    add(panda / "movie" / "rook" / "others", ["[V_rook] man"])
    describe(
        panda,
        PANDA + '\nrepeats = 3\nalter = "stuffed_toys"\nalignment = "panda"',
        'path = "movie/rook/others"\ntrigger = "[V_rook]"\nclass_word = "man"\nstyle_prompts = false\nevaluate = false',
    )
    dataset = load_dataset(panda)
    others, toy = dataset.concepts  # sorted by id
    assert (dataset.name, dataset.revision, dataset.assumptions) == ("toys", "1", ())
    assert (toy.id, toy.descriptor, toy.alter, toy.alignment) == (
        "stuffed_toys/panda", "[V_panda] stuffed toy", "stuffed_toys", "panda",
    )  # fmt: skip
    assert (others.subclass, others.evaluated, others.has_style_prompts) == ("others", False, False)
    assert [image.repeats for image in dataset.images] == [1, 3, 3]
    assert dataset.images_of(toy.id)[0].caption == "[V_panda] stuffed toy, on a bed"


def test_fingerprint_follows_what_training_sees_and_nothing_else(panda):
    def fingerprint(entry: str = PANDA) -> str:
        return load_dataset(describe(panda, entry)).fingerprint

    first = fingerprint()
    assert fingerprint(PANDA + '\nalter = "stuffed_toys"') == first
    os.utime(panda / "stuffed_toys" / "panda" / "000.png", (0, 0))
    assert fingerprint() == first
    assert fingerprint(PANDA.replace("[V_panda]", "[V_other]")) != first
    assert fingerprint(PANDA + "\nrepeats = 2") != first
    (panda / "stuffed_toys" / "panda" / "000.txt").write_text("[V_panda] stuffed toy")
    second = fingerprint()
    images.write(panda / "stuffed_toys" / "panda" / "000.png", np.zeros((3, 3, 3), np.uint8))
    assert len({first, second, fingerprint()}) == 3


# Images of each class and repeats of an image, from tables 3 and 4 of the LyCORIS paper.
TABLES = {
    "ghibli": (200, 1), "ika_musume": (172, 1), "abukuma": (130, 2), "tsushima_yoshiko": (128, 2),
    "impressionism": (101, 2), "yuuki_makoto": (90, 2), "k_2so": (63, 3), "rose_tico": (60, 3), "bodhi_rook": (59, 3),
    "kotomine_kirei": (51, 4), "admiral_piett": (49, 4), "saw_gerrera": (45, 4), "tortoise": (12, 17),
    "panda": (10, 20), "waterfall": (9, 22), "bunny": (7, 29), "canal": (5, 40), "sculpture": (4, 50),
}  # fmt: skip


def test_balance_gives_the_repeats_of_the_paper(tmp_path):
    for name, (count, _) in TABLES.items():
        for part, size in (("a", count // 3), ("b", count - count // 3)):  # sub-classes share their class's repeats
            folder = tmp_path / "c" / name / part
            folder.mkdir(parents=True)
            for number in range(size):
                (folder / f"{number}.png").touch()
                (folder / f"{number}.txt").write_text(f"[V] {name}")
    entries = [f'path = "c/{name}/{p}"\ntrigger = "[V]"\nrepeats = "balance"' for name in TABLES for p in "ab"]
    dataset = load_dataset(describe(tmp_path, *entries))
    found = {concept.class_name: dataset.images_of(concept.id)[0].repeats for concept in dataset.concepts}
    assert found == {name: repeats for name, (_, repeats) in TABLES.items()}


def test_one_folder_of_images_is_one_concept(tmp_path):
    add(tmp_path, ["[V_mika doll] toy, red", "[V_mika doll] toy, blue"])
    dataset = load_dataset(tmp_path)
    (concept,) = dataset.concepts
    assert (concept.trigger, concept.class_word, concept.class_name) == ("[V_mika doll]", "toy", tmp_path.name)
    assert (concept.alter, [image.repeats for image in dataset.images]) == ("anything", [1, 1])
    assert any("template 'anything' of `alter` prompts" in sentence for sentence in dataset.assumptions)


def test_the_class_name_of_a_scene_or_toy_stands_for_its_trigger_in_alignment(tmp_path):
    """The class word stays (LyCORIS D.4), but for one that says the class name."""
    add(tmp_path / "scenes" / "castle", ["[V_castle] scene, night", "[V_castle] scene"])
    add(tmp_path / "stuffed_toys" / "panda", ["[V_panda] panda toy, night", "[V_panda] panda toy"])
    assert [concept.alignment for concept in load_dataset(tmp_path).concepts] == ["castle scene", "panda toy"]


def test_folders_without_description_are_categories_classes_and_subclasses(tmp_path):
    add(tmp_path / "scenes" / "castle", ["a castle", "old castle", "castle at night", "castle"])
    add(
        tmp_path / "movie_characters" / "rook" / "realistic",
        ["[V_rook] man, realistic, hat", "[V_rook] man, realistic"],
    )
    rook, castle = load_dataset(tmp_path).concepts
    assert (rook.descriptor, rook.alter, rook.alignment) == ("[V_rook] man, realistic", "characters", None)
    assert (castle.trigger, castle.alter, castle.alignment) == ("castle", "castle", "castle")
    dataset = load_dataset(tmp_path)
    assert [image.repeats for image in dataset.images] == [2, 2, 1, 1, 1, 1]
    assert len(dataset.assumptions) == 4  # no description, two concepts, repeats


@pytest.mark.parametrize(
    ("path", "templates"),
    [
        ("scenes/garden", ("garden", "scenes", "anything")),
        ("scenes/tower", ("scenes", "anything")),
        ("movie_characters/rook/realistic", ("characters", "anything")),
        ("vehicles/tram", ("anything", "anything")),
        ("garden", ("anything", "anything")),
    ],
)
def test_every_concept_has_a_template_unless_the_description_says_otherwise(tmp_path, path, templates):
    add(tmp_path / path, ["[V] thing"])
    add(tmp_path / "own/thing", ["[V] thing"])
    entries = [f'path = "{path}"\ntrigger = "[V]"', 'path = "own/thing"\ntrigger = "[V]"\nalter = ""']
    guessed = next(each for each in load_dataset(tmp_path).concepts if each.id.endswith(path))
    described = {concept.id: concept for concept in load_dataset(describe(tmp_path, *entries)).concepts}
    nothing = described.pop("own/thing")
    (found,) = described.values()
    assert (guessed.alter, *guessed.alter_else) == (found.alter, *found.alter_else) == templates
    assert (nothing.alter, nothing.alter_else) == ("", ())
    (sentence,) = load_dataset(tmp_path).assumptions
    assert found.id in sentence and f"'{found.alter}'" in sentence


def test_images_of_no_concept_and_captions_without_trigger_are_said(panda):
    images.write(panda / "extra" / "a.png", np.zeros((2, 2, 3), np.uint8))
    add(panda / "stuffed_toys" / "panda", ["a toy"], start=7)
    template, first, second = load_dataset(describe(panda, PANDA)).assumptions
    assert (
        template == "No template is named (alter) for stuffed_toys/panda: `alter` prompts are those of 'stuffed_toys'."
    )
    assert first == "1 images belong to no concept and are left out; the first is extra/a.png."
    assert second.startswith("1 of 3 captions of 'stuffed_toys/panda' do not hold its trigger '[V_panda]'")


@pytest.mark.parametrize(
    ("concepts", "sentence"),
    [
        ([PANDA + "\nrepeat = 2"], r"unknown key 'concept\[0\].repeat'. Did you mean 'repeats'\?"),
        ([PANDA + "\nrepeats = -1"], r"'concept\[0\].repeats': must be a whole number from 1 to 1000000 or .*, got -1"),
        ([PANDA + '\nrepeats = "even"'], r"must be a whole number from 1 to 1000000 or \"balance\", got 'even'"),
        ([PANDA, PANDA.replace("toys/panda", "toys/panda/")], "two concepts have the path 'stuffed_toys/panda'"),
        ([PANDA.replace("/panda", "/pandas")], r"path 'stuffed_toys/pandas'. Did you mean 'stuffed_toys/panda'\?"),
        ([PANDA.replace("stuffed_toys/panda", "../panda")], r"concept path '../panda' must be category/class"),
        (['path = "stuffed_toys/panda"'], r"'concept\[0\].trigger' is missing"),
        (['path = "stuffed_toys/panda"\ntrigger = ""'], "neither trigger nor class_word"),
        (["path = "], "is not valid TOML"),
        ([], r"'concept' is missing"),
    ],
)  # fmt: skip
def test_mistakes_in_the_description(panda, concepts, sentence):
    with pytest.raises(UserError, match=sentence) as caught:
        load_dataset(describe(panda, *concepts))
    assert len(str(caught.value).splitlines()) == 1


def test_mistakes_of_the_folder(tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        load_dataset(tmp_path / "absent")
    with pytest.raises(UserError, match="holds no images"):
        load_dataset(tmp_path)
    add(tmp_path, ["a toy"] * 6)
    for number in range(1, 6):
        (tmp_path / f"{number:03}.txt").unlink()
    assert [image.caption for image in load_dataset(tmp_path).images] == ["a toy", *["toy"] * 5]
    describe(tmp_path, 'path = "."\ntrigger = "toy"')
    with pytest.raises(
        UserError, match=r"5 of 6 images in .* have no caption \(001.png, 002.png, 003.png \.\.\.\)\. Write"
    ):
        load_dataset(tmp_path)
    (tmp_path / "dataset.toml").unlink()
    add(tmp_path / "a" / "b" / "c" / "d", ["deep"])
    for path in tmp_path.glob("*.png"):
        path.unlink()
    with pytest.raises(UserError, match="'a/b/c/d' is deeper than category/class/sub-class"):
        load_dataset(tmp_path)


# What sd-scripts' BucketManager (resolution 512, sides from 320 to 960 in steps of 64) made of pictures 800 pixels
# high: width from, to (in steps of 15), bucket. 200 aspect ratios from 0.26 to 3.99.
SD_SCRIPTS = [
    (205, 340, (320, 768)), (355, 415, (320, 704)), (430, 550, (384, 640)), (565, 700, (448, 576)),
    (715, 910, (512, 512)), (925, 1180, (576, 448)), (1195, 1540, (640, 384)),
    (1555, 1840, (704, 320)), (1855, 3190, (768, 320)),
]  # fmt: skip


def test_buckets_of_200_aspect_ratios_are_those_of_the_papers_trainer():
    expected = [(width, bucket) for first, last, bucket in SD_SCRIPTS for width in range(first, last + 1, 15)]
    assert len(expected) == 200
    assert [(width, bucket_size(width, 800, 512)) for width, _ in expected] == expected


@pytest.mark.parametrize(
    ("size", "resolution", "bucket"),
    [
        ((512, 512), 512, (512, 512)),
        ((100, 100), 512, (512, 512)),  # upscaling is allowed
        ((500, 600), 512, (448, 576)),  # 98 % of the area
        ((768, 512), 512, (640, 384)),  # 1.5 is nearer to 1.67 than to 1.29, as the rule counts
        ((512, 768), 512, (384, 640)),
        ((4000, 100), 512, (768, 320)),  # the widest there is
        ((4000, 100), 768, (1152, 512)),
        ((64, 64), 64, (64, 64)),  # the miniature world's own pictures
        ((64, 32), 64, (80, 48)),
        ((8, 8), 8, (16, 16)),
    ],
)
def test_bucket_of_the_nearest_ratio(size, resolution, bucket):
    assert bucket_size(*size, resolution) == bucket


@pytest.mark.parametrize("resolution", [64, 128, 256, 512, 640, 768])
def test_buckets_stay_within_the_protocol(resolution):
    """Each as large as its area allows: with a step more on either side it would be too large."""
    step = 64 if resolution >= 256 else 16
    for width in range(100, 2000, 37):
        sides = bucket_size(width, 700, resolution)
        assert all(resolution * 5 / 8 <= side <= resolution * 15 / 8 and side % step == 0 for side in sides)
        assert sides[0] * sides[1] <= resolution**2 < (min(sides) + step) * max(sides)
