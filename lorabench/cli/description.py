"""What a dry run says: where results go, from what they are made, how much there is to do, and what it takes."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from lorabench import config
from lorabench.api import auditing, studies
from lorabench.cli.choice_words import judges as judge_lines
from lorabench.cli.output import on_screen, show
from lorabench.pipeline import disk, effort, replacing
from lorabench.pipeline.integrity import costs, stored
from lorabench.pipeline.models import check_inputs
from lorabench.pipeline.pending import STAGES_OF_TASKS, outstanding
from lorabench.pipeline.plan import Plan
from lorabench.pipeline.shards import Shares
from lorabench.report.words import duration, size

Row = dict[str, object]


def say(plan: Plan, again: str, as_json: bool = False, before: Sequence[Row] = (), after: Sequence[Row] = ()) -> None:
    """Sentences on stdout, and between them the table of the stages; or all of them as JSON.

    `before` are rows before those of the stages, `after` are sentences at the end; `again` says how the time that the
    work takes, where it is not known, can be learnt.
    """
    said, table = facts(plan), [*before, *stages(plan)]
    asked = [*judges(plan), *replaced(plan), *needs(plan, again), *after]
    if as_json:
        show([*said, *table, *asked], as_json)
        return
    _print(said)
    show(table, as_json)
    _print(asked)


def _print(rows: Sequence[Row]) -> None:
    for row in rows:
        print(on_screen(" ".join(str(word) for word in (f"{row['stage']}:", row["count"], row["what"]) if word != "")))


def facts(plan: Plan) -> list[Row]:
    """Folder of results, data set with what was assumed of it, base model, and what may not be meant."""
    there = len(stored(plan))
    data = plan.dataset
    where = f"{plan.root}, which holds {there} of its artifacts" if there else f"{plan.root}, nothing of it made yet"
    return [
        _row("results", "", where),
        _row("data set", len(data.images), _data_words(plan)),
        *(_concept_row(plan, concept.id) for concept in data.concepts),
        *([_row("base", "", _base_words(plan))] if plan.base else []),
        *(_row("assumed" if each in data.assumptions else "note", "", each) for each in plan.remarks),
    ]


def stages(plan: Plan) -> list[Row]:
    """One row a stage. UserError for a broken picture or encoder."""
    plan = check_inputs(plan)
    counts = {
        "train": (
            len(plan.runs),
            f"{len({run.config.name for run in plan.runs})} configs x {len(plan.study.seeds)} seeds",
        ),
        **({"merge": (len(plan.mergings), "merges, of each seed and epoch")} if plan.mergings else {}),
        **(
            {"validate": (len(plan.validating.checkpoints), _validation_words(plan))}
            if plan.validating.checkpoints
            else {}
        ),
        "generate": (
            sum(len(each.requests) for checkpoint in plan.checkpoints for each in plan.sets_of(checkpoint)),
            _images_words(plan),
        ),
        "encode": (len(plan.encoder_ids), f"encoders: {', '.join(plan.encoder_ids)}"),
        "score": (len(plan.requests), f"metrics: {', '.join(request.metric for request in plan.requests)}"),
        "audit": (len(plan.measuring.concepts), "concepts, on whose real images the metrics are probed"),
    }
    return [*_shard(plan), *(_row(stage, *words, len(outstanding(plan, stage))) for stage, words in counts.items())]


def _shard(plan: Plan) -> list[Row]:
    """How much of what is left to do is this shard's."""
    if plan.shard is None:
        return []
    shares = Shares(plan)
    left = [task for stage in STAGES_OF_TASKS for task in outstanding(plan, stage)]
    mine = sum(shares.is_mine(task) for task in left)
    common = sum(shares.is_common(task) for task in left)
    words = f"share; {mine} of {len(left)} tasks, beside {common} that are made by the shard that comes first"
    return [_row("shard", str(plan.shard), words, mine)]


def _validation_words(plan: Plan) -> str:
    sides = sum(1 for _ in plan.validating.sides())
    if not sides:
        return "checkpoints: the health of their weights"
    return (
        f"checkpoints: losses on {plan.validating.draws} draws of each of {sides} sets of pictures, health of weights"
    )


def judges(plan: Plan) -> list[Row]:
    """What each criterion will be judged by."""
    return [_row("judge", "", line) for line in judge_lines(auditing.planned_judges(plan))]


