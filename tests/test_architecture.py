"""Imports go down only, never sideways; each heavy library has one knower; importing the package stays cheap."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import lorabench

PACKAGE = Path(lorabench.__file__).parent

LAYERS = (
    {"records", "errors", "seeds", "interrupts", "hashes"},
    {"values", "processes", "shipped", "base_names", "schedules"},
    {"untrusted", "devices", "bases"},
    {
        "components",
        "peft_settings",
        "config",
        "store",
        "prompts",
        "images",
        "datasets",
        "base_files",
        "layers",
        "architectures",
    },
    {"base_models", "adapters", "statistics", "picture_metadata"},
    {"algorithms", "formats", "encoders", "metrics", "taggers", "published", "diffusion", "sampler"},
    {"stages", "report"},
    {"pipeline", "executors", "mini"},
    {"api"},
    {"cli"},
)
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

KNOWERS = {
    "diffusers": {"base_models", "sampler", "schedules", "mini"},  # mini makes the models that base_models loads
    "catboost": {"stages"},
    "shap": {"stages", "report"},  # values, and their plots
    "vendi_score": {"statistics"},
    "loky": {"processes"},
    "jinja2": {"report"},
    "pyarrow": {"store", "datasets"},  # our tables; metadata.parquet of Hugging Face's folders
    "ray": {"executors"},
    "filelock": {"store"},
    "onnxruntime": {"taggers"},
    "PIL": {"images", "mini"},
    "peft": {"algorithms"},
    "typer": {"cli"},
    "rich": {"api", "cli"},  # progress; tables
}


def modules() -> list[tuple[str, str, ast.AST]]:
    """(top-level part, path, syntax tree) of every module of the package but its entry points."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if part not in ("__init__", "__main__"):
            found.append((part, str(path.relative_to(PACKAGE)), ast.parse(path.read_text())))
    return found


def imported(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_every_part_has_its_layer():
    assert {part for part, _, _ in modules()} == set(LEVEL)


def test_imports_go_down_only():
    wrong = [
        f"{path} imports {name}"
        for part, path, tree in modules()
        for name in imported(tree)
        if name.startswith("lorabench.")
        and (other := name.split(".")[1]) in LEVEL
        and other != part
        and LEVEL[other] >= LEVEL[part]
    ]
    assert not wrong, "\n".join(wrong)


def test_each_library_has_one_knower():
    wrong = [
        f"{path} imports {name}"
        for part, path, tree in modules()
        for name in imported(tree)
        if name.split(".")[0] in KNOWERS and part not in KNOWERS[name.split(".")[0]]
    ]
    assert not wrong, "\n".join(wrong)


def test_architecture_page_shows_the_same_layers():
    page = (PACKAGE.parent / "docs/architecture.md").read_text()
    for level, names in enumerate(LAYERS):
        row = next(line for line in page.splitlines() if line.startswith(f"{level} "))
        assert set(row.split()[1:]) == names, row


def test_importing_the_package_loads_no_framework():
    code = "import sys, lorabench.mini; sys.exit(any(name in sys.modules for name in ('torch', 'diffusers', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_takes_seconds_to_load_is_loaded_where_it_is_used():
    """Every command reads these modules; SHAP, CatBoost and the Vendi score are for few of them."""
    code = (
        "import sys, lorabench.pipeline.replay, lorabench.api.comparing, lorabench.metrics.vendi;"
        "sys.exit(str({'shap', 'catboost', 'sklearn', 'numba'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
