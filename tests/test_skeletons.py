"""The paper's data set without its pictures: what its description says, and what it comes to once they are there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import lorabench_here

import lorabench
from lorabench import datasets, images
from lorabench.errors import UserError
from lorabench.prompts import build_prompt_sets, text_for_alignment
from lorabench.records import Dataset
from lorabench.shipped import PROMPTS
from lorabench.stages.samples import EncodedImage, Examples, epoch_batches

# Tables 3 and 4, appendix D.4, a leaf a row: pictures, repeats of each, descriptor, what alignment takes for it and
# template; trigger words and keywords are those of the authors. "-" = trained on, not measured.
LEAVES = """
anime_characters/yuuki_makoto | 90 | 2 | asar anime boy | anime boy | characters
anime_characters/kotomine_kirei | 51 | 4 | blob anime boy | anime boy | characters
anime_characters/tsushima_yoshiko | 128 | 2 | revs anime girl | anime girl | characters
anime_characters/ika_musume/default outfit | 118 | 1 | hmv anime girl, dca outfit | | characters
anime_characters/ika_musume/alternative outfit | 20 | 1 | hmv anime girl, wafc outfit | | characters
anime_characters/ika_musume/others | 34 | 1 | hmv anime girl | anime girl | characters
anime_characters/abukuma/dark color uniform | 54 | 2 | whoo anime girl, onex outfit | | characters
anime_characters/abukuma/light color uniform | 48 | 2 | whoo anime girl, toid outfit | | characters
anime_characters/abukuma/others | 28 | 2 | whoo anime girl | anime girl | characters
movie_characters/k_2so | 63 | 3 | suru robot | robot | characters
movie_characters/admiral_piett/figurine | 13 | 4 | sohn man, figurine | man, figurine | characters
movie_characters/admiral_piett/realistic | 34 | 4 | sohn man, realistic | man, realistic | characters
movie_characters/admiral_piett/others | 2 | 4 | sohn man | - | characters
movie_characters/bodhi_rook/figurine | 11 | 3 | cae man, figurine | man, figurine | characters
movie_characters/bodhi_rook/illustration | 12 | 3 | cae man, illustration | man, illustration | characters
movie_characters/bodhi_rook/realistic | 34 | 3 | cae man, realistic | man, realistic | characters
movie_characters/bodhi_rook/others | 2 | 3 | cae man | - | characters
movie_characters/saw_gerrera/afro, illustration | 4 | 4 | fck man, afro, illustration | man, afro, illustration | characters
movie_characters/saw_gerrera/afro, realistic | 23 | 4 | fck man, afro, realistic | man, afro, realistic | characters
movie_characters/saw_gerrera/bald, 3d | 10 | 4 | fck man, bald, 3d | man, bald, 3d | characters
movie_characters/saw_gerrera/bald, realistic | 7 | 4 | fck man, bald, realistic | man, bald, realistic | characters
movie_characters/saw_gerrera/others | 1 | 4 | fck man | - | characters
movie_characters/rose_tico/illustration | 10 | 3 | rune woman, illustration | woman, illustration | characters
movie_characters/rose_tico/realistic | 45 | 3 | rune woman, realistic | woman, realistic | characters
movie_characters/rose_tico/others | 5 | 3 | rune woman | - | characters
stuffed_toys/tortoise | 12 | 17 | waj stuffed toy | tortoise stuffed toy | stuffed_toys
stuffed_toys/pink | 10 | 20 | dits stuffed toy | pink stuffed toy | stuffed_toys
stuffed_toys/panda | 10 | 20 | hta stuffed toy | panda stuffed toy | stuffed_toys
stuffed_toys/bunny | 7 | 29 | olis stuffed toy, pink robe | bunny stuffed toy, pink robe | stuffed_toys
stuffed_toys/lobster | 7 | 29 | lun stuffed toy | lobster stuffed toy | stuffed_toys
stuffed_toys/teddy_bear | 7 | 29 | rcn stuffed toy | teddy bear stuffed toy | stuffed_toys
scenes/waterfall | 9 | 22 | ulf scene | waterfall scene | waterfall
scenes/garden | 7 | 29 | omd scene | garden scene | garden
scenes/canal | 5 | 40 | shld scene | canal scene | canal
scenes/castle | 5 | 40 | adl scene | castle scene | castle
scenes/sculpture | 4 | 50 | gote scene | sculpture scene | sculpture
styles/ghibli | 200 | 1 | pgs style | | styles
styles/ghibli_2 | 100 | 2 | pbc style | | styles
styles/old_book | 100 | 2 | gsp style | | styles
styles/ukiyo_e | 87 | 2 | veli style | | styles
styles/impressionism | 101 | 2 | tvc style | | styles
styles/felix_vallotton | 100 | 2 | rps style | | styles
styles/vladimir_borovikovsky | 88 | 2 | sura style | | styles
"""  # noqa: E501
ROWS = [[cell.strip() for cell in line.split("|")] for line in LEAVES.strip().splitlines()]


def fill(folder: Path) -> None:
    """As many empty files as there are pictures, each with a caption."""
    for path, number, _, descriptor, *_ in ROWS:
        for index in range(int(number)):
            (folder / path / f"{index:03}.png").touch()
            (folder / path / f"{index:03}.txt").write_text(f"{descriptor}, tag {index}")


@pytest.fixture(scope="module")
def paper(tmp_path_factory) -> Dataset:
    folder = tmp_path_factory.mktemp("data") / "paper"
    assert lorabench.dataset(folder, skeleton="paper").written == folder / "dataset.toml"
    fill(folder)
    return datasets.read_dataset(folder)


def test_it_is_tables_3_and_4(paper):
    """43 rows of 43: pictures, repeats by "balance", words, what alignment takes for the trigger prompt."""
    found = []
    for concept in sorted(paper.concepts, key=lambda concept: [row[0] for row in ROWS].index(concept.id)):
        pictures = paper.images_of(concept.id)
        (repeats,) = {picture.repeats for picture in pictures}
        aligned = text_for_alignment(concept.descriptor, concept) if concept.evaluated else "-"
        found.append([concept.id, str(len(pictures)), str(repeats), concept.descriptor, aligned, concept.alter])
    assert found == ROWS and len(ROWS) == 43
    assert len({(concept.category, concept.class_name) for concept in paper.concepts}) == 28
    assert len(paper.images) == 1706 and not any("belong" in said for said in paper.assumptions)


def test_an_epoch_has_695_steps(paper):
    """About 700, as the authors' 3,500 steps of warm-up in five epochs say; buckets leave more batches unfilled."""
    repeats = np.repeat(np.arange(len(paper.images)), [image.repeats for image in paper.images])
    nothing = torch.zeros(0)
    image = EncodedImage(torch.zeros(1, 1, 1), torch.zeros(6))
    examples = Examples((image,) * len(paper.images), (), nothing, nothing, repeats)
    assert (len(repeats), len(epoch_batches(examples, 8, seed=23, epoch=0))) == (5560, 695)


