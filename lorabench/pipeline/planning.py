"""From a study to a plan: worked out and checked before the first expensive step."""

from __future__ import annotations

import fnmatch
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from lorabench import adapters, base_models, components, config, datasets, devices, formats, prompts
from lorabench.base_models import Base
from lorabench.config import Study
from lorabench.errors import UserError, unknown
from lorabench.pipeline import merges
from lorabench.pipeline.given import content_hash
from lorabench.pipeline.measuring import MetricRequest, measurable, metric_requests
from lorabench.pipeline.models import encoder_id
from lorabench.pipeline.plan import BASE_CHECKPOINT, RESERVED_IDS, Merging, Plan, TrainingRun, drawn_as
from lorabench.pipeline.trainable import check_trainable
from lorabench.pipeline.training_sets import partners, subset
from lorabench.records import Checkpoint, Dataset, Milestone, PromptSet, Sampling, Setting, TrainConfig
from lorabench.statistics.columns import ALL


def make_plan(study: Study, root: Path, *, only: Sequence[str] = (), limit: int | None = None) -> Plan:
    """Check a study and work out all it comes to. UserError for whatever cannot work.

    `only`: glob patterns over config names; `limit`: at most so many trainings (config x seed), in order of the grid.
    """
    base = base_models.base_of(study.base, study.vae)
    study = with_sizes(study, base.side)
    runs, dataset = _runs(study, only, limit), dataset_of(study)
    mergings = merges.with_files(study, base, merges.mergings(study, runs))
    plan = _plan(study, root, base, dataset, runs, [*_trained(study, runs), *_merged(study, mergings)], mergings)
    for run in runs:
        plan.words_of(run)  # refuses concepts that are not there
    return plan


def outline(
    study: Study, root: Path, dataset: Dataset, side: int | None, *, only: Sequence[str] = (), limit: int | None = None
) -> Plan:
    """The plan of a study whose base model and pictures need not be here: for its numbers, since nothing has a key.

    `side` is that of the pictures that the base model was made for, in pixels. Without concepts in the data set nothing
    is drawn. UserError for a study that cannot be.
    """
    study = with_sizes(study, side)
    runs, requests, settings = _runs(study, only, limit), metric_requests(study), _settings(study)
    mergings = merges.mergings(study, runs)
    return Plan(
        study=study,
        root=root.resolve(),
        dataset=dataset,
        prompt_sets=_prompt_sets(study, dataset),
        runs=runs,
        checkpoints=(*_floors(settings), *_trained(study, runs), *_merged(study, mergings)),
        requests=requests,
        base=None,
        encoder_ids=dict.fromkeys((request.encoder for request in requests), ""),
        devices=(study.run.device,),
        settings=settings,
        mergings=mergings,
        remarks=dataset.assumptions,
    )


def plan_of_checkpoints(
    study: Study, root: Path, base: Base, dataset: Dataset, checkpoints: Sequence[Checkpoint]
) -> Plan:
    """The plan that measures given checkpoints of a base, each at its merge ratio, and trains nothing.

    A data set without pictures leaves out what is measured against them.
    """
    return _plan(with_sizes(study, base.side), root, base, dataset, (), list(checkpoints))


def plan_of_pictures(
    study: Study,
    root: Path,
    dataset: Dataset,
    checkpoints: Sequence[Checkpoint],
    own_sets: Mapping[str, tuple[PromptSet, ...]],
    remarks: Sequence[str],
) -> Plan:
    """The plan that measures pictures that were drawn elsewhere: it needs no base model."""
    _check_root(root)
    _check_ids(checkpoints)
    has_base = any(checkpoint.is_base for checkpoint in checkpoints)
    requests, lacking = measurable(study, dataset, has_base)
    return Plan(
        study=study,
        root=root.resolve(),
        dataset=dataset,
        prompt_sets=(),
        runs=(),
        checkpoints=tuple(checkpoints),
        requests=requests,
        base=None,
        encoder_ids=_encoder_ids(study, requests),
        devices=_devices(study),
        remarks=(*dataset.assumptions, *remarks, *lacking),
        own_sets=own_sets,
    )


def _devices(study: Study) -> tuple[str, ...]:
    """Those of this machine; of a cluster the one name, from which each of its processes picks its own."""
    device = study.run.device
    if study.run.executor == "local":
        return devices.pick_devices(device)
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(
            f"Device '{device}' is not for a cluster, whose processes have one GPU each: auto, cuda (wait for GPUs) or "
            "cpu (run.device, --device)."
        )
    return (device,)


