"""The artifacts of a study that was run in parts, in one folder: whole ones, and none beside what it was not made from.

An artifact is known by its key (what it was made from, in words) and by its content. Parts of one study have the same
keys; contents differ where another device made them, and what was made from one is then not taken beside another.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lorabench import store
from lorabench.errors import DamagedArtifact, UserError
from lorabench.pipeline.integrity import Artifact, artifacts
from lorabench.pipeline.parts import Claim, Part
from lorabench.pipeline.pending import STAGES_OF_TASKS, outstanding
from lorabench.pipeline.plan import Merging, Plan, TrainingRun
from lorabench.pipeline.run import Progress, stop_if_disk_is_full
from lorabench.records import Checkpoint, Failure
from lorabench.report.words import count, listed, size

MARK = ".joining.json"  # in the joined folder until it is whole: what is being joined
_NOT_REPEATED = (
    "train",
    "merge",
    "validate",
    "generate",
    "encode",
)  # stages that joining leaves to those who have the means
_KINDS = {"merge": ("merge", "merges"), "generate": ("set of images", "sets of images")}
_KINDS |= {"encode": ("set of features", "sets of features")}

# (config, seed) of a training and all that was made of it; (None, None) is the data.
_Unit = tuple[str | None, int | None]


@dataclass(frozen=True)
class Joined:
    """Where the artifacts of the joined run come from."""

    parts: tuple[Part, ...]  # as they were found, also by reading every byte that was copied
    taken: Mapping[str, Part]  # by folder in the run
    unfit: Mapping[str, Part]  # whole, but made from something else than what was taken


def require_place(out: Path, folders: Sequence[Path]) -> None:
    """UserError unless the folder is new, or what an earlier join of the same folders has left."""
    places = [folder.resolve() for folder in folders]
    if len(set(places)) < max(2, len(places)):
        raise UserError("Name two or more different folders to be joined.")
    unfinished = next((folder for folder in folders if (folder / MARK).exists()), None)
    if unfinished is not None:
        raise UserError(f"{unfinished} is itself a join that has not come to its end: finish that first.")
    if any(out.resolve().is_relative_to(place) or place.is_relative_to(out.resolve()) for place in places):
        raise UserError(f"{out} lies in a folder that is joined, or holds one: choose another folder with --out.")
    if out.is_dir() and any(not each.name.startswith(".") for each in out.iterdir()) and not (out / MARK).exists():
        raise UserError(f"{out} exists and is no join that was interrupted: remove it, or choose another with --out.")
    before = store.read_json(out / MARK)
    if before is not None and before != list(map(str, places)):
        raise UserError(f"{out} is an unfinished join of other folders: remove it, or choose another with --out.")


def covered(plan: Plan, parts: Sequence[Part]) -> Plan:
    """The plan of those trainings that some part has begun. UserError if none is, or if keys are not the plan's."""
    known, begun = {}, set()
    for artifact in artifacts(plan):
        name = plan.folder.name(artifact.folder)
        known[name] = artifact.key
        if _is_known(name, parts):
            begun.add(_unit_of(plan, artifact))
    for part in parts:
        other = next((name for name, each in part.artifacts.items() if known.get(name, each.key) != each.key), None)
        if other is not None:
            raise UserError(
                f"{other} in {part.root} was made from something else (base model, pictures, prompts, settings or "
                f"encoders) than study '{plan.study.name}' says on this machine: name the study's file with --study, "
                "or run that part again first."
            )
    failed = {each.item for part in parts for each in part.failures if each.stage == "train"}
    runs = tuple(run for run in plan.runs if (run.config.name, run.seed) in begun or run.id in failed)
    if not runs:
        names = listed([str(part.root) for part in parts])
        raise UserError(f"None of the trainings of study '{plan.study.name}' is in {names}.")
    lacking = [f"{run.config.name} (seed {run.seed})" for run in plan.runs if run not in runs]
    said = [f"Trainings of this study that no part has: {listed(lacking)}."] if lacking else []
    able = [each for each in plan.mergings if all(run in runs for run in each.runs)]
    mergings = tuple(each for each in able if _is_known(plan.folder.name(plan.places.merging(each)), parts))
    said += [_waiting([each for each in able if each not in mergings], plan)] if len(mergings) < len(able) else []
    kept = tuple(each for each in plan.checkpoints if _is_covered(plan, each, runs, mergings))
    return replace(plan, runs=runs, mergings=mergings, checkpoints=kept, remarks=(*plan.remarks, *said))


