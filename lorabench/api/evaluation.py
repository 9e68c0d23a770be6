"""`lorabench evaluate`: from a folder of adapter files to a plan that measures them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from lorabench import base_files, components, config, diffusion, formats, mini, store
from lorabench.api import pictures, studies
from lorabench.api.adapter_files import base_source
from lorabench.api.door import NO_WORDS, OURS, WHICH_IMAGES, adapters_in, headers_of
from lorabench.api.series import AdapterFile, config_names
from lorabench.config import Study
from lorabench.datasets import Words
from lorabench.errors import UserError
from lorabench.formats import peft
from lorabench.layers import Components
from lorabench.pipeline.plan import BASE_CHECKPOINT, RESERVED_IDS, TRAINING_STATE, Plan
from lorabench.pipeline.planning import plan_of_checkpoints
from lorabench.pipeline.tables import check_measured
from lorabench.records import Checkpoint, Failure
from lorabench.report.tables import columns_of, headline_columns, metric_infos
from lorabench.statistics.columns import ALL, METRIC
from lorabench.statistics.errors import summarise

SHOWN = 3  # names in a sentence
_TOLD = ("criterion", "higher_is_better")  # of a metric, beside its means


def planned(
    folder: Path,
    study_file: Path | None,
    base: str | None,
    data: Path | None,
    concepts: Sequence[str],
    prompts: Path | None,
    unused: Sequence[str],
    anchors: Path | None,
    out: Path | None,
    device: str | None,
    workers: int | None,
    words: Words = NO_WORDS,
) -> tuple[Plan, list[Failure]]:
    """The plan for all adapters below `folder`, and the files that were refused. UserError if none is left."""
    files = adapter_files(folder)
    bases, refused = _bases(files, unused)
    if not bases:
        raise _nothing_left(folder, refused)
    base = None if base is None else base_source(base)
    study = _study(study_file, base, list(bases.values()), _result_name(folder))
    chosen, said = pictures.chosen(study.data, data, concepts, words, headers_of(adapters_in(folder)))
    study = _with_options(study, base, chosen, prompts)
    study = study.model_copy(update={"unused_keys": (*study.unused_keys, *unused)})
    study = studies.anchored(studies.prepared(study, device, workers), anchors)
    found = _fitting(_names(list(bases), folder), folder, study, refused)
    if not found:
        raise _nothing_left(folder, refused)
    checkpoints = [_checkpoint(file, folder, config_) for file, config_ in zip(found, config_names(found))]
    plan = plan_of_checkpoints(study, out or studies.RESULTS / study.name, checkpoints)
    check_measured(plan)
    return replace(plan, remarks=(*plan.remarks, *said, *_of_other_pictures(found, plan))), refused


def adapter_files(folder: Path) -> list[Path]:
    """Adapter files and peft folders at or below a path, sorted. UserError if there are none."""
    found = adapters_in(folder)
    if folder.is_file() or peft.recognises(folder):
        return [folder]
    configs = [file for file in found if file.name == peft.CONFIG]
    adapters, parts = {peft.folder_of(file) for file in configs}, {file.parent for file in configs}
    # Our own training folders also hold a training state, which is no checkpoint.
    single = {file for file in found if file.parent not in parts and file.parent.name != TRAINING_STATE}
    if not (adapters | single):
        raise UserError(f"There is no adapter in {folder}: no .safetensors file and no peft folder.")
    return sorted(adapters | single)


def raw_means(root: Path) -> pd.DataFrame:
    """Mean raw value over all classes: a row a checkpoint, criterion, prompt type, metric, encoder and resizing.

    `judges` marks what a criterion is judged by.
    """
    scores = store.read_table(root / "scores.parquet")
    infos = metric_infos([components.find("metrics", name) for name in scores["metric"].unique()])
    means = summarise(scores, ["checkpoint"], column="value")
    means = means.loc[means["category"] == ALL, ["checkpoint", *METRIC, "mean"]].reset_index(drop=True)
    judges = [column.identity for column in headline_columns(columns_of(scores, infos))]
    told = {
        name: means["metric"].map({metric: getattr(info, name) for metric, info in infos.items()}) for name in _TOLD
    }
    return means.assign(**told, judges=pd.MultiIndex.from_frame(means[METRIC]).isin(judges))


def _bases(files: Sequence[Path], unused: Sequence[str]) -> tuple[dict[Path, str], list[Failure]]:
    """The base model that each readable file says it was made for ("" where it does not), and the files refused."""
    bases, refused = {}, []
    for file in files:
        try:
            bases[file] = formats.read_adapter(file, unused).origin.base
        except UserError as error:
            refused.append(Failure("evaluate", str(file), "failed", str(error)))
    return bases, refused


def _nothing_left(folder: Path, refused: Sequence[Failure]) -> UserError:
    reasons = "\n".join(f"  {failure.message}" for failure in refused)
    return UserError(f"None of the {len(refused)} files in {folder} can be evaluated:\n{reasons}")


def _study(study_file: Path | None, base: str | None, bases: Sequence[str], name: str) -> Study:
    """Settings: a study file's, else the miniature world's if most files that say a base say its, else the paper's."""
    world = str(mini.base_path())
    usual = Counter(each for each in bases if each).most_common(1)
    if study_file is not None:
        study = config.load_study(study_file)
    elif base == world or (base is None and [each for each, _ in usual] == [base_files.base_id(world)]):
        study = config.load_study(mini.evaluation_study())
    else:
        study = config.study_from({"name": name}, Path.cwd() / "study.toml")
    return study.model_copy(update={"name": name, "grid": ()})


