"""The data set of novel concepts is an ordinary image folder that the mini tokenizer can read."""

import tomllib
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from transformers import CLIPTokenizer

from lorabench.mini import base_path, prompts_path, write_dataset
from lorabench.mini.concepts import CONCEPTS, render_concept


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data") / "mini")


@pytest.fixture(scope="module")
def declared(folder):
    return tomllib.loads((folder / "dataset.toml").read_text(encoding="utf-8"))["concept"]


def test_five_categories_of_four_classes_and_unequal_counts(declared):
    classes = {tuple(concept["path"].split("/")[:2]) for concept in declared}
    assert Counter(category for category, _ in classes) == dict.fromkeys(
        ("anime_characters", "movie_characters", "stuffed_toys", "scenes", "styles"), 4
    )
    with_subclasses = {c["path"].split("/")[1] for c in declared if c["path"].count("/") == 2}
    assert with_subclasses == {"mika", "zorp"}
    assert {concept.count for concept in CONCEPTS} >= {4, 40}


def test_images_captions_and_toml_agree(folder, declared):
    counts = {concept.id: concept.count for concept in CONCEPTS}
    assert len(declared) == len(counts)
    for concept in declared:
        images = sorted((folder / concept["path"]).glob("*.png"))
        assert len(images) == counts[concept["path"]]
        with Image.open(images[0]) as image:
            assert image.size == (64, 64) and image.mode == "RGB"
        assert 20 <= concept["repeats"] * len(images) <= 60
        descriptor = f"{concept['trigger']} {concept['class_word']}"
        descriptor += f", {concept['keyword']}" if "keyword" in concept else ""
        for image in images:
            assert image.with_suffix(".txt").read_text(encoding="utf-8").startswith(descriptor + ", ")
        assert (prompts_path() / "alter" / f"{concept['alter']}.txt").is_file()


def test_every_caption_and_prompt_is_known_to_the_tokenizer(folder, declared):
    tokenizer = CLIPTokenizer.from_pretrained(base_path() / "tokenizer")
    templates = [line for path in prompts_path().rglob("*.txt") for line in path.read_text().splitlines()]
    assert all(line.count("{}") == 1 for line in templates)
    texts = [path.read_text().strip() for path in folder.rglob("*.txt")]
    texts += [template.format("[V_mika] anime girl, [V_festival] kimono") for template in templates]
    for text in texts:
        ids = tokenizer(text).input_ids
        assert len(ids) <= 32, text
        spelled = "".join(tokenizer.convert_ids_to_tokens(ids[1:-1])).replace("</w>", " ")
        pieces = text.lower().replace("[v_", " [V_ ").replace("]", " ] ").replace(",", " , ").split()
        assert spelled.replace("]", "] ").replace("[V_", "[V_ ").split() == pieces


def test_a_decoy_shares_the_surroundings_and_is_someone_else():
    for concept in CONCEPTS:
        own, decoy = render_concept(concept, 0), render_concept(concept, 0, "decoy")
        assert own.shape == decoy.shape == (64, 64, 3)
        differs = np.abs(own.astype(int) - decoy).max(-1) > 40
        assert differs.mean() > 0.03, concept.id


def test_every_category_is_deterministic():
    for concept in CONCEPTS[::5]:
        assert (render_concept(concept, 1) == render_concept(concept, 1)).all()