def drawn(checkpoint: Checkpoint, setting: Setting, scale: float) -> Checkpoint:
    """A checkpoint drawn in that way, with names that say so."""
    return replace(
        checkpoint,
        id=_scaled_id(drawn_as(checkpoint.id, setting.name), scale),
        config=drawn_as(checkpoint.config, setting.name),
        scale=scale,
        setting=setting.name,
        own={**checkpoint.own, **setting.factors},
    )


def _plan(
    study: Study,
    root: Path,
    base: Base,
    dataset: Dataset,
    runs: tuple[TrainingRun, ...],
    checkpoints: list[Checkpoint],
    mergings: tuple[Merging, ...] = (),
) -> Plan:
    _check_root(root)
    prompt_sets = _prompt_sets(study, dataset)
    if not prompt_sets:
        raise UserError(_nothing_to_draw(study, dataset))
    if "alter" in study.images.prompt_types:
        notes = prompts.stand_ins(dataset, Path(study.images.prompts))
        dataset = replace(dataset, assumptions=(*dataset.assumptions, *notes))
    requests, lacking = measurable(study, dataset, has_base=True)
    class_images = _class_images(study, dataset, runs)
    absent = _checked_explanation(study, dataset, checkpoints)
    _check_adapters(base, runs)
    # The id of its content names the base in tables: a path would mean nothing on another machine.
    settings = _settings(study)
    _check_sweeps(study, checkpoints)
    bases = _bases(study, base, settings)
    drawn_with = [replace(each, base=bases.get(each.setting, base).id) for each in (*_floors(settings), *checkpoints)]
    # A process holds one base model: what another one draws comes together, that of each training by itself.
    turns = {id_: turn for turn, id_ in enumerate(dict.fromkeys(each.base for each in drawn_with))}
    every = tuple(sorted(drawn_with, key=lambda each: (not each.is_base, turns[each.base])))
    _check_ids(every)
    for setting in settings.values():
        bases.get(setting.name, base).check_drawing(setting.sampling.size, setting.sampling.clip_skip)
    return Plan(
        study=study,
        root=root.resolve(),
        dataset=dataset,
        prompt_sets=prompt_sets,
        runs=runs,
        checkpoints=every,
        requests=requests,
        base=base,
        encoder_ids=_encoder_ids(study, requests),
        devices=_devices(study),
        settings=settings,
        bases=bases,
        mergings=mergings,
        companions=_companions(study, base, settings),
        class_images=class_images,
        remarks=(
            *(*dataset.assumptions, *lacking, *_remarks(study, base, trains=bool(runs))),
            *(*(class_images.assumptions if class_images else ()), *absent, *_untold(study, runs, prompt_sets)),
        ),
    )


def _class_images(study: Study, dataset: Dataset, runs: Sequence[TrainingRun]) -> Dataset | None:
    """The pictures of classes that a study names, where some training sees them. UserError."""
    if not study.data.class_images or not any(run.config.training.prior_weight for run in runs):
        return None
    folder = Path(study.data.class_images)
    if not folder.is_dir():
        raise UserError(
            f"There is no folder {folder} of class images (study '{study.name}', data.class_images). "
            "`lorabench class-images STUDY` draws them with the base model."
        )
    found = replace(datasets.load_class_images(folder), assumptions=())
    held_out = {image.sha256 for image in dataset.held_out}
    images = tuple(image for image in found.images if image.sha256 not in held_out)
    if len(images) == len(found.images):
        return found
    said = f"{len(found.images) - len(images)} class images are held out of training: left out."
    return replace(found, images=images, assumptions=(said,))


def _companions(study: Study, base: Base, settings: Mapping[str, Setting]) -> dict[str, str]:
    """The adapters that are merged beside checkpoints, by their files, with the hash of each. UserError."""
    files = dict.fromkeys(each.companion for each in settings.values() if each.companion)
    architecture = base.architecture() if files else None
    found = {}
    for file in files:
        loaded = formats.read_adapter(Path(file), study.unused_keys)
        formats.resolve(loaded, architecture)  # refuses what does not fit
        found[file] = content_hash(Path(file))
    return found