def _with_options(study: Study, base: str | None, data: config.Data, prompts: Path | None) -> Study:
    """The study with what the command line says. UserError if no data set is named anywhere."""
    if not data.folder:
        raise UserError(WHICH_IMAGES)
    changes: dict[str, object] = {"data": data}
    if base is not None:
        changes["base"] = base
    if prompts is not None:
        changes["images"] = study.images.model_copy(update={"prompts": str(prompts.resolve())})
    return study.model_copy(update=changes)


def _names(files: Sequence[Path], folder: Path) -> dict[Path, str]:
    """What each file is called: its path without slashes and suffix, or as it is where that would be another's name."""
    paths = {file: file.name if file == folder else str(file.relative_to(folder)) for file in files}
    short = {file: path.replace("/", " ").removesuffix(".safetensors") for file, path in paths.items()}
    taken = Counter([*short.values(), BASE_CHECKPOINT, *RESERVED_IDS])
    return {file: short[file] if taken[short[file]] == 1 else paths[file] for file in files}


def _fitting(names: Mapping[Path, str], folder: Path, study: Study, refused: list[Failure]) -> list[AdapterFile]:
    """The adapters that fit the base model; the others join `refused`."""
    architecture = diffusion.architecture(study.base)
    found = []
    for file, name in names.items():  # one at a time: a folder of full fine-tunings does not fit the memory
        try:
            found.append(_found(file, name, folder, architecture, study.unused_keys))
        except UserError as error:
            refused.append(Failure("evaluate", str(file), "failed", str(error)))
    return found


def _found(file: Path, name: str, folder: Path, architecture: Components, unused: Sequence[str]) -> AdapterFile:
    """What a file says of itself and its weights say of it. UserError if it is no adapter of this base model."""
    loaded = formats.read_adapter(file, unused)
    settings = formats.resolve(loaded, architecture).config
    return AdapterFile(file.relative_to(folder), name, settings, loaded.origin, is_ours=OURS in loaded.metadata)


def _checkpoint(file: AdapterFile, folder: Path, config_: str) -> Checkpoint:
    settings, origin, path = file.settings, file.origin, folder / file.path
    return Checkpoint(
        id=file.name,
        config=config_,
        algorithm=settings.method,
        trained_layers=settings.trained_layers,
        lr=settings.lr,
        dim=settings.dim,
        alpha=settings.alpha,
        factor=settings.factor,
        seed=origin.seed,
        epoch=origin.epoch,
        step=origin.step,
        weights=path.resolve(),
        sha256=_content_hash(path),
    )


def _of_other_pictures(files: Sequence[AdapterFile], plan: Plan) -> list[str]:
    """Sentences about files that say what they were trained on, where that is not what they are measured against."""
    contents = plan.dataset.contents
    others: dict[tuple[str, ...], list[str]] = {}
    for file in files:
        known = set(file.origin.pictures.values())
        unseen = tuple(id_ for id_ in plan.measured_concepts if contents[id_] not in known)
        if known and unseen:
            others.setdefault(unseen, []).append(file.name)
    return [
        f"{_listed(names)}: trained on other pictures or captions than {plan.study.data.folder} has of "
        f"{_listed(concepts)}; there fidelity says how near they come to what they never saw."
        for concepts, names in others.items()
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _content_hash(path: Path) -> str:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return store.key_of("file", 1, [store.file_hash(file) for file in files], [])


def _result_name(folder: Path) -> str:
    """A name for the results: the last two parts of the path, since many folders are called "checkpoints"."""
    words = "-".join(folder.resolve().parts[-2:])
    kept = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in words)
    return f"evaluate-{kept.strip('-._') or 'checkpoints'}"
