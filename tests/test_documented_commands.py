"""Every command that README and docs show runs: on tiny stand-ins for what a reader brings along."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command_line import ROOT, SMALL, SMOKE, lorabench_here
from PIL import Image

from lorabench import mini

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), ROOT / "notebooks/README.md", ROOT / "results/README.md"]
# What is not run here, by the words that begin it, and why.
LEFT_OUT = {
    "mini build": "trains for hours; its first steps for a minute (tests/mini/test_training.py)",
    "mini audit": "takes ten minutes",
    "fetch configs/paper.toml": "asks the hub (tests/test_fetching.py)",
    "evaluate my_loras/ --data my_images/ --anchors": "anchors of other pictures: tests/test_early_checks.py",
    "join": "of two parts of a study: tests/pipeline/test_joining.py",
    "replay": "draws all figures, for a minute (tests/pipeline/test_replay.py)",
    "grid configs/paper.toml --device": "needs SD1.5, a GPU and the paper's pictures; its dry run is below",
    "grid configs/mini_": "takes minutes to an hour; configs are read in tests/test_config.py",
    "grid STUDY --until": "takes several seeds and rounds: tests/pipeline/test_until_decided.py",
    "signals": "of a run that holds pictures out: tests/test_signals_command.py",
    "convert results/mini_style": "of a study that is not run here; convert is, by other commands",
    "convert adapter.safetensors words": "of trained words: tests/stages/test_words_trained.py",
    "merge plushie": "adapters of SDXL: tests/test_sdxl.py",
    "evaluate plushie": "SDXL's weights, likewise",
}
DRY = "--dry-run"


def documented() -> list[str]:
    """The commands in blocks of code, and those in running text that have arguments."""
    found = []
    for page in PAGES:
        text = page.read_text()
        text = re.sub(r"<!-- generated: commands -->.*?<!-- end -->", "", text, flags=re.DOTALL)
        blocks = "\n".join(re.findall(r"```\n(.*?)```", text, re.DOTALL))
        inline = re.findall(r"`(lorabench [^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
        lines = [line.split(" #")[0].strip().removeprefix(".venv/bin/") for line in blocks.splitlines()]
        found += [line for line in (*lines, *inline) if re.match(r"lorabench [a-z]+ ", line) and "..." not in line]
    commands = [" ".join(line.split()).removeprefix("lorabench ") for line in found]
    return sorted({command for command in commands if command not in ("mini", "grid")})


COMMANDS = documented()
RUN_HERE = [command for command in COMMANDS if not any(command.startswith(words) for words in LEFT_OUT)]


@pytest.fixture(scope="module")
def stand_ins(small_run, tmp_path_factory) -> Callable[[str, Path], str]:
    """A word of a command, and a folder for what it writes -> what to put in its place."""
    folder = tmp_path_factory.mktemp("stand-ins")
    run = shutil.copytree(small_run, folder / "run")
    study = folder / "study.toml"
    study.write_text(SMALL)
    loras = folder / "my_loras"
    loras.mkdir()
    adapters = sorted(run.glob("checkpoints/lora*/*/epoch-*/adapter.safetensors"))
    for place, file in enumerate(adapters):
        shutil.copy(file, loras / f"{place}.safetensors")
    lora = str(loras / "0.safetensors")
    sheet = folder / "my_loras.csv"
    sheet.write_text("file,optimizer\n" + "".join(f"{file.name},adam\n" for file in loras.iterdir()))
    peft = folder / "my_peft"
    assert lorabench_here("convert", lora, str(peft), "--to", "peft").returncode == 0
    world = mini.write_dataset(folder / "pictures")
    many = folder / "many"  # a ratio takes classes of more than 50 pictures
    for place, file in enumerate(sorted(world.rglob("*.png"))[:102]):
        (many / f"class {place % 2}").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, many / f"class {place % 2}/{place}.png")
    others = shutil.copytree(world / "styles/riso", folder / "others/styles/riso").parents[1]  # never trained on
    for file in others.rglob("*.png"):
        Image.open(file).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(file)
    plain = folder / "plain"  # nobody says what these show
    plain.mkdir()
    for file in sorted(world.rglob("*.png"))[:4]:
        shutil.copy(file, plain)
    drawn = folder / "drawn"
    for place, file in enumerate(sorted(world.rglob("*.png"))[:8]):
        (drawn / f"toy-00000{place % 2}").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, drawn / f"toy-00000{place % 2}/{place}.png")
    (drawn / "prompts.jsonl").write_text(
        "".join(
            f'{{"file_name": "toy-00000{place % 2}/{place}.png", "prompt": "[V_panda] toy, sks dog"}}\n'
            for place in range(8)
        )
    )
    encoders = folder / "encoders.toml"
    encoders.write_text(f'name = "mine"\n{SMOKE[SMOKE.index("[encoders]") :]}')
    named = dict.fromkeys(("results/mini", "results/a", "results/b", "RUN", "RUN_A", "RUN_B"), run)
    named |= {"results/mini_paper": ROOT / "results/reference/mini_paper"}
    named |= dict.fromkeys(("configs/mini.toml", "my-study/study.toml", "STUDY", "STUDY.toml"), study)
    named |= {"my_lora.safetensors": lora, "my_loras.csv": sheet}
    named |= {
        "my_loras/": loras,
        "CKPT_DIR": loras,
        "my_images/": world,
        "my_drawn/": drawn,
        "other_images/": others,
        "ENCODERS": encoders,
        "my_peft/": peft,
    }
    two = {"a.safetensors": lora, "b.safetensors": str(loras / "1.safetensors")}
    named |= {f"{name}{ratio}": f"{file}{ratio}" for name, file in two.items() for ratio in ("", ":0.5", ":1")}
    named |= {"scenes": "styles", "native*": "lora*"}  # of which the run has any
    named |= {"FOLDER": many, "pictures/": many, "my_pictures/": plain}
    return lambda word, out: str(named.get(word) or (out / word if word in WRITTEN else word))


WRITTEN = ("data/paper", "my-study", "my_lora", "out/", "out.safetensors", "both.safetensors", "tables/", "my-folder")


def words_of(command: str, stand_in: Callable[[str, Path], str], out: Path) -> list[str]:
    """The command's words with stand-ins, where they are named: see there."""
    words = [stand_in(word, out) for word in shlex.split(command)]
    name, run = words[0], stand_in("RUN", out)
    if "--images" in words:
        words += ["--study", stand_in("ENCODERS", out)]
    if name == "evaluate" or (name == "grid" and "--verify" not in words):
        words += [DRY] if DRY not in words else []
    if name in ("train", "generate", "encode", "score", "audit", "rank", "explain", "report") or "--verify" in words:
        words += ["--out", str(out / "page") if Path(words[1]).is_dir() else run]
    if name == "diversity":
        words += [] if "--encoder" in words else ["--encoder", "vgg19"]
        words += ["--weights", str(mini.encoder_path("vgg19"))]
    if command.startswith(("mini identified", "recipe")):  # of a study that learnt something
        words[-1 if name == "mini" else 1] = stand_in("results/mini_paper", out)
    if words[:2] == ["dataset", "paper"]:
        words[2] = str(out / "paper")  # writes a description where none is
    if name == "figures":
        words += ["--out", str(out / "figures")]
    if name == "export" and len(words) < 3:
        words.append(str(out / "tables"))
    return words


