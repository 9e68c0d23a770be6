"""A run that draws its images in rounds, until the criteria are decided or the budget is spent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from lorabench.components import Executor, Work
from lorabench.errors import UserError
from lorabench.pipeline.deciding import Deciding, Judged
from lorabench.pipeline.pending import outstanding
from lorabench.pipeline.plan import Plan
from lorabench.pipeline.run import TABLE_STAGES, Progress, Result, Stage, run
from lorabench.pipeline.spending import beyond, images_of
from lorabench.records import Failure
from lorabench.report.decided import COUNTED
from lorabench.report.words import count, criterion_words
from lorabench.statistics.decisions import Decided
from lorabench.values import budget_of

_DRAWING: tuple[Stage, ...] = ("generate", "encode", "score")
_AT_THE_END: tuple[Stage, ...] = ("audit", *TABLE_STAGES)


def run_until_decided(
    plan: Plan,
    stages: Sequence[Stage],
    open_executor: Callable[[Work], Executor],
    progress: Progress,
    refused: Sequence[Failure] = (),
    verify: bool = False,
    replace_: bool = False,
) -> Result:
    """`run` of a plan whose images are drawn in rounds: round after round, then tables and page of all of them.

    Each round goes where what the rounds before it decided sends it. That is worked out anew from their scores, so a
    run that was interrupted anywhere finds its rounds again, and comes to the same decisions. Stages that draw nothing
    take the rounds that are there. UserError for a shard, since a round waits for all of the one before.
    """
    if plan.shard:
        raise UserError("Images that are drawn in rounds (--until decided) cannot be dealt out to shards: --shard 1/1.")
    if any(stage in stages for stage in _DRAWING) and "report" not in stages:
        raise UserError("Images of this study are drawn in rounds (decide.until): `lorabench grid` does all of them.")
    deciding, gone, total = Deciding(plan), [], Result(failures=list(refused))
    draws, before = "generate" in stages, [stage for stage in stages if stage not in _AT_THE_END]
    if before and not draws:
        return run(plan, stages, open_executor, progress, refused, verify, replace_)
    stopped = ""
    while (following := deciding.round(gone)) is not None:
        if not draws and any(outstanding(following, stage) for stage in _DRAWING):
            break
        budget = budget_of(plan.study.decide.budget)
        stopped = beyond(plan, gone, following, budget) if budget and draws else ""
        if stopped:
            break
        if draws:
            images = count(images_of(following), "image")
            progress.line(
                f"Round {following.round.number}: {images} of {count(len(following.checkpoints), 'checkpoint')}."
            )
            wanted = _DRAWING if gone else before
            _add(total, run(following, wanted, open_executor, progress, verify=verify and not gone, replace=replace_))
            following = replace(following, remarks=plan.remarks)
        gone.append(following)
        plan = replace(plan, remarks=())
        deciding = Deciding(plan)
        for judged, found in deciding.decided(gone).items() if draws else ():
            progress.line(_told(judged, found))
    if stopped:
        progress.line(stopped)
    if not gone:
        raise UserError(stopped or "Nothing has been drawn of this study: run `lorabench grid`.")
    remarks = (*gone[0].remarks, *([stopped] if stopped else []))
    last = replace(plan, rounds=tuple(gone), remarks=remarks)
    ending = [stage for stage in stages if stage in _AT_THE_END]
    _add(total, run(last, ending, open_executor, progress, total.failures, verify and not draws, replace_))
    return total


def check_decided(plan: Plan) -> None:
    """UserError, before any work, where a plan's images cannot be drawn in rounds."""
    deciding = Deciding(plan)
    if len(set(plan.study.seeds)) < 2 and len({each.seed for each in deciding.trained}) < 2:
        raise UserError(
            "Which config is better cannot be decided from one training of each: name two seeds or more "
            "(seeds = [1, 2, 3]), or draw all images (--until all)."
        )
    for kind, size in deciding.part_sizes.items():
        if plan.study.images.per_set < size:
            raise UserError(
                f"Of {kind} prompts something is decided that takes {size} images of a set at least, and "
                f"images.per_set = {plan.study.images.per_set}."
            )
    budget, first = budget_of(plan.study.decide.budget), deciding.round([])
    if budget and first:
        too_much = beyond(plan, [], first, budget)
        if too_much:
            raise UserError(too_much)


def _add(total: Result, found: Result) -> None:
    for stage, made in found.done.items():
        total.done[stage] = total.done.get(stage, 0) + made
    total.failures = list(dict.fromkeys([*total.failures, *found.failures]))
    total.damage += [each for each in found.damage if each not in total.damage]
    total.report_is_stale = found.report_is_stale


def _told(judged: Judged, found: Decided) -> str:
    """How far a criterion is, in a line."""
    counts = {words: int((found.verdict == name).sum()) for name, words in COUNTED.items()}
    said = ", ".join(f"{number} {words}" for words, number in counts.items() if number)
    return f"{criterion_words(judged.criterion)}: {said or 'nothing to tell'}"