def _is_known(name: str, parts: Sequence[Part]) -> bool:
    return any(name in part.artifacts or name in part.faults for part in parts)


def _is_covered(
    plan: Plan, checkpoint: Checkpoint, runs: Collection[TrainingRun], mergings: Collection[Merging]
) -> bool:
    merging = plan.merging_of(checkpoint)
    if merging is not None:
        return merging in mergings
    return checkpoint.is_base or plan.run_of(checkpoint) in runs


def _waiting(mergings: Sequence[Merging], plan: Plan) -> str:
    names = listed(list(dict.fromkeys(each.name for each in mergings)))
    return (
        f"Not made yet, since no part had all of their parents: {count(len(mergings), 'merge')} ({names}); `lorabench "
        f"grid` of this study with --out {plan.root} makes and draws what is missing."
    )


def bring_together(plan: Plan, parts: Sequence[Part], progress: Progress) -> Joined:
    """Copy what the plan comes to into its folder, each artifact from the first part that has it whole and fitting.

    Of a training all comes from the part that has most of it, then from others what fits. Each copy is read and
    compared with what was written once; after damage the choice is made anew, so that what depends on it fits too.
    What is there already stays. DiskFull.
    """
    with plan.folder.locked():
        store.write_json(plan.root / MARK, [str(part.root.resolve()) for part in parts])
        joined = _chosen(plan, parts)
        left = {name: part.artifacts[name].bytes for name, part in joined.taken.items()}
        with progress.stage("copy", len(left), sum(left.values()) >> 20) as advance:
            done = 0

            def copied(name: str) -> None:
                nonlocal done
                before, done = done, done + left.pop(name, 0)
                advance((done >> 20) - (before >> 20))

            try:
                while damaged := _copy(plan, joined, copied):
                    joined = _chosen(plan, [part.without(damaged) for part in joined.parts])
            except OSError as error:
                stop_if_disk_is_full(error, plan)
                raise
    return joined


def finish(plan: Plan) -> None:
    """The joined folder is whole: from here on it is a run like any."""
    (plan.root / MARK).unlink(missing_ok=True)


def _unit_of(plan: Plan, artifact: Artifact) -> _Unit:
    checkpoint = plan.checkpoint_by_id.get(artifact.checkpoint or "")
    return artifact.config, checkpoint.seed if checkpoint else artifact.seed


def _chosen(plan: Plan, parts: Sequence[Part]) -> Joined:
    """Which artifact is to come from which part. One that was made from what is not taken is not taken either."""
    made_by_tasks = (each for each in artifacts(plan) if each.stage in STAGES_OF_TASKS)
    wanted = sorted(made_by_tasks, key=lambda each: STAGES_OF_TASKS.index(each.stage))  # inputs before what they make
    orders = _orders(plan, parts, wanted)
    taken: dict[str, Part] = {}
    unfit: dict[str, Part] = {}

    def fits(claim: Claim) -> bool:
        inputs = (
            (taken[name].artifacts[name].content, held) for name, held in claim.made_from.items() if name in taken
        )
        return all(content == held for content, held in inputs)

    for artifact in wanted:
        name = plan.folder.name(artifact.folder)
        having = [part for part in orders[_unit_of(plan, artifact)] if name in part.artifacts]
        fitting = [part for part in having if fits(part.artifacts[name])]
        if fitting:
            taken[name] = fitting[0]
        elif having:
            unfit[name] = having[0]
    for run in plan.runs:
        taken |= _state_of(plan, run, taken)
    return Joined(tuple(parts), taken, unfit)


def _orders(plan: Plan, parts: Sequence[Part], wanted: Sequence[Artifact]) -> Mapping[_Unit, list[Part]]:
    """The parts by how much they have of each training, of the base model and of the data; the first named first."""
    counts: dict[_Unit, Counter[Path]] = defaultdict(Counter)
    for artifact in wanted:
        name = plan.folder.name(artifact.folder)
        counts[_unit_of(plan, artifact)].update(part.root for part in parts if name in part.artifacts)
    return {unit: sorted(parts, key=lambda part: -having[part.root]) for unit, having in counts.items()}


