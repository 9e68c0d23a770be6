"""Pictures that were drawn elsewhere are scored as those of a study are, whatever drew them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import SMOKE, lorabench_here
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import lorabench
from lorabench.api import picture_prompts
from lorabench.picture_metadata import Drawn
from lorabench.records import Concept, Dataset, TrainingImage
from lorabench.shipped import PROMPTS

LEAF = ["checkpoint", "category", "class_name", "subclass", "prompt_type", "metric", "encoder", "resize"]
ENCODERS = "\n".join(
    f'{name} = {{ weights = "lorabench:mini/weights/{name}" }}' for name in ("dinov2", "clip", "convnextv2", "vgg19")
)


SOME = ("base", "lora-linear-d4a2-lr5e-3-s1-e1", "native-linear-lr3e-4-s2-e2")


def a1111(prompt: str, seed: int) -> tuple[str, str]:
    settings = f"Steps: 4, Sampler: DDIM, CFG scale: 5, Seed: {seed}, Size: 64x64"
    return "parameters", f"{prompt}\nNegative prompt: blurry\n{settings}"


def comfyui(prompt: str, seed: int) -> tuple[str, str]:
    sampler = {"seed": seed, "model": ["4", 0], "positive": ["6", 0], "negative": ["7", 0]}
    texts = {
        name: {"class_type": "CLIPTextEncode", "inputs": {"text": text}} for name, text in (("6", prompt), ("7", ""))
    }
    return "prompt", json.dumps({"3": {"class_type": "KSampler", "inputs": sampler}, **texts})


def drawn_elsewhere(run: Path, folder: Path) -> Path:
    """Some checkpoints' pictures as other programs would have left them: four of five by one, the fifth by another."""
    table = pd.read_parquet(run / "images.parquet")
    kept = table["file"].notna() & table["checkpoint"].isin(SOME)
    for number, row in enumerate(table[kept].itertuples()):
        info = PngInfo()
        info.add_itxt(*(comfyui if number % 5 == 4 else a1111)(row.prompt, int(row.noise_seed)))
        target = folder / row.checkpoint / f"{(number * 7919) % 1000:05d}-{number}.png"  # in another order
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(run / row.file).save(target, pnginfo=info)
    return folder


def test_they_score_as_the_same_pictures_of_a_study_do(smoke_run, tmp_path):
    """Without any base model: its pictures are a folder like the others."""
    study = tmp_path / "study.toml"
    study.write_text(SMOKE.replace("lorabench:mini/weights/base", str(tmp_path / "no base model")))
    folder = drawn_elsewhere(smoke_run, tmp_path / "drawn")
    run = lorabench.score_images(folder, study=study, out=tmp_path / "out", quiet=True)
    own, theirs = pd.read_parquet(smoke_run / "scores.parquet"), run.scores
    own = own[own["checkpoint"].isin([*SOME, "dataset"])]
    both = own.merge(theirs, on=LEAF, how="outer", suffixes=("", "_theirs"), indicator=True)
    assert (both["_merge"] == "both").all()
    np.testing.assert_allclose(both["value_theirs"], both["value"], rtol=1e-6, atol=1e-6)
    assert set(theirs["epoch"].dropna()) == set(own["epoch"].dropna())  # by the names of the folders
    assert run.report.exists() and not run.settings.get("base_id")


def toy_study(folder: Path) -> Path:
    study = folder / "toy.toml"
    study.write_text(f'name = "toy"\n[encoders]\n{ENCODERS}\n')
    return study


def coloured(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    patches = np.random.default_rng(seed).integers(0, 255, (3, 4, 3), dtype=np.uint8)  # noise would be left out
    Image.fromarray(patches).resize((56, 40), Image.Resampling.BICUBIC).save(path)


def test_without_reference_and_base_what_can_be_said_is_said(tmp_path, capsys):
    """Prompts by hand, seeds of 64 bits, pictures of any shape; folders are epochs of one config."""
    folder, prompts = tmp_path / "drawn", {}
    for epoch in (2, 4):
        for number in range(6):
            name = f"toy-{epoch:06d}/{number}.png"
            coloured(folder / name, 10 * epoch + number)
            prompts[name] = f"(sks toy:1.2) on a {'table' if number % 2 else 'hill'} <lora:toy:0.8>"
    lines = ({"file_name": name, "prompt": text, "seed": 2**64 - 1} for name, text in prompts.items())
    (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, lines)))
    coloured(folder / "grid.png", 0)
    (folder / "toy-000004/half.png").write_bytes((folder / "toy-000004/1.png").read_bytes()[:900])
    called, study = {"trigger": "sks", "class_word": "toy"}, toy_study(tmp_path)
    run = lorabench.score_images(folder, **called, study=study, out=tmp_path / "out")
    assert set(run.scores["metric"]) == {"text_similarity", "vendi"}
    assert run.scores.groupby("checkpoint")["epoch"].first().to_dict() == {"toy-000002": 2, "toy-000004": 4}
    assert set(run.scores["config"]) == {"toy"}
    assert set(run.images["noise_seed"]) == {2**64 - 1} and "18446744073709551615" in run.report.read_text()
    assert set(run.images["prompt"]) == {"sks toy on a table", "sks toy on a hill"}
    said = capsys.readouterr().err
    for words in ("Without pictures of the concept (--data FOLDER) there is no image_similarity", "1 picture beside"):
        assert words in said
    assert list(run.failures["item"]) == [str(folder / "toy-000004/half.png")] and run.result.exit_code == 1
    by_hand = lorabench.score_images(folder, **called, prompts=prompts, study=study, out=tmp_path / "2", quiet=True)
    pd.testing.assert_series_equal(by_hand.scores["value"], run.scores["value"])


