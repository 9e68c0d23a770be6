"""What a study takes, in words: a table of the stages, what dominates, and which setting to turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from lorabench.cli.output import on_screen, plain, print_json, show
from lorabench.pipeline.outlook import Knob, Outlook
from lorabench.report.words import count, duration, size

_STAGES = {"train": "training", "generate": "drawing", "encode": "encoding", "score": "scoring"}
_PACES = {
    "stated": "at the {rate}/s that you state",
    "calibrated": "at {rate}/s, a share of what a matrix product of two seconds reached here (--tflops states another)",
    "past": "left, as what is finished of this run took",
}
KNOBS = 3  # that are shown


def say(outlook: Outlook, as_json: bool) -> None:
    """The table on stdout, then sentences; or all of it as JSON."""
    if as_json:
        print_json(plain(outlook) | {"flop": outlook.flop})
        return
    _print(heading(outlook))
    show(table(outlook), as_json)
    _print([*sentences(outlook), *(f"Note: {note}" for note in outlook.notes)])


def rows(outlook: Outlook) -> list[dict[str, object]]:
    """The sentences as rows of a dry run."""
    return [{"stage": "work", "count": "", "what": each, "tasks to do": ""} for each in sentences(outlook)]


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(on_screen(line))


def heading(outlook: Outlook) -> list[str]:
    """How much there is of what."""
    grid = f"{count(outlook.configs, 'config')} x {count(outlook.seeds, 'seed')}"
    steps = "steps not known" if outlook.steps is None else count(outlook.steps, "step")
    lines = [
        f"Study '{outlook.study}': {count(outlook.trainings, 'training')} ({grid}), {steps}, "
        f"{count(outlook.checkpoints, 'checkpoint')}"
    ]
    if outlook.images is not None and outlook.base_images is not None:
        lines.append(
            f"Images: {outlook.images:,} of the checkpoints and {outlook.base_images:,} of the base model; "
            f"the data set has {count(outlook.pictures or 0, 'picture')}"
        )
    return lines


def table(outlook: Outlook) -> list[dict[str, object]]:
    """A row a stage."""
    rows: list[dict[str, object]] = []
    for each in outlook.stages:
        known = each.flop is not None and outlook.flop > 0
        rows.append({
            "stage": each.stage,
            "count": "not known" if each.count is None else f"{each.count:,}",
            "of": each.what,
            "FLOP": flop(each.flop) if each.flop is not None else "",
            "share": f"{each.flop / outlook.flop:.1%}" if known and each.flop is not None else "",
            "disk": "not known" if each.bytes is None else size(each.bytes),
            "kept": each.kept,
            "time": "" if each.seconds is None else duration(each.seconds),
        })  # fmt: skip
    return rows


def sentences(outlook: Outlook) -> Iterator[str]:
    """Time, disk and memory; what dominates; what to turn."""
    disk = sum(each.bytes or 0.0 for each in outlook.stages)
    if outlook.seconds is not None:
        pace = _PACES[outlook.pace].format(rate=flop(outlook.flops_per_second or 0.0))
        yield f"Time: {duration(outlook.seconds)} {pace}."
    if outlook.images is None:
        image, rate = outlook.forward["image"], outlook.flops_per_second
        time = f", {duration(image / rate)} at {flop(rate)}/s" if rate else ""
        yield f"One image takes {flop(image)}{time}; how many there are, the pictures will say."
    else:
        yield f"In all {flop(outlook.flop)} and {size(disk)} on disk: {_dominates(outlook)}."
    memory = ", ".join(f"{what} {size(needed)}" for what, needed in outlook.memory.items())
    yield f"Memory, roughly, with the study's batch sizes: {memory}."
    of_disk = max(outlook.knobs, key=lambda knob: knob.bytes, default=None)
    for knob in dict.fromkeys((*outlook.knobs[:KNOBS], *([of_disk] if of_disk else []))):
        yield _turned(knob, outlook, disk)


def _dominates(outlook: Outlook) -> str:
    largest = max(outlook.stages, key=lambda stage: stage.flop or 0.0)
    share = (largest.flop or 0.0) / outlook.flop
    heaviest = max(outlook.stages, key=lambda stage: stage.bytes or 0.0)
    each = f", {flop(outlook.forward['image'])} an image" if largest.stage == "generate" else ""
    return f"{_STAGES[largest.stage]} is {share:.0%} of the work{each}, {heaviest.kept} are most of the disk"


def _turned(knob: Knob, outlook: Outlook, disk: float) -> str:
    time = f" ({duration(knob.seconds)})" if knob.seconds is not None else ""
    work = [f"{knob.flop / outlook.flop:.0%} of the work{time}"] if knob.flop else []
    saved = " and ".join([*work, *([f"{size(knob.bytes)} of disk"] if knob.bytes > disk / 1000 else [])])
    return f"To turn: {knob.key}: {knob.then} instead of {knob.now} would save {saved}; {knob.caution}."


def flop(number: float) -> str:
    """Floating-point operations for people: "42.7 TFLOP", "149 EFLOP"."""
    power = 0
    while abs(number) >= 999.5 and power < 6:
        number, power = number / 1000, power + 1
    return f"{number:.3g} {('', 'k', 'M', 'G', 'T', 'P', 'E')[power]}FLOP"