def replaced(plan: Plan) -> list[Row]:
    """What finished work would be done anew."""
    found = replacing.finished(plan, studies.ALL_STAGES)
    words = replacing.say_replaced(plan, found, studies.ALL_STAGES)
    return [_row("replaced", len(found) or "", words)] if words else []


def needs(plan: Plan, again: str) -> list[Row]:
    """Disk and time that what is left to do takes."""
    remaining = effort.left(plan)
    if not any(remaining.values()):
        return []
    trained, (least, most) = _adapter_bytes(plan), _picture_bytes(plan)
    pictures = size(most) if least == most else f"{size(least)} to {size(most)}"
    place = next(folder for folder in (plan.root, *plan.root.parents) if folder.is_dir())
    free = shutil.disk_usage(place).free
    disk = (
        f"adapters {size(trained)}, pictures {pictures}; features, tables and report come on top; "
        f"{'ONLY ' if free < trained + most else ''}{size(free)} are free there"
    )
    seconds = effort.seconds_left(plan, remaining)
    processes = plan.study.run.workers or studies.suitable_workers(plan)
    time = f"unknown as long as nothing of it is finished; {again}"
    if seconds is not None:
        time = f"about {duration(seconds / processes)}, as what is finished here took, with {processes} at a time"
    return [_row("disk", "", disk), _row("time", "", time)]


def _row(stage: str, count: object, words: str, tasks: object = "") -> Row:
    return {"stage": stage, "count": count, "what": words, "tasks to do": tasks}


def _concept_row(plan: Plan, concept_id: str) -> Row:
    concept = next(each for each in plan.dataset.concepts if each.id == concept_id)
    pictures = plan.dataset.images_of(concept_id)
    times = max((picture.repeats for picture in pictures), default=1)
    words = f"pictures of {concept_id}, called '{concept.descriptor}'"
    words += f", each {times} times an epoch" if times > 1 else ""
    return _row("concept", len(pictures), words + ("" if concept.evaluated else "; not measured"))


def _data_words(plan: Plan) -> str:
    data = plan.dataset
    if not data.images:
        return "pictures to compare with"
    captions = {image.caption for image in data.images}
    return (
        f"pictures, different captions: {len(captions)}, concepts: {len(data.concepts)}; '{data.name}' in "
        f"{plan.study.data.folder}"
    )


def _images_words(plan: Plan) -> str:
    if plan.own_sets:
        return f"images that were made elsewhere, of {len(plan.checkpoints)} checkpoints"
    return f"images: {len(plan.checkpoints)} checkpoints (base included) x {len(plan.prompt_sets)} prompt sets"


def _base_words(plan: Plan) -> str:
    base = plan.base
    made_for = f", made for pictures of {base.side} pixels" if base.side else ""
    weights = size(sum(file.stat().st_size for file in base.files.files))
    place = plan.device if plan.study.run.executor == "local" else "a cluster"
    return f"{config.portable(base.source)}: {weights} of weights{made_for} ({base.id}), on {place}"


def _adapter_bytes(plan: Plan) -> int:
    """Bytes of the checkpoints that are still to be trained or merged."""
    to_do = {(stage, task.source) for stage in ("train", "merge") for task in outstanding(plan, stage)}
    runs = [run for run in plan.runs if ("train", run.id) in to_do]
    mergings = [each for each in plan.mergings if ("merge", each.id) in to_do]
    if not runs and not mergings:
        return 0
    model = plan.base.architecture()
    return disk.adapter_bytes(plan, model, runs) + disk.merged_bytes(model, mergings)


def _picture_bytes(plan: Plan) -> tuple[int, int]:
    """Bytes at least and at most of the pictures that are still to be drawn: as those that are there.

    Where there are none, as the data set's pictures at that size, and as pixels that cannot be compressed.
    """
    count = sum(task.units for task in outstanding(plan, "generate"))
    drawn = sum(len(each.requests) for one in plan.checkpoints for each in plan.sets_of(one)) - count
    if drawn > 0:
        made = costs(plan)
        usual = round(made[made["stage"] == "generate"]["bytes"].sum() / drawn * count)
        return usual, usual
    made = [each.made for _, given in plan.every_set for each in given.requests if each.made]
    if made:
        size_of_all = sum(picture.path.stat().st_size for picture in made)
        return size_of_all, size_of_all
    most = disk.largest_picture(plan.study.sampling.size)
    least, stay = disk.picture_bytes(plan) if plan.dataset.images else most, count * disk.kept_share(plan)
    return round(least * stay), round(most * stay)
