"""What `import lorabench` gives: the command line's capabilities as functions, and nothing that takes seconds."""

from __future__ import annotations

import ast
import inspect
import json
import shutil
import subprocess
import sys
from pathlib import Path

import nbclient
import nbformat
import pandas as pd
import pytest
import typer.main
from command_line import ROOT, SMALL, lorabench_here

import lorabench
from lorabench.cli import app

COMMANDS = typer.main.get_command(app).commands
# Commands that are no function: stages of `grid`, and words about this machine or this program's own parts.
WORDS_ONLY = {"train", "validate", "generate", "encode", "score", "rank", "explain", "report", "list", "doctor", "mini"}
OF_THE_TERMINAL = {"as_json", "dry_run", "quiet", "into"}  # `into`: another order of words
CALLED = {"concept": "concepts", "epoch": "epochs", "metric": "metrics", "file": "adapter", "criterion": "criteria"}
CONTRACTS = {"lorabench", "lorabench.components"}


def test_every_command_has_a_function_of_its_name():
    run_has = {"figures": "write_figures"}
    for name in set(COMMANDS) - WORDS_ONLY:
        called = name.replace("-", "_")
        assert hasattr(lorabench, called) or hasattr(lorabench.Run, run_has.get(name, name)), name


@pytest.mark.parametrize(
    "name",
    [
        "grid",
        "join",
        "merge",
        "inspect",
        "convert",
        "count",
        "replay",
        "diversity",
        "init",
        "dataset",
        "plan",
        "fetch",
        "class-images",
    ],
)
def test_a_function_takes_what_its_command_takes(name):
    options = {CALLED.get(each.name, each.name) for each in COMMANDS[name].params} - OF_THE_TERMINAL - {"help"}
    function = getattr(lorabench, name.replace("-", "_"))
    assert set(inspect.signature(function).parameters) - OF_THE_TERMINAL == options


def test_evaluate_is_two_functions():
    """Of adapters, and of pictures that are there: what one takes of the command's options the other need not."""
    options = {CALLED.get(each.name, each.name) for each in COMMANDS["evaluate"].params} - OF_THE_TERMINAL - {"help"}
    adapters, pictures = (
        set(inspect.signature(each).parameters) for each in (lorabench.evaluate, lorabench.score_images)
    )
    assert adapters - OF_THE_TERMINAL == options - {"images"}
    renamed = {"templates"}  # --prompts where it is a folder
    assert pictures - OF_THE_TERMINAL - renamed <= options


@pytest.mark.parametrize("name", ["leaderboard", "epochs", "files"])
def test_answers_take_what_their_commands_take(name):
    options = {CALLED.get(each.name, each.name) for each in COMMANDS[name].params} - OF_THE_TERMINAL - {"help", "run"}
    assert set(inspect.signature(getattr(lorabench.Run, name)).parameters) - {"self"} == options


def test_a_program_and_the_command_line_give_the_same(smoke_run):
    run = lorabench.open_run(smoke_run)
    for name in ("leaderboard", "files"):
        said = json.loads(lorabench_here(name, str(smoke_run), "--json").stdout)
        assert json.loads(getattr(run, name)().to_json(orient="records")) == said
    assert set(run.scores["checkpoint"]) >= set(run.normalized["checkpoint"])
    assert run.report == smoke_run / "report.html" and len(run.studies) == 1
    assert "not told from it" in run._repr_html_()


def test_mistakes_are_sentences(tmp_path):
    with pytest.raises(lorabench.UserError, match="There is no folder"):
        lorabench.open_run(tmp_path / "none")
    with pytest.raises(lorabench.UserError, match="does not exist"):
        lorabench.evaluate(tmp_path / "none")
    with pytest.raises(AttributeError):
        getattr(lorabench, "no_such_function")  # noqa: B009 - asked as a program asks


def test_looking_at_the_surface_loads_no_framework():
    heavy = "{'torch', 'pandas', 'rich', 'typer'}"
    code = f"import sys, lorabench; lorabench.grid; sys.exit(str({heavy} & set(sys.modules) or ''))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


def test_notebooks_and_examples_use_the_surface_and_the_contracts_alone():
    texts = {file.name: file.read_text() for file in (ROOT / "examples").glob("add_*.py")}
    for file in (ROOT / "notebooks").glob("*.ipynb"):
        cells = nbformat.read(file, as_version=4).cells
        lines = "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "code").splitlines()
        texts[file.name] = "\n".join(line for line in lines if not line.startswith("%"))
    for name, text in texts.items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] != "lorabench" or node.module in CONTRACTS, name
            if isinstance(node, ast.Import):
                assert all(each.name.split(".")[0] != "lorabench" or each.name in CONTRACTS for each in node.names), (
                    name
                )


def test_five_lines_in_a_notebook(small_run, tmp_path):
    for place, file in enumerate(sorted(Path(small_run).glob("checkpoints/lora*/*/epoch-*/adapter.safetensors"))):
        (tmp_path / "loras").mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / f"loras/{place}.safetensors")
    (tmp_path / "study.toml").write_text(SMALL)
    cells = [
        "%matplotlib inline\nimport lorabench",
        'run = lorabench.evaluate("loras", study="study.toml", out="results", per_set=2, workers=1)',
        "run",
        'run.epochs().pivot_table(index="epoch", columns="criterion", values="score").plot()',
        "run.report.name",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    place = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=240, kernel_name="python3", resources=place).execute()
    outputs = [cell["outputs"] for cell in notebook.cells]
    assert "fidelity" in outputs[2][0]["data"]["text/html"] and "image/png" in outputs[3][-1]["data"]
    assert outputs[4][0]["data"]["text/plain"] == "'report.html'"
    assert len(pd.read_parquet(tmp_path / "results/scores.parquet"))
