"""Prompts: the paper's protocol of counts, noise and text for alignment."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from lorabench.errors import UserError
from lorabench.pipeline.training_sets import partners
from lorabench.prompts import build_prompt_sets, stand_ins, text_for_alignment
from lorabench.records import Concept, Dataset, TrainingImage
from lorabench.seeds import derive_seed

PROMPTS = Path(__file__).parents[1] / "prompts"
ROOK = Concept("movie_characters", "rook", "realistic", "[V_rook]", "man", "realistic", alter="characters")
UNIFORM = Concept(
    "anime_characters", "abukuma", "dark", "[V_abukuma]", "anime girl", "[V_dark uniform] outfit", alter="characters"
)
STYLE = Concept("styles", "ghibli", "", "[V_ghibli]", "style", alter="styles", alignment="")
FIGURE = Concept("movie_characters", "zorp", "figurine", "[V_zorp]", "person", "[V_figure] figurine")
CASTLE = Concept("scenes", "castle", "", "[V_castle]", "scene", alter="castle", alignment="castle")


def dataset(*concepts: Concept, captions: int = 3) -> Dataset:
    images = tuple(
        TrainingImage(concept.id, Path(f"{k}.png"), f"{concept.descriptor}, tag {k}")
        for concept in concepts
        for k in range(captions)
    )
    return Dataset("d", "1", "", "", concepts, images, "0")


def sets(concept: Concept, *types: str, n: int = 100, captions: int = 3, seed: int = 0, noise="hashed"):
    return build_prompt_sets(dataset(concept, captions=captions), PROMPTS, types, n, seed, noise)


def test_prompts_of_the_paper_make_14900_images():
    # 39 evaluated leaves, 7 of them styles: 39 x 3 + 32 sets (LyCORIS D.3); `others` of movie characters have none.
    leaves = [Concept("scenes", f"s{k}", "", f"[V_{k}]", "scene", alter="castle") for k in range(32)]
    leaves += [Concept("styles", f"s{k}", "", f"[V_{k}]", "style", alter="styles") for k in range(7)]
    leaves += [Concept("movie_characters", "m", "others", "[V_m]", "man", alter="characters", evaluated=False)]
    types = ("train", "trigger", "alter", "style")
    built = build_prompt_sets(dataset(*leaves), PROMPTS, types, 100, 0)
    assert sum(len(prompt_set.requests) for prompt_set in built) == 14_900


def test_templates_are_complete():
    counts = {path.stem: len(path.read_text().splitlines()) for path in (PROMPTS / "alter").glob("*.txt")}
    assert len(counts) == 10 and set(counts.values()) == {10}
    assert len((PROMPTS / "style.txt").read_text().splitlines()) == 5


def test_two_concepts_in_one_prompt_are_of_two_classes():
    dark, light = UNIFORM, replace(UNIFORM, subclass="light", keyword="[V_light uniform] outfit")
    three = dataset(dark, light, STYLE, ROOK)
    built = {each.concept.id: each for each in build_prompt_sets(three, PROMPTS, ["together"], 4, 0)}
    prompt = built[STYLE.id].requests[-1].prompt
    assert prompt.text == "[V_ghibli] style, [V_rook] man, realistic"
    assert prompt.text_for_alignment == "man, realistic"
    texts = [request.prompt.text for request in built[dark.id].requests]
    assert texts == [f"{dark.descriptor}, {other.descriptor}" for other in (STYLE, STYLE, ROOK, ROOK)]
    # Where trainings saw the one without the other, those alone are asked for together.
    apart = partners(three, [["anime_characters/*", "movie_characters/*"], ["styles/*"], []])
    named = {id_: [each.id for each in found] for id_, found in apart.items()}
    assert named == {STYLE.id: [dark.id, light.id, ROOK.id], **dict.fromkeys((dark.id, light.id, ROOK.id), [STYLE.id])}
    assert partners(three, [()])[ROOK.id] == [dark, light, STYLE]


def test_images_are_spread_over_prompts_and_first_captions_are_used():
    (few,) = sets(ROOK, "train", n=100, captions=3)
    assert list(Counter(request.prompt.text for request in few.requests).values()) == [34, 33, 33]
    (many,) = sets(ROOK, "train", n=4, captions=9)
    assert [request.prompt.text[-5:] for request in many.requests] == ["tag 0", "tag 1", "tag 2", "tag 3"]
    assert [request.index for request in many.requests] == [0, 1, 2, 3]


def test_texts_of_each_type():
    trigger, alter, style, drift = sets(UNIFORM, "trigger", "alter", "style", "drift")
    assert {request.prompt.text for request in trigger.requests} == {"[V_abukuma] anime girl, [V_dark uniform] outfit"}
    assert (
        alter.requests[30].prompt.text == "[V_abukuma] anime girl, [V_dark uniform] outfit playing with their pet dog"
    )
    assert style.requests[99].prompt.text.endswith("outfit in the style of pixel art")
    assert all(request.prompt.text == request.prompt.text_for_alignment for request in drift.requests)
    assert [built.type for built in sets(STYLE, "trigger", "style")] == ["trigger"]
    plain = Concept("own", "x", "", "x", "toy", has_style_prompts=False)
    assert sets(plain, "alter", "style") == []


def test_assumed_templates_have_stand_ins_and_named_ones_have_not(tmp_path):
    (tmp_path / "alter").mkdir()
    (tmp_path / "alter/scenes.txt").write_text("{} in spring\n")
    castle = replace(CASTLE, alter_else=("scenes", "anything"))
    tram = Concept("vehicles", "tram", "", "[V_tram]", "tram", alter="anything", alter_else=("anything",))
    both = dataset(castle, tram)
    built = build_prompt_sets(both, tmp_path, ["alter"], 1, 0)
    assert built[0].requests[0].prompt.text == "[V_castle] scene in spring"
    assert built[1].requests[0].prompt.text.startswith("[V_tram] tram on a beach")  # the shipped one
    assert ["castle" in text and "'scenes' stands" in text for text in stand_ins(both, tmp_path)] == [True, False]
    assert "'anything' of the shipped prompts" in stand_ins(both, tmp_path)[1]
    assert stand_ins(both, PROMPTS) == []
    with pytest.raises(UserError, match="Unknown prompt template 'castle'"):
        build_prompt_sets(dataset(CASTLE), tmp_path, ["alter"], 1, 0)


def test_noise_depends_on_study_concept_type_and_index_only():
    def seeds(concept: Concept = ROOK, type_: str = "trigger", **options) -> list[int]:
        return [request.noise_seed for request in sets(concept, type_, **options)[0].requests]

    assert seeds(n=7) == seeds(n=100)[:7]
    assert len({*seeds(), *seeds(CASTLE), *seeds(type_="alter"), *seeds(seed=1)}) == 400
    assert seeds(noise="index") == list(range(1000, 1100))


def test_derived_seeds_are_fixed_and_tell_parts_apart():
    assert derive_seed(0, "a", 1) == derive_seed(0, "a", 1) < 2**63
    assert derive_seed(0, "scenes/castle", "alter", 3) == 4396752778601227603  # in every process, on every machine
    assert len({derive_seed(1), derive_seed("1"), derive_seed("a", "b"), derive_seed("ab"), derive_seed("a,b")}) == 5


@pytest.mark.parametrize(
    ("concept", "text", "expected"),
    [
        (ROOK, "[V_rook] man, realistic paddling a canoe", "man, realistic paddling a canoe"),
        (ROOK, "[V_rook] man, realistic, smile", "man, realistic, smile"),
        (ROOK, "a portrait of [V_rook]", "a portrait of man"),
        (ROOK, "[V_rook] manly figure", "man manly figure"),  # the class word is a word, not a part of one
        (UNIFORM, "[V_abukuma] anime girl, [V_dark uniform] outfit", ""),
        (UNIFORM, "[V_abukuma] anime girl, [V_dark uniform] outfit selfie standing", "selfie standing"),
        (UNIFORM, "[V_abukuma] anime girl, [V_dark uniform] outfit, smile, boots", "smile, boots"),
        (UNIFORM, "[V_abukuma] anime girl, smile, [V_dark uniform] outfit, boots", "smile, boots"),
        (replace(UNIFORM, alignment="girl"), "[V_abukuma] anime girl, [V_dark uniform] outfit, smile", "girl, smile"),
        (UNIFORM, "a girl in [V_dark uniform] outfit, boots", "a girl, boots"),
        (FIGURE, "[V_zorp] person, [V_figure] figurine in the snow", "person, figurine in the snow"),
        (STYLE, "[V_ghibli] style", ""),
        (STYLE, "[V_ghibli] style of a city skyline during sunset", "a city skyline during sunset"),
        (STYLE, "[V_ghibli] style, outdoors, sky", "outdoors, sky"),
        (STYLE, "outdoors, [V_ghibli] style, sky", "outdoors, sky"),
        (STYLE, "a puppy in front of the [V_ghibli] style with a ball", "a puppy with a ball"),
        (STYLE, "a red cardinal flying in [V_ghibli] style", "a red cardinal flying"),
        (CASTLE, "A peacock in front of the [V_castle] scene", "A peacock in front of the castle"),
        (CASTLE, "[V_castle] scene, made of crystal, shimmers", "castle, made of crystal, shimmers"),
    ],
)
def test_text_for_alignment(concept, text, expected):
    assert text_for_alignment(text, concept) == expected


def test_missing_and_wrong_templates_are_named(tmp_path):
    with pytest.raises(UserError, match=r"Unknown prompt template 'castel'. Did you mean 'castle'\?.*alter"):
        sets(Concept("scenes", "c", "", "c", "scene", alter="castel"), "alter")
    (tmp_path / "style.txt").write_text("{} as a drawing\n\nno place here\n")
    with pytest.raises(UserError, match=r"style.txt: 'no place here' has no \{\}"):
        build_prompt_sets(dataset(CASTLE), tmp_path, ["style"], 10, 0)
    with pytest.raises(UserError, match="Unknown prompt type 'styles'. Did you mean 'style'"):
        build_prompt_sets(dataset(CASTLE), PROMPTS, ["styles"], 10, 0)
