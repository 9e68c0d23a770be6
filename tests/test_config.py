"""Study files: the grid they come to, and the paper's own."""

from __future__ import annotations

import csv
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from changed_configs import changed
from command_line import ROOT

from lorabench import components, config, mini
from lorabench.config import schema
from lorabench.config.training import TRAINED, Training
from lorabench.datasets.description import ConceptEntry, Description
from lorabench.errors import UserError
from lorabench.pipeline.measuring import metric_requests
from lorabench.records import AdapterConfig, TrainingConfig, told

PAPER = """
lora linear 5e-4 8 4 -|lora linear 5e-4 32 16 -|lora linear 5e-4 32 1 -|lora full 5e-4 8 4 -|lora attention 5e-4 8 4 -
lora linear 1e-4 8 4 -|lora linear 1e-3 8 4 -
loha linear 5e-4 4 2 -|loha linear 5e-4 16 8 -|loha linear 5e-4 16 1 -|loha full 5e-4 4 2 -|loha attention 5e-4 4 2 -
loha linear 1e-3 4 2 -|loha linear 1e-4 4 2 -
lokr linear 5e-4 - - 8|lokr linear 5e-4 - - 4|lokr linear 5e-4 - - 12|lokr full 5e-4 - - 8|lokr attention 5e-4 - - 8
lokr linear 1e-3 - - 8|lokr linear 1e-4 - - 8
native linear 1e-6 - - -|native full 1e-6 - - -|native attention 1e-6 - - -
native linear 5e-6 - - -|native linear 5e-7 - - -
"""  # LyCORIS, appendix D.2: the 26 configs


def read(text: str) -> config.Study:
    return config.study_from(tomllib.loads(text), Path("study.toml"))


def test_paper_study_is_the_papers_grid():
    study = config.load_study(ROOT / "configs/paper.toml")
    configs = config.expand(study)
    factors = ("algorithm", "trained_layers", "lr", "dim", "alpha", "factor")
    ours = {tuple(each.flat[key] for key in factors) for each in configs}
    number = lambda text: None if text == "-" else float(text)  # noqa: E731
    theirs = {
        (algorithm, layers, float(lr), number(dim), number(alpha), number(factor))
        for algorithm, layers, lr, dim, alpha, factor in csv.reader(
            PAPER.strip().replace("\n", "|").split("|"), delimiter=" "
        )
    }
    assert ours == theirs
    assert len(configs) * len(study.seeds) * len(study.training.checkpoint_epochs) == 234
    assert study.seeds == (23, 24, 25)
    first = configs[0].training
    assert (first.weight_decay, first.betas, first.max_grad_norm) == (0.1, (0.9, 0.99), 1.0)
    assert (first.warmup_epochs, first.batch_size, first.caption_dropout, first.max_tokens) == (5, 8, 0.05, 150)
    assert (study.sampling.steps, study.sampling.guidance, study.sampling.size) == (25, 7, 512)
    assert study.explain.epochs == {"scenes": (10,), "stuffed_toys": (10,)}


def test_paper_study_measures_what_the_paper_reports():
    """Section 5.3 and figure 5; `paper_compat` is the same by the authors' code, the grid and the data included."""
    found = {}
    for name in ("paper", "paper_compat"):
        study = config.load_study(ROOT / f"configs/{name}.toml")
        asked = Counter((each.metric, each.encoder) for each in metric_requests(study))
        found[name] = study, {key: asked[key] for key in sorted(asked)}
    study, paper = found["paper"]
    seen = ("dinov2", "clip", "convnextv2")
    expected = {("image_similarity", name): 3 for name in seen}
    expected |= {("squared_centroid_distance", name): 3 for name in seen} | {("vendi", name): 1 for name in seen}
    expected |= {("text_similarity", "clip"): 1, ("style_loss_base", "vgg19"): 1, ("style_loss_data", "vgg19"): 1}
    assert paper == expected
    authors, compat = found["paper_compat"]
    theirs = {"convnextv2": "convnextv2_logits", "vgg19": "vgg19_half"}
    assert compat == {(metric, theirs.get(name, name)): count for (metric, name), count in expected.items()}
    assert (authors.images.noise, authors.images.webp_quality) == ("index", 80)
    assert authors.training == study.training.model_copy(update={"optimizer": "adamw8bit"})
    same = ("base", "seeds", "data", "grid", "explain", "run")
    assert all(getattr(authors, key) == getattr(study, key) for key in same)


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.toml")), ids=lambda file: file.stem)
def test_every_study_reads_and_expands(file):
    study = config.load_study(file)
    assert study.name == file.stem
    names = [each.name for each in config.expand(study)]
    assert len(set(names)) == len(names) > 0


