"""Write the tables of the docs from the code: `python docs/generate.py` (`--check`: fail where they are stale)."""

from __future__ import annotations

import functools
import inspect
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import decisions_study
import details
import questions
import signals_study
import studies
import training_study
import typer.main
from pydantic import BaseModel

import lorabench
from lorabench import components
from lorabench.cli import app
from lorabench.config.schema import EncoderChoice, GridRow, Merge, MetricChoice, Study, Sweep
from lorabench.config.training import TRAINED, Training
from lorabench.datasets.description import ConceptEntry, Description

DOCS = Path(__file__).parent


def metrics() -> str:
    """One row a metric, from what each says of itself."""
    rows = ["| metric | criterion | better | encoders | prompt types | definition |", "|---|---|---|---|---|---|"]
    for name in components.names("metrics"):
        found = components.find("metrics", name)
        better = "higher" if found.higher_is_better else "lower"
        criterion = found.criterion.replace("_", " ")
        encoders, types = ", ".join(found.encoders), ", ".join(found.prompt_types)
        rows.append(f"| `{name}` | {criterion} | {better} | {encoders} | {types} | {_cell(found.description)} |")
    return "\n".join(rows)


def encoders() -> str:
    """One row an encoder."""
    rows = ["| encoder | resize modes (first = default) | reads text | what |", "|---|---|---|---|"]
    for name in components.names("encoders"):
        found = components.find("encoders", name)
        reads = "yes" if found.reads_text else "no"
        rows.append(f"| `{name}` | {', '.join(found.resize_modes)} | {reads} | {_cell(found.description)} |")
    return "\n".join(rows)


def commands() -> str:
    """Help of every command, as click prints it."""
    group = typer.main.get_command(app)
    parts = []
    for name, command in _walk(group, "lorabench"):
        context = click.Context(command, info_name=name, terminal_width=100, max_content_width=100)
        text = command.get_help(context)
        parts.append(f"### `{name}`\n\n```\n{text.strip()}\n```")
    return "\n\n".join(parts)


def library() -> str:
    """Signature and documentation of every public function, and of what a `Run` has."""
    public = {name: getattr(lorabench, name) for name in lorabench.__all__}
    functions = [f"## `{name}`\n\n{_described(name, it)}" for name, it in public.items() if inspect.isfunction(it)]
    return "\n\n".join([*functions, f"## `Run`\n\n{inspect.getdoc(lorabench.Run)}", _members(lorabench.Run)])


def _members(record: type) -> str:
    rows = ["| frame or fact | what |", "|---|---|"]
    methods = []
    for name, member in vars(record).items():
        if name.startswith("_"):
            continue
        if isinstance(member, property | functools.cached_property):
            rows.append(f"| `{name}` | {_cell(inspect.getdoc(member) or '')} |")
        elif inspect.isfunction(member):
            methods.append(f"### `Run.{name}`\n\n{_described(name, member)}")
    return "\n\n".join(["\n".join(rows), *methods])


def _described(name: str, function: Callable[..., Any]) -> str:
    """Its signature, a parameter a line where they are many, and its documentation."""
    signature = inspect.signature(function)
    words, is_keyword = [], False
    for parameter in signature.parameters.values():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not is_keyword:
            words, is_keyword = [*words, "*"], True
        if parameter.name != "self":
            default = "" if parameter.default is inspect.Parameter.empty else f" = {parameter.default!r}"
            several = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else ""
            is_keyword = is_keyword or bool(several)
            words.append(
                f"{several}{parameter.name}: {parameter.annotation}{default}".replace("PathName", "str | Path")
            )
    line = f"{name}({', '.join(words)}) -> {signature.return_annotation}"
    if len(line) > 100:
        line = "\n".join([f"{name}(", *(f"    {word}," for word in words), f") -> {signature.return_annotation}"])
    return f"```python\n{line}\n```\n\n{inspect.getdoc(function)}"


def settings() -> str:
    """One row a key of a study file, with its default."""
    rows = ["| key | default | what |", "|---|---|---|"]
    rows += _settings_of(Study, "")
    return "\n".join(rows)


def data_set() -> str:
    """One row a key of dataset.toml."""
    rows = ["| key | default | what |", "|---|---|---|"]
    return "\n".join(rows + _settings_of(Description, ""))


def mini_gates() -> str:
    """The quality gates of the miniature models, as the last audit found them."""
    rows = ["| what | at least | measured | reached |", "|---|---|---|---|"]
    rows += [f"| {g['gate']} | {g['at least']} | {g['measured']} | {g['reached']} |" for g in _audit()["gates"]]
    return "\n".join(rows)


def mini_base() -> str:
    """What the base draws of what captions ask for, beside renders of the same captions."""
    rows = ["| recognised | drawn by the base | real renders | relative | chance |", "|---|---|---|---|---|"]
    for name, found in _audit()["measured"]["base"].items():
        rows.append(f"| {name} | {found['base']} | {found['real']} | {found['relative']} | {found['chance']} |")
    return "\n".join(rows)


def mini_encoders() -> str:
    """How the encoders tell concepts from decoys, and styles from contents."""
    measured = _audit()["measured"]
    rows = [
        "| encoder | concept against decoy, AUC | weakest concepts | style triplets | novel styles |",
        "|---|---|---|---|---|",
    ]
    for name in ("dinov2", "convnextv2", "clip", "vgg19"):
        found = measured[name]
        weakest = sorted(found["concept_auc_by_concept"].items(), key=lambda pair: pair[1])[:3]
        weak = ", ".join(f"{concept.split('/', 1)[1]} {auc:.2f}" for concept, auc in weakest)
        style = found["style_triplets"]
        rows.append(f"| `{name}` | {found['concept_auc']} | {weak} | {style['ordinary']} | {style['novel']} |")
    return "\n".join(rows)


