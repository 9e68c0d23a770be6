"""How each task is done, in whatever process: read its inputs, call the stage, write the artifact.

The stages know nothing of files; this module knows nothing of mathematics.
"""

from __future__ import annotations

import contextlib
import pickle
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lorabench import components, formats, images, store
from lorabench.components import Advance, Origin
from lorabench.errors import DamagedArtifact
from lorabench.pipeline import auditing, collapsing, keeping, merging, models, thumbnails, validation
from lorabench.pipeline.behind import Behind
from lorabench.pipeline.features import FeatureReader, Looking, encode_source, image_name, scored_from
from lorabench.pipeline.places import WEIGHTS_FILE
from lorabench.pipeline.plan import DATASET, Plan, TrainingRun
from lorabench.pipeline.watched import Watched
from lorabench.records import Checkpoint, Milestone, PromptSet, Task
from lorabench.sampler import Sampler
from lorabench.stages import generate, score, train
from lorabench.stages.watching import Trace

SCORES_FILE = "scores.parquet"
STATE_FILE = "state.pt"
SETS_BEHIND = 2  # drawn, and not written yet: their pictures are in memory
TRAINING_FILE = "training.json"  # how many steps led to a checkpoint, and what was seen at each


def execute(plan: Plan, task: Task, advance: Advance, stages: Collection[str] = ()) -> None:
    """Do one task of any stage; `stages` are those of the run, so that a task can begin what comes next."""
    for path in plan.study.plugins:  # a fresh process knows the package's own components only
        components.load_plugin(Path(path))
    store.begin_task(plan.device)
    if task.stage == "generate":
        generate_images(plan, task, advance, looks="encode" in stages)
    else:
        _STAGES[task.stage](plan, task, advance)


# --- train -----------------------------------------------------------------------------------------------------------


def train_run(plan: Plan, task: Task, advance: Advance) -> None:
    """Train one config with one seed, from the last saved state on, and save a checkpoint at each wanted milestone."""
    run = plan.run_by_id[task.source]
    missing = missing_milestones(plan, run)
    if not missing:  # a process did it all, and died before it could say so
        return
    state = _last_state(plan, run, missing[0])
    if state is not None:
        advance(state.step)
    base = models.base_model(plan)
    algorithm = components.find("algorithms", run.config.adapter.algorithm)
    pictures = plan.training_set(run)
    inputs = [plan.base.id, pictures.fingerprint]
    since = time.perf_counter()
    watched = Watched(plan, run, state.step if state else 0, advance)
    trained = train.train(
        base,
        pictures.images,
        run.config.saved_at(*missing),
        algorithm,
        run.seed,
        encoded=models.encoded_images(plan, pictures, run.config.training),
        words=plan.words_of(run),
        resume=state,
        on_step=watched.on_step,
        on_state=_Keeping(plan, run, inputs),
        on_adapter=watched.on_adapter,
        micro_batch=plan.study.run.micro_batch,
        recompute=plan.study.run.gradient_checkpointing,
    )
    for result in trained:
        folder, key = plan.places.checkpoint(run, result.milestone), plan.keys.training(run, result.milestone)
        with plan.folder.writing(folder, key, inputs=inputs, device=plan.device, since=since) as scratch:
            origin = Origin(plan.base.id, run.seed, result.milestone.columns["epoch"], result.step, pictures.contents)
            # The file says the config as the study has it, not the part of it that a resumed run had left to do.
            formats.save_adapter(scratch / WEIGHTS_FILE, result.adapter, run.config, origin)
            store.write_json(scratch / TRAINING_FILE, {"step": result.step, **vars(_own_trace(run, result))})
        if result.milestone != missing[-1]:
            state_folder = plan.places.training_state(run)
            with plan.folder.writing(state_folder, key, inputs=inputs, device=plan.device) as scratch:
                torch.save(result.state.plain, scratch / STATE_FILE)
        since = time.perf_counter()
    watched.close()
    plan.folder.discard(plan.places.training_state(run))


def _own_trace(run: TrainingRun, result: train.Trained) -> Trace:
    """The steps since the checkpoint before this one, however far back a resumed run had to begin."""
    now = result.milestone.number
    before = max((each.number for each in run.config.training.milestones if each < result.milestone), default=0)
    count = result.step * (now - before) // now
    return result.trace.last(count)


def missing_milestones(plan: Plan, run: TrainingRun) -> tuple[Milestone, ...]:
    """The checkpoints of a run that are still to be made, first to last."""
    return tuple(
        milestone
        for milestone in run.config.training.milestones
        if not plan.folder.holds(plan.places.checkpoint(run, milestone), plan.keys.training(run, milestone))
    )