def test_more_pictures_are_taken_in_unasked_and_runs_of_the_same_prompts_compare(tmp_path):
    """Nothing was drawn that could be lost; what a number means does not depend on which pictures have it."""
    folder, ids = tmp_path / "drawn", []
    for checkpoint in ("Base", "toy-1", "toy-2"):
        for number in range(4):
            name = folder / checkpoint / f"{number}.png"
            coloured(name, len(ids) + number)
            name.with_suffix(".txt").write_text(f"sks toy\nSteps: 4, Seed: {number}, Size: 56x40")
        ids.append(checkpoint)
    asked = {"trigger": "sks", "class_word": "toy", "study": toy_study(tmp_path), "quiet": True}
    found = []
    for _ in range(2):
        run = lorabench.score_images(folder, **asked, out=tmp_path / "out")
        assert set(run.scores["checkpoint"]) == {"base", *ids[1:]} and (run.scores["algorithm"] == "none").any()
        found.append(set(run.scores["metric_id"]))
        coloured(folder / "toy-2/3.png", 99)
    assert found[0] == found[1]
    assert not run.compare(run).configs.empty


CASTLE = Concept("scenes", "castle", "", "[V_castle]", "scene", alter="castle")
DOG = Concept("dogs", "dog", "", "sks", "dog", alter="anything")
RED = Concept("dogs", "dog", "red", "sks", "dog", "red collar", alter="anything")


@pytest.mark.parametrize(
    "prompt, folders, concept, kind, text",
    [
        ("sks dog", "", DOG, "trigger", "dog"),
        ("a photo of a sks dog, sitting", "", DOG, "train", "a photo of a dog, sitting"),
        ("(sks dog:1.3) in space", "", DOG, "alter", "dog in space"),
        ("sks dog, red collar, in space", "", RED, "alter", "dog, red collar, in space"),
        ("photo of [V_castle] scene in winter", "", CASTLE, "alter", "photo of scene in winter"),
        ("a cat", "x/dog", DOG, "drift", "a cat"),
        ("a cat", "scenes/castle", CASTLE, "drift", "a cat"),
        ("", "castle", CASTLE, "trigger", ""),
        ("asks dog", "", None, "", ""),
    ],
)
def test_what_a_picture_is_of(prompt, folders, concept, kind, text):
    caption = TrainingImage(DOG.id, Path("a.png"), "a photo of a sks dog, sitting")
    dataset = Dataset("d", "", "", "", (CASTLE, DOG, RED), (caption,), "")
    drawn = Drawn(Path("a.png"), prompt)
    found = picture_prompts.concept_of(drawn, Path(folders) / "a.png", dataset.concepts)
    assert found == concept
    if found:
        known = picture_prompts.known_prompts(dataset, PROMPTS, ("train", "trigger", "alter", "style"))
        meaning = picture_prompts.prompt_of(drawn, found, known)
        assert (meaning.type, meaning.text_for_alignment) == (kind, text)


def test_what_cannot_be_scored_is_a_sentence(tmp_path):
    folder = tmp_path / "drawn"
    coloured(folder / "a/1.png", 1)
    (folder / "a/prompts.jsonl").write_text('{"file_name": "1.png", "prompt": "x", "concept": "nobody"}')
    coloured(tmp_path / "uncalled/1.png", 1)
    (tmp_path / "uncalled/1.txt").write_text("a cat")
    (tmp_path / "empty").mkdir()
    cases = [
        ([str(tmp_path / "nowhere")], "There is no folder"),
        ([str(tmp_path / "empty")], "There is no picture"),
        ([str(folder)], "Unknown concept 'nobody'"),
        ([str(tmp_path / "uncalled"), "--trigger", "sks"], "holds sks (the first: 'a cat')"),
        ([str(folder), "--base", "someone/model"], "leave --base out"),
        ([str(folder), "--scales", "0,1"], "leave out --per-set"),
        ([str(folder), "--prompts", str(tmp_path / "none.jsonl")], "There is no list"),
        ([str(folder), "--data", str(tmp_path / "none")], "none"),
    ]
    for arguments, words in cases:
        done = lorabench_here("evaluate", "--images", *arguments, "--out", str(tmp_path / "out"))
        assert done.returncode == 2 and words in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()
    both = lorabench_here("evaluate", str(folder), "--images", str(folder))
    assert both.returncode == 2 and "one of the two" in both.stderr


def test_pictures_that_were_not_trained_on_are_a_reference(tmp_path):
    """Beside those that were, and alone; copies of what was trained on have a gap."""
    trained, others, folder = tmp_path / "trained", tmp_path / "others", tmp_path / "drawn"
    for number in range(6):
        coloured(trained / f"{number}.png", number)
        coloured(others / f"{number}.png", 100 + number)
        coloured(folder / "new" / f"{number}.png", 200 + number)
        coloured(folder / "copies" / f"{number}.png", number)
    for picture in folder.rglob("*.png"):
        picture.with_suffix(".txt").write_text(f"sks toy\nSteps: 4, Seed: {picture.stem}, Size: 56x40")
    asked = {"trigger": "sks", "class_word": "toy", "study": toy_study(tmp_path), "reference": others, "quiet": True}
    run = lorabench.score_images(folder, **asked, data=trained, out=tmp_path / "both")
    values = run.scores.pivot_table("value", "checkpoint", "metric")
    gaps = values["image_similarity_gap"]
    assert gaps["copies"] > max(gaps["new"], 0)
    alone = lorabench.score_images(folder, **asked, out=tmp_path / "alone")
    found = alone.scores.pivot_table("value", "checkpoint", "metric")
    assert "image_similarity" not in found and "image_similarity_gap" not in found
    pd.testing.assert_series_equal(
        found["image_similarity_held_out"], values["image_similarity_held_out"].drop("dataset")
    )