def _settings(study: Study) -> dict[str, Setting]:
    return {way.setting.name: way.setting for way in config.ways(study)}


def _bases(study: Study, own: Base, settings: Mapping[str, Setting]) -> dict[str, Base]:
    """The base models of settings that draw with another one. UserError for one that adapters do not fit."""
    found: dict[tuple[str, str | None], Base] = {}
    for setting in settings.values():
        place = (setting.base, setting.vae)
        if place != ("", None) and place not in found:
            vae = study.vae if setting.vae is None else setting.vae
            found[place] = base_models.base_of(setting.base or study.base, vae)
    shapes = _shapes(own) if any(base for base, _ in found) else {}
    for (source, _), base in found.items():
        theirs = _shapes(base) if source else shapes
        other = next((name for name in shapes | theirs if shapes.get(name) != theirs.get(name)), None)
        if other is not None:
            raise UserError(
                f"Base model {source} is of another architecture than {study.base} ({other}): adapters of one do not "
                "fit the other."
            )
    return {name: found[each.base, each.vae] for name, each in settings.items() if (each.base, each.vae) in found}


def _shapes(base: Base) -> dict[str, tuple[int, ...]]:
    modules = base.architecture()
    return {f"{name}.{each}": tuple(of.shape) for name in modules for each, of in modules[name].named_parameters()}


def _check_sweeps(study: Study, checkpoints: Sequence[Checkpoint]) -> None:
    """UserError for a sweep over configs or epochs that there are not, in the whole grid."""
    names = {*(each.name for each in config.expand(study)), *(each.name for each in study.merge)}
    configs = sorted(names | {each.config for each in checkpoints if not each.setting})
    milestones = sorted({each.milestone for each in checkpoints if not each.is_base})
    for index, sweep in enumerate(study.sweep):
        place = f"study '{study.name}', sweep[{index}]"
        for pattern in sweep.configs:
            if not fnmatch.filter(configs, pattern):
                raise UserError(unknown("config", pattern, configs, f"{place}.configs"))
        lacking = [milestone for milestone in sweep.milestones if milestone not in milestones]
        if lacking:
            raise UserError(config.no_checkpoint(lacking[0], milestones, place))


def _floors(settings: Mapping[str, Setting]) -> list[Checkpoint]:
    """The base model, drawn in each way in which its adapters are."""
    floor = Checkpoint(id=BASE_CHECKPOINT, config=BASE_CHECKPOINT, algorithm="none")
    return [drawn(floor, setting, 1.0) for setting in settings.values()]


def _runs(study: Study, only: Sequence[str], limit: int | None) -> tuple[TrainingRun, ...]:
    configs = _selected(_checked_configs(study), only)
    runs = tuple(TrainingRun(each, seed) for each in configs for seed in study.seeds)[:limit]
    if not runs:
        raise UserError(f"Study '{study.name}' trains nothing: add a [[grid]] row with algorithm and lr.")
    return runs


def _trained(study: Study, runs: Sequence[TrainingRun]) -> list[Checkpoint]:
    own = config.training_factors(config.expand(study))
    drawings: dict[str, list[tuple[Milestone, config.Way]]] = {}
    for config_, milestone, way in config.drawings(study, list({run.config.name: run.config for run in runs}.values())):
        drawings.setdefault(config_.name, []).append((milestone, way))
    return [
        drawn(_trained_checkpoint(run, milestone, own[run.config.name]), way.setting, way.scale)
        for run in runs
        for milestone, way in drawings[run.config.name]
    ]


def _merged(study: Study, mergings: Sequence[Merging]) -> list[Checkpoint]:
    every = config.ways(study)
    return [
        drawn(merges.checkpoint_of(each), way.setting, way.scale)
        for each in mergings
        for way in config.ways_of(every, each.name, each.milestone)
    ]


def _trained_checkpoint(run: TrainingRun, milestone: Milestone, own: Mapping[str, str | float]) -> Checkpoint:
    """`own` are the factors that its training has beside those of every table."""
    factors = run.config.factors
    name = f"{run.id}-{milestone.word}"
    return Checkpoint(name, run.config.name, **factors, seed=run.seed, **milestone.columns, own=own)