def mini_metrics() -> str:
    """What each metric says of pictures of known truth."""
    table = _audit()["metrics"]
    first, last = ["real", "base", "decoy", "copies"], ["identity AUC"]
    damages = [name for name in table[0] if name not in ("metric", "encoder", "better", *first, *last)]
    names = [*first, *damages, *last]
    rows = ["| metric | better | " + " | ".join(names) + " |", "|---" * (len(names) + 2) + "|"]
    for row in table:
        values = " | ".join("" if row[name] is None else f"{row[name]:.3g}" for name in names)
        rows.append(f"| `{row['metric']}` on {row['encoder']} | {row['better']} | {values} |")
    return "\n".join(rows)


def _audit() -> dict[str, Any]:
    """What `lorabench mini audit --out docs/pictures` found."""
    return json.loads((DOCS / "pictures" / "audit.json").read_text(encoding="utf-8"))


# Keys that hold tables of their own: the keys of these, and how they are written.
TABLES = {
    "concept": (ConceptEntry, "concept[]."),
    "grid": (GridRow, "grid[]."),
    "merge": (Merge, "merge[]."),
    "sweep": (Sweep, "sweep[]."),
    "encoders": (EncoderChoice, "encoders.*."),
    "metrics": (MetricChoice, "metrics[]."),
}

SECTIONS = {
    "mini gates": ("mini.md", mini_gates),
    "mini base": ("mini.md", mini_base),
    "mini encoders": ("mini.md", mini_encoders),
    "mini metrics": ("mini.md", mini_metrics),
    "foretelling": ("mini.md", studies.foretelling),
    "foretelling itself": ("mini.md", studies.foretelling_itself),
    "foretelling epochs": ("mini.md", studies.foretelling_epochs),
    "rising": ("mini.md", studies.rising),
    "sweep": ("mini_study.md", studies.sweep),
    "learnt": ("mini_study.md", studies.learnt),
    "ranking": ("mini_study.md", studies.ranking),
    "told": ("mini_study.md", studies.told),
    "claims": ("mini_study.md", studies.claims),
    "factors": ("mini_study.md", studies.factors),
    "weights": ("questions.md", questions.weights),
    "bases": ("questions.md", questions.bases),
    "steps": ("questions.md", questions.steps),
    "dilution": ("questions.md", questions.dilution),
    "trained together": ("questions.md", questions.together),
    "by step": ("questions.md", questions.by_step),
    "pixels": ("questions.md", questions.pixels),
    "gains": ("questions.md", questions.gains),
    "ways of training": ("training_study.md", training_study.values),
    "effects of training": ("training_study.md", training_study.effects),
    "captions": ("training_study.md", training_study.captions),
    "decisions simulated": ("protocol.md", decisions_study.simulated),
    "decisions replayed": ("protocol.md", decisions_study.replayed),
    "signals of all": ("signals.md", signals_study.among_all),
    "signals of one algorithm": ("signals.md", signals_study.of_one_algorithm),
    "signals of one epoch": ("signals.md", signals_study.of_one_moment),
    "signals of one training": ("signals.md", signals_study.of_one_training),
    "signals by draws": ("signals.md", signals_study.by_draws),
    "signals by band": ("signals.md", signals_study.by_band),
    "metrics": ("metrics.md", metrics),
    "encoders": ("metrics.md", encoders),
    "commands": ("cli.md", commands),
    "library": ("library.md", library),
    "settings": ("cli.md", settings),
    "data set": ("datasets.md", data_set),
    "details": ("protocol.md", details.details),
}


def rendered(name: str) -> tuple[Path, str]:
    """The page that holds a section, and its text with that section made anew."""
    file, make = SECTIONS[name]
    page = DOCS / file
    pattern = re.compile(rf"(<!-- generated: {name} -->\n).*?(<!-- end -->)", re.S)
    text = page.read_text()
    if not pattern.search(text):
        raise SystemExit(f"{page} has no place for the generated section '{name}'.")
    return page, pattern.sub(lambda match: f"{match[1]}{make()}\n{match[2]}", text)


def _walk(command: click.Command, name: str) -> list[tuple[str, click.Command]]:
    if not hasattr(command, "commands"):
        return [(name, command)]
    return [pair for word, child in command.commands.items() for pair in _walk(child, f"{name} {word}")]


def _settings_of(model: type[BaseModel], prefix: str) -> list[str]:
    rows = []
    if model is GridRow:
        rows.append("| `grid[].KEY` | as `training.KEY` | any key of `training` marked *, of these configs alone |")
    for key, field in model.model_fields.items():
        if model is GridRow and key in TRAINED:
            continue
        default = field.get_default(call_default_factory=True)
        if isinstance(default, BaseModel):
            rows += _settings_of(type(default), f"{prefix}{key}.")
            continue
        shown = "required" if field.is_required() else "" if default is None else f"`{_short(default)}`"
        mark = " *" if model is Training and key in TRAINED else ""
        rows.append(f"| `{prefix}{key}`{mark} | {shown} | {_cell(field.description)} |")
        if prefix + key in TABLES:
            rows += _settings_of(*TABLES[prefix + key])
    return rows


def _short(value: object) -> str:
    if isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        return ", ".join(item.name for item in value)
    if isinstance(value, tuple):
        return f"[{', '.join(map(repr, value))}]".replace("'", '"')
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def main() -> None:
    check = "--check" in sys.argv
    for section in SECTIONS:
        page, text = rendered(section)
        if check and page.read_text() != text:
            sys.exit(f"{page.name}: the section '{section}' is stale; run `python docs/generate.py`.")
        page.write_text(text)


if __name__ == "__main__":
    main()