@pytest.mark.parametrize("command", RUN_HERE)
def test_a_documented_command_runs(command, stand_ins, tmp_path):
    done = lorabench_here(*words_of(command, stand_ins, tmp_path))
    assert "Traceback" not in done.stderr
    if command == "grid configs/paper.toml --dry-run":  # says the grid, then what a reader has to bring
        assert done.returncode == 2 and "234" in done.stdout and "data/paper" in done.stderr
    elif "--skeleton" in command or command.startswith("dataset paper"):  # a description; the pictures are to bring
        assert done.returncode == 1 and "43 of 43 concepts lack pictures" in done.stdout
    else:
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip()


def test_what_is_left_out_stands_in_the_docs():
    assert all(any(command.startswith(words) for command in COMMANDS) for words in LEFT_OUT)
    assert len(RUN_HERE) > 25


def test_methods_of_peft_that_are_named_are_counted():
    """In the help of `count`, and in README."""
    given = re.findall(r"\{\"peft_type\".*?\}", lorabench_here("count", "--help").stdout.replace("\n", " "))
    named = re.search(
        r"update of single layers \(([\w, ]+), \.\.\.\)", " ".join((ROOT / "README.md").read_text().split())
    )
    for method in (*given, "VERA", *named[1].split(", ")):
        done = lorabench_here("count", "--base", "mini", "--peft", " ".join(method.split()))
        assert done.returncode == 0 and "parameters" in done.stdout, done.stderr
    assert given and "C3A" in named[1]
