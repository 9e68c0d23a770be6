"""Pictures as people lay them out: what each layout is read as, what is said of it, and that it can be written down."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import lorabench_here

import lorabench
from lorabench import datasets, images
from lorabench.api import pictures
from lorabench.datasets import Words, load_dataset
from lorabench.errors import UserError

SKS = Words("sks", "dog")


def draw(folder: Path, *names: str) -> Path:
    """Tiny pictures, each of its own grey; what follows a colon is the caption in a .txt beside it."""
    for number, name in enumerate(names or ("0.png", "1.png", "2.png")):
        file, _, caption = name.partition(":")
        images.write(folder / file, np.full((2, 2, 3), (37 * number + len(str(folder))) % 256, np.uint8))
        if caption:
            (folder / file).with_suffix(".txt").write_text(caption)
    return folder


def text(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


# --- the layouts: each builds a folder, and says what has to come out -------------------------------------------------

Expected = dict[str, tuple[str, list[str], int]]  # class -> descriptor, captions, repeats of a picture


def flat(root: Path) -> Expected:
    draw(root, "a.JPG", "b.png", "c.png")
    text(root / "c.npz", b"a latent cache")
    draw(root / ".hidden", "x.png")
    text(root / "._a.jpg", b"of a Mac")
    return {root.name: ("sks dog", ["sks dog"] * 3, 1)}


def flat_with_captions(root: Path) -> Expected:
    draw(root, "a.png", "b.PNG", "c.png", "d.jpg")
    text(root / "a.txt", b"\xef\xbb\xbfsks dog, on grass\r\n")
    text(root / "b.TXT", "sks dog, at sea")
    text(root / "c.caption", "sks dog, asleep")
    text(root / "d.jpg.txt", "sks dog, up")
    return {root.name: ("sks dog", ["sks dog, on grass", "sks dog, at sea", "sks dog, asleep", "sks dog, up"], 1)}


def flat_in_a_generic_folder(root: Path) -> Expected:
    draw(root / "instance_images")
    draw(root / "class_images", *(f"{n}.png" for n in range(5)))
    return {root.name: ("sks dog", ["sks dog"] * 3, 1)}


def kohya(root: Path) -> Expected:
    draw(root / "10_sks dog")
    draw(root / "reg/1_dog", *(f"{n}.png" for n in range(5)))
    draw(root, "preview.png")
    return {"sks dog": ("sks dog", ["sks dog"] * 3, 10)}


def kohya_with_captions(root: Path) -> Expected:
    draw(root / "img/4_folder words", "a.png:a zwx cat on a mat", "b.png:zwx cat in the rain")
    draw(root / "img/2_another", "a.png:red, house", "b.png", "c.png:red, barn")
    return {
        "folder words": ("zwx cat", ["a zwx cat on a mat", "zwx cat in the rain"], 4),
        "another": ("red", ["red, house", "another", "red, barn"], 2),
    }


def kohya_itself(root: Path) -> Expected:
    root = root / "7_ohwx man"
    draw(root)
    return {"ohwx man": ("ohwx man", ["ohwx man"] * 3, 7)}


def kohya_beside_class_images(root: Path) -> Expected:
    draw(root / "5_abukuma girl", "a.png:1girl, abukuma girl, up", "b.png:1girl, abukuma girl, down")
    draw(root / "class/1_girl", *(f"{n}.png" for n in range(5)))
    return {"abukuma girl": ("abukuma girl", ["1girl, abukuma girl, up", "1girl, abukuma girl, down"], 5)}


def instance_beside_class(root: Path) -> Expected:
    draw(root / "instance")
    draw(root / "class", *(f"{n}.png" for n in range(5)))
    return {root.name: ("sks dog", ["sks dog"] * 3, 1)}


def imagefolder_jsonl(root: Path) -> Expected:
    draw(root, "0.png", "1.png", "not listed.png")
    lines = [{"file_name": f"{n}.png", "text": f"a photo of sks dog, number {n}"} for n in range(2)]
    text(root / "metadata.jsonl", "\r\n".join(map(json.dumps, lines)) + "\n\n")
    return {root.name: ("sks dog", ["a photo of sks dog, number 0", "a photo of sks dog, number 1"], 1)}


def imagefolder_csv(root: Path) -> Expected:
    draw(root / "train/images", "0.png", "1.png")
    draw(root / "test", "0.png")
    text(
        root / "train/metadata.csv", b'\xef\xbb\xbffile_name,prompt\nimages/0.png,"zwx, up"\nimages/1.png,"zwx, down"\n'
    )
    text(root / "test/metadata.csv", "file_name,prompt\n0.png,zwx\n")
    return {root.name: ("zwx", ["zwx, up", "zwx, down"], 1)}


def imagefolder_parquet(root: Path) -> Expected:
    draw(root / "a", "0.png")
    draw(root / "b", "0.png")
    rows = {"file_name": ["a/0.png", "b/0.png"], "caption": ["zwx hat on a shelf", "the zwx hat"], "other": [1, 2]}
    pd.DataFrame(rows).to_parquet(root / "metadata.parquet")
    return {root.name: ("zwx hat", ["zwx hat on a shelf", "the zwx hat"], 1)}


def sd_scripts(root: Path) -> Expected:
    draw(root / "set/10_dog", "a.png", "b.png")
    text(root / "set/10_dog/a.caption", "on grass")
    draw(root / "cats", "a.png")
    draw(root / "reg", "a.png")
    content = """
        [general]
        shuffle_caption = true
        caption_extension = ".caption"
        [[datasets]]
        resolution = [512, 512]
        num_repeats = 3
        [[datasets.subsets]]
        image_dir = "set/10_dog"
        class_tokens = "sks dog"
        caption_prefix = "sks dog,"
        [[datasets.subsets]]
        image_dir = 'C:\\train\\cats'
        class_tokens = "zwx cat"
        num_repeats = 5
        [[datasets.subsets]]
        image_dir = "reg"
        is_reg = true
    """
    text(root / "config.toml", content.replace("\n        ", "\n"))
    return {"dog": ("sks dog", ["sks dog, on grass", "sks dog, sks dog"], 3), "cats": ("zwx cat", ["zwx cat"], 5)}


def sd_scripts_metadata(root: Path) -> Expected:
    draw(root / "pictures", "a.png", "b.png")
    md = {"/elsewhere/a.png": {"caption": "zwx", "tags": "red, big"}, "b": {"tags": "zwx, blue"}}
    text(root / "md.json", json.dumps(md))
    subset = '[[datasets.subsets]]\nimage_dir = "pictures"\nmetadata_file = "/elsewhere/md.json"\n'
    text(root / "data.toml", f"[[datasets]]\n{subset}")
    return {"pictures": ("zwx", ["zwx, red, big", "zwx, blue"], 1)}


def categories_without_captions(root: Path) -> Expected:
    draw(root / "dog")
    draw(root / "red_hat", "0.png")
    return {"dog": ("dog", ["dog"] * 3, 1), "red_hat": ("red hat", ["red hat"], 3)}


LAYOUTS = [
    flat, flat_with_captions, flat_in_a_generic_folder, instance_beside_class, kohya, kohya_with_captions,
    kohya_itself, kohya_beside_class_images, imagefolder_jsonl, imagefolder_csv, imagefolder_parquet, sd_scripts,
    sd_scripts_metadata, categories_without_captions,
]  # fmt: skip


def built(layout, tmp_path: Path) -> tuple[Path, Expected]:
    root = tmp_path / "mine"
    expected = layout(root)
    return next((root.glob("7_*")), root), expected


def words_for(layout) -> Words:
    return SKS if layout in (flat, flat_in_a_generic_folder, instance_beside_class) else Words()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_layout_is_read(layout, tmp_path):
    root, expected = built(layout, tmp_path)
    dataset = load_dataset(root, words_for(layout))
    found = {
        concept.class_name: (
            concept.descriptor,
            [image.caption for image in dataset.images_of(concept.id)],
            dataset.images_of(concept.id)[0].repeats,
        )
        for concept in dataset.concepts
    }
    assert found == expected
    assert "There is no dataset.toml" in dataset.assumptions[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_was_assumed_is_the_same_data_set_once_it_is_written(layout, tmp_path):
    root, _ = built(layout, tmp_path)
    before = load_dataset(root, words_for(layout))
    written = pictures.write(pictures.dataset(root, words_for(layout))).written
    after = load_dataset(root)
    assert (after.concepts, after.images, after.fingerprint) == (before.concepts, before.images, before.fingerprint)
    assert load_dataset(written).fingerprint == before.fingerprint
    with pytest.raises(UserError, match=r"dataset.toml exists: edit it"):
        pictures.write(pictures.dataset(root, Words()))


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        (flat, "3 of 3 pictures of 'mine/mine' have no caption: theirs is 'sks dog'."),
        (kohya, "5 images are class images (regularisation) and are left out; the first is reg/1_dog/0.png."),
        (kohya, "1 images belong to no concept and are left out; the first is preview.png."),
        (kohya_with_captions, "1 of 3 pictures of 'mine/another' have no caption: theirs is 'another'."),
        (imagefolder_jsonl, "1 images are not in the metadata file and are left out; the first is not listed.png."),
        (imagefolder_csv, "1 images are of another split than train and are left out; the first is test/0.png."),
        (sd_scripts, "Subset reg is of class images (is_reg) and is left out."),
        (sd_scripts, r"There is no folder C:\train\cats on this machine: cats beside config.toml is taken for it."),
    ],
)
def test_what_was_assumed_and_left_out_is_said_once(layout, says, tmp_path):
    root, _ = built(layout, tmp_path)
    assert load_dataset(root, words_for(layout)).assumptions.count(says) == 1


def test_of_two_captions_the_txt_is_read(tmp_path):
    draw(tmp_path, "a.png:sks dog", "b.png:sks dog")
    text(tmp_path / "a.caption", "zwx cat")
    dataset = load_dataset(tmp_path)
    assert {image.caption for image in dataset.images} == {"sks dog"}
    assert any("two captions, .txt and .caption (a.png, ...): .txt is read" in each for each in dataset.assumptions)


def test_an_empty_caption_is_none(tmp_path):
    draw(tmp_path, "a.png:sks dog, up", "b.png: ", "c.png: ")
    text(tmp_path / "c.caption", "sks dog, down")
    assert [image.caption for image in load_dataset(tmp_path).images] == ["sks dog, up", "sks dog", "sks dog, down"]


@pytest.mark.parametrize(
    ("words", "descriptor"),
    [
        (Words("zwx", "dog"), "zwx dog"),  # what is said holds, whatever was guessed
        (Words("sks"), "sks dog"),
        (Words("zwx"), "zwx"),
        (Words(class_word="dog"), "sks dog"),
        (Words(class_word="cat"), "sks cat"),
    ],
)
def test_words_that_are_said_come_before_words_that_are_guessed(words, descriptor, tmp_path):
    draw(tmp_path / "3_sks dog")
    (concept,) = load_dataset(tmp_path, words).concepts
    assert concept.descriptor == descriptor


def test_words_call_one_concept_and_do_not_contradict_a_description(tmp_path):
    draw(tmp_path / "1_a b")
    draw(tmp_path / "1_c d")
    with pytest.raises(UserError, match=r"calls one concept, and .* holds 2: a b, c d\. Write their words"):
        load_dataset(tmp_path, SKS)
    pictures.write(pictures.dataset(tmp_path, Words()))
    with pytest.raises(UserError, match=r"dataset.toml says how its concepts are called"):
        load_dataset(tmp_path, SKS)


def test_folders_of_the_same_words_are_one_concept(tmp_path):
    draw(tmp_path / "10_sks dog", "a.png")
    draw(tmp_path / "2_sks dog", "b.png:sks dog, up")
    dataset = load_dataset(tmp_path)
    assert len(dataset.concepts) == 1
    assert {image.path.name: image.repeats for image in dataset.images} == {"a.png": 10, "b.png": 2}


@pytest.mark.parametrize(
    ("captions", "descriptor"),
    [
        (["a photo of sks dog", "a photo of sks dog"], "sks dog"),
        (["an oil painting of a castle, night", "a painting of the castle, day"], "castle"),
        (["a red barn in the style of zwx", "a cat in the style of zwx"], "zwx"),
        (["a barn in zwx style", "two cats, in zwx style"], "zwx style"),
        (["[V_x new] toy, red", "[V_x new] toy, blue"], "[V_x new] toy"),
    ],
)
def test_words_that_captions_share(captions, descriptor, tmp_path):
    draw(tmp_path, *(f"{number}.png:{caption}" for number, caption in enumerate(captions)))
    (concept,) = load_dataset(tmp_path).concepts
    assert concept.descriptor == descriptor


def one_caption_each(root: Path) -> None:
    draw(root, "a.png:a barn at night", "b.png:two cats")


def two_tomls(root: Path) -> None:
    draw(root)
    for name in ("a.toml", "b.toml"):
        text(root / name, '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "."\n')


def absent_folder(root: Path) -> None:
    draw(root)
    text(root / "a.toml", '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "/none/such"\n')


def wrong_kind(root: Path) -> None:
    draw(root)
    text(root / "a.toml", '[[datasets]]\n[[datasets.subsets]]\nimage_dir = "."\nnum_repeats = "ten"\n')


def broken_row(root: Path) -> None:
    draw(root)
    text(root / "metadata.jsonl", '{"file_name": "0.png", "text": "zwx"}\n{"file_name": \n')


def row_outside(root: Path) -> None:
    draw(root)
    text(root / "metadata.csv", "file_name,text\n../secret.png,zwx\n")


def caption_that_is_a_number(root: Path) -> None:
    draw(root)
    text(root / "metadata.jsonl", '{"file_name": "0.png", "text": 3}')


def broken_parquet(root: Path) -> None:
    draw(root)
    text(root / "metadata.parquet", b"PAR1")


def packed(root: Path) -> None:
    text(root / "data/train-00000-of-00001.parquet", b"PAR1")


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        (flat, "'mine/mine' has neither trigger nor class_word.*--trigger sks --class-word dog"),
        (one_caption_each, "neither trigger nor class_word"),
        (two_tomls, "several dataset TOMLs: name one of"),
        (absent_folder, r"a\.toml: there is no folder /none/such \(image_dir\)"),
        (wrong_kind, r"a\.toml: 'datasets\.0\.subsets\.0\.num_repeats': .*'ten'"),
        (broken_row, r"metadata\.jsonl, line 2: not valid JSON"),
        (row_outside, r"metadata\.csv, row 1: 'file_name' must be a path inside"),
        (caption_that_is_a_number, r"row 1: 'text': must be text, got 3"),
        (broken_parquet, r"metadata\.parquet is not a readable parquet file"),
        (packed, r"holds no images .*\. It holds \.parquet: take the pictures out of it"),
    ],
)
def test_mistakes_are_sentences(layout, says, tmp_path):
    layout(tmp_path / "mine")
    with pytest.raises(UserError, match=says) as caught:
        load_dataset(tmp_path / "mine")
    assert len(str(caught.value).splitlines()) == 1


def test_a_toml_can_be_named_and_may_be_called_as_ours_is(tmp_path):
    expected = sd_scripts(tmp_path / "mine")
    (tmp_path / "mine/config.toml").rename(tmp_path / "mine/dataset.toml")
    for place in (tmp_path / "mine", tmp_path / "mine/dataset.toml"):
        assert {concept.class_name for concept in load_dataset(place).concepts} == set(expected)
    with pytest.raises(UserError, match="dataset.toml exists: it is sd-scripts' dataset TOML; give it another name"):
        pictures.write(pictures.dataset(tmp_path / "mine", Words()))


def test_the_command_says_what_a_folder_is_read_as_and_writes_it(tmp_path):
    flat(tmp_path / "mine")
    refused = lorabench_here("dataset", str(tmp_path / "mine"))
    assert refused.returncode == 1 and "--trigger" in refused.stdout and "DreamBooth" in refused.stdout
    done = lorabench_here("dataset", str(tmp_path / "mine"), "--trigger", "sks", "--write", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["pictures"], said["concepts"][0]["trigger"], said["concepts"][0]["without_caption"]) == (3, "sks", 3)
    assert datasets.read_dataset(tmp_path / "mine").concepts[0].descriptor == "sks"
    assert Path(said["written"]) == tmp_path / "mine/dataset.toml"


def test_what_systems_and_tools_leave_beside_pictures_is_not_learnt_from(tmp_path):
    draw(tmp_path, "a.png", "a-masklabel.png")
    for folder in ("@eaDir/a.png", "__MACOSX", ".ipynb_checkpoints", "thumbnails", "masks"):
        draw(tmp_path / folder, "a.png")
    text(tmp_path / "b.heic", b"")
    dataset = load_dataset(tmp_path, SKS)
    assert [image.path.name for image in dataset.images] == ["a.png"]
    said = " ".join(dataset.assumptions)
    assert "2 images are masks or conditions" in said and "1 images are thumbnails" in said and "(.heic)" in said


def test_words_of_any_letters_are_written_so_that_they_are_read(tmp_path):
    draw(tmp_path, "a.png")
    words = Words('a"b\\c', "東京 \t\x7f '{}'")
    before = load_dataset(tmp_path, words)
    pictures.write(pictures.dataset(tmp_path, words))
    assert load_dataset(tmp_path).images == before.images and load_dataset(tmp_path).concepts == before.concepts


def test_a_reading_is_a_frame_and_sentences(tmp_path):
    kohya_with_captions(tmp_path / "mine")
    found = lorabench.dataset(tmp_path / "mine")
    assert found.concepts().set_index("concept")["repeats"].to_dict() == {"mine/another": "2", "mine/folder words": "4"}
    assert found.facts()["samples"] == 2 * 4 + 3 * 2 and not found.lacking and found.written is None
