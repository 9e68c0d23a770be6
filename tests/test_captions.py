"""Captions made of tags: from files and taggers, without what is bound to the concept, as a factor of a study."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from command_line import lorabench_here
from onnx import TensorProto, helper, numpy_helper
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    BlipTextConfig,
    BlipVisionConfig,
)

import lorabench
from lorabench import components, config, datasets, images
from lorabench.errors import UserError
from lorabench.records import Concept

HEAD = '[[concept]]\npath = "toys/cat"\ntrigger = "sks"\nclass_word = "cat"\nkeyword = "[V_h] hat"\n'
CAPTION = "sks cat, [V_h] hat, red, on grass, Smile"


@pytest.fixture
def folder(tmp_path):
    """Three pictures of one concept, with captions, and with more tags in files of their own."""
    place = tmp_path / "data/toys/cat"
    for number in range(3):
        images.write(place / f"{number}.png", np.full((8, 12, 3), 60 * number, np.uint8))
        (place / f"{number}.txt").write_text(CAPTION if number else "sks cat, [V_h] hat, red")
        (place / f"{number}.wd14").write_text("red, cat, animal, on grass" if number else "red, cat, indoors")
    (tmp_path / "data/dataset.toml").write_text(HEAD)
    return tmp_path / "data"


def texts(folder, extension):
    return [file.read_text().strip() for file in sorted(folder.rglob(f"*{extension}"))]


def test_tags_are_told_by_concept(folder):
    """Of the captions without what calls the concept; nothing is written."""
    before = sorted(folder.rglob("*"))
    found = lorabench.captions(folder).table
    rows = [("toys/cat", "red", 3, 1.0, False), *(("toys/cat", tag, 2, 2 / 3, False) for tag in ("on grass", "Smile"))]
    pd.testing.assert_frame_equal(found, pd.DataFrame(rows, columns=found.columns))
    assert sorted(folder.rglob("*")) == before


def test_each_strategy_writes_its_captions(folder, tmp_path):
    """LyCORIS H.3; files that are there stay, unless they are to be replaced."""
    blacklist = tmp_path / "bound.toml"
    blacklist.write_text('"toys/*" = ["Cat", "animal"]\n')
    for strategy in ("all", "none"):
        lorabench.captions(folder, strategy=strategy, tags="wd14")
    own = "sks cat, [V_h] hat"
    assert texts(folder, ".all_tags")[0] == f"{own}, red, cat, indoors"
    assert texts(folder, ".no_tags") == [own] * 3
    kept = lorabench.captions(folder, strategy="adjusted", tags=".wd14", blacklist=blacklist)
    assert len(kept.kept) == 3 and not kept.written and texts(folder, ".txt")[1] == CAPTION
    lorabench.captions(folder, strategy="adjusted", tags=".wd14", blacklist=blacklist, replace=True)
    assert texts(folder, ".txt") == [f"{own}, red, indoors", *[f"{own}, red, on grass"] * 2]
    lorabench.captions(folder, strategy="all", tags="wd14", kind="by wd14")
    assert len(texts(folder, ".by_wd14")) == 3


def test_pictures_without_captions_get_theirs(folder):
    for file in folder.rglob("*.txt"):
        file.unlink()
    with pytest.raises(UserError, match="no caption"):
        datasets.read_dataset(folder)
    lorabench.captions(folder, strategy="all", tags="wd14", kind="adjusted tags")
    assert [image.caption for image in datasets.read_dataset(folder).images] == texts(folder, ".txt")


def test_what_cannot_be_is_a_sentence(folder, tmp_path):
    def told(*words):
        done = lorabench_here("captions", str(folder), *words)
        assert done.returncode == 2, done.stdout
        return done.stderr

    assert "--blacklist" in told("--strategy", "adjusted")
    assert "did you mean" in told("--strategy", "adjust") or "adjusted" in told("--strategy", "adjust")
    assert "not both" in told("--tags", "wd14", "--tagger", "mini")
    assert "--kind is a name" in told("--strategy", "none", "--kind", "../x")
    assert "3 of 3 pictures have no tags" in told("--tags", "booru")
    assert "--weights" in told("--tagger", "wd14") and "--weights" in told("--tagger", "blip")
    assert "wd14" in told("--tagger", "wd15")
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('"toys/dog" = ["red"]')
    assert "toys/dog" in told("--blacklist", str(wrong))
    wrong.write_text('"toys/*" = "red"')
    assert "a blacklist is lines as" in told("--blacklist", str(wrong))


def test_wd14_reads_the_network_as_its_authors_run_it(tmp_path):
    """Blue first, 0 to 255, in a white square; ratings and characters are no tags; underscores are spaces."""
    weights = np.array(
        [[0.01, 0, 0, -0.02], [0, 0, 0, 0], [-0.01, 0, 0.01, 0]], np.float32
    )  # of means: blue, green, red
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["x", "axes"], ["means"], keepdims=0),
            helper.make_node("MatMul", ["means", "w"], ["logits"]),
            helper.make_node("Sigmoid", ["logits"], ["y"]),
        ],
        "tagger",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 16, 16, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([1, 2]), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, tmp_path / "model.onnx")
    (tmp_path / "selected_tags.csv").write_text(
        "tag_id,name,category,count\n1,sensitive,9,5\n2,long_hair,0,4\n3,>_<,0,3\n4,some_one,4,2\n"
    )
    tagger = components.find("taggers", "wd14").load(tmp_path, torch.device("cpu"))
    red_and_wide = np.zeros((8, 16, 3), np.uint8)
    red_and_wide[..., 0] = 200
    (found,) = tagger.tags([red_and_wide])
    mean = (200 + 255) / 2  # of red, half of the square being white
    assert found.keys() == {"long hair", ">_<"}
    assert found == pytest.approx({"long hair": 0.5, ">_<": 1 / (1 + np.exp(-0.01 * mean))}, abs=0.01)
    (tmp_path / "selected_tags.csv").write_text("tag_id,name,category,count\n1,sensitive,9,5\n")
    with pytest.raises(UserError, match="names 1 tags, and the network has 4"):
        components.find("taggers", "wd14").load(tmp_path, torch.device("cpu")).tags([red_and_wide])
    (tmp_path / "model.onnx").write_bytes(b"no network")
    with pytest.raises(UserError, match="cannot be loaded"):
        components.find("taggers", "wd14").load(tmp_path, torch.device("cpu"))


def test_blip_says_what_transformers_says(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "a", "red", "cat"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    tokenizer = BertTokenizer(str(tmp_path / "vocab.txt"), bos_token="[DEC]")
    text = BlipTextConfig(
        vocab_size=len(words), hidden_size=16, encoder_hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=2, max_position_embeddings=32, bos_token_id=5, pad_token_id=0, sep_token_id=3,
    )  # fmt: skip
    vision = BlipVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8
    )
    torch.manual_seed(0)
    sizes = {"text_config": text.to_dict(), "vision_config": vision.to_dict(), "projection_dim": 16}
    model = BlipForConditionalGeneration(BlipConfig(**sizes)).eval()
    processor = BlipProcessor(BlipImageProcessor(size={"height": 16, "width": 16}), tokenizer)
    model.save_pretrained(tmp_path / "blip")
    processor.save_pretrained(tmp_path / "blip")
    picture = np.random.default_rng(0).integers(0, 256, (20, 16, 3), dtype=np.uint8)
    (found,) = components.find("taggers", "blip").load(tmp_path / "blip", torch.device("cpu")).tags([picture])
    with torch.no_grad():
        ids = model.generate(**processor(images=picture, return_tensors="pt"), max_new_tokens=50, do_sample=False)
    expected = processor.decode(ids[0], skip_special_tokens=True).strip()
    assert found == ({expected: 1.0} if expected else {})
    with pytest.raises(UserError, match="no folder of a BLIP captioner"):
        components.find("taggers", "blip").load(tmp_path, torch.device("cpu"))


def test_the_miniature_worlds_tagger_knows_that_worlds_words(folder):
    found = json.loads(lorabench_here("captions", str(folder), "--tagger", "mini", "--json", "--quiet").stdout)
    assert found["table"] and {"concept", "tag", "pictures", "share", "dropped"} == found["table"][0].keys()


def test_kinds_of_captions_are_what_a_config_sees(folder):
    """And no other key: the data set's own captions leave its fingerprint, and with it all trainings, as they were."""
    dataset = datasets.load_dataset(folder)
    assert datasets.with_captions(dataset, "adjusted tags") is dataset
    none = datasets.with_captions(dataset, "no tags")
    assert {image.caption for image in none.images} == {"sks cat, [V_h] hat"}
    with pytest.raises(UserError, match=r"3 of 3 pictures have no caption of the kind 'all tags'.*\.all_tags"):
        datasets.with_captions(dataset, "all tags")
    lorabench.captions(folder, strategy="all", tags="wd14")
    every = datasets.with_captions(dataset, "all tags")
    assert [image.caption for image in every.images] == texts(folder, ".all_tags")
    assert len({dataset.fingerprint, none.fingerprint, every.fingerprint}) == 3


def test_captions_of_configs_are_the_factor_that_the_claims_ask_for(tmp_path):
    study = tmp_path / "study.toml"
    study.write_text(
        'name = "x"\nextends = "mini"\n[[grid]]\nalgorithm = "lora"\ndim = 4\nlr = 1e-3\n'
        'vary = [{ captions = "no tags" }, { captions = "all tags" }]\n'
    )
    found = config.training_factors(config.expand(config.load_study(study)))
    assert {values["captions"] for values in found.values()} == {"adjusted tags", "no tags", "all tags"}
    assert list(found) == ["lora-linear-d4-lr1e-3", "lora-linear-d4-lr1e-3-no-tags", "lora-linear-d4-lr1e-3-all-tags"]


def test_a_caption_names_the_concept_once():
    concept = Concept("toys", "cat", "", "sks", "cat")
    tags = datasets.tags_of("sks cat, red, , red, blue", concept)
    assert tags == ["red", "red", "blue"] and datasets.captioned(concept, tags, ["BLUE"]) == "sks cat, red"