def test_mini_studies_keep_their_promises():
    own_mini = config.load_study(ROOT / "configs/mini.toml")
    configs = config.expand(own_mini)
    assert {each.adapter.algorithm for each in configs} == {"lora", "loha", "lokr", "native"}
    assert len(configs) >= 8 and len(own_mini.seeds) >= 2 and len(own_mini.training.checkpoint_epochs) >= 2
    assert own_mini.images.per_set >= 8
    paper = config.expand(config.load_study(ROOT / "configs/paper.toml"))
    same = config.expand(config.load_study(ROOT / "configs/mini_paper.toml"))
    # Narrow layers take half the paper's factors; all else but the learning rates is the paper's.
    halves = {4: 2, 8: 4, 12: 8, None: None}
    shapes = [replace(each.adapter, factor=halves[each.adapter.factor]) for each in paper]
    assert sorted(map(str, (each.adapter for each in same))) == sorted(map(str, shapes))


def test_product_takes_all_combinations_and_vary_one_at_a_time():
    row = "name = 'x'\n[[grid]]\nalgorithm = 'lora'\nlr = 1e-3\ndim = 4\nalpha = 2\n"
    product = config.expand(read(row + "product = { lr = [1e-3, 1e-4], dim = [4, 8] }"))
    assert [(each.training.lr, each.adapter.dim) for each in product] == [(1e-3, 4), (1e-3, 8), (1e-4, 4), (1e-4, 8)]
    vary = config.expand(read(row + "vary = [{ lr = 1e-4 }, { dim = 8, name = 'big' }]"))
    assert [(each.training.lr, each.adapter.dim) for each in vary] == [(1e-3, 4), (1e-4, 4), (1e-3, 8)]
    assert [each.name for each in vary] == ["lora-linear-d4a2-lr1e-3", "lora-linear-d4a2-lr1e-4", "big"]
    assert changed(vary[1], lr=1e-3, name=vary[0].name) == vary[0]


def test_two_configs_of_one_name_are_refused():
    with pytest.raises(UserError, match="both called 'lora-linear-d4-lr1e-3'"):
        config.expand(read("name='x'\n[[grid]]\nalgorithm='lora'\nlr=1e-3\ndim=4\nvary=[{dim=4}]"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = 'x'\nseeds = []", "'seeds'"),
        ("name = 'x'\nseeds = [-1]", "'seeds[0]'"),
        ("name = 'x y'", "'name'"),
        ("nme = 'x'", "Did you mean 'name'?"),
        ("name = 'x'\n[training]\nepochs = 3", "checkpoint_epochs go up to 50, but epochs = 3"),
        ("name = 'x'\n[[grid]]\nalgorithm = 'lora'\nlr = nan", "grid[0].lr"),
        ("name = 'x'\n[[grid]]\nalgorithm = 'lora'\nlr = 1\nvary = [{ dimm = 3 }]", "'grid[0].vary[0].dimm'"),
        ("name = 'x'\n[images]\nguidance = -1", "images.guidance"),
        ("name = 'x'\n[encoders]\nclip = { weight = 'x' }", "Did you mean 'weights'?"),
    ],
)
def test_mistakes_are_sentences_with_the_place(text, says):
    with pytest.raises(UserError) as caught:
        read(text)
    assert says in str(caught.value)
    assert "study.toml" in str(caught.value)


def test_paths_are_relative_to_the_file_and_hub_ids_stay(tmp_path):
    (tmp_path / "study.toml").write_text("name = 'x'\n[data]\nfolder = 'pictures'\n[images]\nprompts = '../p'")
    study = config.load_study(tmp_path / "study.toml")
    assert study.data.folder == str(tmp_path / "pictures")
    assert study.images.prompts == str(tmp_path.parent / "p")
    assert study.base == "stable-diffusion-v1-5/stable-diffusion-v1-5"


