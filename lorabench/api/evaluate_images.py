"""`lorabench evaluate --images`: a folder of pictures that were drawn elsewhere becomes a plan that measures them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from lorabench import images
from lorabench.api import picture_prompts, pictures, studies
from lorabench.api.evaluate_adapters import evaluation_study, result_name, with_templates
from lorabench.api.file_names import Moment
from lorabench.api.members import AdapterFile
from lorabench.api.requests import GivenImages
from lorabench.api.series import placed
from lorabench.api.sheet import RATE, Row, Sheet, of_files, read_sheet
from lorabench.components import Origin
from lorabench.datasets import images_below
from lorabench.datasets.pictures import count
from lorabench.errors import UserError
from lorabench.hashes import file_hash
from lorabench.picture_metadata import PROMPTS_FILE, Drawn, Listed, drawn_pictures
from lorabench.pipeline.plan import BASE_CHECKPOINT, Plan
from lorabench.pipeline.planning import given_pictures, plan_of_pictures
from lorabench.pipeline.tables import check_measured
from lorabench.records import (
    AdapterConfig,
    Checkpoint,
    Concept,
    Dataset,
    Failure,
    ImageRequest,
    Picture,
    Prompt,
    PromptSet,
    TrainConfig,
)
from lorabench.report.words import listed

ALGORITHM = "pictures"  # nothing is known of what drew them


@dataclass(frozen=True)
class Shown:
    """A picture, the checkpoint that drew it, and what it is of."""

    drawn: Drawn
    checkpoint: str
    concept: Concept
    prompt: Prompt

    @property
    def order(self) -> tuple[object, ...]:
        """Its place in a set: by prompt and seed alone, so that those of two checkpoints pair."""
        seed = self.drawn.seed
        return self.prompt.text, seed is None, seed or 0, str(self.drawn.path)


def planned(given: GivenImages) -> tuple[Plan, list[Failure]]:
    """The plan for all pictures in a folder, each sub-folder those of a checkpoint, and those that cannot be read.

    UserError where none is left.
    """
    folder, sheet = given.folder, read_sheet(given.sheet)
    study = evaluation_study(given.study, None, result_name(folder))
    data, _ = pictures.chosen(study.data, given, ())
    study = with_templates(study.model_copy(update={"data": data}), given.templates)
    study = studies.prepared(study, given.how)
    study = studies.anchored(study, given.anchors)
    name = folder.resolve().name
    dataset = given_pictures(study, name, needs_words=False)
    known = picture_prompts.known_prompts(dataset, Path(study.images.prompts), study.images.prompt_types)
    found, refused = _readable(folder)
    shown, remarks = _shown(folder, found, dataset, given.prompts, known)
    own = _sets(shown)
    checkpoints, believed = _checkpoints(list(own), sheet, folder)
    remarks = [*believed, *remarks, *_unlike(own), *_uncalled(dataset)]
    plan = plan_of_pictures(study, given.out or studies.RESULTS / study.name, dataset, checkpoints, own, remarks)
    check_measured(plan)
    return replace(plan, shard=given.how.shard), refused


# --- pictures ---------------------------------------------------------------------------------------------------------


def _readable(folder: Path) -> tuple[list[Path], list[Failure]]:
    """The pictures below a folder, and those that cannot be read. UserError if none can."""
    found, refused = [], []
    for path in images_below(folder):
        try:
            images.texts(path)
            images.read(path)
            found.append(path)
        except UserError as error:
            refused.append(Failure("evaluate", str(path), "failed", str(error)))
    if not found:
        why = f": {refused[0].message}" if refused else "."
        raise UserError(f"There is no picture in {folder} (--images){why}")
    return found, refused


def _shown(
    folder: Path, found: Sequence[Path], dataset: Dataset, prompts: Listed | None, known: picture_prompts.Known
) -> tuple[list[Shown], list[str]]:
    """The pictures by checkpoint, and sentences on those that are left out. UserError if none is left."""
    loose = [path for path in found if path.parent == folder]
    apart = loose if len(loose) < len(found) else []
    evaluated = [concept for concept in dataset.concepts if concept.evaluated]
    shown, unknown = [], []
    for drawn in drawn_pictures(folder, [path for path in found if path not in apart], prompts):
        inside = PurePath(drawn.path.relative_to(folder))
        checkpoint, below = (folder.resolve().name, inside) if loose and not apart else _parted(inside)
        concept = picture_prompts.concept_of(drawn, below, evaluated)
        if concept is None:
            unknown.append(drawn.path)
        else:
            shown.append(Shown(drawn, checkpoint, concept, picture_prompts.prompt_of(drawn, concept, known)))
    if not shown:
        raise UserError(
            f"Nothing says which concept the {len(unknown)} pictures in {folder} are of: no prompt calls "
            f"{listed([concept.descriptor for concept in evaluated])} alone. Say it in a {PROMPTS_FILE} there "
            "(file_name, prompt, concept), or by folders, or let --concept leave one."
        )
    if all(each.prompt.type == "drift" and each.checkpoint != BASE_CHECKPOINT for each in shown):
        words = listed([concept.trigger for concept in evaluated])
        raise UserError(
            f"None of the {len(shown)} pictures in {folder} was drawn with a prompt that holds {words} (the first: "
            f"'{shown[0].prompt.text}'). Say with --trigger how their prompts call the concept."
        )
    remarks = _left_out(apart, folder, "beside the sub-folders, which are taken for the checkpoints,")
    remarks += _left_out(unknown, folder, "of which nothing says the one concept that they are of")
    return shown, [*remarks, *_unsaid(shown, folder)]


def _parted(inside: PurePath) -> tuple[str, PurePath]:
    """ "epoch-2/dog/1.png" -> "epoch-2", "dog/1.png"; "Base" is the base model too."""
    name = inside.parts[0]
    return BASE_CHECKPOINT if name.lower() == BASE_CHECKPOINT else name, PurePath(*inside.parts[1:])


def _left_out(paths: Sequence[Path], folder: Path, why: str) -> list[str]:
    number = count(len(paths), "picture")
    return [f"Left out: {number} {why}; the first is {paths[0].relative_to(folder)}."] if paths else []


def _unsaid(shown: Sequence[Shown], folder: Path) -> list[str]:
    """Sentences on where prompts were read, and on pictures that lack one, or a seed."""
    sources = Counter(each.drawn.said_by for each in shown if each.drawn.said_by)
    beside = sum(number for name, number in sources.items() if name.endswith(".txt"))
    said = [f"{name} ({number})" for name, number in sources.items() if not name.endswith(".txt")]
    said += [f"text files beside them ({beside})"] if beside else []
    remarks = [f"Prompts were read from {', '.join(said)}."] if said else []
    wordless = [each.drawn.path for each in shown if not each.drawn.prompt]
    if wordless:
        number, first = count(len(wordless), "picture"), wordless[0].relative_to(folder)
        remarks.append(
            f"{number} of {len(shown)} without a prompt: nothing says how well they follow it; the first is {first}. "
            "A prompts.jsonl (file_name, prompt, seed) or a .txt beside a picture would."
        )
    seedless = sum(each.drawn.seed is None for each in shown)
    if seedless:
        remarks.append(f"{count(seedless, 'picture')} of {len(shown)} without a seed, which pair with none of another.")
    return remarks


def _sets(shown: Sequence[Shown]) -> dict[str, tuple[PromptSet, ...]]:
    """Checkpoint -> its pictures by concept and type of prompt; the base model first."""
    groups: dict[str, dict[tuple[str, str], list[Shown]]] = {}
    for each in shown:
        groups.setdefault(each.checkpoint, {}).setdefault((each.concept.id, each.prompt.type), []).append(each)
    names = sorted(groups, key=lambda name: (name != BASE_CHECKPOINT, name))
    return {name: tuple(_set(members) for _, members in sorted(groups[name].items())) for name in names}


def _set(members: list[Shown]) -> PromptSet:
    members.sort(key=lambda each: each.order)
    requests = (
        ImageRequest(each.prompt, index, each.drawn.seed, Picture(each.drawn.path, file_hash(each.drawn.path)))
        for index, each in enumerate(members)
    )
    return PromptSet(members[0].concept, members[0].prompt.type, tuple(requests))


# --- checkpoints ------------------------------------------------------------------------------------------------------


def _checkpoints(names: Sequence[str], sheet: Sheet, folder: Path) -> tuple[list[Checkpoint], list[str]]:
    """What drew the pictures, by the names of their folders or what a sheet says of them, and what was believed."""
    others = [name for name in names if name != BASE_CHECKPOINT]
    said = of_files(sheet, {name: Path(name) for name in others})
    files = [_file(name, next(iter(said.get(Path(name), ())), None)) for name in others]
    series = placed(files, sheet, folder.resolve().name)
    found = [_checkpoint(file, config, moment) for file, config, moment in zip(files, series.configs, series.moments)]
    base = [Checkpoint(BASE_CHECKPOINT, BASE_CHECKPOINT, "none")] if BASE_CHECKPOINT in names else []
    return [*base, *found], series.remarks


def _file(name: str, said: Row | None) -> AdapterFile:
    """A folder of pictures as series know adapter files: by its name."""
    return AdapterFile(PurePath(name), name, TrainConfig(name, AdapterConfig(ALGORITHM)), Origin(), False, said=said)


def _checkpoint(file: AdapterFile, config: str, moment: Moment) -> Checkpoint:
    own = dict(file.said.own) if file.said else {}
    scale = file.said.scale if file.said and file.said.scale is not None else 1.0
    lr = own.pop(RATE, math.nan)
    return Checkpoint(file.name, config, ALGORITHM, lr=lr, **vars(moment), scale=scale, own=own)


def _uncalled(dataset: Dataset) -> list[str]:
    """A sentence on concepts of which nobody says how prompts call them."""
    ids = [concept.id for concept in dataset.concepts if not concept.descriptor]
    if not ids:
        return []
    return [
        f"Nobody says how prompts call {listed(ids)} (--trigger sks --class-word dog): CLIP compares the pictures with "
        "their prompts as they stand, words included that it cannot know."
    ]


def _unlike(own: Mapping[str, tuple[PromptSet, ...]]) -> list[str]:
    """A sentence where checkpoints were drawn from different prompts or seeds, as pictures of unknown seeds are."""
    drawn = {
        name: sorted(
            (each.concept.id, request.prompt.text, str(request.noise_seed))
            for each in sets
            for request in each.requests
        )
        for name, sets in own.items()
    }
    first = next(iter(drawn))
    others = [name for name, each in drawn.items() if each != drawn[first]]
    if not others:
        return []
    return [
        f"{listed(others)}: other prompts, seeds or numbers of pictures than {first}, so a difference between them is "
        "that of what was drawn too."
    ]
