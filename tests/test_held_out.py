"""Which pictures are held out, and what follows from a metric of fidelity where some are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lorabench import components
from lorabench.components import MetricInputs
from lorabench.datasets import hold_out, load_dataset, with_reference
from lorabench.errors import UserError
from lorabench.metrics.copy_rate import copy_rate


def drawn(folder: Path, seeds: range | list[int], caption: str = "sks toy") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        pixels = np.random.default_rng(seed).integers(0, 255, (24, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{seed:03}.png")
        (folder / f"{seed:03}.txt").write_text(caption)
    return folder


def toys(root: Path):
    for name, seeds in {"cat": range(20), "dog": range(100, 110), "owl": range(200, 202)}.items():
        drawn(root / "toys" / name, seeds, f"[V_{name}] toy")
    return load_dataset(root)


def names(images):
    return sorted(image.path.name for image in images)


def test_a_share_is_held_out_of_each_concept_that_is_large_enough(tmp_path):
    dataset = toys(tmp_path)
    held = hold_out(dataset, 0.2, 0, tmp_path)
    assert [len(held.held_out_of(f"toys/{name}")) for name in ("cat", "dog", "owl")] == [4, 2, 0]
    assert names(held.images + held.held_out) == names(dataset.images) and not set(held.images) & set(held.held_out)
    assert any("Too few pictures to hold any out: toys/owl (2)" in said for said in held.assumptions)
    assert held.fingerprint != dataset.fingerprint and held.contents["toys/owl"] == dataset.contents["toys/owl"]
    assert names(hold_out(dataset, 0.2, 1, tmp_path).held_out) != names(held.held_out)
    (tmp_path / "toys/cat/000.png").unlink()  # the others stay where they are
    fewer = hold_out(load_dataset(tmp_path), 4, 0, tmp_path)
    assert len(set(names(fewer.held_out_of("toys/cat"))) & set(names(held.held_out_of("toys/cat")))) >= 3


def test_a_picture_that_is_there_twice_is_on_one_side(tmp_path):
    toys(tmp_path)
    cats = tmp_path / "toys/cat"
    for number in range(20):  # each a second time, and one in another concept too
        (cats / f"again{number}.png").write_bytes((cats / f"{number:03}.png").read_bytes())
        (cats / f"again{number}.txt").write_text("[V_cat] toy")
    (tmp_path / "toys/dog/cat.png").write_bytes((cats / "003.png").read_bytes())
    (tmp_path / "toys/dog/cat.txt").write_text("[V_dog] toy")
    dataset = load_dataset(tmp_path)
    for seed in range(5):
        held = hold_out(dataset, 0.3, seed, tmp_path)
        sides = [{image.path.read_bytes() for image in each} for each in (held.images, held.held_out)]
        assert held.held_out and not sides[0] & sides[1]
    named = hold_out(dataset, ("toys/cat/003.png",), 0, tmp_path)
    assert names(named.held_out) == ["003.png", "again3.png", "cat.png"]


@pytest.mark.parametrize(
    ("holdout", "words"),
    [
        (("003.pgn",), "Unknown picture '003.pgn'."),
        (("toys/owl/*",), "data.holdout takes all pictures of 'toys/owl': nothing is left to train on."),
    ],
)
def test_what_cannot_be_held_out_is_said(tmp_path, holdout, words):
    with pytest.raises(UserError) as refused:
        hold_out(toys(tmp_path), holdout, 0, tmp_path)
    assert words in str(refused.value)


def test_other_pictures_may_be_the_reference(tmp_path):
    """Known by concept, or as the one concept of either; training pictures among them do not count."""
    dataset = load_dataset(drawn(tmp_path / "mine", range(6)), needs_words=False)
    other = drawn(tmp_path / "other name", range(4, 12))
    found = with_reference(dataset, load_dataset(other, needs_words=False))
    assert names(found.held_out) == [f"{n:03}.png" for n in range(6, 12)]
    assert {each.concept_id for each in found.held_out} == {dataset.concepts[0].id}
    assert any("2 of the pictures to compare with are training pictures" in said for said in found.assumptions)
    assert found.fingerprint == dataset.fingerprint and found.contents == dataset.contents  # trained on the same
    with pytest.raises(UserError, match="Unknown concept 'mine"):
        with_reference(toys(tmp_path / "toys"), dataset)


# --- what follows from metrics ----------------------------------------------------------------------------------------


def measured(name, generated, dataset, held_out):
    inputs = MetricInputs(generated, np.zeros(len(generated), int), "train", dataset=dataset, held_out=held_out)
    return components.find("metrics", name).compute(inputs)


def pictures(rng, n, lean=0.0):
    """Of one concept: what all share, what each has of its own, and a lean of the lot by luck."""
    return (np.ones(64) + lean + rng.normal(size=(n, 64))).astype(np.float32)


@pytest.mark.parametrize("metric", ["image_similarity", "squared_centroid_distance"])
def test_copying_has_a_gap_and_learning_has_none_whichever_half_was_trained_on(metric):
    rng = np.random.default_rng(0)
    first, second = pictures(rng, 8), pictures(rng, 8)
    new = pictures(rng, 400)
    for trained, others in ((first, second), (second, first)):
        gaps = {
            "copies": measured(f"{metric}_gap", trained[rng.integers(0, 8, 200)], trained, others).value,
            "new": measured(f"{metric}_gap", new, trained, others).value,
        }
        assert gaps["copies"] > 0.02 and abs(gaps["new"]) < gaps["copies"] / 3, gaps


def test_the_luck_of_the_split_is_taken_off():
    """Some pictures are more typical of a concept than others: who holds them out makes no gap of its own."""
    rng = np.random.default_rng(1)
    distances = rng.uniform(0.2, 2, size=(20, 1))
    real = (np.ones(64) + distances * rng.normal(size=(20, 64))).astype(np.float32)
    new = pictures(rng, 200)
    raw, gaps = [], []
    for _ in range(30):
        order = rng.permutation(20)
        trained, others = real[order[:15]], real[order[15:]]
        near, far = (measured(f"image_similarity{of}", new, trained, others).value for of in ("", "_held_out"))
        raw.append(near - far)
        gaps.append(measured("image_similarity_gap", new, trained, others).value)
    assert np.std(gaps) < np.std(raw) / 3
    swapped = measured("image_similarity_gap", new, others, trained).value
    assert swapped == pytest.approx(-gaps[-1], abs=1e-6)  # of what was trained on neither


def test_a_copy_of_the_one_training_picture_is_known_by_the_others():
    rng = np.random.default_rng(2)
    one, others = pictures(rng, 1), pictures(rng, 9)
    copies = one + 0.05 * rng.normal(size=(20, 64)).astype(np.float32)
    assert measured("copy_rate", copies, one, others).value == 1
    assert measured("copy_rate", pictures(rng, 100), one, others).value < 0.3
    assert measured("image_similarity_gap", copies, one, others).value > 0.3
    assert "there is only one" in measured("copy_rate", copies, one, None).reason
    assert "two real pictures on one side" in measured("image_similarity_gap", copies, one, others[:1]).reason


def test_only_nearness_to_pictures_has_a_gap():
    assert components.following(components.find("metrics", "image_similarity")) == ("_held_out", "_gap")
    for name in ("text_similarity", "vendi", "style_loss_base", copy_rate.name):
        assert components.following(components.find("metrics", name)) == ()
    with pytest.raises(UserError, match="Unknown metric 'vendi_gap'"):
        components.find("metrics", "vendi_gap")