class _Keeping:
    """Saves the state of a training every so many minutes, on the way to each of its checkpoints."""

    def __init__(self, plan: Plan, run: TrainingRun, inputs: Sequence[str]) -> None:
        self._plan, self._run, self._inputs = plan, run, inputs
        self._since = time.monotonic()

    def __call__(self, milestone: Milestone, make: Callable[[], train.TrainState]) -> None:
        if (time.monotonic() - self._since) / 60 < self._plan.study.training.state_every:
            return
        folder, key = self._plan.places.training_state(self._run), _on_the_way(self._plan, self._run, milestone)
        with self._plan.folder.writing(folder, key, inputs=self._inputs, device=self._plan.device) as scratch:
            torch.save(make().plain, scratch / STATE_FILE)
        self._since = time.monotonic()


def _on_the_way(plan: Plan, run: TrainingRun, milestone: Milestone) -> str:
    """The key of a state from which the checkpoint of that milestone is trained, and none before it."""
    return store.key_of("training state", 1, [], [plan.keys.training(run, milestone)])


def _last_state(plan: Plan, run: TrainingRun, missing: Milestone) -> train.TrainState | None:
    """The training state saved last before that milestone, if it is there."""
    folder = plan.places.training_state(run)
    before = [each for each in reversed(run.config.training.milestones) if each < missing]
    keys = [_on_the_way(plan, run, missing), *(plan.keys.training(run, each) for each in before)]
    for key in keys:
        if plan.folder.holds(folder, key):
            file = plan.folder.intact(folder, STATE_FILE)
            try:
                return train.TrainState.from_plain(torch.load(file, weights_only=True))
            except (pickle.UnpicklingError, RuntimeError, ValueError, TypeError, LookupError, EOFError) as error:
                raise DamagedArtifact(folder, f"{STATE_FILE} cannot be loaded: {error}") from error  # by another torch
    return None


# --- generate --------------------------------------------------------------------------------------------------------


def generate_images(plan: Plan, task: Task, advance: Advance, looks: bool = False) -> None:
    """Draw every missing image set of one checkpoint, or take in the pictures that were made of it elsewhere.

    With `looks` its features are taken as the pictures come, in one pass over all encoders that store any.
    """
    checkpoint = plan.checkpoint_by_id[task.source]
    if checkpoint.id in plan.own_sets:
        _take_in(plan, checkpoint, advance)
    else:
        _draw_missing(plan, checkpoint, advance, Looking(plan, checkpoint) if looks else None)
    thumbnails.make(plan, checkpoint)


def _draw_missing(plan: Plan, checkpoint: Checkpoint, advance: Advance, looking: Looking | None) -> None:
    sampler = models.sampler(plan, checkpoint)
    missing = {id(prompt_set) for prompt_set in missing_sets(plan, checkpoint)}
    adapter = models.adapter_of(plan, checkpoint, sampler.base)
    with models.merged(plan, checkpoint, sampler.base, adapter, into=sampler.components) as knowing:
        _draw(plan, checkpoint, replace(sampler, base=knowing), missing, advance, looking)


def missing_sets(plan: Plan, checkpoint: Checkpoint) -> list[PromptSet]:
    """The image sets of a checkpoint that are still to be drawn, or once more because they were not kept."""
    again = {id(each) for each in keeping.needed_again(plan, checkpoint)}
    return [
        prompt_set
        for prompt_set in plan.sets_of(checkpoint)
        if id(prompt_set) in again
        or not plan.folder.holds(plan.places.images(checkpoint, prompt_set), plan.keys.images(checkpoint, prompt_set))
    ]


def _draw(
    plan: Plan,
    checkpoint: Checkpoint,
    sampler: Sampler,
    missing: set[int],
    advance: Advance,
    looking: Looking | None,
) -> None:
    settings = plan.study.images
    since, made_from = time.perf_counter(), [folder for folder in [plan.places.weights(checkpoint)] if folder]
    inputs = [plan.keys.checkpoint(checkpoint)]
    sets = plan.sets_of(checkpoint)
    drawn = generate.generate(
        sampler,
        sets,
        plan.sampling_of(checkpoint),
        settings.batch_size,
        wanted=[id(prompt_set) in missing for prompt_set in sets],
        on_images=advance,
    )
    threads = ThreadPoolExecutor(torch.get_num_threads())

    def write(result: generate.Generated, since: float, until: float) -> None:
        folder = plan.places.images(checkpoint, result.prompt_set)
        key, took = plan.keys.images(checkpoint, result.prompt_set), (since, until)
        with plan.folder.writing(folder, key, made_from, inputs=inputs, device=plan.device, took=took) as scratch:
            places = [scratch / image_name(request.index) for request in result.prompt_set.requests]
            list(threads.map(images.write, places, result.images))
            collapsing.write(result.images, scratch)

    # A GPU would wait for the files: seconds for the hundred images of a set.
    with threads, Behind(limit=SETS_BEHIND) as behind:
        if torch.device(plan.device).type != "cpu":
            threads.submit(_read_ahead, plan, checkpoint)
        for result in drawn:
            behind.do(partial(write, result, since, time.perf_counter()))
            if looking is not None:
                looking.look(result.prompt_set, result.images)
            since = time.perf_counter()
    if looking is not None:
        looking.write()