def test_a_checkpoint_draws_14900_images(paper):
    sets = build_prompt_sets(paper, PROMPTS, ["train", "trigger", "alter", "style"], 100, 0)
    assert len(sets) == 149 and sum(len(each.requests) for each in sets) == 14_900
    assert sum(each.type == "train" for each in sets) == 39 and sum(each.type == "style" for each in sets) == 32


def test_the_command_says_what_is_missing(tmp_path):
    folder = tmp_path / "paper"
    begun = lorabench_here("dataset", "paper", str(folder))
    assert begun.returncode == 1 and "43 of 43 concepts lack pictures" in begun.stdout
    assert "0 pictures in 'scenes/castle', where 5 belong." in begun.stdout and "Written" in begun.stdout
    fill(folder)
    (folder / "scenes/castle/000.png").unlink()
    for picture in sorted((folder / "scenes/canal").glob("*.png"))[1:]:
        picture.unlink()
    done = lorabench_here("dataset", str(folder), "--skeleton", "paper", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["concepts"][0]["concept"].startswith("anime_characters") and said["written"] is None
    assert {each for each in said["assumptions"] if "belong" in each} == {
        "4 pictures in 'scenes/castle', where 5 belong.",
        "1 picture in 'scenes/canal', where 5 belong.",
    }


def test_another_data_set_is_left_alone(tmp_path):
    images.write(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
    text = 'name = "mine"\n[[concept]]\npath = "."\ntrigger = "sks"\ncaption = "{}"\n'
    (tmp_path / "dataset.toml").write_text(text)
    with pytest.raises(UserError, match="is not of the data set 'paper'"):
        lorabench.dataset(tmp_path, skeleton="paper")
    with pytest.raises(UserError, match=r"Unknown skeleton 'papr'.*--skeleton"):
        lorabench.dataset(tmp_path, skeleton="papr")
    assert (tmp_path / "dataset.toml").read_text() == text
