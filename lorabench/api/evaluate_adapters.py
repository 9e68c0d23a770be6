"""`lorabench evaluate`: from a folder of adapter files to a plan that measures them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
from pydantic import ValidationError

from lorabench import base_models, components, config, diffusion, mini, store
from lorabench.api import pictures, studies
from lorabench.api.adapter_folders import adapter_files, bases_of, callable_names, fitting
from lorabench.api.adapter_tools import base_source
from lorabench.api.early_checks import WHICH_WORDS, adapters_in, headers_of
from lorabench.api.file_names import Moment
from lorabench.api.members import AdapterFile
from lorabench.api.requests import Drawing, GivenAdapters
from lorabench.api.series import placed
from lorabench.api.sheet import RATE, Row, of_files, read_sheet
from lorabench.api.sizes import suitable_sizes
from lorabench.base_files import find_base
from lorabench.config import Data, Study
from lorabench.datasets import Words
from lorabench.errors import UserError
from lorabench.pipeline.given import content_hash
from lorabench.pipeline.plan import Plan
from lorabench.pipeline.planning import drawn, given_pictures, plan_of_checkpoints
from lorabench.pipeline.tables import check_measured
from lorabench.records import Checkpoint, Failure
from lorabench.report.tables import columns_of, headline_columns, metric_infos
from lorabench.report.words import listed
from lorabench.statistics.columns import ALL, METRIC
from lorabench.statistics.errors import summarise
from lorabench.statistics.validation import HELD_OUT_LOSS, TRAINING_LOSS, loss_means
from lorabench.values import sentence

_TOLD = ("criterion", "higher_is_better")  # of a metric, beside its means


def planned(given: GivenAdapters) -> tuple[Plan, list[Failure]]:
    """The plan for all adapters below a folder, and the files that were refused. UserError if none is left."""
    folder, sheet = given.folder, read_sheet(given.sheet)
    files = adapter_files(folder)
    said = of_files(sheet, callable_names(files, folder))
    bases, refused = bases_of(files, given.unused)
    if not bases:
        raise _nothing_left(folder, refused)
    source = None if given.base is None else base_source(given.base)
    study = evaluation_study(given.study, source, result_name(folder), list(bases.values()))
    study, remarks = _as_asked(study, given, source, headers_of(adapters_in(folder)))
    study = studies.prepared(study, given.how)
    study = studies.anchored(study, given.anchors)
    dataset = given_pictures(study, folder.resolve().name)
    base = base_models.base_of(study.base, study.vae)
    found, others = fitting(bases, folder, base, study.unused_keys, said)
    refused = [*refused, *others]
    if not found:
        raise _nothing_left(folder, refused)
    series = placed(list(found.values()), sheet, folder.resolve().name)
    checkpoints = [
        checkpoint
        for (path, file), config_, moment in zip(found.items(), series.configs, series.moments)
        for checkpoint in _drawn(_checkpoint(file, path, config_, moment), said.get(path, ()), config.ways(study))
    ]
    plan = plan_of_checkpoints(study, given.out or studies.RESULTS / study.name, base, dataset, checkpoints)
    check_measured(plan)
    kept = list(found.values())
    remarks += [*series.remarks, *_assumed(kept), *_of_other_pictures(kept, plan), *_without_use(kept, plan)]
    return replace(plan, remarks=(*plan.remarks, *remarks), shard=given.how.shard), refused


def raw_means(root: Path) -> pd.DataFrame:
    """Mean raw value over all classes: a row a checkpoint, criterion, prompt type, metric, encoder and resizing.

    `judges` marks what a criterion is judged by. Where checkpoints were validated, their held-out loss (or that on the
    pictures that they were trained on, where there are no others) comes first, as a criterion of its own.
    """
    scores = store.read_table(root / "scores.parquet")
    infos = metric_infos([components.find("metrics", name) for name in scores["metric"].unique()])
    means = summarise(scores, ["checkpoint"], column="value")
    means = means.loc[means["category"] == ALL, ["checkpoint", *METRIC, "mean"]].reset_index(drop=True)
    judges = [column.identity for column in headline_columns(columns_of(scores, infos))]
    told = {
        name: means["metric"].map({metric: getattr(info, name) for metric, info in infos.items()}) for name in _TOLD
    }
    found = means.assign(**told, judges=pd.MultiIndex.from_frame(means[METRIC]).isin(judges))
    return pd.concat([_losses(root), found], ignore_index=True)


def _losses(root: Path) -> pd.DataFrame:
    """The losses of checkpoints as rows of raw means; no rows where nothing was validated."""
    file = root / "validation.parquet"
    losses = loss_means(store.read_table(file)) if file.exists() else pd.DataFrame()
    known = [name for name in (HELD_OUT_LOSS, TRAINING_LOSS) if name in losses and losses[name].notna().any()]
    if not known:
        return pd.DataFrame()
    told = {"metric": known[0], "criterion": known[0], "higher_is_better": False, "judges": True}
    rows = losses[["checkpoint", known[0]]].rename(columns={known[0]: "mean"})
    return rows.assign(prompt_type="", encoder="", resize="", **told)


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
        study = study.model_copy(update={"metrics": (*study.metrics, config.MetricChoice(name="copy_rate"))})
    return study.model_copy(update={"name": name, "grid": (), "merge": ()})


def _as_asked(
    study: Study, given: GivenAdapters, base: str | None, headers: Sequence[Mapping[str, str]]
) -> tuple[Study, list[str]]:
    """The study with what was asked for, and sentences on what was assumed. UserError where no word calls a concept."""
    data, remarks = pictures.chosen(study.data, given, headers)
    if not data.folder and not data.reference and not words_of(data):
        raise UserError(WHICH_WORDS)
    changes: dict[str, object] = {"data": data, "unused_keys": (*study.unused_keys, *given.unused)}
    changes |= {} if base is None else {"base": base}
    study = with_templates(study.model_copy(update=changes), given.templates)
    if given.study is None and study.base != str(mini.base_path()) and not given.drawing.paper:
        study, said = _while_a_person_waits(study, given.drawing, given.how.device or study.run.device)
        remarks = [*remarks, said]
    if given.study is None and not data.folder and (Path(study.images.prompts) / "drift.txt").is_file():
        types = dict.fromkeys((*study.images.prompt_types, "drift"))
        study = study.model_copy(update={"images": study.images.model_copy(update={"prompt_types": tuple(types)})})
    return with_drawing(study, given.drawing), remarks


def words_of(data: Data) -> Words:
    return Words(data.trigger, data.class_word)


def _while_a_person_waits(study: Study, asked: Drawing, device: str) -> tuple[Study, str]:
    """The paper's study at a size that suits the device, and the sentence that says so."""
    sizes, paper = suitable_sizes(of_mini=False, device=device), study.images
    changes = {"per_set": sizes.per_set, "steps": sizes.steps, "guidance": sizes.guidance, "batch_size": sizes.drawn}
    images, run = paper.model_copy(update=changes), study.run.model_copy(update={"precision": sizes.precision})
    per_set, steps = asked.per_set or sizes.per_set, asked.steps or sizes.steps
    said = (
        f"{per_set} images of each concept and prompt type in {steps} steps: a size to wait for. The paper's is "
        f"{paper.per_set} in {paper.steps} (--paper)."
    )
    return study.model_copy(update={"images": images, "run": run}), said


