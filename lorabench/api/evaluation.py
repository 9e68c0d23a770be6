"""`lorabench evaluate`: from a folder of adapter files to a plan that measures them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from lorabench import components, config, diffusion, mini, store
from lorabench.api import pictures, studies
from lorabench.api.adapter_files import base_source
from lorabench.api.door import NO_WORDS, WHICH_IMAGES, adapters_in, headers_of
from lorabench.api.file_names import Moment
from lorabench.api.folders import adapter_files, bases_of, callable_names, content_hash, fitting
from lorabench.api.members import AdapterFile
from lorabench.api.series import placed
from lorabench.api.sheet import NO_SHEET, RATE, Row, Sheet, of_files
from lorabench.base_files import find_base
from lorabench.config import Study
from lorabench.datasets import Words
from lorabench.errors import UserError
from lorabench.pipeline.plan import Plan
from lorabench.pipeline.planning import dataset_of, plan_of_checkpoints, scaled
from lorabench.pipeline.tables import check_measured
from lorabench.records import Checkpoint, Failure
from lorabench.report.tables import columns_of, headline_columns, metric_infos
from lorabench.report.words import listed
from lorabench.statistics.columns import ALL, METRIC
from lorabench.statistics.errors import summarise

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
    sheet: Sheet = NO_SHEET,
) -> tuple[Plan, list[Failure]]:
    """The plan for all adapters below `folder`, and the files that were refused. UserError if none is left."""
    files = adapter_files(folder)
    said = of_files(sheet, callable_names(files, folder))
    bases, refused = bases_of(files, unused)
    if not bases:
        raise _nothing_left(folder, refused)
    base = None if base is None else base_source(base)
    study = evaluation_study(study_file, base, result_name(folder), list(bases.values()))
    chosen, from_headers = pictures.chosen(study.data, data, concepts, words, headers_of(adapters_in(folder)))
    study = _with_options(study, base, chosen, prompts)
    study = study.model_copy(update={"unused_keys": (*study.unused_keys, *unused)})
    study = studies.anchored(studies.prepared(study, device, workers), anchors)
    model = diffusion.base_of(study.base)
    found, others = fitting(bases, folder, model, study.unused_keys, said)
    refused = [*refused, *others]
    if not found:
        raise _nothing_left(folder, refused)
    series = placed(list(found.values()), sheet, folder.resolve().name)
    checkpoints = [
        checkpoint
        for (path, file), config_, moment in zip(found.items(), series.configs, series.moments)
        for checkpoint in _scaled(_checkpoint(file, path, config_, moment), said.get(path, ()), study.images.scales)
    ]
    plan = plan_of_checkpoints(study, out or studies.RESULTS / study.name, model, dataset_of(study), checkpoints)
    check_measured(plan)
    kept = list(found.values())
    remarks = (*series.remarks, *_assumed(kept), *_of_other_pictures(kept, plan), *_without_use(kept, plan))
    return replace(plan, remarks=(*plan.remarks, *from_headers, *remarks)), refused


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


def _nothing_left(folder: Path, refused: Sequence[Failure]) -> UserError:
    reasons = "\n".join(f"  {failure.message}" for failure in refused)
    return UserError(f"None of the {len(refused)} files in {folder} can be evaluated:\n{reasons}")


def evaluation_study(study_file: Path | None, base: str | None, name: str, bases: Sequence[str] = ()) -> Study:
    """Settings: a study file's, else the miniature world's if most files that say a base say its, else the paper's."""
    world = str(mini.base_path())
    usual = Counter(each for each in bases if each).most_common(1)
    if study_file is not None:
        study = config.load_study(study_file)
    elif base == world or (base is None and [each for each, _ in usual] == [find_base(world).id]):
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
    return with_templates(study.model_copy(update=changes), prompts)


def with_templates(study: Study, folder: Path | None) -> Study:
    """The study with the templates of another folder, if one is named."""
    if folder is None:
        return study
    return study.model_copy(update={"images": study.images.model_copy(update={"prompts": str(folder.resolve())})})


def _checkpoint(file: AdapterFile, path: Path, config_: str, moment: Moment) -> Checkpoint:
    settings = file.settings
    return Checkpoint(
        id=file.name,
        config=config_,
        algorithm=settings.method,
        trained_layers=settings.trained_layers,
        lr=settings.lr,
        dim=settings.dim,
        alpha=settings.alpha,
        factor=settings.factor,
        seed=moment.seed,
        epoch=moment.epoch,
        step=moment.step,
        weights=path.resolve(),
        sha256=content_hash(path),
    )


def _scaled(checkpoint: Checkpoint, rows: Sequence[Row], scales: Sequence[float]) -> list[Checkpoint]:
    """The checkpoint at each merge ratio: those of the sheet, else those of the study."""
    return [
        scaled(_with_factors(checkpoint, row), scale)
        for row in rows or (None,)
        for scale in (scales if row is None or row.scale is None else (row.scale,))
    ]


def _with_factors(checkpoint: Checkpoint, row: Row | None) -> Checkpoint:
    own = {} if row is None else dict(row.own)
    return replace(checkpoint, lr=own.pop(RATE, checkpoint.lr), own=own)


def _of_other_pictures(files: Sequence[AdapterFile], plan: Plan) -> list[str]:
    """Sentences about files that say what they were trained on, where that is not what they are measured against."""
    contents = plan.dataset.contents
    others: dict[tuple[str, ...], list[str]] = {}
    for file in files:
        known = set(file.origin.pictures.values())
        unseen = tuple(id_ for id_ in plan.measuring.concepts if contents[id_] not in known)
        if known and unseen:
            others.setdefault(unseen, []).append(file.name)
    return [
        f"{listed(names)}: trained on other pictures or captions than {plan.study.data.folder} has of "
        f"{listed(concepts)}; there fidelity says how near they come to what they never saw."
        for concepts, names in others.items()
    ]


def _assumed(files: Sequence[AdapterFile]) -> list[str]:
    """What was assumed of files, once for all of which it was."""
    notes: dict[str, list[str]] = {}
    for file in files:
        for note in file.notes:
            notes.setdefault(note, []).append(file.name)
    return [f"{listed(names)}: {note}." for note, names in notes.items()]


def _without_use(files: Sequence[AdapterFile], plan: Plan) -> list[str]:
    """Sentences about files that bring words of which no prompt has one."""
    texts = {request.prompt.text for prompt_set in plan.prompt_sets for request in prompt_set.requests}
    unused: dict[tuple[str, ...], list[str]] = {}
    for file in files:
        if file.words and not any(diffusion.holds_word(text, word) for word in file.words for text in texts):
            unused.setdefault(file.words, []).append(file.name)
    return [
        f"{listed(names)}: no prompt has the word {' or '.join(repr(word) for word in words)} that the file brings, so "
        "its vectors change no picture; let it be the trigger of a concept (--trigger, dataset.toml)."
        for words, names in unused.items()
    ]


def result_name(folder: Path) -> str:
    """A name for the results: the last two parts of the path, since many folders are called "checkpoints"."""
    words = "-".join(folder.resolve().parts[-2:])
    kept = "".join(letter if letter.isascii() and (letter.isalnum() or letter in "._-") else "-" for letter in words)
    return f"evaluate-{kept.strip('-._') or 'checkpoints'}"