def write(folder: Path, **studies: str) -> Path:
    """Study files; the first is the one to load."""
    for name, text in studies.items():
        (folder / f"{name}.toml").write_text(text)
    return folder / f"{next(iter(studies))}.toml"


def test_a_study_extends_another_key_by_key(tmp_path):
    shipped = config.load_study(ROOT / "configs/mini.toml")
    row = "[[grid]]\nalgorithm = 'lora'\nlr = 1e-3\n"
    path = write(
        tmp_path,
        top="name = 'top'\nextends = './middle.toml'\n[data]\nfolder = 'own'\n" + row,
        middle="name = 'middle'\ndescription = 'x'\nextends = 'mini'\n[images]\nper_set = 3\nprompts = 'p'\n"
        "[encoders]\nclip = { resize = 'stretch' }\n[explain]\nexclude = ['loha*']",
    )
    study = config.load_study(path)
    assert (study.name, study.description, study.base) == ("top", "", shipped.base)
    assert (study.images.per_set, study.images.steps) == (3, shipped.images.steps)
    assert study.images.prompts == str(tmp_path / "p")  # of the file that holds it
    assert study.encoders["clip"] == shipped.encoders["clip"].model_copy(update={"resize": ("stretch",)})
    assert len(config.expand(study)) == 1 and study.metrics == shipped.metrics
    # Patterns over the other's data and grid went with them.
    assert (study.data.folder, study.data.concepts, study.explain.exclude) == (str(tmp_path / "own"), (), ())
    assert "extends" not in study.model_dump()


@pytest.mark.parametrize(
    ("top", "below", "says"),
    [
        ("[images]\nsteps = 3", "[images]\nper_set = 0", "below.toml: 'images.per_set'"),
        ("[images]\nper_set = 0", "[images]\nper_set = 3", "top.toml: 'images.per_set'"),
        ("[images]\nsteps = 3", "[images]\nper_sett = 3", "below.toml: unknown key 'images.per_sett'. Did you mean"),
        ("[[grid]]\nalgorithm = 'lora'", "[[grid]]\nalgorithm = 'lora'\nlr = 1", "top.toml: 'grid[0].lr' is missing"),
        ("seeds = 3", "seeds = [1]", "top.toml: 'seeds'"),
        ("", "extends = 'top.toml'", "below.toml: 'extends': studies extend each other in a circle"),
        ("", "extends = 'minni'", "Did you mean 'mini'?"),
        ("", "extends = 'none.toml'", "below.toml: 'extends': there is no study file"),
        ("", "extends = 3", "below.toml: 'extends': must be the name or the path of a study, got 3"),
        ("", "name = ", "below.toml is not valid TOML"),
    ],
)
def test_mistakes_name_the_file_that_holds_the_key(tmp_path, top, below, says):
    path = write(tmp_path, top=f"name = 'top'\nextends = 'below.toml'\n{top}", below=below)
    with pytest.raises(UserError) as caught:
        config.load_study(path)
    assert says in str(caught.value)


def test_a_name_is_each_study_s_own(tmp_path):
    with pytest.raises(UserError, match=r"top.toml: 'name' is missing"):
        config.load_study(write(tmp_path, top="extends = 'mini'"))


def test_bases_and_prompts_by_name(tmp_path):
    (tmp_path / "some").mkdir()

    def base(text: str) -> str:
        return config.load_study(write(tmp_path, top=f"name = 'x'\nbase = '{text}'")).base

    assert base("mini") == base("lorabench:mini/weights/base") == str(mini.base_path())
    assert base("some") == base("path:some") == base("./some") == str(tmp_path / "some")
    assert (base("some/where"), base("path:some/where")) == ("some/where", str(tmp_path / "some/where"))
    assert Path(read("name = 'x'").images.prompts, "alter/characters.txt").is_file()


@pytest.mark.parametrize("table", [*schema.Section.__subclasses__(), schema.GridRow, ConceptEntry, Description])
def test_every_key_is_described(table):
    """In the docs they stand with these words."""
    bare = {name for name, field in table.model_fields.items() if not field.description}
    assert not {name for name in bare if not isinstance(table.model_fields[name].default, schema.Section)}