def _state_of(plan: Plan, run: TrainingRun, taken: Mapping[str, Part]) -> dict[str, Part]:
    """What a training that is not over can go on from: that of the part whose last checkpoint is taken."""
    milestones = reversed(run.config.training.milestones)
    sources = [taken.get(plan.folder.name(plan.places.checkpoint(run, milestone))) for milestone in milestones]
    last = next(filter(None, sources), None)
    name = plan.folder.name(plan.places.training_state(run))
    return {name: last} if last and not sources[0] and name in last.artifacts else {}


def _copy(plan: Plan, joined: Joined, copied: Callable[[str], None]) -> DamagedArtifact | None:
    """Bring what is chosen into the plan's folder, up to the first that turns out to be damaged."""
    for name, part in joined.taken.items():
        target = plan.root / name
        if plan.folder.damage(target) or plan.folder.content(target) != part.artifacts[name].content:
            try:
                plan.folder.take_in(part.root / name, target)
            except DamagedArtifact as error:
                return error
        copied(name)
    return None


def failures_of(plan: Plan, parts: Sequence[Part]) -> list[Failure]:
    """What failed or was skipped in the parts, and is still not there; what joining does itself is tried again."""
    undone = {(stage, task.item) for stage in _NOT_REPEATED for task in outstanding(plan, stage)}
    found = {(each.stage, each.item): each for part in reversed(parts) for each in part.failures}
    return [each for place, each in found.items() if place in undone]


# --- in words --------------------------------------------------------------------------------------------------------


def damage_words(plan: Plan, joined: Joined) -> list[str]:
    """A sentence for each artifact of a part that was left out because it is damaged."""
    own = _own(plan)
    return [
        f"{part.root / name} was left out: {fault}."
        + (f" That of {joined.taken[name].root} was taken." if name in joined.taken else "")
        for part in joined.parts
        for name, fault in part.faults.items()
        if name in own
    ]


def remarks(plan: Plan, joined: Joined) -> list[str]:
    """Sentences for whoever reads the results: where parts differ in what they should have alike."""
    return [*_differing(joined), *_unfit(plan, joined)]


def account(plan: Plan, joined: Joined) -> list[str]:
    """Sentences on what came from where, and what stayed there because the study does not come to it."""
    taken = []
    for root in (part.root for part in joined.parts):
        sizes = [part.artifacts[name].bytes for name, part in joined.taken.items() if part.root == root]
        taken.append(f"{count(len(sizes), 'artifact')} of {root} ({size(sum(sizes))})")
    own = _own(plan)
    others = {part.root: [name for name in part.artifacts if name not in own] for part in joined.parts}
    return [f"Joined: {', '.join(taken)}."] + [
        f"{count(len(names), 'artifact')} of {root}, to which the study does not come, stay there: {listed(names)}."
        for root, names in others.items()
        if names
    ]


def _own(plan: Plan) -> set[str]:
    """All that the study comes to, by folder in the run."""
    folders = [each.folder for each in artifacts(plan)] + [plan.places.training_state(run) for run in plan.runs]
    return {plan.folder.name(folder) for folder in folders}


def _differing(joined: Joined) -> list[str]:
    """What several parts made of the same, and not alike. Scores follow from what they are made from."""
    found: dict[tuple[Path, Path], list[str]] = defaultdict(list)
    for name, source in joined.taken.items():
        for part in joined.parts:
            same = name not in part.artifacts or part.artifacts[name].content == source.artifacts[name].content
            if not same and not name.startswith("scores/"):
                found[source.root, part.root].append(name)
    return [
        f"{count(len(names), 'artifact')} that both {source} and {other} made from the same have other content in each "
        f"(another device draws other pixels); those of {source} were taken: {listed(names)}."
        for (source, other), names in found.items()
    ]


def _unfit(plan: Plan, joined: Joined) -> list[str]:
    stages = {plan.folder.name(each.folder): each.stage for each in artifacts(plan)}
    counts = Counter((part.root, stages[name]) for name, part in joined.unfit.items())
    return [_unfit_words(root, stage, n) for (root, stage), n in counts.items()]


def _unfit_words(root: Path, stage: str, n: int) -> str:
    if stage == "score":
        beside = "beside other pictures of the base model, or other features, than those that were taken"
        return f"{count(n, 'checkpoint')} of {root} had been scored {beside}, and are scored again."
    return (
        f"{count(n, *_KINDS[stage])} of {root} had been made from something else than what was taken, and stay there."
    )