def _read_ahead(plan: Plan, checkpoint: Checkpoint) -> None:
    """Read and check the weights that are drawn with next, so that they are in the system's cache when they are swapped
    in: 1.7 GB after full fine-tuning. Where it is not so, or another process draws them, a read is lost."""
    position = plan.checkpoints.index(checkpoint)
    following = next((each for each in plan.checkpoints[position + 1 :] if missing_sets(plan, each)), None)
    with contextlib.suppress(DamagedArtifact, OSError):  # not trained yet, say
        if following is not None:
            with models.weights_of(plan, following).open("rb") as file:
                while file.read(1 << 24):
                    pass


def _take_in(plan: Plan, checkpoint: Checkpoint, advance: Advance) -> None:
    """Keep the pixels of the pictures as they are; what their files say beside them is in the plan."""
    for prompt_set in missing_sets(plan, checkpoint):
        since = time.perf_counter()
        folder, key = plan.places.images(checkpoint, prompt_set), plan.keys.images(checkpoint, prompt_set)
        with plan.folder.writing(folder, key, device=plan.device, since=since) as scratch:
            pictures = [images.read(request.made.path) for request in prompt_set.requests]
            for request, picture in zip(prompt_set.requests, pictures, strict=True):
                images.write(scratch / image_name(request.index), picture)
            collapsing.write(pictures, scratch)
        advance(len(prompt_set.requests))


# --- score -----------------------------------------------------------------------------------------------------------


def score_checkpoint(plan: Plan, task: Task, advance: Advance) -> None:
    """All metrics of one checkpoint on all leaves, as one small table."""
    since = time.perf_counter()
    checkpoint = plan.checkpoint_by_id[task.source]
    leaves, choices = measured(plan, checkpoint)
    reader = FeatureReader(plan, checkpoint)
    scores = score.score_checkpoint(checkpoint.id, leaves, reader, choices)
    if plan.measuring.holds_ceiling(checkpoint):
        scores += score.score_dataset(DATASET, leaves, reader, choices)
    folder, key, made_from = plan.places.scores(checkpoint), plan.keys.scores(checkpoint), scored_from(plan, checkpoint)
    with plan.folder.writing(folder, key, made_from, device=plan.device, since=since) as scratch:
        store.write_records(scores, scratch / SCORES_FILE)
    keeping.drop_images(plan, checkpoint)
    advance(1)


def measured(plan: Plan, checkpoint: Checkpoint) -> tuple[list[score.Leaf], list[score.MetricChoice]]:
    """On what a checkpoint is measured, and how."""
    sizes = plan.round.part_sizes if plan.round else {}
    leaves = [
        score.Leaf(
            each.concept, each.type, prompt_index(each), *_collapsed(plan, checkpoint, each), sizes.get(each.type)
        )
        for each in plan.sets_of(checkpoint)
    ]
    return leaves, [score.MetricChoice(plan.measuring.metric(r.metric), r.encoder, r.resize) for r in plan.requests]


def _collapsed(plan: Plan, checkpoint: Checkpoint, prompt_set: PromptSet) -> tuple[dict[int, str], dict[int, str]]:
    """Its pictures that collapsed, and those of the base model that pair with them."""
    own, floor = collapsing.of_set(plan, checkpoint, prompt_set), plan.floor_of(checkpoint)
    if floor is None or plan.own_sets:
        return own, {}
    place_of = {request.index: place for place, request in enumerate(prompt_set.requests)}
    of_base = {}
    for each in plan.sets_of(floor):  # in a round the base model may draw more of a set than others
        if (each.concept.id, each.type) == (prompt_set.concept.id, prompt_set.type):
            found = collapsing.of_set(plan, floor, each)
            indices = {each.requests[place].index: kind for place, kind in found.items()}
            of_base = {place_of[index]: kind for index, kind in indices.items() if index in place_of}
    return own, of_base


def prompt_index(prompt_set: PromptSet) -> np.ndarray:
    """Which distinct prompt of the set drew image i: int [n]."""
    texts = [request.prompt.text for request in prompt_set.requests]
    number = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    return np.array([number[text] for text in texts])


_STAGES: dict[str, Callable[[Plan, Task, Advance], None]] = {
    "train": train_run,
    "merge": merging.merge_parents,
    "validate": validation.validate_checkpoint,
    "encode": encode_source,
    "score": score_checkpoint,
    "audit": auditing.probe_encoder,
}