@pytest.mark.parametrize(
    ("algorithm", "options", "method", "behind"),
    [
        ("lora", {}, "lora", "lora"),
        ("lora", {"dora": True}, "dora", "lora"),
        ("lokr", {"dora": True}, "dora:lokr", "lokr"),
        ("peft", {"peft": {"peft_type": "VERA", "r": 8}}, "peft:VERA", "peft"),
    ],
)
def test_tables_tell_apart_what_one_algorithm_can_be(algorithm, options, method, behind):
    assert AdapterConfig(algorithm, **options).method == method
    assert components.algorithm_of(method).name == behind


def test_a_row_says_how_its_configs_are_trained(tmp_path):
    study = tmp_path / "study.toml"
    study.write_text("""
name = "s"
[training]
loss = "l1"
epochs = 4
checkpoint_epochs = [2, 4]
warmup_epochs = 0.5
[[grid]]
algorithm = "lora"
lr = 1e-3
dim = 4
batch_size = 2
vary = [
  { loss = "huber", huber_c = 0.2 },
  { schedule = "cosine", train_text_encoder = false },
  { optimizer = "prodigy", optimizer_options = { d_coef = 2.0 }, lr = 1.0 },
]
[[grid]]
algorithm = "native"
lr = 1e-6
""")
    configs = config.expand(config.load_study(study))
    assert [each.name for each in configs] == [
        "lora-linear-d4-lr1e-3-batch-size2",
        "lora-linear-d4-lr1e-3-batch-size2-huber-huber-c0.2",
        "lora-linear-d4-lr1e-3-batch-size2-cosine-no-train-text-encoder",
        "lora-linear-d4-lr1e0-batch-size2-prodigy-d-coef2",
        "native-linear-lr1e-6",
    ]
    first, huber, cosine, prodigy, native = (each.training for each in configs)
    assert (first.loss, huber.loss, huber.huber_c, native.loss) == ("l1", "huber", 0.2, "l1")
    assert (cosine.schedule, configs[2].adapter.train_text_encoder) == ("cosine", False)
    assert (prodigy.optimizer, prodigy.optimizer_options, prodigy.lr) == ("prodigy", {"d_coef": 2.0}, 1.0)
    assert [each.batch_size for each in (first, huber, cosine, prodigy, native)] == [2, 2, 2, 2, 8]
    factors = config.training_factors(configs)
    varied = {
        "batch_size",
        "loss_function",
        "huber_c",
        "schedule",
        "optimizer",
        "optimizer_options",
        "train_text_encoder",
    }
    assert {name for of in factors.values() for name in of} == varied
    assert factors["native-linear-lr1e-6"]["train_text_encoder"] == "yes" and factors[configs[1].name]["huber_c"] == 0.2


def test_what_is_not_used_of_training_is_not_told():
    """Keys of artifacts and of studies stay what they were before there were more ways to train."""
    assert set(TrainingConfig(1e-3).__dict__) > set(told(TrainingConfig(1e-3)))
    assert "loss" not in told(TrainingConfig(1e-3)) and told(TrainingConfig(1e-3, loss="l1"))["loss"] == "l1"
    training = config.load_study(ROOT / "configs/mini.toml").training
    assert not {"loss", "schedule", "flip"} & training.model_dump().keys()
    # The record, and what a study file says, have one default.
    for name in TRAINED:
        if name in TrainingConfig.__dataclass_fields__ and name not in ("warmup_epochs",):
            assert getattr(TrainingConfig(), name) == Training.model_fields[name].get_default(call_default_factory=True)


def test_what_came_later_is_in_no_key_where_nobody_uses_it():
    """Runs of before there was a setting are up to date still: their keys are made of these alone."""
    study = config.load_study(Path("mini"))
    flat = config.expand(study)[0].flat
    adapter = "name algorithm trained_layers dim alpha factor conv_dim conv_alpha tucker dora decompose_both peft"
    parts = "train_text_encoder train_unet lr text_encoder_lr weight_decay betas max_grad_norm batch_size"
    length = "caption_dropout resolution max_tokens warmup_epochs epochs checkpoint_epochs"
    assert set(flat) == {*adapter.split(), *parts.split(), *length.split()}
    assert set(told(study.sampling)) == {"steps", "guidance", "size", "max_tokens", "negative_prompt"}
    assert {"vae", "merge"}.isdisjoint(study.model_dump()) and "class_images" not in study.model_dump()["data"]
    assert "checkpoint_steps" not in config.Sweep(steps=4).model_dump()