def _prompt_sets(study: Study, dataset: Dataset) -> tuple[PromptSet, ...]:
    drawn = study.images
    folder = Path(drawn.prompts)
    beside = partners(dataset, [each.training.concepts for each in config.expand(study)])
    found = prompts.build_prompt_sets(
        dataset, folder, drawn.prompt_types, drawn.per_set, drawn.noise_seed, drawn.noise, beside
    )
    return tuple(found)


def _check_root(root: Path) -> None:
    if root.exists() and not root.is_dir():
        raise UserError(f"Cannot write results to {root}: it is a file. Choose another folder with --out.")


def _encoder_ids(study: Study, requests: Sequence[MetricRequest]) -> dict[str, str]:
    return {name: encoder_id(study, name) for name in dict.fromkeys(request.encoder for request in requests)}


def with_sizes(study: Study, side: int | None) -> Study:
    """The study with a size and a resolution, the base model's own where the file sets none, and prompts' length."""
    images, training = study.images, study.training
    size, resolution = images.size, training.resolution
    if size is None or resolution is None:
        own = side or Sampling().size
        size, resolution = size or own, resolution or own
    sizes = {"size": size, "max_tokens": images.max_tokens or training.max_tokens}
    changes = {"images": images.model_copy(update=sizes)}
    return study.model_copy(update=changes | {"training": training.model_copy(update={"resolution": resolution})})


def _remarks(study: Study, base: Base, trains: bool) -> tuple[str, ...]:
    """Sentences about sizes that are not those of the pictures that the base model was made for."""
    asked = {"images.size": study.images.size}
    asked |= {"training.resolution": study.training.resolution} if trains else {}
    return tuple(
        f"{key} is {side}, but base model {config.portable(study.base)} was made for pictures of {base.side} pixels: "
        f"without {key} in the study it is {base.side}."
        for key, side in asked.items()
        if base.side is not None and side != base.side
    )


def _untold(study: Study, runs: Sequence[TrainingRun], prompt_sets: Sequence[PromptSet]) -> list[str]:
    """A sentence where a study of several configs cannot tell them apart, whatever comes out."""
    classes = {(each.concept.category, each.concept.class_name) for each in prompt_sets}
    lacking = ["a second class"] if len(classes) < 2 else []
    lacking += ["a second seed"] if len(study.seeds) < 2 else []
    if not lacking or len({run.config.name for run in runs}) < 2:
        return []
    return [
        f"This study can compare its adapter files, but not tell its configs apart: that takes {' and '.join(lacking)} "
        "(of trainings and classes one alone says nothing of others)."
    ]


def _nothing_to_draw(study: Study, dataset: Dataset) -> str:
    if not any(concept.evaluated for concept in dataset.concepts):
        names = ", ".join(concept.id for concept in dataset.concepts)
        return f"Data set {study.data.folder}: none of its concepts ({names}) is evaluated; let one say so."
    types = ", ".join(study.images.prompt_types)
    return (
        f"Study '{study.name}' draws nothing: no evaluated concept of {study.data.folder} has prompts of the types "
        f"{types or 'asked for, which are none'}. Change images.prompt_types, or give the concepts a template (alter)."
    )


def _check_ids(checkpoints: Sequence[Checkpoint]) -> None:
    """Ids name folders: two of a kind, or one of our own words, would mix results."""
    ids = [checkpoint.id for checkpoint in checkpoints]
    twice = [id_ for id_, count in Counter(ids).items() if count > 1]
    taken = [id_ for id_ in ids if id_ in RESERVED_IDS]
    if twice or taken:
        name = (twice or taken)[0]
        why = "two checkpoints are called so" if twice else "lorabench itself uses that name"
        raise UserError(f"A checkpoint cannot be called '{name}': {why}; rename the file, the folder or the config.")


def _checked_explanation(study: Study, dataset: Dataset, checkpoints: Sequence[Checkpoint]) -> list[str]:
    """UserError where the explanation is to be of what this study has not; a sentence on what was not chosen."""
    categories = (*dict.fromkeys(concept.category for concept in dataset.concepts), ALL)
    known, absent = {checkpoint.epoch for checkpoint in checkpoints}, []
    if study.explain.weights and study.validation.draws == 0:
        raise UserError(
            f"study '{study.name}': explain.weights explains by the health of weights, and validation.draws = 0 says "
            "that it is not looked at. Leave one of them out."
        )
    for category, epochs in study.explain.epochs.items():
        place = f"study '{study.name}', explain.epochs"
        if category not in categories and not study.data.concepts:
            raise UserError(unknown("category", category, categories, place))
        if category not in categories:  # a choice of concepts may leave one out
            absent.append(f"explain.epochs names category '{category}', of which data.concepts chooses nothing.")
        lacking = [epoch for epoch in epochs if epoch not in known]
        if lacking:
            have = ", ".join(str(epoch) for epoch in sorted(known - {None}))
            raise UserError(f"No checkpoint is of epoch {lacking[0]} ({place}.{category}). Epochs: {have}.")
    return absent


