"""`lorabench evaluate`: from a folder of adapter files to a plan that measures them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lorabench import base_files, config, diffusion, formats, mini, store
from lorabench.cli import studies
from lorabench.components import LoadedAdapter
from lorabench.config import Study
from lorabench.errors import UserError
from lorabench.pipeline.plan import Plan, plan_of_checkpoints
from lorabench.records import Checkpoint, Failure
from lorabench.statistics.errors import summarise

PICKLES = (".pt", ".ckpt", ".bin", ".pth")
PROMPTS = Path(__file__).parents[2] / "prompts"  # the paper's, where lorabench runs from a checkout


def planned(
    folder: Path,
    study_file: Path | None,
    base: str | None,
    data: Path | None,
    concepts: Sequence[str],
    out: Path | None,
    device: str | None,
    workers: int | None,
) -> tuple[Plan, list[Failure]]:
    """The plan for all adapters below `folder`, and the files that were refused. UserError if none is left."""
    files = adapter_files(folder)
    loaded, refused = _read_all(files)
    if not loaded:
        raise _nothing_left(folder, refused)
    study = _study(study_file, base, data, concepts, list(loaded.values()), _result_name(folder))
    study = studies.prepared(study, device, workers)
    checkpoints = _fitting(loaded, study, folder, refused)
    if not checkpoints:
        raise _nothing_left(folder, refused)
    return plan_of_checkpoints(study, out or studies.RESULTS / study.name, checkpoints), refused


def adapter_files(folder: Path) -> list[Path]:
    """Adapter files and peft folders at or below a path, sorted. UserError if there are none."""
    if not folder.exists():
        raise UserError(f"Checkpoint folder {folder} does not exist.")
    if folder.is_file() or (folder / "adapter_config.json").is_file():
        return [folder]
    peft = {file.parent for file in folder.rglob("adapter_config.json")}
    suffixes = (".safetensors", *PICKLES)  # pickles are looked at only to say why they are refused
    single = {
        file
        for file in folder.rglob("*")
        # Our own training folders also hold a training state, which is no checkpoint.
        if file.suffix in suffixes and file.parent not in peft and file.parent.name != "training-state"
    }
    if not (peft | single):
        raise UserError(f"There is no adapter in {folder}: no .safetensors file and no peft folder.")
    return sorted(peft | single)


def table(root: Path) -> list[dict[str, object]]:
    """One row a checkpoint: mean raw value of every metric and prompt type over all classes, best fidelity first."""
    scores = store.read_table(root / "scores.parquet")
    means = summarise(scores, ["config", "seed", "epoch", "scale"], column="value")
    means = means[means["category"] == "all"]
    means["what"] = means["metric"] + " " + means["prompt_type"]
    wide = means.pivot_table(index=["config", "seed", "epoch", "scale"], columns="what", values="mean", dropna=False)
    wide = wide.dropna(how="all").reset_index()
    rows = json.loads(wide.to_json(orient="records"))
    return [{key: _rounded(value) for key, value in row.items()} for row in rows]


def _read_all(files: Sequence[Path]) -> tuple[dict[Path, LoadedAdapter], list[Failure]]:
    loaded, refused = {}, []
    for file in files:
        try:
            loaded[file] = formats.read_adapter(file)
        except UserError as error:
            refused.append(Failure("evaluate", str(file), "failed", str(error)))
    return loaded, refused


def _nothing_left(folder: Path, refused: Sequence[Failure]) -> UserError:
    reasons = "\n".join(f"  {failure.message}" for failure in refused)
    return UserError(f"None of the {len(refused)} files in {folder} can be evaluated:\n{reasons}")


def _study(
    study_file: Path | None,
    base: str | None,
    data: Path | None,
    concepts: Sequence[str],
    loaded: Sequence[LoadedAdapter],
    name: str,
) -> Study:
    """Settings: a study file's, else the miniature world's if all adapters were made for it, else the paper's."""
    if study_file is not None:
        study = config.load_study(study_file)
    elif base is None and loaded and all(each.base == _mini_id() for each in loaded):
        study = config.load_study(mini.evaluation_study())
    else:
        study = config.study_from({"name": name, "images": {"prompts": str(PROMPTS)}}, Path.cwd() / "study.toml")
    changes: dict[str, object] = {"name": name, "grid": ()}
    if base is not None:
        changes["base"] = base
    if data is not None or concepts:
        folder = str(data.resolve()) if data is not None else study.data.folder
        changes["data"] = config.Data(folder=folder, concepts=tuple(concepts) or study.data.concepts)
    study = study.model_copy(update=changes)
    if not study.data.folder:
        raise UserError(
            "Which images were the adapters trained on? Fidelity is measured against them, and their triggers call the "
            "concepts: add --data FOLDER (an image folder, best with a dataset.toml)."
        )
    return study


def _fitting(loaded: dict[Path, LoadedAdapter], study: Study, folder: Path, refused: list[Failure]) -> list[Checkpoint]:
    """Checkpoints of the adapters that fit the base model; the others join `refused`."""
    components = diffusion.architecture(study.base)
    checkpoints = []
    for file, each in loaded.items():
        try:
            adapter = formats.resolve(each, components)
        except UserError as error:
            refused.append(Failure("evaluate", str(file), "failed", str(error)))
            continue
        name = str(file.relative_to(folder).with_suffix("")) if file != folder else file.stem
        settings = adapter.config
        checkpoints.append(
            Checkpoint(
                id=name.replace("/", " "),
                config=settings.name,
                algorithm=each.algorithm,
                trained_layers=settings.trained_layers,
                lr=settings.lr,
                dim=settings.dim,
                alpha=settings.alpha,
                factor=settings.factor,
                seed=each.seed,
                epoch=each.epoch,
                step=each.step,
                weights=file.resolve(),
                sha256=_content_hash(file),
            )
        )
    return checkpoints


def _content_hash(path: Path) -> str:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return store.key_of("file", 1, [store.file_hash(file) for file in files], [])


def _mini_id() -> str:
    return base_files.base_id(str(mini.base_path()))


def _result_name(folder: Path) -> str:
    words = "".join(letter if letter.isalnum() or letter in "._-" else "-" for letter in folder.resolve().stem)
    return f"evaluate-{words.strip('-._') or 'checkpoints'}"


def _rounded(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) and not pd.isna(value) else value