def with_drawing(study: Study, asked: Drawing) -> Study:
    """The study with what somebody says of how much to draw. UserError for numbers that cannot be."""
    said = {"per_set": asked.per_set, "steps": asked.steps, "guidance": asked.guidance, "scales": asked.scales or None}
    changes = {name: value for name, value in said.items() if value is not None}
    swept = {key: list(values) for key, values in asked.sweep.items()}
    for key in swept.keys() & {"base", "vae"}:
        swept[key] = [config.base_source(str(source), Path.cwd()) for source in swept[key]]
    if "companion" in swept:
        files = [str(file) for file in swept["companion"]]
        swept["companion"] = [str(Path(file).expanduser().resolve()) if file else "" for file in files]
    # The study's own way is the first one that is asked for, so that nothing else is drawn beside them.
    changes |= {key: values[0] for key, values in swept.items() if values and key in type(study.images).model_fields}
    models = {key: swept.get(key, [getattr(study, key)])[0] for key in ("base", "vae")}
    if swept:
        swept.setdefault("scale", list(asked.scales or study.images.scales))
        changes |= {"scales": swept["scale"]}
    try:
        images = type(study.images).model_validate(study.images.model_dump() | changes)
        sweeps = (config.Sweep(product=swept),) if swept else study.sweep
    except ValidationError as error:
        raise UserError(sentence(error.errors()[0], Path("evaluate"), list(changes))) from error
    return study.model_copy(update={"images": images, "sweep": sweeps, **models})


def with_templates(study: Study, folder: Path | None) -> Study:
    """The study with the templates of another folder, if one is named."""
    if folder is None:
        return study
    return study.model_copy(update={"images": study.images.model_copy(update={"prompts": str(folder.resolve())})})


def _checkpoint(file: AdapterFile, path: Path, config_: str, moment: Moment) -> Checkpoint:
    weights = {"weights": path.resolve(), "sha256": content_hash(path)}
    return Checkpoint(file.name, config_, **file.settings.factors, **vars(moment), **weights)


def _drawn(checkpoint: Checkpoint, rows: Sequence[Row], ways: Sequence[config.Way]) -> list[Checkpoint]:
    """The checkpoint in each way of the study, at the merge ratios of the sheet where it says any."""
    found = {}
    for row in rows or (None,):
        own = _with_factors(checkpoint, row)
        for way in ways:
            if way.takes(own.config, own.milestone):
                each = drawn(own, way.setting, way.scale if row is None or row.scale is None else row.scale)
                found[each.id] = each
    return list(found.values())


def _with_factors(checkpoint: Checkpoint, row: Row | None) -> Checkpoint:
    own = {} if row is None else dict(row.own)
    return replace(checkpoint, lr=own.pop(RATE, checkpoint.lr), own=own)


def _of_other_pictures(files: Sequence[AdapterFile], plan: Plan) -> list[str]:
    """Sentences about files that say what they were trained on, where that is not what they are measured against."""
    contents = plan.dataset.contents
    if not contents:
        return []
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