def _check_adapters(base: Base, runs: Sequence[TrainingRun]) -> None:
    """UserError where a config cannot be trained on this base model."""
    if not runs:
        return
    model = base.architecture()
    for config_ in {run.config.name: run.config for run in runs}.values():
        with _named(config_):
            check_trainable(model, config_)
            base.check_clip_skip(config_.training.clip_skip)


@contextmanager
def _named(config_: TrainConfig) -> Iterator[None]:
    """A UserError within says which config it is about."""
    try:
        yield
    except UserError as error:
        raise UserError(f"Config '{config_.name}': {error}") from error


def _checked_configs(study: Study) -> tuple[TrainConfig, ...]:
    """The grid's configs, each with an algorithm that exists and exactly the hyperparameters it takes."""
    configs = config.expand(study)
    for pattern in study.explain.exclude:
        if not fnmatch.filter([each.name for each in configs], pattern):
            names = [each.name for each in configs]
            raise UserError(unknown("config", pattern, names, f"study '{study.name}', explain.exclude"))
    for each in configs:
        place = f"study '{study.name}', config '{each.name}'"
        algorithm = components.find("algorithms", each.adapter.algorithm, place)
        with _named(each):
            adapters.check_config(algorithm, each.adapter)
    return configs


def _selected(configs: tuple[TrainConfig, ...], only: Sequence[str]) -> list[TrainConfig]:
    names = [each.name for each in configs]
    for pattern in only:
        if not fnmatch.filter(names, pattern):
            raise UserError(unknown("config", pattern, names, "--only"))
    return [each for each in configs if not only or any(fnmatch.fnmatch(each.name, pattern) for pattern in only)]


def dataset_of(study: Study, *, needs_words: bool = True) -> Dataset:
    """The data set that a study names, with the concepts that it selects. UserError."""
    if not study.data.folder:
        raise UserError(f"Study '{study.name}' names no data set: set data.folder.")
    words = datasets.Words(study.data.trigger, study.data.class_word)
    return with_held_out(study, datasets.load_dataset(Path(study.data.folder), words, needs_words=needs_words))


def given_pictures(study: Study, name: str, *, needs_words: bool = True) -> Dataset:
    """What adapters, or pictures, are measured against: what they were trained on, what they never saw, or both.

    Without either, one concept of that name, of which its words are known. UserError.
    """
    words = datasets.Words(study.data.trigger, study.data.class_word)
    if study.data.folder:
        return dataset_of(study, needs_words=needs_words)
    if not study.data.reference:
        return datasets.without_pictures(words, name)
    never_seen = datasets.load_dataset(Path(study.data.reference), words, needs_words=needs_words, needs_captions=False)
    return datasets.all_held_out(chosen_concepts(study, never_seen))


def with_held_out(study: Study, dataset: Dataset) -> Dataset:
    """The concepts that a study selects, with the pictures of theirs that no training is to see. UserError."""
    chosen = chosen_concepts(study, dataset)
    if study.data.reference:
        return datasets.with_reference(
            chosen, datasets.load_dataset(Path(study.data.reference), needs_words=False, needs_captions=False)
        )
    if not study.data.holdout or not chosen.images:
        return chosen
    return datasets.hold_out(chosen, study.data.holdout, study.data.holdout_seed, Path(study.data.folder))


def chosen_concepts(study: Study, dataset: Dataset) -> Dataset:
    """The data set with the concepts that a study selects. UserError for patterns that match none."""
    if any(concept.category == ALL for concept in dataset.concepts):
        raise UserError(f"Data set {study.data.folder}: a category cannot be called '{ALL}', which means all of them.")
    return subset(dataset, study.data.concepts, f"study '{study.name}', data.concepts")


def _scaled_id(id_: str, scale: float) -> str:
    return id_ if scale == 1 else f"{id_}-x{scale:g}"
